//! `godwit migrate`, told, watched, lost and found again.

use std::process::Stdio;

use godwit_api::v1::{AutoConverge, Finding, NotChecked, Severity, TransferOptions};

use crate::fake::{Answer, Daemon, Script, Step};
use crate::story::{
    ID, accelerated, accepted, command, failure, finish, interrupt, lost, on_standby, place, read_up_to,
    rolled_back, run, say, transferring,
};
use tonic::Code;

/// A daemon that accepts, transfers, and ends so.
fn ends_with(end: godwit_api::v1::Migration) -> Script {
    Script {
        create: vec![Answer::Yes(accepted())],
        watch: vec![vec![say(accepted()), say(transferring()), say(end)]],
        ..Script::default()
    }
}

#[test]
fn moved_and_accelerated() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, ends_with(accelerated()));
    let run = run(
        &socket,
        &["migrate", "web-1", "beta", "--wait", "--request-id", "mine"],
    );
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
    assert_eq!(
        daemon.asked(),
        ["create web-1 beta mine".into(), format!("watch {ID}")]
    );
}

#[test]
fn moved_but_on_standby() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, ends_with(on_standby()));
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!((run.code, run.err.as_str()), (3, ""), "{run:?}");
    let end = "web-1 runs on beta.\n\
               Its traffic is on standby since 2026-01-02 03:04:12Z, because the guest's driver did not take the VF.\n\
               It stood still for 214 ms, by libvirt.\nHint: godwit guests\n";
    assert!(run.out.ends_with(end), "{}", run.out);
}

#[test]
fn rolled_back_says_why() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, ends_with(rolled_back()));
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!(run.code, 4);
    let end = "web-1 stays on alpha.\nIts traffic is on the VF 0000:01:10.0.\n";
    assert!(run.out.ends_with(end), "{}", run.out);
    assert_eq!(
        run.err,
        "Error: the transfer to beta failed\nCaused by: a cause of it\nHint: ping beta\n"
    );
}

#[test]
fn a_person_is_needed() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, ends_with(lost()));
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!(run.code, 5);
    assert!(
        run.out
            .contains("It is not known whether web-1 runs on alpha or on beta.\n"),
        "{}",
        run.out
    );
    assert!(run.err.ends_with("Hint: virsh list\n"), "{}", run.err);
}

#[test]
fn without_wait_it_says_how_to_see_it() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, ends_with(accelerated()));
    let first = run(&socket, &["migrate", "web-1", "beta"]);
    insta::assert_snapshot!(first.out, @"
    Migration 0198c0de-1111-7222-8333-444455556666: web-1 moves from alpha to beta.
    To see it:      godwit show 0198c0de-1111-7222-8333-444455556666
    To wait for it: godwit watch 0198c0de-1111-7222-8333-444455556666
    ");
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    run(&socket, &["migrate", "web-1", "beta"]);
    let asked = daemon.asked();
    let ids: Vec<&str> = asked
        .iter()
        .map(|asked| asked.rsplit(' ').next().unwrap())
        .collect();
    assert!(
        ids.len() == 2 && ids[0].len() == 36 && ids[0] != ids[1],
        "every call has a fresh id: {ids:?}"
    );
}

#[test]
fn json_is_one_object_per_change() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, ends_with(rolled_back()));
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait", "--json"]);
    assert_eq!(run.code, 4);
    let objects = run.json();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[1]["phase"], "transfer");
    assert_eq!(objects[1]["progress"]["memory_remaining_bytes"], 268_435_456u64);
    assert_eq!(objects[2]["moved"], "no");
    assert_eq!(objects[2]["failure"]["reason"], "TRANSFER_FAILED");
    assert!(
        run.err.starts_with("Error: the transfer to beta failed\n"),
        "{}",
        run.err
    );
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    let (_dir, socket) = place();
    let no = failure("NO_FREE_VF", "beta has no free VF in pool blue", "godwit guests");
    let script = Script {
        create: vec![Answer::No(Code::FailedPrecondition, no)],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    for args in [
        &["migrate", "web-1", "beta"][..],
        &["migrate", "web-1", "beta", "--wait"],
    ] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.out.as_str()), (1, ""));
        insta::allow_duplicates! {
            insta::assert_snapshot!(run.err, @"
            Error: beta has no free VF in pool blue
            Caused by: a cause of it
            Hint: godwit guests
            ");
        }
    }
    let run = run(&socket, &["--json", "migrate", "web-1", "beta"]);
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(run.out, @r#"{"error":{"reason":"NO_FREE_VF","message":"beta has no free VF in pool blue","causes":["a cause of it"],"hint":"godwit guests"}}"#);
    assert!(run.err.starts_with("Error: beta has no free VF"), "{}", run.err);
    assert_eq!(daemon.asked().len(), 3, "a refusal is not asked again");
}

#[test]
fn an_unreachable_destination_is_a_refusal_not_a_lost_daemon() {
    let (_dir, socket) = place();
    let no = failure("HOST_UNREACHABLE", "beta cannot be reached", "ping beta");
    let script = Script {
        create: vec![Answer::No(Code::Unavailable, no)],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert_eq!(
        run.err,
        "Error: beta cannot be reached\nCaused by: a cause of it\nHint: ping beta\n"
    );
    assert_eq!(daemon.asked().len(), 1);
}

#[test]
fn a_daemon_that_restarts_is_found_again() {
    let (_dir, socket) = place();
    let steps = vec![say(accepted()), say(transferring()), Step::Hang];
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        watch: vec![steps],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let child = command(&socket, &["migrate", "web-1", "beta", "--wait"])
        .spawn()
        .unwrap();
    daemon.wait_for("watch");
    daemon.kill();
    // For some time there is no daemon at all.
    std::thread::sleep(std::time::Duration::from_millis(900));
    let steps = vec![say(transferring()), say(accelerated())];
    let daemon = Daemon::start(
        &socket,
        Script {
            watch: vec![steps],
            ..Script::default()
        },
    );
    let run = finish(child);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let lost = "The connection to godwitd was lost. The migration goes on; looking for godwitd ...\n";
    assert_eq!(run.out.matches(lost).count(), 1, "{}", run.out);
    assert_eq!(run.out.matches("godwitd is back.\n").count(), 1, "{}", run.out);
    assert_eq!(
        run.out.matches("transfer   started\n").count(),
        1,
        "nothing is told twice: {}",
        run.out
    );
    assert_eq!(daemon.asked(), [format!("watch {ID}")]);
}

#[test]
fn a_stream_that_ends_too_early_is_opened_again() {
    for broken in [
        None,
        Some(Step::Fail(Code::Unavailable)),
        Some(Step::Fail(Code::Unknown)),
    ] {
        let (_dir, socket) = place();
        let mut steps = vec![say(transferring())];
        steps.extend(broken);
        let watch = vec![steps, vec![say(accelerated())]];
        let script = Script {
            create: vec![Answer::Yes(accepted())],
            watch,
            ..Script::default()
        };
        let daemon = Daemon::start(&socket, script);
        let run = run(&socket, &["migrate", "web-1", "beta", "--wait", "--json"]);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(run.json().len(), 2, "notes stay out of the JSON");
        assert!(run.err.contains("godwitd is back."), "{}", run.err);
        assert_eq!(daemon.asked().len(), 3);
    }
}

#[test]
fn a_daemon_that_comes_and_goes_is_asked_less_and_less() {
    let (_dir, socket) = place();
    let mut watch = vec![vec![say(transferring())]; 4];
    watch.push(vec![say(accelerated())]);
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        watch,
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let begun = std::time::Instant::now();
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!(run.code, 0, "{run:?}");
    let pauses = std::time::Duration::from_millis(250 + 500 + 1000 + 2000);
    assert!(begun.elapsed() >= pauses, "{:?}", begun.elapsed());
}

#[test]
fn a_migration_the_restarted_daemon_does_not_know_is_an_error() {
    let (_dir, socket) = place();
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        watch: vec![vec![say(accepted())]],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let run = run(&socket, &["migrate", "web-1", "beta", "--wait"]);
    assert_eq!(run.code, 1);
    assert!(
        run.err
            .starts_with("Error: there is no such thing\nCaused by: no such migration\n"),
        "{}",
        run.err
    );
}

#[test]
fn a_lost_answer_is_asked_for_again_as_the_same_request() {
    let (_dir, socket) = place();
    let script = Script {
        create: vec![Answer::Never],
        ..Script::default()
    };
    let first = Daemon::start(&socket, script);
    let child = command(&socket, &["migrate", "web-1", "beta", "--wait"])
        .spawn()
        .unwrap();
    first.wait_for("create");
    let asked = first.asked();
    first.kill();
    let second = Daemon::start(&socket, ends_with(accelerated()));
    let run = finish(child);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.out
            .starts_with("The daemon's answer was lost. Asking again, as the same request ...\n")
    );
    assert_eq!(second.asked()[0], asked[0]);
}

#[test]
fn ctrl_c_leaves_and_says_how_to_come_back() {
    let (_dir, socket) = place();
    let steps = vec![say(accepted()), say(transferring()), Step::Hang];
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        watch: vec![steps],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let mut child = command(
        &socket,
        &["migrate", "web-1", "beta", "--wait", "--request-id", "mine"],
    )
    .spawn()
    .unwrap();
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

#[test]
fn ctrl_c_before_an_answer_does_not_pretend_to_know() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(
        &socket,
        Script {
            create: vec![Answer::Never],
            ..Script::default()
        },
    );
    let child = command(&socket, &["migrate", "web-1", "beta", "--wait"])
        .spawn()
        .unwrap();
    daemon.wait_for("create");
    interrupt(&child);
    let run = finish(child);
    assert_eq!(run.code, 130);
    assert!(
        run.out
            .contains("it is not known whether the migration was accepted"),
        "{}",
        run.out
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (_dir, socket) = place();
    let mut steps = vec![say(transferring()); 200];
    steps.push(say(accelerated()));
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        watch: vec![steps],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command(&socket, &["migrate", "web-1", "beta", "--wait", "--json"])
        .stdout(Stdio::from(writer))
        .spawn()
        .unwrap();
    let run = finish(child);
    assert_eq!((run.code, run.err.as_str()), (141, ""));
}

#[test]
fn a_hostile_guest_cannot_command_the_terminal() {
    let (_dir, socket) = place();
    let mut end = rolled_back();
    end.failure.as_mut().unwrap().causes = vec!["agent: \x1b]0;pwned\x07\r\nError: no\u{9b}2J".into()];
    end.timeline[1].detail = "\x1b[2J".into();
    for json in [false, true] {
        let _daemon = Daemon::start(&socket, ends_with(end.clone()));
        let mut args = vec!["migrate", "web-1", "beta", "--wait"];
        args.extend(json.then_some("--json"));
        let run = run(&socket, &args);
        let hostile = |c: char| c.is_control() && c != '\n';
        assert!(
            !run.out.contains(hostile) && !run.err.contains(hostile),
            "{run:?}"
        );
        assert!(
            run.err.contains("Caused by: agent: ]0;pwned  Error: no2J\n"),
            "{}",
            run.err
        );
    }
}

#[test]
fn what_the_transfer_is_to_be_like_is_asked_for_and_shown() {
    let (_dir, socket) = place();
    let mut moved = accelerated();
    moved.transfer = Some(TransferOptions {
        bandwidth_mib_per_second: Some(100),
        downtime_ms: Some(300),
        parallel_connections: Some(4),
        auto_converge: Some(AutoConverge {
            enabled: true,
            initial_percent: Some(20),
            increment_percent: Some(10),
        }),
        post_copy: Some(false),
        ..TransferOptions::default()
    });
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        get: vec![Answer::Yes(moved)],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let line = "migrate web-1 beta --request-id mine --bandwidth 100MiB/s --downtime 300ms --parallel 4 --auto-converge=20,10";
    let words: Vec<&str> = line.split(' ').collect();
    let begun = run(&socket, &words);
    assert_eq!(begun.code, 0, "{begun:?}");
    assert_eq!(daemon.asked(), ["create web-1 beta mine at 100 MiB/s by 4"]);
    let shown = run(&socket, &["show", "0198"]);
    let line = "transfer   at most 100 MiB/s, downtime 300 ms, 4 parallel connections, auto-converge (20 % first, 10 % more), no post-copy\n";
    assert!(shown.out.contains(line), "{}", shown.out);
    let json = run(&socket, &["show", "0198", "--json"]).json();
    assert_eq!(json[0]["transfer"]["auto_converge"]["initial_percent"], 20);
    assert_eq!(json[0]["transfer"]["tls"], serde_json::Value::Null);
}

#[test]
fn what_was_found_besides_is_told_and_keeps_nothing() {
    let (_dir, socket) = place();
    let script = Script {
        create: vec![Answer::Yes(accepted())],
        warnings: vec![Finding {
            severity: Severity::Warning.into(),
            reason: "NETWORK_MTU".into(),
            about: "beta".into(),
            what: "bridge `br0` has an MTU of 1400 on beta".into(),
            why: "larger frames would be lost".into(),
            fix: "on beta: ip link set br0 mtu 1500".into(),
        }],
        not_checked: vec![NotChecked {
            check: "disk vda on beta".into(),
            why: "no answer within 5 s".into(),
        }],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let text = run(&socket, &["migrate", "web-1", "beta"]);
    let first: Vec<&str> = text.out.lines().take(2).collect();
    assert_eq!(
        (text.code, first),
        (
            0,
            vec![
                "Warning: bridge `br0` has an MTU of 1400 on beta [NETWORK_MTU]; on beta: ip link set br0 mtu 1500",
                "not known: disk vda on beta: no answer within 5 s",
            ]
        )
    );
    let json = run(&socket, &["migrate", "web-1", "beta", "--json"]);
    assert!(json.err.starts_with("Warning: bridge"), "{json:?}");
    assert_eq!(json.json().len(), 1);
}
