//! Documents point at what is there.

use crate::{
    exceptions::{Rule, counted, judge},
    prose,
    tree::{self, FILES, Text},
};

const LINK: Rule = Rule {
    name: "link",
    limit: 0,
    advice: "no such file or heading",
};
const NAMED: Rule = Rule {
    name: "named-path",
    limit: 0,
    advice: "no such file or directory",
};

pub(crate) const RULES: [Rule; 2] = [LINK, NAMED];

#[test]
fn links_between_documents_resolve() {
    let found = tree::ending(".md").flat_map(|file| {
        let broken = links(&file.text)
            .into_iter()
            .filter(|(_, link)| !resolves(file, link));
        broken.map(|(line, link)| (file.path.clone(), format!("line {line}: {link}")))
    });
    judge(&LINK, &counted(found));
}

/// Also in comments and in what the programs say: `docs/guests.md`, `crates/wire`.
#[test]
fn files_that_are_named_exist() {
    let named = |file: &Text| file.path != "CHANGELOG.md" && !file.path.starts_with("tests/tidy/");
    let found = FILES.iter().filter(|file| named(file)).flat_map(|file| {
        let lines = file.text.lines().zip(1..);
        let broken = lines.flat_map(|(line, number)| {
            let broken = paths(line).into_iter().filter(|path| !there(path, &file.path));
            broken.map(move |path| (path, number))
        });
        broken.map(|(path, number)| (format!("{} {path}", file.path), format!("line {number}")))
    });
    judge(&NAMED, &counted(found));
}

/// `whereabouts.rs::silence_never_says_that_the_guest_is_gone`: a function of that file.
#[test]
fn functions_that_are_named_exist() {
    let mut seen = 0;
    for file in tree::ending(".md") {
        let quoted = file.text.split('`').skip(1).step_by(2);
        for (path, name) in quoted.filter_map(|quoted| quoted.split_once(".rs::")) {
            let suffix = format!("/{path}.rs");
            let mut files = tree::ending(".rs").filter(|source| source.path.ends_with(&suffix));
            let there = files.any(|source| source.text.contains(&format!("fn {name}(")));
            assert!(there, "{}: no {path}.rs has a function {name}", file.path);
            seen += 1;
        }
    }
    assert!(seen > 0, "no document names a function");
}

/// Targets with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().zip(1..);
    let of = |(line, number): (&str, usize)| {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets
            .map(|target| (number, target.to_owned()))
            .collect::<Vec<_>>()
    };
    lines.flat_map(of).collect()
}

fn resolves(from: &Text, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if path.is_empty() {
        from.path.clone()
    } else {
        joined(&from.path, path)
    };
    tree::exists(&path)
        && (anchor.is_empty() || anchors(tree::text(&path)).iter().any(|known| known == anchor))
}

/// `link` as seen from the document `from`.
fn joined(from: &str, link: &str) -> String {
    let directory = from.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// As a forge makes them of headings.
fn anchors(text: &str) -> Vec<String> {
    let lines = prose::markdown(text).into_iter().map(|(_, line)| line);
    let headings = lines.filter(|line| line.starts_with('#'));
    let anchor = |heading: String| {
        let kept = heading.trim_start_matches('#').trim().chars();
        let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    // A heading that is a name stands in backticks, which are no prose.
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    headings.map(anchor).chain(names.map(str::to_lowercase)).collect()
}

/// Words of a line that are paths from the root.
fn paths(line: &str) -> Vec<String> {
    const ROOTS: [&str; 3] = ["crates/", "docs/", "proto/"];
    let words = line.split(|c: char| !c.is_alphanumeric() && !"/._-*".contains(c));
    let words = words.filter(|word| {
        ROOTS
            .iter()
            .any(|root| word.starts_with(root) && word.len() > root.len())
    });
    words
        .map(|word| word.trim_end_matches(['.', '*', '/']).to_owned())
        .collect()
}

/// From the root, or from where the file that names it is.
fn there(path: &str, file: &str) -> bool {
    tree::exists(path) || path == "docs" || path == "crates" || tree::exists(&joined(file, path))
}

#[test]
fn links_anchors_and_paths_are_seen() {
    assert_eq!(
        links("a [b](c.md#d), [e](f)"),
        [(1, "c.md#d".to_owned()), (1, "f".to_owned())]
    );
    assert_eq!(joined("docs/a.md", "../README.md"), "README.md");
    assert_eq!(
        anchors("# One two\n## What it *never* does\n```\n# no\n```"),
        ["one-two", "what-it-never-does"]
    );
    assert_eq!(
        paths("see (docs/a.md), `crates/*` and crates/b/src."),
        ["docs/a.md", "crates", "crates/b/src"]
    );
}
