//! The other commands; and no daemon at all.

use crate::fake::{Answer, Daemon, Script};
use crate::story::{ID, accelerated, failure, guest, on_standby, place, rolled_back, run, transferring};
use godwit_api::v1::{Failure, Migration};
use tonic::Code;

fn everything() -> Script {
    Script {
        get: vec![Answer::Yes(on_standby())],
        list: vec![
            transferring(),
            Migration {
                id: "0197aaaa-1".into(),
                ..accelerated()
            },
        ],
        cancel: vec![Answer::Yes(Migration {
            cancelled: true,
            ..transferring()
        })],
        guests: vec![guest()],
        adopt: vec![Answer::Yes(guest())],
        ..Script::default()
    }
}

#[test]
fn every_command_as_text() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, everything());
    let mut told = String::new();
    for args in [
        &["list", "--limit", "7", "--guest", "web-1"][..],
        &["show", "0198"],
        &["guests"],
        &["adopt", "web-1"],
        &["cancel", "0198"],
    ] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        told.push_str(&format!("$ godwit {}\n{}\n", args.join(" "), run.out));
    }
    insta::assert_snapshot!(told, @"
    $ godwit list --limit 7 --guest web-1
    ID        GUEST  FROM -> TO     STATE               SINCE
    0198c0de  web-1  alpha -> beta  transfer 50 %       2026-01-02 03:04:05Z
    0197aaaa  web-1  alpha -> beta  moved, accelerated  2026-01-02 03:04:12Z

    $ godwit show 0198
    Migration  0198c0de-1111-7222-8333-444455556666
    guest      web-1 (11111111-2222-3333-4444-555555555555)
    way        alpha -> beta (this host is the source)
    created    2026-01-02 03:04:05Z
    state      rests at fail-back

    web-1 runs on beta.
    Its traffic is on standby since 2026-01-02 03:04:12Z, because the guest's driver did not take the VF.
    It stood still for 214 ms, by libvirt.

    HOST   PHASE     STARTED        TOOK    RESULT
    alpha  reserve   03:04:05.067Z  400 ms  done
    alpha  transfer  03:04:05.467Z  5.0 s   done
    beta   plug      03:04:10.567Z  1.5 s   done

    PAIR               POOL  VF ON alpha   VF ON beta
    52:54:00:00:00:01  blue  0000:01:10.0  0000:01:10.2

    Error: the VF was not taken
    Caused by: a cause of it
    Hint: godwit guests

    $ godwit guests
    NAME   STATE    MANAGED  TRAFFIC      AGENT  PAIRS                           PROBLEM
    web-1  running  yes      accelerated  yes    52:54:00:00:00:01 0000:01:10.0

    $ godwit adopt web-1
    web-1 is managed now, with 1 pair:

    PAIR               POOL  STANDBY  PRIMARY      VF
    52:54:00:00:00:01  blue  net0     ua-godwit-0  0000:01:10.0

    $ godwit cancel 0198
    Migration 0198c0de-1111-7222-8333-444455556666 is being cancelled: it turns round at its next phase boundary.
    To see it: godwit show 0198c0de-1111-7222-8333-444455556666
    ");
    assert_eq!(
        daemon.asked(),
        ["list 7 web-1", "get 0198", "guests", "adopt web-1", "cancel 0198"]
    );
}

/// At a destination whose guest does not come.
#[test]
fn a_wait_that_is_given_up_is_over() {
    let (_dir, socket) = place();
    let closed = Migration {
        ended: true,
        settled: true,
        ..transferring()
    };
    let script = Script {
        cancel: vec![Answer::Yes(closed)],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    let run = run(&socket, &["cancel", "0198"]);
    insta::assert_snapshot!(run.out, @"Migration 0198c0de-1111-7222-8333-444455556666 is closed on this host: nothing is held here for its guest any more.");
}

#[test]
fn history_is_what_has_ended() {
    let (_dir, socket) = place();
    let script = Script {
        list: vec![
            accelerated(),
            Migration {
                id: "0197aaaa-1".into(),
                timeline: accelerated().timeline,
                ..rolled_back()
            },
        ],
        ..Script::default()
    };
    let daemon = Daemon::start(&socket, script);
    let told = run(&socket, &["history", "--limit", "7", "--guest", "web-1"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    insta::assert_snapshot!(told.out, @"
    ID        GUEST  FROM -> TO     OUTCOME             ENDED                 TOOK   WHY
    0198c0de  web-1  alpha -> beta  moved, accelerated  2026-01-02 03:04:12Z  7.0 s
    0197aaaa  web-1  alpha -> beta  rolled back         2026-01-02 03:04:12Z  7.0 s  the transfer to beta failed
    ");
    let all = run(&socket, &["history", "--json"]).json().remove(0);
    assert_eq!(all["migrations"][1]["failure"]["reason"], "TRANSFER_FAILED");
    assert_eq!(daemon.asked(), ["history 7 web-1", "history 20"]);
}

fn many(number: usize) -> Script {
    let list = (0..number).map(|n| Migration {
        id: format!("{n:08}"),
        ..Migration::default()
    });
    Script {
        list: list.collect(),
        ..Script::default()
    }
}

#[test]
fn those_that_are_open_alone() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, everything());
    let open = run(&socket, &["list", "--open", "--guest", "web-1"]);
    assert_eq!((open.code, open.out.lines().count()), (0, 3));
    let _ = run(&socket, &["list", "--open", "--all", "--json"]);
    assert_eq!(daemon.asked(), ["open 20 web-1", "open 1000"]);
    drop(daemon);
    let _daemon = Daemon::start(&socket, Script::default());
    let none = run(&socket, &["list", "--open", "--guest", "web-1"]);
    assert_eq!(
        (none.code, none.out.as_str()),
        (0, "No migration of web-1 is open.\n")
    );
}

#[test]
fn a_list_goes_on_over_all_pages_and_has_an_end() {
    let (_dir, socket) = place();
    let ids = |args: &[&str]| {
        let all = run(&socket, &[args, &["--json"]].concat()).json().remove(0);
        let ids = all["migrations"].as_array().unwrap().iter();
        let ids: Vec<String> = ids.map(|one| one["id"].as_str().unwrap().into()).collect();
        (ids, all["more"].as_bool().unwrap())
    };
    let named = |number: usize| Vec::from_iter((0..number).map(|n| format!("{n:08}")));
    {
        let daemon = Daemon::start(&socket, many(2500));
        assert_eq!(ids(&["list", "--all"]), (named(2500), false));
        assert_eq!(ids(&["history", "--limit", "1500"]), (named(1500), true));
        assert_eq!(
            daemon.asked(),
            [
                "list 1000",
                "list 1000 from 1000",
                "list 1000 from 2000",
                "history 1000",
                "history 500 from 1000"
            ]
        );
        let few = run(&socket, &["list", "--limit", "2"]);
        let last = few.out.lines().last();
        assert_eq!(
            last,
            Some("There are older ones: --limit N, or --all, shows more.")
        );
    }
    let daemon = Daemon::start(&socket, many(10_001));
    assert_eq!(ids(&["list", "--all"]), (named(10_000), true));
    assert_eq!(daemon.asked().len(), 10);
}

#[test]
fn status_is_list_and_show_in_one_word() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, everything());
    for json in [&[][..], &["--json"]] {
        let told = |args: &[&str]| {
            let run = run(&socket, &[args, json].concat());
            assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
            run.out
        };
        assert_eq!(told(&["status", "--limit", "7"]), told(&["list", "--limit", "7"]));
        assert_eq!(told(&["status", "0198"]), told(&["show", "0198"]));
    }
    assert_eq!(daemon.asked()[..4], ["list 7", "list 7", "get 0198", "get 0198"]);
}

#[test]
fn every_command_as_json() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, everything());
    let json = |args: &[&str]| {
        let run = run(&socket, args);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        assert_eq!(run.json().len(), 1, "{args:?}");
        run.json().remove(0)
    };
    let all = json(&["list", "--json"]);
    assert_eq!(all["migrations"][0]["id"], ID);
    assert_eq!(all["migrations"][1]["settled"], true);
    let one = json(&["--json", "show", "0198"]);
    assert_eq!(one["standby_since"], "2026-01-02T03:04:12.067Z");
    assert_eq!(one["timeline"][2]["host"], "beta");
    let guests = json(&["guests", "--json"]);
    assert_eq!(guests["guests"][0]["pairs"][0]["vf"], "0000:01:10.0");
    assert_eq!(json(&["adopt", "web-1", "--json"])["managed"], true);
    assert_eq!(json(&["cancel", "0198", "--json"])["cancelled"], true);
}

#[test]
fn nothing_there() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, Script::default());
    assert_eq!(run(&socket, &["list"]).out, "There are no migrations.\n");
    let of = run(&socket, &["list", "--guest", "web-1"]);
    assert_eq!(of.out, "There are no migrations of web-1.\n");
    assert_eq!(
        run(&socket, &["list", "--json"]).out,
        "{\"migrations\":[],\"more\":false}\n"
    );
    assert_eq!(run(&socket, &["history"]).out, "No migration has ended yet.\n");
    let of = run(&socket, &["history", "--guest", "web-1"]);
    assert_eq!(of.out, "No migration of web-1 has ended yet.\n");
    assert_eq!(run(&socket, &["guests"]).out, "This host has no guests.\n");
    assert_eq!(run(&socket, &["guests", "--json"]).out, "{\"guests\":[]}\n");
}

#[test]
fn refusals_end_every_command_with_1() {
    let (_dir, socket) = place();
    let no = failure(
        "UNKNOWN_GUEST",
        "there is no guest web-9 on alpha",
        "godwit guests",
    );
    let script = Script {
        get: vec![Answer::No(Code::NotFound, no.clone())],
        cancel: vec![Answer::No(Code::FailedPrecondition, no.clone())],
        adopt: vec![Answer::No(Code::NotFound, no)],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    for args in [
        ["status", "0198"],
        ["show", "0198"],
        ["watch", "0198"],
        ["cancel", "0198"],
        ["adopt", "web-9"],
    ] {
        let run = run(&socket, &args);
        assert_eq!((run.code, run.out.as_str()), (1, ""));
        assert!(
            run.err
                .starts_with("Error: there is no guest web-9 on alpha\nCaused by: "),
            "{}",
            run.err
        );
    }
}

#[test]
fn to_show_a_failed_migration_is_a_success() {
    let (_dir, socket) = place();
    let script = Script {
        get: vec![Answer::Yes(rolled_back())],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, script);
    assert_eq!(run(&socket, &["show", "0198"]).code, 0);
}

#[test]
fn no_daemon() {
    let (_dir, socket) = place();
    let expect = |cause: &str| {
        format!(
            "Error: godwitd cannot be reached at {}\nCaused by: {cause}\n\
             Hint: is godwitd running? systemctl status godwitd (without it: godwit list --offline)\n",
            socket.display()
        )
    };
    for args in [&["guests"][..], &["migrate", "web-1", "beta", "--wait"]] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.out.as_str()), (1, ""));
        assert_eq!(run.err, expect("No such file or directory (os error 2)"));
    }
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let run = run(&socket, &["--json", "guests"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.err, expect("Connection refused (os error 111)"));
    assert_eq!(run.json()[0]["error"]["reason"], "DAEMON_AWAY");
}

#[test]
fn wrong_usage_is_2() {
    let (_dir, socket) = place();
    for args in [
        &[][..],
        &["fly"],
        &["migrate", "web-1"],
        &["status", "--limit", "0"],
        &["adopt", ""],
    ] {
        let run = run(&socket, args);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}");
        assert!(!run.err.is_empty());
    }
    let run = run(&socket, &["fly", "--json"]);
    assert_eq!(
        (run.code, &run.json()[0]["error"]["reason"]),
        (2, &"USAGE".into())
    );
}

#[test]
fn help_names_every_exit_code() {
    let (_dir, socket) = place();
    let run = run(&socket, &["--help"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    for line in [
        "  0  done",
        "  1  refused",
        "  2  wrong",
        "  3  the guest",
        "  4  rolled",
        "  5  a person",
        "Examples:",
    ] {
        assert!(run.out.contains(line), "{line:?} in {}", run.out);
    }
}

#[test]
fn a_reader_that_goes_away_ends_every_command_quietly() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, everything());
    for args in [
        &["status"][..],
        &["show", "0198"],
        &["guests", "--json"],
        &["cancel", "0198"],
        &["hosts"],
        &["vfs"],
        &["holds", "--json"],
        &["completions", "zsh"],
        &["man"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = crate::story::command(&socket, args)
            .stdout(writer)
            .spawn()
            .unwrap();
        let run = crate::story::finish(child);
        assert_eq!((run.code, run.err.as_str()), (141, ""), "{args:?}");
    }
}

/// What an older daemon says of a call that it has not heard of: gRPC alone, or its door in words of that time.
#[test]
fn a_daemon_that_is_older_than_a_command_is_named_with_what_to_upgrade() {
    let (_dir, socket) = place();
    let old = Failure {
        reason: "UNIMPLEMENTED".into(),
        message: "godwitd does not know this call".into(),
        hint: "are godwit and godwitd of the same version? `godwitd --version`".into(),
        ..Failure::default()
    };
    for pools in [Vec::new(), vec![Answer::No(Code::Unimplemented, old)]] {
        let script = Script {
            pools,
            ..Script::default()
        };
        let _daemon = Daemon::start(&socket, script);
        let told = run(&socket, &["pools"]);
        assert_eq!(told.code, 1);
        let lines: Vec<_> = told
            .err
            .lines()
            .filter(|line| !line.starts_with("Caused by"))
            .collect();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            lines,
            [
                &format!(
                    "Error: godwitd does not know this request: it is older than this godwit, which is {version}"
                ),
                "Hint: upgrade godwitd there; which version each host has: godwit hosts"
            ]
        );
        let json = run(&socket, &["pools", "--json"]).json().remove(0);
        assert_eq!(json["error"]["reason"], "UNIMPLEMENTED");
    }
}
