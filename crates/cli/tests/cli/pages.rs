//! `godwit completions` and `godwit man`: from the command line's own definition, and without a daemon.

use std::fs;
use std::path::Path;

use crate::story::{place, run};

const COMMANDS: [&str; 29] = [
    "guests",
    "adopt",
    "migrate",
    "plan",
    "standby",
    "accelerate",
    "run",
    "retry",
    "resolve",
    "watch",
    "list",
    "history",
    "show",
    "cancel",
    "status",
    "certs",
    "doctor",
    "explain",
    "context",
    "hosts",
    "pools",
    "vfs",
    "holds",
    "hook",
    "dbus",
    "reflect",
    "support-bundle",
    "completions",
    "man",
];

#[test]
fn every_shell_gets_a_script_with_every_command() {
    for (shell, beginning) in [
        ("bash", "_godwit() {"),
        ("zsh", "#compdef godwit"),
        ("fish", "# Print an optspec"),
        ("elvish", ""),
        ("powershell", ""),
    ] {
        let run = run(Path::new("/nowhere"), &["completions", shell]);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{shell}");
        assert!(
            run.out.trim_start().starts_with(beginning),
            "{shell}: {}",
            &run.out[..200]
        );
        for command in COMMANDS {
            assert!(run.out.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn bash_takes_the_script() {
    let (dir, _) = place();
    let path = dir.path().join("godwit.bash");
    fs::write(&path, run(Path::new("/nowhere"), &["completions", "bash"]).out).unwrap();
    let script = format!(
        "source {} && COMP_WORDS=(godwit ho) COMP_CWORD=1 && _godwit godwit ho godwit && echo ${{COMPREPLY[@]}}",
        path.display()
    );
    let bash = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(bash.stdout).unwrap(),
        "hosts holds hook\n",
        "{:?}",
        String::from_utf8(bash.stderr)
    );
}

#[test]
fn the_main_page_names_every_command_and_exit_code() {
    let run = run(Path::new("/nowhere"), &["man"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    for command in COMMANDS {
        assert!(
            run.out
                .contains(&format!("godwit\\-{}(1)", command.replace('-', "\\-"))),
            "{command}: {}",
            run.out
        );
    }
    for code in ["0", "1", "2", "3", "4", "5", "124", "130", "141"] {
        assert!(
            run.out
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "{code}"
        );
    }
    let object = &crate::story::run(Path::new("/nowhere"), &["man", "--json"]).json()[0];
    assert_eq!(
        (&object["name"], &object["text"]),
        (&"godwit.1".into(), &run.out.into())
    );
}

#[test]
fn a_directory_gets_a_page_for_each_command() {
    let (dir, _) = place();
    let path = dir.path().to_str().unwrap();
    let run = run(Path::new("/nowhere"), &["man", path]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let mut expected = vec!["godwit.1".to_owned()];
    expected.extend(COMMANDS.map(|command| format!("godwit-{command}.1")));
    let written: Vec<&str> = run.out.lines().collect();
    assert_eq!(
        written,
        expected
            .iter()
            .map(|name| format!("{path}/{name}"))
            .collect::<Vec<_>>()
    );
    for name in &expected {
        let page = fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page.contains(".TH godwit"), "{name}: {page}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), expected.len());
    let migrate = fs::read_to_string(dir.path().join("godwit-migrate.1")).unwrap();
    assert!(
        migrate.contains("request\\-id") && migrate.contains("GODWIT_SOCKET"),
        "{migrate}"
    );
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let run = run(Path::new("/nowhere"), &["man", "/nowhere", "--json"]);
    assert_eq!(run.code, 1);
    assert_eq!(
        run.err,
        "Error: the output cannot be written\nCaused by: /nowhere/godwit.1: No such file or directory (os error 2)\n"
    );
    assert_eq!(run.json()[0]["error"]["reason"], "OUTPUT");
}

/// What a reason means is said without a daemon; one that was mistyped is named.
#[test]
fn a_reason_is_explained() {
    let nowhere = Path::new("/nowhere");
    let explained = run(nowhere, &["explain", "no-free-vf"]);
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    assert!(
        explained.out.starts_with("NO_FREE_VF\nThe pool has VFs"),
        "{}",
        explained.out
    );
    assert!(
        explained.out.contains("\nTo do: godwit vfs there says"),
        "{}",
        explained.out
    );
    let json = run(nowhere, &["--json", "explain", "NO_FREE_VF"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["reason"], "NO_FREE_VF");
    assert!(
        value["to_do"].as_str().unwrap().starts_with("godwit vfs"),
        "{value}"
    );
    let all = run(nowhere, &["explain"]);
    assert!(
        all.out.lines().count() > 100 && all.out.contains("UNPLUG_PENDING "),
        "{}",
        all.out
    );
    let unknown = run(nowhere, &["explain", "NO_FREE_VFS"]);
    assert_eq!(
        (unknown.code, unknown.err.as_str()),
        (
            1,
            "Error: there is no reason `NO_FREE_VFS`\nHint: godwit explain NO_FREE_VF\n"
        )
    );
}
