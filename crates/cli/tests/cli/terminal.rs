//! `godwit migrate --wait` in a real (pseudo) terminal: one line redrawn in place, finished phases above it.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::fake::{Answer, Daemon, Script, Step};
use crate::story::{accelerated, accepted, command, finish, place, say, transferring};

#[test]
fn the_live_line_is_redrawn_and_fits() {
    let (_dir, socket) = place();
    let watch = vec![
        say(accepted()),
        say(transferring()),
        Step::Pause(1_300),
        say(accelerated()),
    ];
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        watch: vec![watch],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let (mut terminal, ours) = terminal(50);
    let child = command(&socket, &["migrate", "web-1", "beta", "--wait"])
        .stdout(Stdio::from(ours.try_clone().unwrap()))
        .spawn()
        .unwrap();
    drop(ours);
    let run = finish(child);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    // Its end is an error (EIO), and the text has then been read.
    let mut seen = String::new();
    let _ = terminal.read_to_string(&mut seen);
    let drawn: Vec<&str> = seen.split("\r\x1b[K").skip(1).collect();
    let live: Vec<&&str> = drawn
        .iter()
        .filter(|line| !line.contains('\n') && line.contains("transfer"))
        .collect();
    assert!(
        live.len() >= 3,
        "drawn at the change, and every half second after it: {seen:?}"
    );
    assert!(
        live.iter()
            .all(|line| line.starts_with("  alpha  transfer   256 of 512 MiB, 50 %")),
        "{seen:?}"
    );
    assert!(
        live.iter().all(|line| line.chars().count() < 50),
        "wider than the terminal: {seen:?}"
    );
    assert!(!seen.contains("started"), "only finished phases stay: {seen:?}");
    assert!(
        seen.contains("\r\x1b[K  alpha  reserve    400 ms\r\n"),
        "{seen:?}"
    );
    let end =
        "web-1 runs on beta.\r\nIts traffic is on the VF 0000:01:10.2.\r\nQEMU paused it for 214 ms.\r\n";
    assert!(seen.ends_with(end), "{seen:?}");
}

#[test]
fn tables_fit() {
    let (_dir, socket) = place();
    let mut long = transferring();
    long.guest = "a-guest-with-a-name-that-is-longer-than-the-terminal-is-wide".into();
    let _daemon = Daemon::start(
        &socket,
        Script {
            list: vec![long],
            ..Script::default()
        },
    );
    let (mut terminal, ours) = terminal(70);
    let child = command(&socket, &["status"])
        .stdout(Stdio::from(ours.try_clone().unwrap()))
        .spawn()
        .unwrap();
    drop(ours);
    assert_eq!(finish(child).code, 0);
    let mut seen = String::new();
    let _ = terminal.read_to_string(&mut seen);
    insta::assert_snapshot!(seen.replace('\r', ""), @"
    ID        GUEST        FROM -> TO  STATE          SINCE
    0198c0de  a-guest-wi…  alpha ->    transfer 50 %  2026-01-02 03:04:05Z
                           beta
    ");
}

/// A terminal so wide: its screen side, and the side that programs write to.
fn terminal(columns: u16) -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let screen = openpt(flags).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let ours = ioctl_tiocgptpeer(&screen, flags).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&ours, size).unwrap();
    (File::from(screen), File::from(ours))
}
