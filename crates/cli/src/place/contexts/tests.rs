use std::os::unix::fs::PermissionsExt;

use super::*;

const GOOD: &str = "[context.beta]
address = \"beta\"
ca = \"ca.pem\"
certificate = \"~/me.pem\"
key = \"/keys/me.key\"
";

fn parsed(text: &str) -> Result<Contexts, ContextError> {
    Contexts::parse("/c/godwit/config.toml".into(), text)
}

#[test]
fn paths_are_beside_the_file_or_from_home() {
    let contexts = parsed(GOOD).unwrap();
    let beta = contexts.get("beta").unwrap();
    assert_eq!(beta.ca, Path::new("/c/godwit/ca.pem"));
    assert_eq!(beta.key, Path::new("/keys/me.key"));
    if let Some(home) = home() {
        assert_eq!(beta.certificate, home.join("me.pem"));
    }
}

#[test]
fn what_is_no_configuration_is_said_in_one_sentence_with_its_line() {
    let wrong = |text: &str| parsed(text).unwrap_err().to_string();
    let all = [
        wrong("context = ["),
        wrong(&format!("{GOOD}password = \"x\"\n")),
        wrong("[contexts.beta]\n"),
        wrong("[context.beta]\naddress = \"beta\"\n"),
        wrong(&GOOD.replace("\"beta\"", "\"be ta\"")),
        wrong(&GOOD.replace("[context.beta]", "[context.local]")),
        wrong(&GOOD.replace("[context.beta]", "[context.\"a b\"]")),
        wrong("use = 3"),
    ];
    insta::assert_snapshot!(all.join("\n"), @"
    /c/godwit/config.toml is no configuration of contexts: line 1: unclosed array, expected `]`
    /c/godwit/config.toml is no configuration of contexts: line 6: unknown field `password`, expected one of `address`, `ca`, `certificate`, `key`, `crl`, `server_name`
    /c/godwit/config.toml is no configuration of contexts: line 1: unknown field `contexts`, expected `use` or `context`
    /c/godwit/config.toml is no configuration of contexts: line 1: missing field `ca`
    `be ta` is no address: HOST or HOST:PORT is wanted
    `local` is no name of a context: letters, digits, `-`, `_` and `.` are, at most 64
    `a b` is no name of a context: letters, digits, `-`, `_` and `.` are, at most 64
    /c/godwit/config.toml is no configuration of contexts: line 1: invalid type: integer `3`, expected a string
    ");
    assert!(
        all.iter().all(|sentence| sentence.lines().count() == 1),
        "{all:?}"
    );
}

#[test]
fn a_context_is_changed_field_by_field() {
    let old = parsed(GOOD).unwrap().get("beta").unwrap().clone();
    let named = Given {
        server_name: Some("bench".into()),
        ..Given::default()
    };
    let with_name = made(Some(&old), &named).unwrap();
    assert_eq!(with_name.server_name.as_deref(), Some("bench"));
    let moved = Given {
        address: Some("gamma:1".into()),
        ..Given::default()
    };
    let moved = made(Some(&with_name), &moved).unwrap();
    assert_eq!((moved.address.as_str(), moved.server_name), ("gamma:1", None));
    let lacking = made(None, &named).unwrap_err();
    assert_eq!(
        lacking.to_string(),
        "a new context needs --address, --ca, --certificate, --key"
    );
}

#[test]
fn a_home_that_is_none_has_no_contexts_and_a_file_that_is_none_is_an_error() {
    for path in [
        "/nowhere/godwit/config.toml",
        "/dev/null/.config/godwit/config.toml",
    ] {
        assert_eq!(Contexts::at(path.into()).unwrap().all().count(), 0, "{path}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Contexts::at(dir.path().into()),
        Err(ContextError::File { .. })
    ));
    let large = dir.path().join("config.toml");
    let file = File::create(&large).unwrap();
    file.set_len(LARGEST + 1).unwrap();
    assert!(matches!(Contexts::at(large), Err(ContextError::Text { .. })));
}

#[test]
fn one_that_is_removed_is_in_use_no_more() {
    let mut contexts = parsed(&format!("use = \"beta\"\n{GOOD}")).unwrap();
    assert_eq!(contexts.current(), Some("beta"));
    contexts.change(&Change::Remove("beta")).unwrap();
    assert_eq!(contexts.current(), None);
    assert!(matches!(
        contexts.change(&Change::Use("beta")),
        Err(ContextError::Unknown { .. })
    ));
    contexts.change(&Change::Use(LOCAL)).unwrap();
}

/// A hundred writers at once, and a reader that never sees half of a file.
#[test]
fn a_file_is_replaced_whole_and_is_this_users_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let text = |n: usize| format!("use = \"{}\"\n", "x".repeat(n));
    replace(&path, &text(1)).unwrap();
    std::thread::scope(|scope| {
        for n in 1..=100 {
            let (path, dir) = (&path, dir.path());
            scope.spawn(move || {
                let _lock = lock(dir).unwrap();
                replace(path, &text(n)).unwrap();
            });
        }
        for _ in 0..200 {
            let read = fs::read_to_string(&path).unwrap();
            assert!(
                read.starts_with("use = \"x") && read.ends_with("\"\n"),
                "{read:?}"
            );
        }
    });
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "something was left behind"
    );
}
