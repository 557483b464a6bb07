//! What belongs to one machine and not into the tree: paths of a build machine, hosts of package registries.
//! The words are put together here, so that this file does not contain them.

use crate::{
    exceptions::{Rule, counted, judge},
    tree::FILES,
};

const PATH: Rule = Rule {
    name: "machine-path",
    limit: 0,
    advice: "a path of the machine that built it; take it from the environment",
};
const REGISTRY: Rule = Rule {
    name: "registry-host",
    limit: 0,
    advice: "a package registry's host; the machine's own configuration has it",
};

pub(crate) const RULES: [Rule; 2] = [PATH, REGISTRY];

#[test]
fn no_path_of_a_build_machine() {
    let homes = ["work", "farm", "home", "Users", "builds"];
    let caches = ["root/.cargo", "root/.rustup", "root/.npm", "root/.cache"];
    let all = homes
        .iter()
        .map(|home| format!("/{home}/"))
        .chain(caches.iter().map(|cache| format!("/{cache}")));
    let all: Vec<String> = all.collect();
    found(&PATH, |line| all.iter().any(|path| stands_alone(line, path)));
}

#[test]
fn no_host_of_a_package_registry() {
    let names = [
        ["deb.", "debian."],
        ["security.", "debian."],
        ["archive.", "ubuntu."],
        ["snapshot.", "debian."],
        ["pypi", ".org"],
        ["pythonhosted", ".org"],
        ["npmjs", ".org"],
        ["npmjs", ".com"],
        ["static.", "crates."],
        ["index.", "crates."],
        ["proxy.", "golang."],
        ["static.", "rust-lang."],
    ];
    let names = names.map(|name| name.concat());
    found(&REGISTRY, |line| {
        names.iter().any(|name| line.contains(name.as_str()))
    });
}

/// Lock files name their registry as the package manager wrote it.
fn found(rule: &Rule, wrong: impl Fn(&str) -> bool) {
    let files = FILES
        .iter()
        .filter(|file| !file.path.ends_with(".lock") && file.path != "LICENSE");
    let lines = files.flat_map(|file| {
        file.text
            .lines()
            .zip(1..)
            .map(|(line, number)| (&file.path, line, number))
    });
    let wrong = lines.filter(|(_, line, _)| wrong(line));
    judge(
        rule,
        &counted(wrong.map(|(path, _, number)| (path.clone(), format!("line {number}")))),
    );
}

/// The path begins here, and is no part of a longer one.
fn stands_alone(line: &str, path: &str) -> bool {
    let longer = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "}_-.*".contains(c));
    line.match_indices(path).any(|(at, _)| !longer(&line[..at]))
}

#[test]
fn a_path_inside_another_one_is_not_meant() {
    let home = ["/ho", "me/"].concat();
    assert!(stands_alone(&format!("see {home}x"), &home) && stands_alone(&home, &home));
    assert!(!stands_alone(&format!("$guest{home}x"), &home) && !stands_alone(&format!("a/b{home}x"), &home));
}
