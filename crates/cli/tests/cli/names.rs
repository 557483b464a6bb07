//! Completion, driven as shells do it.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fake::{Daemon, Script};
use crate::story::{ID, command, finish, guest, place, run, transferring};
use crate::terminal::{Screen, terminal};
use godwit_api::v1::{Guest, Host, Vf};

fn script() -> Script {
    let vf = |address: &str| Vf {
        address: address.into(),
        pf: "enp1s0f0".into(),
        ..Vf::default()
    };
    let named = |name: &str| Guest {
        name: name.into(),
        ..guest()
    };
    Script {
        guests: vec![
            guest(),
            named("web-2"),
            named("db-1"),
            named("web-$(reboot)"),
            named("web 3"),
        ],
        vfs: vec![vf("0000:01:10.2"), vf("0000:02:10.0")],
        hosts: ["alpha", "beta"]
            .map(|name| Host {
                name: name.into(),
                ..Host::default()
            })
            .into(),
        list: vec![transferring()],
        ..Script::default()
    }
}

/// What fits the last of these words.
fn names(socket: &Path, words: &[&str]) -> Vec<String> {
    let run = run(socket, &[&["names", "--", "godwit"], words].concat());
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{words:?}");
    run.out.lines().map(Into::into).collect()
}

#[test]
fn every_kind_of_name_is_known() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, script());
    let names = |words: &[&str]| names(&socket, words);
    assert_eq!(names(&["migrate", ""]), ["db-1", "web-1", "web-2"]);
    assert_eq!(names(&["migrate", "we"]), ["web-1", "web-2"]);
    assert_eq!(names(&["list", "--guest=d"]), ["--guest=db-1"]);
    assert_eq!(names(&["migrate", "web-1", ""]), ["alpha", "beta"]);
    assert_eq!(names(&["show", "01"]), [ID]);
    assert_eq!(names(&["cancel", ""]), [ID]);
    assert_eq!(names(&["vfs", "check", "0000:01"]), ["0000:01:10.2"]);
    assert_eq!(names(&["standby", "--pf", ""]), ["enp1s0f0"]);
    assert_eq!(names(&["explain", "NO_F"]), ["NO_FREE_VF"]);
    assert_eq!(names(&["context", "use", ""]), ["local"]);
    assert_eq!(names(&["mig"]), [""; 0]);
}

#[test]
fn who_cannot_be_asked_says_nothing_and_keeps_nobody_waiting() {
    let (dir, socket) = place();
    assert_eq!(names(&socket, &["migrate", ""]), [""; 0]);
    let _silent = UnixListener::bind(&socket).unwrap();
    let begun = Instant::now();
    assert_eq!(names(&socket, &["migrate", ""]), [""; 0]);
    // The question itself would wait for half a minute.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "context = [").unwrap();
    let broken = command(&socket, &["names", "--line", "godwit context use "])
        .env("GODWIT_CONFIG", &config)
        .spawn()
        .unwrap();
    let broken = finish(broken);
    assert_eq!(
        (broken.code, broken.out.as_str(), broken.err.as_str()),
        (0, "", "")
    );
}

/// A real bash at a real terminal: the keys that a person would press.
#[test]
fn bash_completes_names_at_the_press_of_a_key() {
    let (dir, socket) = place();
    let _daemon = Daemon::start(&socket, script());
    let path = dir.path().join("godwit.bash");
    std::fs::write(&path, run(&socket, &["completions", "bash"]).out).unwrap();
    let godwit = Path::new(env!("CARGO_BIN_EXE_godwit"));
    let (screen, ours) = terminal(200);
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-i"])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", godwit.parent().unwrap().display()),
        )
        .env("GODWIT_SOCKET", &socket)
        .env("GODWIT_CONFIG", "/nowhere/config.toml")
        .env("PS1", "$ ")
        .env("TERM", "dumb")
        .env("HISTFILE", "/dev/null")
        .stdin(Stdio::from(ours.try_clone().unwrap()))
        .stdout(Stdio::from(ours.try_clone().unwrap()))
        .stderr(Stdio::from(ours));
    let child = bash.spawn().unwrap();
    drop(bash);
    let mut screen = Screen::new(screen);
    screen.type_in(&format!("source {} && echo rea''dy\n", path.display()));
    screen.wait_for("ready");
    for (typed, completed) in [
        ("godwit migrate db\t be\t", "godwit migrate db-1 beta"),
        ("godwit vfs check 0000:01\t", "godwit vfs check 0000:01:10.2"),
        ("godwit vfs check 0000:01:10\t", "godwit vfs check 0000:01:10.2"),
        ("godwit list --guest=db\t", "godwit list --guest=db-1"),
        ("godwit explain NO_F\t", "godwit explain NO_FREE_VF"),
        // Not a name: clap's own script.
        ("godwit supp\t", "godwit support-bundle"),
    ] {
        // To the line's beginning, so that it is printed and not run.
        screen.type_in(&format!("{typed}\u{1}echo =\n"));
        screen.wait_for(&format!("={completed}"));
    }
    screen.type_in("exit\n");
    assert_eq!(finish(child).code, 0);
}
