//! `godwit migrate --wait` in a real (pseudo) terminal: one line redrawn in place, finished phases above it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

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
    let end = "web-1 runs on beta.\r\nIts traffic is on the VF 0000:01:10.2.\r\nIt stood still for 214 ms, by libvirt.\r\n";
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

/// What is shown on a terminal, as it comes.
pub(crate) struct Screen {
    file: File,
    shown: mpsc::Receiver<String>,
    pub(crate) seen: String,
}

impl Screen {
    pub(crate) fn new(file: File) -> Screen {
        let (tell, shown) = mpsc::channel();
        let mut reader = file.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Its end is an error.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                if tell
                    .send(String::from_utf8_lossy(&bytes[..length]).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        Screen {
            file,
            shown,
            seen: String::new(),
        }
    }

    /// Waits until that is shown, 40 s at most; forgets it then, with what came before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.shown.recv_timeout(Duration::from_secs(40)) {
                Ok(more) => self.seen.push_str(&more),
                Err(_) => panic!("never shown: {text:?} in {:?}", self.seen),
            }
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.file.write_all(keys.as_bytes()).unwrap();
    }

    /// All of it, when nobody holds the terminal any more.
    pub(crate) fn rest(mut self) -> String {
        while let Ok(more) = self.shown.recv_timeout(Duration::from_secs(40)) {
            self.seen.push_str(&more);
        }
        self.seen
    }
}

/// A terminal so wide: its screen side, and the side that programs write to.
pub(crate) fn terminal(columns: u16) -> (File, File) {
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
