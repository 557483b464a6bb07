//! `godwit hosts`, `vfs` and `holds`.

use godwit_api::v1::{Hold, Host, Vf, VfUsage};

use crate::fake::{Daemon, Script};
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
    };
    let hold = Hold {
        vf: "0000:01:10.2".into(),
        migration: ID.into(),
        guest: "web-1".into(),
        source: "beta".into(),
        quarantined: String::new(),
        since: time(0),
    };
    Script {
        hosts: vec![alpha, beta],
        vfs: vec![
            vf("0000:01:10.0", VfUsage::Free, ""),
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
    for command in ["hosts", "vfs", "holds"] {
        let run = run(&socket, &[command]);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{command}");
        told.push_str(&format!("$ godwit {command}\n{}\n", run.out));
    }
    insta::assert_snapshot!(told, @"
    $ godwit hosts
    HOST   STATE        VERSION  FREE VFS  MIGRATIONS  PROBLEM
    alpha  this host    0.1.0    5 of 7    1
    beta   unreachable  -        -         -           beta did not answer within 3 s

    $ godwit vfs
    VF            POOL  PF        USE
    0000:01:10.0  blue  enp1s0f0  free
    0000:01:10.2  blue  enp1s0f0  held by migration 0198c0de

    $ godwit holds
    VF            GUEST  FROM  MIGRATION  SINCE                 QUARANTINED
    0000:01:10.2  web-1  beta  0198c0de   2026-01-02 03:04:05Z
    ");
    assert_eq!(daemon.asked(), ["hosts", "vfs", "holds"]);
}

#[test]
fn as_json() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, everything());
    let mut told = String::new();
    for command in ["hosts", "vfs", "holds"] {
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
    {"vfs":[{"address":"0000:01:10.0","pool":"blue","pf":"enp1s0f0","usage":"free","by":""},{"address":"0000:01:10.2","pool":"blue","pf":"enp1s0f0","usage":"held","by":"0198c0de-1111-7222-8333-444455556666"}]}
    {"holds":[{"vf":"0000:01:10.2","migration":"0198c0de-1111-7222-8333-444455556666","guest":"web-1","source":"beta","quarantined":"","since":"2026-01-02T03:04:05.067Z"}]}
    "#);
}

#[test]
fn nothing_there() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, Script::default());
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
    script.vfs[1].by = "\x1b[31m".into();
    script.holds[0].quarantined = "\x1b[2J".into();
    let _daemon = Daemon::start(&socket, script);
    for command in ["hosts", "vfs", "holds"] {
        for json in [&[][..], &["--json"]] {
            let run = run(&socket, &[&[command], json].concat());
            assert!(
                !run.out.contains(|c: char| c.is_control() && c != '\n'),
                "{run:?}"
            );
        }
    }
}
