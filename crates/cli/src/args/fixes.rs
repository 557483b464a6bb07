//! What other parts tell people to type: every option of `godwit` that a fix or a hint names is one, of the command that it is named with.

use std::{fs, path::Path};

use clap::{Command, CommandFactory};

use super::Args;

/// Programs that a fix may name besides `godwit`: their options are theirs.
const OTHERS: [&str; 8] = [
    "virsh",
    "grubby",
    "sysctl",
    "systemctl",
    "systemd-inhibit",
    "journalctl",
    "godwitd",
    "cargo",
];

/// The options that a text tells to type, each with the command of `godwit` that it belongs to: of a fix those that are named without one are
/// what a move is to be like, which `godwit plan` takes as `migrate` does. What only waits (`--timeout`) is none of them.
fn options(text: &str, unnamed: Option<&str>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut command = unnamed.map(str::to_owned);
    // What a text names after a program and before the next is that one's.
    let mut words = text
        .split(|c: char| c.is_whitespace() || "`(),;:'\"".contains(c))
        .filter(|word| !word.is_empty())
        .peekable();
    while let Some(word) = words.next() {
        let word = word.trim_end_matches('.');
        if OTHERS.contains(&word) {
            command = None;
        } else if word == "godwit" {
            let next = words.peek().copied().unwrap_or_default();
            command = Some(next.to_owned());
        } else if word == "or" {
            command = unnamed.map(str::to_owned);
        }
        let option = word
            .strip_prefix("--")
            .and_then(|option| option.split('=').next());
        if let (Some(option), Some(command)) = (option.filter(|option| !option.is_empty()), &command) {
            found.push((command.clone(), option.to_owned()));
        }
    }
    found
}

/// The literals of a source file, without its tests and comments.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n").replace("\\\"", "`");
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// The subcommand that a hint names first, as far as there is one: `vfs check`.
fn knows(root: &Command, command: &str, option: &str) -> bool {
    let has = |command: &Command| {
        let all = command.get_subcommands().chain([command]);
        let mut options = all
            .flat_map(|command| command.get_arguments())
            .filter_map(|arg| arg.get_long());
        options.any(|known| known == option)
    };
    if command.starts_with("--") {
        return has(root) || matches!(option, "help" | "version");
    }
    root.find_subcommand(command).is_some_and(has)
}

#[test]
fn every_option_that_a_fix_names_is_one() {
    let root = Args::command();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = Vec::new();
    for (part, unnamed) in [
        ("migration/src", Some("plan")),
        ("coordinator/src", None),
        ("daemon/src", None),
    ] {
        let mut texts = Vec::new();
        sources(&crates.join(part), &mut texts);
        let literals = texts.iter().flat_map(|source| literals(source));
        named.extend(literals.flat_map(|text| options(&text, unnamed)));
    }
    let of_a_move = named.iter().filter(|(command, _)| command == "plan").count();
    assert!(of_a_move >= 10 && named.len() > of_a_move, "{named:?}");
    let unknown: Vec<_> = named
        .iter()
        .filter(|(command, option)| !knows(&root, command, option))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn what_ends_the_watching_is_no_fix_for_a_transfer_that_does_not_end() {
    let told = "raise --bandwidth, or: --auto-converge, --transfer-timeout 10min --timeout-action suspend";
    let found = options(told, Some("plan"));
    let found: Vec<&str> = found.iter().map(|(_, option)| option.as_str()).collect();
    assert_eq!(
        found,
        ["bandwidth", "auto-converge", "transfer-timeout", "timeout-action"]
    );
    let typed = [
        "godwit",
        "migrate",
        "web-1",
        "beta",
        "--transfer-timeout",
        "10min",
        "--timeout-action",
        "suspend",
    ];
    assert!(Args::command().try_get_matches_from(typed).is_ok());
    // The other one is an option too, of what waits and not of the transfer.
    assert!(knows(&Args::command(), "migrate", "timeout") && !knows(&Args::command(), "plan", "timeout"));
    assert_eq!(options("virsh memtune web-1 --hard-limit 7", Some("plan")), []);
    // What comes after an `or` is the fix's own again.
    let either = options(
        "virsh memtune web-1 --hard-limit 7, or --bandwidth=2MiB/s.",
        Some("plan"),
    );
    assert_eq!(either, [("plan".to_owned(), "bandwidth".to_owned())]);
    let clean = options("`godwit vfs check 1 --clean`", None);
    assert_eq!(clean, [("vfs".to_owned(), "clean".to_owned())]);
}
