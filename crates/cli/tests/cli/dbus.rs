//! `godwit dbus`: below a directory of the test, and against a bus that answers as it is told to.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::story::{Run, command, finish};

const POLICY: &str = "usr/share/dbus-1/system.d/org.godwit.Daemon1.conf";
const ACTIONS: &str = "usr/share/polkit-1/actions/org.godwit.policy";

struct Root(TempDir);

impl Root {
    fn new() -> Root {
        Root(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The test's directory is called `ROOT` in what was printed.
    fn dbus(&self, words: &[&str]) -> Run {
        let root = self.0.path().to_str().unwrap();
        let mut run = crate::story::run(
            Path::new("/nowhere"),
            &[&["dbus"], words, &["--root", root]].concat(),
        );
        run.out = run.out.replace(root, "ROOT");
        run.err = run.err.replace(root, "ROOT");
        run
    }

    /// A check of this machine, whose `busctl` is that script.
    fn check_here(&self, busctl: &str) -> Run {
        let program = self.path("busctl");
        fs::write(&program, format!("#!/bin/sh\n{busctl}\n")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let mut command = command(Path::new("/nowhere"), &["dbus", "check", "--json"]);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.0.path().display()));
        finish(command.spawn().unwrap())
    }
}

#[test]
fn both_files_are_installed_as_the_daemon_ships_them() {
    let root = Root::new();
    let told = root.dbus(&["install"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    insta::assert_snapshot!(told.out, @"
    ROOT/usr/share/dbus-1/system.d/org.godwit.Daemon1.conf is installed.
    ROOT/usr/share/polkit-1/actions/org.godwit.policy is installed.
    ");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/dbus");
    for place in [POLICY, ACTIONS] {
        let name = Path::new(place).file_name().unwrap();
        let there = root.path(place);
        assert_eq!(
            fs::read(&there).unwrap(),
            fs::read(shipped.join(name)).unwrap(),
            "{place}"
        );
        assert_eq!(fs::metadata(&there).unwrap().permissions().mode() & 0o777, 0o644);
        let beside = fs::read_dir(there.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside it");
    }
    let again = root.dbus(&["install"]);
    assert_eq!(again.code, 0);
    insta::assert_snapshot!(again.out, @"
    ROOT/usr/share/dbus-1/system.d/org.godwit.Daemon1.conf was there already.
    ROOT/usr/share/polkit-1/actions/org.godwit.policy was there already.
    ");
}

#[test]
fn one_of_another_version_is_replaced() {
    let root = Root::new();
    root.dbus(&["install"]);
    fs::write(root.path(POLICY), "<busconfig/>\n").unwrap();
    let found = root.dbus(&["check"]);
    assert_eq!(found.code, 3);
    insta::assert_snapshot!(found.out, @"
    ROOT/usr/share/dbus-1/system.d/org.godwit.Daemon1.conf: there, of another version than this godwit: `godwit dbus install`
    ROOT/usr/share/polkit-1/actions/org.godwit.policy: there, and of this version
    ");
    let told = root.dbus(&["install", "--json"]);
    insta::assert_snapshot!(told.out, @r#"{"files":[{"path":"ROOT/usr/share/dbus-1/system.d/org.godwit.Daemon1.conf","found":"other-version"},{"path":"ROOT/usr/share/polkit-1/actions/org.godwit.policy","found":"current"}]}"#);
    assert_eq!(root.dbus(&["check"]).code, 0);
}

#[test]
fn one_that_is_missing_is_told_with_what_to_type() {
    let root = Root::new();
    root.dbus(&["install"]);
    fs::remove_file(root.path(ACTIONS)).unwrap();
    let found = root.dbus(&["check"]);
    assert_eq!(found.code, 5);
    insta::assert_snapshot!(found.out, @"
    ROOT/usr/share/dbus-1/system.d/org.godwit.Daemon1.conf: there, and of this version
    ROOT/usr/share/polkit-1/actions/org.godwit.policy: not there: `godwit dbus install`
    ");
    // A package has no bus.
    let json = root.dbus(&["check", "--json"]).json()[0].clone();
    assert!(json["on_bus"].is_null(), "{json}");
    assert_eq!(json["files"][1]["found"], "missing");
}

#[test]
fn what_cannot_be_written_is_named() {
    let root = Root::new();
    fs::write(root.path("usr"), "in the way").unwrap();
    let told = root.dbus(&["install"]);
    assert_eq!(told.code, 1);
    insta::assert_snapshot!(told.err, @"
    Error: ROOT/usr/share/dbus-1/system.d/org.godwit.Daemon1.conf cannot be read
    Caused by: Not a directory (os error 20)
    Hint: godwit dbus install --help
    ");
}

#[test]
fn the_bus_is_asked_for_the_daemon() {
    let root = Root::new();
    let asked = root.path("asked");
    let is_there = format!("echo \"$@\" >{}; echo b true", asked.display());
    let json = |busctl: &str| root.check_here(busctl).json()[0].clone();
    assert_eq!(json(&is_there)["on_bus"], true);
    let asked = fs::read_to_string(asked).unwrap();
    assert!(asked.ends_with("NameHasOwner s org.godwit.Daemon1\n"), "{asked}");
    assert_eq!(json("echo b false")["on_bus"], false);
    let silent = json("echo >&2 no bus; exit 1");
    assert_eq!(silent["on_bus"], false);
    assert!(
        silent["because"].as_str().unwrap().starts_with("busctl"),
        "{silent}"
    );
}
