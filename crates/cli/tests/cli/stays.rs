//! `godwit standby`, `accelerate`, `retry` and `resolve`; and what the others tell of guests that stay.

use crate::fake::{Answer, Daemon, Script, Stay, Step};
use crate::story::{
    ID, accelerated, command, failure, finish, guest, interrupt, lost, on_standby, operation, place,
    read_up_to, run, say, stayed, time, transferring, waits_for_vf,
};
use godwit_api::v1::{Acceleration, Migration, Moved, Phase, Policy, Role};
use tonic::Code;

/// A daemon that begins the operation, which then ends so.
fn ends_with(end: Migration) -> Script {
    let begun = operation(end.role());
    let stay = Stay {
        standby: vec![Answer::Yes(begun.clone())],
        accelerate: vec![Answer::Yes(begun.clone())],
        ..Stay::default()
    };
    Script {
        get: vec![Answer::Yes(begun.clone())],
        stay,
        watch: vec![vec![say(begun), say(end)]],
        ..Script::default()
    }
}

fn on_its_standby() -> Migration {
    Migration {
        standby_since: time(500),
        because: "standby was asked for".into(),
        ..stayed(Role::Decelerate, Acceleration::Standby)
    }
}

fn not_to_be_had() -> Migration {
    let mut end = stayed(Role::Decelerate, Acceleration::Accelerated);
    end.phase = Phase::FailBack.into();
    end.failure = Some(failure(
        "UNPLUG_REFUSED",
        "libvirt refuses the unplug",
        "virsh dumpxml web-1",
    ));
    end
}

fn unplug_pending() -> Migration {
    Migration {
        phase: Phase::Unplug.into(),
        ended: false,
        needs_person: true,
        failure: Some(failure(
            "UNPLUG_PENDING",
            "the guest does not let its VF go",
            "in web-1: see who holds the VF",
        )),
        ..on_its_standby()
    }
}

fn left(role: Role) -> Migration {
    Migration {
        moved: Moved::Gone.into(),
        ..stayed(role, Acceleration::Unknown)
    }
}

#[test]
fn without_wait_it_says_what_was_begun_and_how_to_see_it() {
    let mut told = String::new();
    for (args, role) in [
        (["standby", "web-1"], Role::Decelerate),
        (["accelerate", "web-1"], Role::Accelerate),
    ] {
        let (_dir, socket) = place();
        let daemon = Daemon::start(&socket, ends_with(stayed(role, Acceleration::Standby)));
        let run = run(&socket, &args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        assert_eq!(daemon.asked(), [args.join(" ")]);
        told.push_str(&run.out);
    }
    insta::assert_snapshot!(told, @"
    Operation 0198c0de-1111-7222-8333-444455556666: web-1 is being put on its standby on alpha.
    To see it:      godwit show 0198c0de-1111-7222-8333-444455556666
    To wait for it: godwit watch 0198c0de-1111-7222-8333-444455556666
    Operation 0198c0de-1111-7222-8333-444455556666: web-1 is being accelerated on alpha.
    To see it:      godwit show 0198c0de-1111-7222-8333-444455556666
    To wait for it: godwit watch 0198c0de-1111-7222-8333-444455556666
    ");
}

#[test]
fn with_wait_it_is_followed_to_its_end() {
    let mut told = String::new();
    for (args, end) in [
        (["standby", "web-1", "--wait"], on_its_standby()),
        (
            ["accelerate", "web-1", "--wait"],
            stayed(Role::Accelerate, Acceleration::Accelerated),
        ),
    ] {
        let (_dir, socket) = place();
        let _daemon = Daemon::start(&socket, ends_with(end));
        let run = run(&socket, &args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        told.push_str(&run.out);
    }
    insta::assert_snapshot!(told, @"
    Operation 0198c0de-1111-7222-8333-444455556666: web-1 is being put on its standby on alpha.
      alpha  fail-over  500 ms
      alpha  unplug     500 ms
      alpha  release    500 ms
    web-1 is on its standby on alpha since 2026-01-02 03:04:05Z, because standby was asked for.
    Operation 0198c0de-1111-7222-8333-444455556666: web-1 is being accelerated on alpha.
      alpha  hold       500 ms
      alpha  plug       500 ms
      alpha  fail-back  500 ms
    web-1 is accelerated on alpha.
    Its traffic is on the VF 0000:01:10.4.
    ");
}

#[test]
fn the_outcome_is_the_exit_code_of_wait_and_watch() {
    let accelerated = stayed(Role::Accelerate, Acceleration::Accelerated);
    for (verb, end, code) in [
        ("standby", on_its_standby(), 0),
        ("standby", not_to_be_had(), 4),
        ("standby", unplug_pending(), 5),
        ("standby", left(Role::Decelerate), 1),
        ("accelerate", accelerated, 0),
        ("accelerate", waits_for_vf(), 3),
        ("accelerate", left(Role::Accelerate), 1),
    ] {
        for args in [&[verb, "web-1", "--wait"][..], &["watch", "0198"]] {
            let (_dir, socket) = place();
            let _daemon = Daemon::start(&socket, ends_with(end.clone()));
            let run = run(&socket, args);
            assert_eq!(run.code, code, "{args:?} {run:?}");
            assert!(!run.out.contains("from alpha to alpha"), "{}", run.out);
        }
    }
}

#[test]
fn what_is_not_as_it_was_asked_for_says_why() {
    let mut told = String::new();
    for (verb, end) in [
        ("standby", not_to_be_had()),
        ("standby", unplug_pending()),
        ("accelerate", waits_for_vf()),
    ] {
        let (_dir, socket) = place();
        let _daemon = Daemon::start(&socket, ends_with(end));
        let run = run(&socket, &[verb, "web-1", "--wait"]);
        let last: Vec<&str> = run
            .out
            .lines()
            .filter(|line| !line.starts_with("  "))
            .skip(1)
            .collect();
        told.push_str(&format!("{}\n{}", last.join("\n"), run.err));
        told.push('\n');
    }
    insta::assert_snapshot!(told, @"
    web-1 is not on its standby: that could not be had, so it is accelerated on alpha again.
    Its traffic is on the VF 0000:01:10.4.
    Error: libvirt refuses the unplug
    Caused by: a cause of it
    Hint: virsh dumpxml web-1

    web-1 is on its standby on alpha since 2026-01-02 03:04:05Z, because standby was asked for.
    It waits for the guest to let its VF go.
    Error: the guest does not let its VF go
    Caused by: a cause of it
    Hint: in web-1: see who holds the VF

    web-1 is on its standby on alpha since 2026-01-02 03:04:05Z, because host alpha has no free VF in pool `blue` (0 of 2 free).
    It waits for a VF.
    Hint: godwit vfs
    ");
}

#[test]
fn a_guest_that_was_arriving_can_be_put_on_its_standby() {
    let (_dir, socket) = place();
    let begun = Migration {
        role: Role::Destination.into(),
        phase: Phase::Hold.into(),
        moved: Moved::Yes.into(),
        ..transferring()
    };
    let end = Migration {
        role: Role::Destination.into(),
        because: "standby was asked for".into(),
        ended: true,
        failure: None,
        ..on_standby()
    };
    let stay = Stay {
        standby: vec![Answer::Yes(begun)],
        ..Stay::default()
    };
    let script = Script {
        stay,
        watch: vec![vec![say(end)]],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let run = run(&socket, &["standby", "web-1", "--wait"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let first = format!("Migration {ID}: web-1 is being put on its standby on beta.\n");
    assert!(run.out.starts_with(&first), "{}", run.out);
}

/// Two guests of a PF, of which one was refused or not.
fn of_a_pf(refused: bool) -> Script {
    let named = |id: &str, guest: &str, migration: Migration| Migration {
        id: id.into(),
        guest: guest.into(),
        ..migration
    };
    let operations = vec![
        named(ID, "web-1", operation(Role::Decelerate)),
        named("0198ffff-2", "web-2", operation(Role::Decelerate)),
    ];
    let busy = failure("GUEST_BUSY", "guest `db-1` is busy", "godwit status 0197");
    let refused = Vec::from_iter(refused.then_some(busy));
    Script {
        stay: Stay {
            pf: vec![Answer::Yes((operations, refused))],
            ..Stay::default()
        },
        watch: vec![
            vec![say(named(ID, "web-1", unplug_pending()))],
            vec![say(named("0198ffff-2", "web-2", on_its_standby()))],
        ],
        ..Script::default()
    }
}

#[test]
fn of_a_pf_each_guest_is_told_and_the_refused_ones_with_their_sentences() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, of_a_pf(true));
    let told = run(&socket, &["standby", "--pf", "enp1s0f0"]);
    assert_eq!(told.code, 1);
    insta::assert_snapshot!(format!("{}{}", told.out, told.err), @"
    Operation 0198c0de-1111-7222-8333-444455556666: web-1 is being put on its standby on alpha.
    To see it:      godwit show 0198c0de-1111-7222-8333-444455556666
    To wait for it: godwit watch 0198c0de-1111-7222-8333-444455556666
    Operation 0198ffff-2: web-2 is being put on its standby on alpha.
    To see it:      godwit show 0198ffff-2
    To wait for it: godwit watch 0198ffff-2
    Error: guest `db-1` is busy
    Caused by: a cause of it
    Hint: godwit status 0197
    ");
    assert_eq!(daemon.asked(), ["standby-pf enp1s0f0"]);
    let json = run(&socket, &["accelerate", "--pf", "enp1s0f0", "--json"]);
    assert_eq!(json.code, 1);
    let object = &json.json()[0];
    assert_eq!(object["operations"][1]["guest"], "web-2");
    assert_eq!(object["operations"][1]["role"], "decelerate");
    assert_eq!(object["refused"][0]["reason"], "GUEST_BUSY");
    assert_eq!(daemon.asked()[1], "accelerate-pf enp1s0f0");
}

#[test]
fn of_a_pf_the_worst_outcome_counts_unless_one_was_refused() {
    for (refused, code) in [(false, 5), (true, 1)] {
        let (_dir, socket) = place();
        let daemon = Daemon::start(&socket, of_a_pf(refused));
        let run = run(&socket, &["standby", "--pf", "enp1s0f0", "--wait"]);
        assert_eq!(run.code, code, "{run:?}");
        let asked = daemon.asked();
        assert_eq!(asked[1..], [format!("watch {ID}"), "watch 0198ffff-2".into()]);
        for guest in ["web-1", "web-2"] {
            let line = format!("{guest} is being put on its standby on alpha.\n");
            assert_eq!(run.out.matches(&line).count(), 1, "{}", run.out);
        }
    }
}

#[test]
fn a_pf_without_guests_is_set_aside_all_the_same() {
    let (_dir, socket) = place();
    let nobody = Script {
        stay: Stay {
            pf: vec![Answer::Yes((Vec::new(), Vec::new()))],
            ..Stay::default()
        },
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, nobody);
    let mut told = String::new();
    for verb in ["standby", "accelerate"] {
        let run = run(&socket, &[verb, "--pf", "enp1s0f0", "--wait"]);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        told.push_str(&run.out);
    }
    insta::assert_snapshot!(told, @"
    No guest has a VF of enp1s0f0. Until `godwit accelerate --pf enp1s0f0` nobody gets one.
    VFs of enp1s0f0 are given out again. No guest waits for one.
    ");
}

#[test]
fn ctrl_c_names_every_operation_that_goes_on() {
    let (_dir, socket) = place();
    let script = Script {
        watch: vec![vec![say(operation(Role::Decelerate)), Step::Hang]],
        ..of_a_pf(false)
    };
    let daemon = Daemon::start(&socket, script);
    let mut child = command(&socket, &["standby", "--pf", "enp1s0f0", "--wait"])
        .spawn()
        .unwrap();
    read_up_to(&mut child, "standby on alpha.");
    daemon.wait_for("watch");
    interrupt(&child);
    let run = finish(child);
    assert_eq!((run.code, run.err.as_str()), (130, ""));
    insta::assert_snapshot!(run.out.trim_start(), @"
    No longer watched: the operation goes on.
    To see it:     godwit show 0198c0de-1111-7222-8333-444455556666
    To wait again: godwit watch 0198c0de-1111-7222-8333-444455556666
    And web-2: godwit show 0198ffff-2
    ");
}

#[test]
fn what_rests_is_tried_and_a_person_says_where_the_guest_runs() {
    let (_dir, socket) = place();
    let script = Script {
        retry: vec![Answer::Yes(waits_for_vf())],
        resolve: vec![Answer::Yes(accelerated())],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let mut told = String::new();
    for args in [
        &["retry", "0198"][..],
        &["resolve", "0198", "--runs-on", "beta"],
        &["resolve", "0198", "--runs-on", "beta", "--force", "--json"],
    ] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        if !args.contains(&"--json") {
            told.push_str(&run.out);
        }
    }
    insta::assert_snapshot!(told, @"
    Operation 0198c0de-1111-7222-8333-444455556666: what rests is tried now.
    To see it: godwit show 0198c0de-1111-7222-8333-444455556666
    Migration 0198c0de-1111-7222-8333-444455556666 goes on: web-1 is taken to run on beta.
    To see it:      godwit show 0198c0de-1111-7222-8333-444455556666
    To wait for it: godwit watch 0198c0de-1111-7222-8333-444455556666
    ");
    assert_eq!(
        daemon.asked(),
        ["retry 0198", "resolve 0198 beta", "resolve 0198 beta by force"]
    );
}

#[test]
fn refusals_end_each_of_them_with_1() {
    let (_dir, socket) = place();
    let no = failure("GUEST_BUSY", "guest `web-1` is busy", "godwit status 0197");
    let answer = || vec![Answer::No(Code::FailedPrecondition, no.clone())];
    let script = Script {
        retry: answer(),
        resolve: answer(),
        stay: Stay {
            standby: answer(),
            accelerate: answer(),
            pf: vec![Answer::No(Code::NotFound, no.clone())],
        },
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    for args in [
        &["standby", "web-1", "--wait"][..],
        &["standby", "--pf", "eth9"],
        &["accelerate", "web-1"],
        &["accelerate", "--pf", "eth9", "--wait"],
        &["retry", "0198"],
        &["resolve", "0198", "--runs-on", "beta"],
    ] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{args:?}");
        assert!(
            run.err.starts_with("Error: guest `web-1` is busy\n"),
            "{}",
            run.err
        );
    }
}

#[test]
fn the_policy_is_asked_for_and_shown() {
    let (_dir, socket) = place();
    let prefers = |mut guest: godwit_api::v1::Guest| {
        guest.policy = Policy::Prefer.into();
        guest
    };
    let queued = Migration {
        phase: Phase::Queue.into(),
        queue_place: 2,
        policy: Policy::StandbyOnly.into(),
        ..operation(Role::Accelerate)
    };
    let queued = Migration {
        role: Role::Source.into(),
        destination: "beta".into(),
        moved: Moved::Undecided.into(),
        ..queued
    };
    let script = Script {
        create: vec![Answer::Yes(queued.clone())],
        list: vec![queued, waits_for_vf(), on_its_standby(), lost()],
        guests: vec![prefers(guest()), guest()],
        adopt: vec![Answer::Yes(prefers(guest()))],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let mut told = String::new();
    for args in [
        &["guests"][..],
        &["adopt", "web-1", "--policy", "prefer"],
        &["list"],
        &[
            "migrate",
            "web-1",
            "beta",
            "--policy",
            "standby-only",
            "--request-id",
            "x",
        ],
    ] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        told.push_str(&format!("$ godwit {}\n{}\n", args.join(" "), run.out));
    }
    insta::assert_snapshot!(told, @"
    $ godwit guests
    NAME   STATE    MANAGED      TRAFFIC      AGENT  PAIRS                           PROBLEM
    web-1  running  yes, prefer  accelerated  yes    52:54:00:00:00:01 0000:01:10.0
    web-1  running  yes          accelerated  yes    52:54:00:00:00:01 0000:01:10.0

    $ godwit adopt web-1 --policy prefer
    web-1 is managed now, with 1 pair and the policy prefer:

    PAIR               POOL  STANDBY  PRIMARY      VF
    52:54:00:00:00:01  blue  net0     ua-godwit-0  0000:01:10.0

    $ godwit list
    ID                                    GUEST  FROM -> TO     STATE           SINCE
    0198c0de-1111-7222-8333-444455556666  web-1  alpha -> beta  queue, place 2  2026-01-02 03:04:05Z
    0198c0de-1111-7222-8333-444455556666  web-1  alpha          waits for a VF  2026-01-02 03:04:05Z
    0198c0de-1111-7222-8333-444455556666  web-1  alpha          on standby      2026-01-02 03:04:05Z
    0198c0de-1111-7222-8333-444455556666  web-1  alpha -> beta  needs a person  2026-01-02 03:04:05Z

    $ godwit migrate web-1 beta --policy standby-only --request-id x
    Migration 0198c0de-1111-7222-8333-444455556666: web-1 moves from alpha to beta.
    To see it:      godwit show 0198c0de-1111-7222-8333-444455556666
    To wait for it: godwit watch 0198c0de-1111-7222-8333-444455556666
    ");
    assert_eq!(daemon.asked()[1], "adopt web-1 POLICY_PREFER");
    assert_eq!(daemon.asked()[3], "create web-1 beta x POLICY_STANDBY_ONLY");
    let json = run(&socket, &["list", "--json"]).json().remove(0);
    assert_eq!(json["migrations"][0]["queue_place"], 2);
    assert_eq!(json["migrations"][0]["policy"], "standby-only");
    assert_eq!(json["migrations"][1]["role"], "accelerate");
    let json = run(&socket, &["guests", "--json"]).json().remove(0);
    assert_eq!(json["guests"][0]["policy"], "prefer");
}
