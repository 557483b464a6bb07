//! Commands whose reader goes away, and that change something all the same: none of it is left half done, and none of them complains.
//! Those that only look are in `waits`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use godwit_api::v1::{Acceleration, Pool, Role, Vf, VfCheck};

use crate::fake::{Answer, Daemon, Script, Stay};
use crate::story::{guest, operation, place, say, stayed};
use crate::waits::into_nowhere;

fn script() -> Script {
    let ended = |role, end| say(stayed(role, end));
    Script {
        guests: vec![guest()],
        pools: vec![Answer::Yes(vec![Pool::default()])],
        vf: vec![Answer::Yes(Vf::default())],
        checks: vec![Answer::Yes(vec![VfCheck::default()])],
        get: vec![Answer::Yes(operation(Role::Decelerate))],
        stay: Stay {
            standby: vec![Answer::Yes(operation(Role::Decelerate))],
            accelerate: vec![Answer::Yes(operation(Role::Accelerate))],
            pf: vec![Answer::Yes((vec![operation(Role::Decelerate)], Vec::new()))],
        },
        watch: vec![
            vec![
                ended(Role::Decelerate, Acceleration::Standby),
                ended(Role::Accelerate, Acceleration::Accelerated),
            ];
            2
        ],
        ..Script::default()
    }
}

/// It ends as a shell counts a broken pipe, and says nothing.
fn ends_quietly(socket: &Path, arguments: &[&str]) {
    for json in [&[][..], &["--json"]] {
        let all = [json, arguments].concat();
        let run = into_nowhere(socket, &all);
        assert_eq!((run.code, run.err.as_str()), (141, ""), "{all:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_what_stays_on_its_host() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, script());
    for line in [
        "pools",
        "standby web-1",
        "standby --pf enp1s0f0",
        "accelerate web-1",
        "accelerate --pf enp1s0f0",
        "vfs quarantine 0000:01:10.0",
        "vfs release 0000:01:10.0",
        "vfs check 0000:01:10.0 --clean",
    ] {
        ends_quietly(&socket, &line.split(' ').collect::<Vec<_>>());
    }
}

/// The guest had been put on its standby for it.
#[test]
fn a_reader_that_goes_away_from_a_run_leaves_no_guest_on_its_standby() {
    let (dir, socket) = place();
    let virsh = dir.path().join("virsh");
    fs::write(&virsh, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&virsh, fs::Permissions::from_mode(0o755)).unwrap();
    let virsh = virsh.display().to_string();
    let arguments = ["run", "web-1", "--virsh", &virsh, "--", "save", "/m"];
    for json in [&[][..], &["--json"]] {
        let daemon = Daemon::start(&socket, script());
        let all = [json, &arguments[..]].concat();
        let run = into_nowhere(&socket, &all);
        assert_eq!((run.code, run.err.as_str()), (141, ""), "{all:?}");
        let asked = daemon.asked();
        assert!(asked.iter().any(|asked| asked == "accelerate web-1"), "{asked:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_what_asks_no_daemon() {
    let (dir, socket) = place();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("godwit-hook"), b"\x7fELF... godwit-hook 0.1.0\n").unwrap();
    let (ca, hook, hooks, root) = (path("ca"), path("godwit-hook"), path("hooks"), path("root"));
    let certificate = path("ca/alpha.pem");
    fs::create_dir(&root).unwrap();
    for arguments in [
        &["certs", "init", "--dir", &ca, "--host", "alpha"][..],
        &["certs", "check", &certificate],
        &["certs", "revoke", "--dir", &ca, "alpha"],
        &["hook", "install", "--from", &hook, "--hooks", &hooks],
        &[
            "hook", "check", "--from", &hook, "--hooks", &hooks, "--state", &root,
        ],
        &["dbus", "install", "--root", &root],
        &["dbus", "check", "--root", &root],
    ] {
        let run = into_nowhere(&socket, arguments);
        assert_eq!((run.code, run.err.as_str()), (141, ""), "{arguments:?}");
    }
    // What they did is done.
    for made in [ca + "/ca.crl", hooks + "/qemu.d/godwit"] {
        assert!(fs::exists(&made).unwrap(), "{made}");
    }
}

#[test]
fn a_reader_that_goes_away_from_a_support_bundle_has_its_file() {
    let (dir, socket) = place();
    let _daemon = Daemon::start(&socket, script());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (file, config) = (path("bundle.tar.gz"), path("godwitd.toml"));
    fs::write(&config, "host = \"alpha\"\n").unwrap();
    let run = into_nowhere(
        &socket,
        &["support-bundle", "--config", &config, "--output", &file],
    );
    assert_eq!(run.code, 141, "{run:?}");
    assert!(!run.err.contains("Error"), "{run:?}");
    assert!(fs::metadata(&file).unwrap().len() > 0);
}
