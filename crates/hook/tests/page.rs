//! The manual page is written by hand: it has what the program does.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use godwit_hook::call::{Call, Right};
use godwit_hook::settings::{ELSEWHERE, PATH, Policy};

fn hook(words: &[&str]) -> Output {
    let mut hook = Command::new(env!("CARGO_BIN_EXE_godwit-hook"));
    hook.args(words).output().unwrap()
}

/// As a person reads it.
fn page() -> String {
    let printed = hook(&["--man"]);
    assert!(
        printed.status.success() && printed.stderr.is_empty(),
        "{printed:?}"
    );
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.starts_with(".TH godwit\\-hook 8 "), "{text}");
    text.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
}

#[test]
fn the_page_has_options_file_and_settings() {
    let page = page();
    let policies = [Policy::Refuse, Policy::Pass].map(Policy::name);
    let others = [
        "--version",
        "--man",
        "policy",
        "socket",
        "deadline-ms",
        PATH,
        ELSEWHERE,
    ];
    for word in policies.into_iter().chain(others) {
        assert!(page.contains(word), "the page has no {word}:\n{page}");
    }
}

#[test]
fn the_page_has_every_call_that_something_is_done_in() {
    let page = page();
    let operations = [
        "migrate", "prepare", "start", "started", "restore", "attach", "stopped", "release",
    ];
    for operation in operations {
        let rights = ["begin", "end"]
            .map(|point| Call::of(["web-1", operation, point, "-"].map(str::to_owned)).right());
        assert!(
            rights.iter().any(|right| *right != Right::Nothing),
            "nothing is done in {operation}"
        );
        assert!(page.contains(operation), "the page has no {operation}:\n{page}");
    }
}

/// A guest may have any name.
#[test]
fn a_guest_of_that_name_is_a_guest() {
    for name in ["--man", "--version"] {
        let called = hook(&[name, "reconnect", "begin", "-"]);
        assert!(called.status.success() && called.stdout.is_empty(), "{called:?}");
    }
}
