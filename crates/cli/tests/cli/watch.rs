//! `godwit watch`: the same as `migrate --wait`, from the middle.

use crate::fake::{Answer, Daemon, Script, Step};
use crate::story::{
    ID, accelerated, accepted, command, finish, interrupt, lost, on_standby, place, read_up_to, rolled_back,
    run, say, transferring,
};
use godwit_api::v1::Migration;
use tonic::Code;

/// A daemon with a migration in its transfer, which then ends so.
fn ends_with(end: Migration) -> Script {
    Script {
        get: vec![Answer::Yes(transferring())],
        watch: vec![vec![say(transferring()), say(end)]],
        ..Script::default()
    }
}

#[test]
fn a_running_migration_is_followed_to_its_end() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, ends_with(accelerated()));
    let run = run(&socket, &["watch", "0198"]);
    insta::assert_snapshot!(run.out, @"
    Migration 0198c0de-1111-7222-8333-444455556666: web-1 moves from alpha to beta.
      alpha  reserve    400 ms
      alpha  transfer   started
      alpha  transfer   256 of 512 MiB, 50 %, 100.0 MiB/s
      alpha  transfer   5.0 s
      beta   plug       1.5 s
    web-1 runs on beta.
    Its traffic is on the VF 0000:01:10.2.
    It stood still for 214 ms, by libvirt.
    ");
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    // By its whole id: the beginning may be another's tomorrow.
    assert_eq!(daemon.asked(), ["get 0198".into(), format!("watch {ID}")]);
}

#[test]
fn the_outcome_is_the_exit_code() {
    for (end, code) in [
        (accelerated(), 0),
        (on_standby(), 3),
        (rolled_back(), 4),
        (lost(), 5),
    ] {
        let (_dir, socket) = place();
        let _daemon = Daemon::start(&socket, ends_with(end.clone()));
        assert_eq!(run(&socket, &["watch", "0198"]).code, code, "{end:?}");
    }
}

#[test]
fn one_that_has_ended_is_told_at_once() {
    let (_dir, socket) = place();
    let script = Script {
        get: vec![Answer::Yes(rolled_back())],
        watch: vec![vec![say(rolled_back())]],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let run = run(&socket, &["watch", ID]);
    assert_eq!(run.code, 4);
    assert!(
        run.out
            .ends_with("web-1 stays on alpha.\nIts traffic is on the VF 0000:01:10.0.\n"),
        "{}",
        run.out
    );
    assert!(
        run.err.starts_with("Error: the transfer to beta failed\n"),
        "{}",
        run.err
    );
}

#[test]
fn json_is_one_object_per_change() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, ends_with(accelerated()));
    let run = run(&socket, &["watch", "0198", "--json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let moved: Vec<_> = run.json().iter().map(|object| object["moved"].clone()).collect();
    assert_eq!(moved, ["undecided", "yes"]);
}

#[test]
fn a_daemon_that_restarts_is_found_again() {
    let (_dir, socket) = place();
    let mut script = ends_with(accelerated());
    script
        .watch
        .insert(0, vec![say(transferring()), Step::Fail(Code::Unavailable)]);
    let _daemon = Daemon::start(&socket, script);
    let run = run(&socket, &["watch", "0198"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(
        run.out.contains("looking for godwitd ...\ngodwitd is back.\n"),
        "{}",
        run.out
    );
}

#[test]
fn ctrl_c_leaves_and_says_how_to_come_back() {
    let (_dir, socket) = place();
    let script = Script {
        get: vec![Answer::Yes(accepted())],
        watch: vec![vec![say(transferring()), Step::Hang]],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let mut child = command(&socket, &["watch", "0198"]).spawn().unwrap();
    // Everything before the hang was told.
    read_up_to(&mut child, "MiB/s");
    interrupt(&child);
    let run = finish(child);
    assert_eq!((run.code, run.err.as_str()), (130, ""));
    insta::assert_snapshot!(run.out.trim_start(), @"
    No longer watched: the migration goes on.
    To see it:     godwit show 0198c0de-1111-7222-8333-444455556666
    To cancel it:  godwit cancel 0198c0de-1111-7222-8333-444455556666
    To wait again: godwit watch 0198c0de-1111-7222-8333-444455556666
    ");
    assert!(!daemon.asked().iter().any(|asked| asked.starts_with("cancel")));
}
