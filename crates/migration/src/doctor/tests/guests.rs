//! Guests and their domains.

use super::{super::*, told};
use crate::{
    Guest, Policy,
    preflight::{GuestFacts, PairFacts, PairSeen, Stray},
};

pub(in crate::doctor) fn web() -> GuestFacts {
    let mac = "52:54:00:aa:00:10".parse().unwrap();
    GuestFacts {
        guest: Guest {
            name: "web-1".into(),
            uuid: "u".into(),
        },
        state: "running".into(),
        running: true,
        managed: true,
        policy: Policy::Require,
        pairs: vec![PairFacts {
            mac: Some(mac),
            primary_mac: Some(mac),
            standby: Some("ua-standby0".into()),
            primary: Some("ua-primary0".into()),
            vf: Some("0000:01:10.0".parse().unwrap()),
            pool: Some("fabric".into()),
            profile: None,
            recorded: None,
            teamed: false,
        }],
        agent: Ok(vec![PairSeen {
            mac,
            on_primary: true,
            has_primary: true,
            failover: false,
            problem: None,
            unmonitored: false,
            vlans: Vec::new(),
        }]),
        agent_version: None,
        strays: Vec::new(),
        nodes: Vec::new(),
    }
}

fn of_guest(change: impl FnOnce(&mut GuestFacts)) -> Vec<String> {
    let mut facts = web();
    change(&mut facts);
    told(&guest(&facts))
}

#[test]
fn a_guest_and_its_pairs() {
    assert!(of_guest(|_| {}).is_empty());
    let off = of_guest(|g| (g.running, g.state, g.agent) = (false, "shut off".into(), Err("off".into())));
    assert!(off[0].starts_with("Warning GUEST_NOT_RUNNING [web-1]"), "{off:?}");
    assert_eq!(off[1], "not checked: the agent of `web-1`: the guest is shut off");
    assert!(of_guest(|g| g.managed = false)[0].starts_with("Warning GUEST_NOT_MANAGED"));
    assert!(of_guest(|g| g.pairs.clear())[0].starts_with("Error GUEST_WITHOUT_VF"));
    assert!(of_guest(|g| g.pairs[0].pool = None)[0].contains("in no pool"));
    assert!(of_guest(|g| g.pairs[0].standby = None)[0].starts_with("Error GUEST_WITHOUT_STANDBY"));
    assert!(
        of_guest(|g| g.agent = Err("no answer in 3 s".into()))[0].starts_with("Error GUEST_WITHOUT_AGENT")
    );
    // Where libvirt ties the pair an agent is better, and none is no error.
    let teamed = of_guest(|g| (g.pairs[0].teamed, g.agent) = (true, Err("it has no channel".into())));
    assert!(
        teamed.len() == 1 && teamed[0].starts_with("Hint GUEST_WITHOUT_AGENT"),
        "{teamed:?}"
    );
    let stray = of_guest(|g| {
        g.strays.push(Stray {
            vf: "0000:01:10.2".parse().unwrap(),
            pid: 77,
            alias: "ua-primary0".into(),
        });
    });
    assert!(stray[0].starts_with("Error STRAY_VF [web-1]"), "{stray:?}");
    assert!(of_guest(|g| g.agent = Ok(vec![]))[0].starts_with("Error GUEST_PAIR_UNKNOWN_TO_AGENT"));
    // All of it at once, and that it is not managed is not the matter.
    let several = of_guest(|g| {
        g.managed = false;
        g.pairs[0].standby = None;
        g.agent = Err("no answer in 3 s".into());
    });
    assert_eq!(several.len(), 2, "{several:?}");
}

#[test]
fn a_bond_that_does_not_notice_a_dead_port_is_told() {
    let told = of_guest(|g| g.agent.as_mut().unwrap()[0].unmonitored = true);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("Warning BOND_UNMONITORED [web-1]"),
        "{told:?}"
    );
    assert!(told[0].contains("miimon 0"), "{told:?}");
}

#[test]
fn a_guest_on_its_standby() {
    let lowered = |g: &mut GuestFacts| g.agent.as_mut().unwrap()[0].on_primary = false;
    assert!(of_guest(lowered)[0].starts_with("Warning GUEST_ON_STANDBY [web-1] 1 of 1 pairs"));
    let without = of_guest(|g| {
        g.pairs[0].vf = None;
        (
            g.agent.as_mut().unwrap()[0].has_primary,
            g.agent.as_mut().unwrap()[0].on_primary,
        ) = (false, false);
    });
    assert_eq!(without.len(), 1, "{without:?}");
    let wanted = of_guest(|g| {
        lowered(g);
        g.policy = Policy::StandbyOnly;
    });
    assert!(wanted.is_empty(), "{wanted:?}");
}

fn whole_domain() -> DomainFacts {
    DomainFacts {
        machine: "pc-q35-10.0".into(),
        slow_unplug: false,
        free_ports: Some(1),
        fixed: Vec::new(),
        memory: Memory {
            size: 4 << 30,
            hard_limit: None,
            populated: false,
        },
        stored: Ok(Some(Vec::new())),
        memlock: Ok(Memlock {
            may_raise: true,
            limit: Some(8 << 20),
        }),
        snapshots: Ok(0),
        passed: Vec::new(),
    }
}

#[test]
fn what_libvirt_would_refuse_a_transfer_for_is_found_before() {
    let snapshots = |count| of_domain(|_, d| d.snapshots = Ok(count)).concat();
    assert_eq!(snapshots(0), "");
    let one = snapshots(1);
    let fix = "virsh snapshot-delete web-1 NAME --metadata";
    assert!(
        one.starts_with("Error GUEST_HAS_SNAPSHOTS [web-1] guest `web-1` has 1 snapshot | ")
            && one.contains(fix),
        "{one}"
    );
    assert!(snapshots(2).contains("guest `web-1` has 2 snapshots | "));
    let unknown = of_domain(|_, d| d.snapshots = Err("no answer within 5 s".into()));
    assert_eq!(
        unknown,
        ["not checked: snapshots of `web-1`: no answer within 5 s"]
    );
    let passed = ["PCI device 0000:03:00.0", "mediated device 1"].map(str::to_owned);
    let found = of_domain(|_, d| d.passed = passed.into()).concat();
    assert!(found.starts_with("Error GUEST_HOST_DEVICE [web-1] "), "{found}");
    assert!(
        found.contains("no VF of its pairs: PCI device 0000:03:00.0, mediated device 1 | virsh edit web-1"),
        "{found}"
    );
}

fn of_domain(change: impl FnOnce(&mut GuestFacts, &mut DomainFacts)) -> Vec<String> {
    let (mut guest, mut facts) = (web(), whole_domain());
    change(&mut guest, &mut facts);
    told(&domain(&guest, &facts))
}

#[test]
fn places_to_plug_into() {
    assert!(of_domain(|_, _| {}).is_empty());
    // The VF that is there leaves its own port free.
    assert!(of_domain(|_, d| d.free_ports = Some(0)).is_empty());
    let full = of_domain(|g, d| (g.pairs[0].vf, d.free_ports) = (None, Some(0)));
    assert!(
        full[0].starts_with("Error GUEST_WITHOUT_PORT [web-1]"),
        "{full:?}"
    );
    assert!(of_domain(|g, _| g.pairs[0].vf = None).is_empty());
    let new = of_domain(|g, d| {
        g.pairs.clear();
        d.free_ports = Some(0);
    });
    assert!(new[0].starts_with("Error GUEST_WITHOUT_PORT"), "{new:?}");
    assert!(of_domain(|g, d| (g.pairs[0].vf, d.free_ports) = (None, None)).is_empty());
    let fixed = of_domain(|_, d| d.fixed = vec!["0000:01:10.0".parse().unwrap()]);
    assert!(fixed[0].starts_with("Error GUEST_VF_FIXED"), "{fixed:?}");
    let button = of_domain(|_, d| (d.machine, d.slow_unplug) = ("pc-q35-5.2".into(), true));
    assert!(
        button[0].starts_with("Warning GUEST_UNPLUG_SLOW") && button[0].contains("pc-q35-5.2"),
        "{button:?}"
    );
}

#[test]
fn memory_of_a_guest() {
    let large = of_domain(|_, d| d.memory.size = 32 << 30);
    assert!(large[0].starts_with("Hint GUEST_PINNED_SLOWLY"), "{large:?}");
    assert!(of_domain(|_, d| (d.memory.size, d.memory.populated) = (32 << 30, true)).is_empty());
    let limit = of_domain(|_, d| d.memory.hard_limit = Some(4 << 30));
    assert!(
        limit[0].starts_with("Error MEMLOCK")
            && limit[0].ends_with("virsh memtune web-1 --hard-limit 5242880"),
        "{limit:?}"
    );
    assert!(of_domain(|_, d| d.memory.hard_limit = Some(5 << 30)).is_empty());
    let bound = |limit| {
        Ok(Memlock {
            may_raise: false,
            limit: Some(limit),
        })
    };
    let low = of_domain(|_, d| d.memlock = bound(4 << 30));
    assert!(
        low[0].starts_with("Error MEMLOCK [web-1]") && low[0].contains("up to 3072 MiB"),
        "{low:?}"
    );
    assert!(of_domain(|_, d| d.memlock = bound(5 << 30)).is_empty());
    let unknown = of_domain(|_, d| d.memlock = Err("no such process".into()));
    assert_eq!(unknown, ["not checked: limit of locked memory: no such process"]);
}

#[test]
fn what_is_stored_of_a_guest() {
    let vf = of_domain(|_, d| d.stored = Ok(Some(vec!["0000:01:10.0".parse().unwrap()])));
    assert!(
        vf[0].starts_with("Warning GUEST_VF_STORED") && vf[0].contains("0000:01:10.0"),
        "{vf:?}"
    );
    assert!(of_domain(|_, d| d.stored = Ok(None)).is_empty());
    let unread = of_domain(|_, d| d.stored = Err("no answer in 5 s".into()));
    assert_eq!(
        unread,
        ["not checked: stored definition of `web-1`: no answer in 5 s"]
    );
}
