//! `godwit hosts`, `pools`, `vfs` and `holds`.

use godwit_api::v1::{Failure, Hold, Host, Pool, Vf, VfProfile, VfUsage};
use tonic::Code;

use crate::fake::{Answer, Daemon, Script};
use crate::story::{ID, place, run, time};

fn everything() -> Script {
    let alpha = Host {
        name: "alpha".into(),
        here: true,
        reachable: true,
        version: "0.1.0".into(),
        vfs: 7,
        free_vfs: 5,
        migrations: 1,
        pools: vec!["blue".into()],
        clock: time(0),
        ..Host::default()
    };
    let beta = Host {
        name: "beta".into(),
        problem: "beta did not answer within 3 s".into(),
        ..Host::default()
    };
    let vf = |address: &str, usage: VfUsage, by: &str| Vf {
        address: address.into(),
        pool: "blue".into(),
        pf: "enp1s0f0".into(),
        usage: usage.into(),
        by: by.into(),
        profile: Some(VfProfile {
            vlan: 100,
            trust: true,
            ..VfProfile::default()
        }),
    };
    let hold = Hold {
        vf: "0000:01:10.2".into(),
        migration: ID.into(),
        guest: "web-1".into(),
        source: "beta".into(),
        quarantined: String::new(),
        since: time(0),
    };
    let blue = Pool {
        name: "blue".into(),
        pfs: vec!["enp1s0f0".into(), "enp1s0f1".into()],
        vfs: 14,
        free_vfs: 5,
        held_vfs: 1,
        guest_vfs: 4,
        quarantined_vfs: 1,
    };
    let green = Pool {
        name: "green".into(),
        ..Pool::default()
    };
    Script {
        hosts: vec![alpha, beta],
        pools: vec![Answer::Yes(vec![blue, green])],
        vfs: vec![
            // As a daemon tells it that does not know of profiles.
            Vf {
                profile: None,
                ..vf("0000:01:10.0", VfUsage::Free, "")
            },
            vf("0000:01:10.2", VfUsage::Held, ID),
        ],
        holds: vec![hold],
        ..Script::default()
    }
}

#[test]
fn as_text() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, everything());
    let mut told = String::new();
    for command in ["hosts", "pools", "vfs", "holds"] {
        let run = run(&socket, &[command]);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{command}");
        told.push_str(&format!("$ godwit {command}\n{}\n", run.out));
    }
    insta::assert_snapshot!(told, @"
    $ godwit hosts
    HOST   STATE        VERSION  FREE VFS  MIGRATIONS  PROBLEM
    alpha  this host    0.1.0    5 of 7    1
    beta   unreachable  -        -         -           beta did not answer within 3 s

    $ godwit pools
    POOL   PFS                 VFS  FREE  HELD  IN GUESTS  QUARANTINED  OTHERS
    blue   enp1s0f0, enp1s0f1  14   5     1     4          1            3
    green  -                   0    0     0     0          0            0

    $ godwit vfs
    VF            POOL  PF        USE                         SET TO
    0000:01:10.0  blue  enp1s0f0  free                        -
    0000:01:10.2  blue  enp1s0f0  held by migration 0198c0de  VLAN 100, spoof check off, trust on

    $ godwit holds
    VF            GUEST  FROM  MIGRATION  SINCE                 QUARANTINED
    0000:01:10.2  web-1  beta  0198c0de   2026-01-02 03:04:05Z
    ");
    assert_eq!(daemon.asked(), ["hosts", "pools", "vfs", "holds"]);
}

#[test]
fn as_json() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, everything());
    let mut told = String::new();
    for command in ["hosts", "pools", "vfs", "holds"] {
        let run = run(&socket, &["--json", command]);
        assert_eq!(
            (run.code, run.err.as_str(), run.json().len()),
            (0, "", 1),
            "{command}"
        );
        told.push_str(&run.out);
    }
    insta::assert_snapshot!(told, @r#"
    {"hosts":[{"name":"alpha","here":true,"reachable":true,"version":"0.1.0","vfs":7,"free_vfs":5,"migrations":1,"problem":"","pools":["blue"],"clock":"2026-01-02T03:04:05.067Z","certificate_ends":null},{"name":"beta","here":false,"reachable":false,"version":"","vfs":0,"free_vfs":0,"migrations":0,"problem":"beta did not answer within 3 s","pools":[],"clock":null,"certificate_ends":null}]}
    {"pools":[{"name":"blue","pfs":["enp1s0f0","enp1s0f1"],"vfs":14,"free":5,"held":1,"guests":4,"quarantined":1},{"name":"green","pfs":[],"vfs":0,"free":0,"held":0,"guests":0,"quarantined":0}]}
    {"vfs":[{"address":"0000:01:10.0","pool":"blue","pf":"enp1s0f0","usage":"free","by":"","profile":null},{"address":"0000:01:10.2","pool":"blue","pf":"enp1s0f0","usage":"held","by":"0198c0de-1111-7222-8333-444455556666","profile":{"vlan":100,"vlan_priority":0,"vlan_protocol":"802.1Q","spoofchk":false,"trust":true,"min_tx_rate":0,"max_tx_rate":0,"link_state":"auto","rss_query":false}}]}
    {"holds":[{"vf":"0000:01:10.2","migration":"0198c0de-1111-7222-8333-444455556666","guest":"web-1","source":"beta","quarantined":"","since":"2026-01-02T03:04:05.067Z"}]}
    "#);
}

#[test]
fn a_vf_is_kept_from_everybody_and_given_out_again() {
    let (_dir, socket) = place();
    let vf = everything().vfs[0].clone();
    let kept = Vf {
        usage: VfUsage::Quarantined.into(),
        by: "its port is broken".into(),
        ..vf.clone()
    };
    let no = Failure {
        reason: "VF_NOT_QUARANTINED".into(),
        message: "VF 0000:01:10.0 of alpha is not in quarantine: it is free".into(),
        hint: "on alpha: `godwit vfs` lists them".into(),
        ..Failure::default()
    };
    let with = |answer| {
        let vf = vec![answer];
        Daemon::start(
            &socket,
            Script {
                vf,
                ..Script::default()
            },
        )
    };
    let release = ["vfs", "release", "0000:01:10.0"];
    let mut told = String::new();
    {
        let daemon = with(Answer::Yes(kept));
        let quarantine = ["vfs", "quarantine", "0000:01:10.0", "--because", "a bad port"];
        told += &run(&socket, &quarantine).out;
        assert_eq!(daemon.asked(), ["quarantine 0000:01:10.0 a bad port"]);
    }
    {
        let daemon = with(Answer::Yes(vf));
        told += &run(&socket, &release).out;
        assert_eq!(daemon.asked(), ["release 0000:01:10.0"]);
    }
    let _daemon = with(Answer::No(Code::FailedPrecondition, no));
    let run_again = run(&socket, &release);
    assert_eq!(run_again.code, 1);
    told += &run_again.err;
    insta::assert_snapshot!(told, @"
    VF            POOL  PF        USE                              SET TO
    0000:01:10.0  blue  enp1s0f0  quarantined: its port is broken  -
    VF            POOL  PF        USE   SET TO
    0000:01:10.0  blue  enp1s0f0  free  -
    Error: VF 0000:01:10.0 of alpha is not in quarantine: it is free
    Hint: on alpha: `godwit vfs` lists them
    ");
    assert_eq!(run(&socket, &["vfs", "quarantine"]).code, 2, "of which VF?");
}

#[test]
fn nothing_there() {
    let (_dir, socket) = place();
    let nothing = Script {
        pools: vec![Answer::Yes(Vec::new())],
        ..Script::default()
    };
    let _daemon = Daemon::start(&socket, nothing);
    let pools = "The configuration of this host has no pool.\n";
    assert_eq!(run(&socket, &["pools"]).out, pools);
    assert_eq!(run(&socket, &["pools", "--json"]).out, "{\"pools\":[]}\n");
    assert_eq!(
        run(&socket, &["vfs"]).out,
        "The pools of this host have no VFs.\n"
    );
    assert_eq!(run(&socket, &["holds"]).out, "This host has set no VF aside.\n");
    assert_eq!(run(&socket, &["holds", "--json"]).out, "{\"holds\":[]}\n");
    assert_eq!(run(&socket, &["vfs", "--json"]).out, "{\"vfs\":[]}\n");
}

#[test]
fn a_peers_words_cannot_command_the_terminal() {
    let (_dir, socket) = place();
    let mut script = everything();
    script.hosts[1].name = "be\x1b[2Jta".into();
    script.hosts[1].version = "\x1b]0;pwned\x07".into();
    script.hosts[1].problem = "no\u{9b}2J\r\nError: x".into();
    script.pools = vec![Answer::Yes(vec![Pool {
        name: "bl\x1b[2Jue".into(),
        pfs: vec!["\x1b]0;pwned\x07".into()],
        ..Pool::default()
    }])];
    script.vfs[1].by = "\x1b[31m".into();
    script.holds[0].quarantined = "\x1b[2J".into();
    let _daemon = Daemon::start(&socket, script);
    for command in ["hosts", "pools", "vfs", "holds"] {
        for json in [&[][..], &["--json"]] {
            let run = run(&socket, &[&[command], json].concat());
            assert!(
                !run.out.contains(|c: char| c.is_control() && c != '\n'),
                "{run:?}"
            );
        }
    }
}
