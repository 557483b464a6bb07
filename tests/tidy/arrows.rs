//! Who may know whom: arrows between the workspace's packages as docs/architecture.md has them, and outside
//! crates that one place alone may name.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    exceptions::{Rule, counted, judge},
    rust::{Kind, RustFile, SOURCES, Token},
    tree,
};

const UNUSED: Rule = Rule {
    name: "unused-dependency",
    limit: 0,
    advice: "nothing names it: remove it",
};

pub(crate) const RULES: [Rule; 1] = [UNUSED];

/// Crates, and where they may be named.
const FENCES: [(&str, &[&str]); 9] = [
    ("backoff", &["crates/coordinator/src/retry.rs"]),
    ("virt", &["crates/daemon/src/libvirt/"]),
    ("virt_sys", &["crates/daemon/src/libvirt/"]),
    ("roxmltree", &["crates/daemon/src/libvirt/"]),
    ("rtnetlink", &["crates/daemon/src/vf/", "guest-agent/src/"]),
    (
        "netlink_packet_core",
        &["crates/daemon/src/vf/", "guest-agent/src/"],
    ),
    (
        "netlink_packet_route",
        &["crates/daemon/src/vf/", "guest-agent/src/"],
    ),
    ("rusqlite", &["crates/coordinator/"]),
    ("zbus", &["crates/daemon/src/bus/"]),
];

/// Packages that are pure, and what would make them something else.
const PURE: [&str; 2] = ["crates/migration/src/", "crates/wire/src/"];
// Of `net` what does something: an address is a value.
const IMPURE: [&str; 18] = [
    "tokio",
    "async",
    "await",
    "fs",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "env",
    "process",
    "thread",
    "Instant",
    "SystemTime",
    "Mutex",
    "tonic",
    "tracing",
];

/// A package's dependencies in the workspace, by the names of their directories.
#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    to: String,
    /// Of `api`: not its services.
    messages_only: bool,
}

#[test]
fn arrows_are_those_of_the_architecture() {
    let drawn = drawn(tree::text("docs/architecture.md"));
    let real = real();
    assert!(real.len() > 4, "the manifests have {real:?}");
    let pairs = |all: &BTreeMap<String, Vec<Arrow>>| {
        let pair = |(from, arrows): (&String, &Vec<Arrow>)| {
            let shown = arrows
                .iter()
                .map(|Arrow { to, messages_only }| match messages_only {
                    true => format!("{from} → {to} (messages only)"),
                    false => format!("{from} → {to}"),
                });
            shown.collect::<Vec<_>>()
        };
        all.iter().flat_map(pair).collect::<BTreeSet<String>>()
    };
    let (drawn, real) = (pairs(&drawn), pairs(&real));
    let missing: Vec<_> = real.difference(&drawn).collect();
    let gone: Vec<_> = drawn.difference(&real).collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md, Arrows, does not draw {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "docs/architecture.md, Arrows, draws {gone:?}: not in the manifests"
    );
}

#[test]
fn fenced_crates_are_named_only_inside_their_fences() {
    for (name, places) in FENCES {
        let naming: Vec<&RustFile> = SOURCES.iter().filter(|file| names(file, name)).collect();
        let outside = naming
            .iter()
            .filter(|file| !places.iter().any(|place| file.path.starts_with(place)));
        let outside: Vec<&str> = outside.map(|file| file.path.as_str()).collect();
        assert!(
            outside.is_empty(),
            "{name} is named outside of {places:?}: {outside:?}"
        );
        assert!(!naming.is_empty(), "nothing names {name}: remove its fence");
    }
}

#[test]
fn pure_packages_have_no_input_output_nor_clock() {
    for file in SOURCES
        .iter()
        .filter(|file| PURE.iter().any(|pure| file.path.starts_with(pure)))
    {
        let words = file
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Word && !token.test);
        let impure = words.filter(|token| IMPURE.contains(&token.text.as_str()));
        let found: Vec<String> = impure
            .map(|token| format!("{} in line {}", token.text, token.line))
            .collect();
        assert!(found.is_empty(), "{} is pure and names {found:?}", file.path);
    }
}

/// A dependency that nothing names is one to remove.
#[test]
fn dependencies_are_used() {
    let mut unused = Vec::new();
    for (directory, manifest) in manifests() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for name in manifest
                .get(table)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flat_map(toml::Table::keys)
            {
                let identifier = name.replace('-', "_");
                let mut files = tree::ending(".rs").filter(|file| inside(&file.path, &directory));
                let used = files.any(|file| tree_names(&file.text, &identifier));
                if !used {
                    unused.push((format!("{directory}/Cargo.toml {name}"), table.to_owned()));
                }
            }
        }
    }
    judge(&UNUSED, &counted(unused));
}

/// The paragraph `Arrows: ...`: from → to, to; `(messages only)` behind a name.
fn drawn(text: &str) -> BTreeMap<String, Vec<Arrow>> {
    let (_, rest) = text
        .split_once("\nArrows: ")
        .expect("docs/architecture.md has a paragraph of arrows");
    let paragraph = rest.split("\n\n").next().unwrap_or(rest).replace('\n', " ");
    let quoted = paragraph
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|quoted| quoted.split_once(" → "));
    let arrow = |to: &str| Arrow {
        to: to.split(' ').next().unwrap_or(to).to_owned(),
        messages_only: to.ends_with("(messages only)"),
    };
    quoted
        .map(|(from, to)| (from.to_owned(), to.split(", ").map(arrow).collect()))
        .collect()
}

/// What the manifests say. Dependencies of tests are no arrows.
fn real() -> BTreeMap<String, Vec<Arrow>> {
    let manifests = manifests();
    let root: toml::Table = tree::text("Cargo.toml").parse().expect("TOML");
    let known = root["workspace"]["dependencies"]
        .as_table()
        .expect("a table of dependencies");
    let mut all = BTreeMap::new();
    for (directory, manifest) in &manifests {
        let dependencies = manifest
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten();
        let arrows = dependencies.filter_map(|(name, own)| {
            let path = own
                .get("path")
                .or_else(|| known.get(name)?.get("path"))?
                .as_str()?;
            let features = own.get("features").and_then(toml::Value::as_array);
            let services = features
                .is_some_and(|features| features.iter().any(|feature| feature.as_str() == Some("grpc")));
            let to = last(path).to_owned();
            let messages_only = to == "api" && !services;
            Some(Arrow { to, messages_only })
        });
        let arrows: Vec<Arrow> = arrows.collect();
        if !arrows.is_empty() {
            all.insert(last(directory).to_owned(), arrows);
        }
    }
    all
}

/// All packages with their directories.
fn manifests() -> Vec<(String, toml::Table)> {
    let files = tree::ending("/Cargo.toml");
    let parsed = files.map(|file| {
        let directory = file.path.trim_end_matches("/Cargo.toml").to_owned();
        (
            directory,
            file.text
                .parse()
                .unwrap_or_else(|error| panic!("{}: {error}", file.path)),
        )
    });
    let parsed: Vec<_> = parsed.collect();
    let names: BTreeSet<&str> = parsed.iter().map(|(directory, _)| last(directory)).collect();
    assert_eq!(
        names.len(),
        parsed.len(),
        "two packages have directories of one name"
    );
    parsed
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path of a crate begins with its name: `name::...`, or `use name`.
fn names(file: &RustFile, name: &str) -> bool {
    let is_path = |before: Option<&Token>, after: &[Token]| {
        let colons = matches!(after, [one, two, ..] if one.text == ":" && two.text == ":");
        let inner = before.is_some_and(|token| token.text == ":" || token.text == ".");
        let used = before.is_some_and(|token| token.text == "use" || token.text == "crate");
        !inner && (colons || used)
    };
    // Tests may look at more than what they test.
    !file.test
        && file.tokens.iter().enumerate().any(|(at, token)| {
            let before = at.checked_sub(1).map(|before| &file.tokens[before]);
            token.kind == Kind::Word
                && !token.test
                && token.text == name
                && is_path(before, &file.tokens[at + 1..])
        })
}

/// As a word of the text, in generated code too.
fn tree_names(text: &str, identifier: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == identifier)
}

/// Of the package itself and not of one in a directory below.
fn inside(path: &str, directory: &str) -> bool {
    let below = |of: &str| path.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'));
    let nested = tree::ending("/Cargo.toml").map(|file| file.path.trim_end_matches("/Cargo.toml"));
    below(directory) && !nested.filter(|other| other.len() > directory.len()).any(below)
}

#[test]
fn arrows_and_names_are_read() {
    let text = "x\n\nArrows: `a → b, api (messages\nonly)`; `c → b`.\nMore `d`.\n\n`e → f`";
    let drawn = drawn(text);
    assert_eq!(drawn.keys().collect::<Vec<_>>(), ["a", "c"]);
    let api = Arrow {
        to: "api".into(),
        messages_only: true,
    };
    assert_eq!(
        drawn["a"],
        [
            Arrow {
                to: "b".into(),
                messages_only: false
            },
            api
        ]
    );
    let file =
        crate::rust::sample("use virt::Domain; fn f() { let backoff = 1; x.nix(); crate::rusqlite::y(); }");
    assert!(names(&file, "virt"));
    assert!(!names(&file, "backoff") && !names(&file, "nix") && !names(&file, "rusqlite"));
}
