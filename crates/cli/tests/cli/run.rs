//! `godwit run`: a virsh that writes down what it was asked, and a daemon that puts the guest on its standby.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use godwit_api::v1::{Acceleration, Guest, Migration, Role};
use tonic::Code;

use crate::fake::{Answer, Daemon, Script, Stay};
use crate::story::{
    Run, command, failure, finish, guest, interrupt, operation, place, read_up_to, say, stayed, time,
};

/// Ends with that code; `wait`: only when it is interrupted, and with 7.
fn virsh(directory: &Path, ends: &str) -> PathBuf {
    let path = directory.join("virsh");
    let end = match ends {
        "wait" => "trap 'exit 7' INT; echo begun; while :; do sleep 0.1; done".into(),
        code => format!("echo done; exit {code}"),
    };
    let log = directory.join("asked");
    let script = format!(
        "#!/bin/sh\nfor word; do echo \"<$word>\" >>{}; done\n{end}\n",
        log.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn lowered() -> Migration {
    Migration {
        standby_since: time(500),
        ..stayed(Role::Decelerate, Acceleration::Standby)
    }
}

/// It can be put on its standby, which ends so, and then accelerated, which is answered so.
fn script(down: Migration, up: Answer<Migration>) -> Script {
    let raised = stayed(Role::Accelerate, Acceleration::Accelerated);
    Script {
        guests: vec![guest()],
        get: vec![Answer::Yes(operation(Role::Decelerate))],
        stay: Stay {
            standby: vec![Answer::Yes(operation(Role::Decelerate))],
            accelerate: vec![up],
            ..Stay::default()
        },
        watch: vec![vec![say(down)], vec![say(raised)]],
        ..Script::default()
    }
}

fn up() -> Answer<Migration> {
    Answer::Yes(operation(Role::Accelerate))
}

struct Story {
    run: Run,
    daemon: Vec<String>,
    virsh: String,
}

/// What was asked of it, but for how that goes on.
fn begun(daemon: &Daemon) -> Vec<String> {
    let asked = daemon.asked().into_iter();
    asked.filter(|asked| !asked.starts_with("watch ")).collect()
}

fn story(script: Script, ends: &str, more: &[&str]) -> Story {
    let (dir, socket) = place();
    let virsh = virsh(dir.path(), ends).display().to_string();
    let daemon = Daemon::start(&socket, script);
    let before = ["run", "web-1", "--virsh", virsh.as_str(), "--"];
    let child = command(&socket, &[&before[..], more].concat()).spawn().unwrap();
    let run = finish(child);
    let virsh = fs::read_to_string(dir.path().join("asked")).unwrap_or_default();
    Story {
        run,
        daemon: begun(&daemon),
        virsh: virsh.replace('\n', ""),
    }
}

#[test]
fn the_guest_is_on_its_standby_meanwhile_and_gets_its_vf_again() {
    let told = story(
        script(lowered(), up()),
        "0",
        &["snapshot-create-as", "--name", "a b; reboot", "--memspec", "/m"],
    );
    assert_eq!((told.run.code, told.run.err.as_str()), (0, ""));
    assert_eq!(
        told.virsh,
        "<snapshot-create-as><--domain><web-1><--name><a b; reboot><--memspec></m>"
    );
    assert_eq!(
        told.daemon,
        ["guests", "standby web-1 for 3600 s", "accelerate web-1"]
            .map(String::from)
            .to_vec()
    );
    assert!(
        told.run.out.contains("web-1 is accelerated on alpha."),
        "{}",
        told.run.out
    );
}

#[test]
fn a_command_that_fails_says_so_with_its_own_code_and_the_guest_gets_its_vf_all_the_same() {
    let told = story(script(lowered(), up()), "9", &["save", "/m"]);
    assert_eq!(told.run.code, 9);
    assert_eq!(told.daemon.last().unwrap(), "accelerate web-1");
}

#[test]
fn a_guest_that_was_saved_gets_its_vf_when_it_runs_again() {
    let off = failure(
        "GUEST_NOT_RUNNING",
        "guest `web-1` does not run",
        "virsh start web-1",
    );
    let told = story(
        script(lowered(), Answer::No(Code::FailedPrecondition, off)),
        "0",
        &["managedsave"],
    );
    assert_eq!((told.run.code, told.run.err.as_str()), (0, ""));
    assert!(
        told.run
            .out
            .contains("web-1 does not run. It gets a VF when it runs again."),
        "{}",
        told.run.out
    );
}

#[test]
fn without_a_standby_nothing_is_run() {
    let mut back = stayed(Role::Decelerate, Acceleration::Accelerated);
    back.failure = Some(failure(
        "UNPLUG_REFUSED",
        "libvirt refuses the unplug",
        "virsh dumpxml web-1",
    ));
    let told = story(script(back, up()), "0", &["managedsave"]);
    assert_eq!((told.run.code, told.virsh.as_str()), (4, ""));
    let unknown = failure(
        "GUEST_UNKNOWN",
        "guest `web-1` is not known on alpha",
        "godwit guests",
    );
    let mut refused = script(lowered(), up());
    refused.stay.standby = vec![Answer::No(Code::NotFound, unknown)];
    let told = story(refused, "0", &["managedsave"]);
    assert_eq!((told.run.code, told.virsh.as_str()), (1, ""));
    assert!(
        !told.daemon.contains(&"accelerate web-1".into()),
        "{:?}",
        told.daemon
    );
}

#[test]
fn a_guest_that_is_on_its_standby_is_left_so() {
    let mut script = script(lowered(), up());
    script.guests = vec![Guest {
        acceleration: Acceleration::Standby.into(),
        ..guest()
    }];
    let told = story(script, "0", &["managedsave"]);
    assert_eq!(
        (told.run.code, told.virsh.as_str()),
        (0, "<managedsave><--domain><web-1>")
    );
    assert_eq!(told.daemon, ["guests"]);
}

#[test]
fn no_other_command_is_run() {
    for other in [
        &["destroy"][..],
        &["qemu-monitor-command"],
        &["managedsave;reboot"],
        &[],
    ] {
        let told = story(script(lowered(), up()), "0", other);
        assert_eq!(
            (told.run.code, told.virsh.as_str(), told.daemon.len()),
            (2, "", 0),
            "{other:?}"
        );
    }
}

#[test]
fn ctrl_c_is_for_the_command_and_the_guest_gets_its_vf_all_the_same() {
    let (dir, socket) = place();
    let virsh = virsh(dir.path(), "wait").display().to_string();
    let daemon = Daemon::start(&socket, script(lowered(), up()));
    let mut child = command(&socket, &["run", "web-1", "--virsh", &virsh, "--", "managedsave"])
        .spawn()
        .unwrap();
    read_up_to(&mut child, "begun\n");
    // As a terminal does it: to both.
    interrupt(&child);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let virsh: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let virsh = rustix::process::Pid::from_raw(virsh).unwrap();
    rustix::process::kill_process(virsh, rustix::process::Signal::INT).unwrap();
    let run = finish(child);
    assert_eq!(run.code, 7, "{run:?}");
    assert_eq!(begun(&daemon).last().unwrap(), "accelerate web-1");
}
