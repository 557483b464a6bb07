//! `godwit plan`.

use godwit_api::v1::{
    Finding, Keep, NicPlan, NotChecked, PairPlan, PlanMigrationResponse, Policy, Severity, StepEstimate,
    Versions, VfCandidate,
};

use crate::fake::{Answer, Daemon, Script};
use crate::story::{place, run};

fn candidate(vf: &str, fits: bool, reasons: &[&str]) -> VfCandidate {
    VfCandidate {
        vf: vf.into(),
        pf: "pf0".into(),
        free: Some(fits),
        fits,
        reasons: reasons.iter().map(|reason| (*reason).into()).collect(),
    }
}

fn script(change: impl FnOnce(&mut PlanMigrationResponse)) -> Script {
    let mut answer = PlanMigrationResponse {
        guest: "web-1".into(),
        source: "alpha".into(),
        destination: "beta".into(),
        policy: Policy::Require.into(),
        moves: true,
        pairs: vec![PairPlan {
            mac: "52:54:00:00:00:01".into(),
            pool: "blue".into(),
            vf: "0000:01:10.2".into(),
            candidates: vec![
                candidate(
                    "0000:01:10.2",
                    true,
                    &[
                        "on NUMA node 1, with the guest's memory",
                        "2 of 3 VFs of pf0 are free",
                    ],
                ),
                candidate("0000:01:10.4", true, &["pf0 has no link"]),
                candidate("0000:01:10.0", false, &["guest `db-1` has it"]),
            ],
        }],
        ..PlanMigrationResponse::default()
    };
    change(&mut answer);
    Script {
        plan: vec![Answer::Yes(answer)],
        ..Script::default()
    }
}

#[test]
fn as_text_and_as_json() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, script(|_| {}));
    let text = run(&socket, &["plan", "web-1", "beta"]);
    assert_eq!((text.code, text.err.as_str()), (0, ""));
    insta::assert_snapshot!(text.out, @r#"
    web-1 would move from alpha to beta (policy require)

    pair 52:54:00:00:00:01, pool blue
          VF            PF   BECAUSE
    gets  0000:01:10.2  pf0  on NUMA node 1, with the guest's memory, 2 of 3 VFs of pf0 are free
    fits  0000:01:10.4  pf0  pf0 has no link
    no    0000:01:10.0  pf0  guest `db-1` has it
    "#);
    let json = run(
        &socket,
        &["plan", "web-1", "beta", "--policy", "prefer", "--json"],
    );
    assert_eq!((json.code, json.err.as_str(), json.json().len()), (0, "", 1));
    insta::assert_snapshot!(json.out, @r#"
    {"guest":"web-1","source":"alpha","destination":"beta","policy":"require","moves":true,"pairs":[{"mac":"52:54:00:00:00:01","pool":"blue","vf":"0000:01:10.2","candidates":[{"vf":"0000:01:10.2","pf":"pf0","free":true,"fits":true,"reasons":["on NUMA node 1, with the guest's memory","2 of 3 VFs of pf0 are free"]},{"vf":"0000:01:10.4","pf":"pf0","free":true,"fits":true,"reasons":["pf0 has no link"]},{"vf":"0000:01:10.0","pf":"pf0","free":false,"fits":false,"reasons":["guest `db-1` has it"]}]}],"keep":{"mode":null,"nics":[]},"networks":[],"findings":[],"not_checked":[],"estimate":[],"versions":{"source":null,"destination":null}}
    "#);
    assert_eq!(
        daemon.asked(),
        ["plan web-1 beta", "plan web-1 beta POLICY_PREFER"]
    );
}

/// One line where both hosts have the same; nothing where one of them does not say.
#[test]
fn what_runs_the_guest_on_both_hosts_is_told() {
    let (_dir, socket) = place();
    let versions = |qemu: &str| {
        Some(Versions {
            libvirt: "11.3.0".into(),
            qemu: qemu.into(),
        })
    };
    let told = |there: Option<Versions>, json: bool| {
        let change = |plan: &mut PlanMigrationResponse| {
            (plan.source_versions, plan.destination_versions) = (versions("10.0.2"), there);
        };
        let _daemon = Daemon::start(&socket, script(change));
        let words: &[&str] = match json {
            true => &["plan", "web-1", "beta", "--json"],
            false => &["plan", "web-1", "beta"],
        };
        run(&socket, words).out
    };
    let lines = |there| {
        told(there, false)
            .lines()
            .skip(1)
            .take_while(|line| !line.is_empty())
            .count()
    };
    assert!(told(versions("10.0.2"), false).contains("\nboth hosts have libvirt 11.3.0, QEMU 10.0.2\n"));
    let differ = "\nalpha has libvirt 11.3.0, QEMU 10.0.2\nbeta has libvirt 11.3.0, QEMU 9.2.0\n";
    assert!(told(versions("9.2.0"), false).contains(differ));
    assert_eq!(lines(None), 0);
    let json = told(versions("9.2.0"), true);
    let both = r#""versions":{"source":{"libvirt":"11.3.0","qemu":"10.0.2"},"destination":{"libvirt":"11.3.0","qemu":"9.2.0"}}"#;
    assert!(json.contains(both), "{json}");
}

#[test]
fn without_a_vf_it_moves_by_its_policy_or_not() {
    let (_dir, socket) = place();
    let without = |moves: bool, policy: Policy| {
        let _daemon = Daemon::start(
            &socket,
            script(|plan| {
                (plan.moves, plan.policy) = (moves, policy.into());
                plan.pairs[0].vf.clear();
                plan.pairs[0].candidates.retain(|candidate| !candidate.fits);
            }),
        );
        run(&socket, &["plan", "web-1", "beta"])
    };
    let prefers = without(true, Policy::Prefer);
    assert_eq!(prefers.code, 3);
    insta::assert_snapshot!(prefers.out, @r#"
    web-1 would move from alpha to beta without a VF (policy prefer)

    pair 52:54:00:00:00:01, pool blue
        VF            PF   BECAUSE
    no  0000:01:10.0  pf0  guest `db-1` has it
    "#);
    let requires = without(false, Policy::Require);
    assert_eq!(requires.code, 1);
    let first = requires.out.lines().next();
    assert_eq!(
        first,
        Some("web-1 would not move from alpha to beta: no VF would do (policy require)")
    );
}

#[test]
fn a_host_without_the_pool() {
    let (_dir, socket) = place();
    let bare = script(|plan| {
        plan.moves = false;
        plan.pairs[0].vf.clear();
        plan.pairs[0].candidates.clear();
    });
    let _daemon = Daemon::start(&socket, bare);
    let text = run(&socket, &["plan", "web-1", "beta"]);
    assert_eq!(text.code, 1);
    assert!(
        text.out
            .ends_with("pair 52:54:00:00:00:01, pool blue\nno VF in a pool named blue\n"),
        "{}",
        text.out
    );
}

fn found(severity: Severity, reason: &str, what: &str, fix: &str) -> Finding {
    Finding {
        severity: severity.into(),
        reason: reason.into(),
        about: "beta".into(),
        what: what.into(),
        why: "it would be refused there".into(),
        fix: fix.into(),
    }
}

/// All that stands in the way at once, what is not known, and how long it may take.
fn troubled(plan: &mut PlanMigrationResponse) {
    let part = |step: &str, least_ms, most_ms, because: &str| StepEstimate {
        step: step.into(),
        least_ms,
        most_ms,
        because: because.into(),
    };
    plan.moves = false;
    plan.findings = vec![
        found(
            Severity::Error,
            "CPU_UNFIT",
            "the CPU of beta cannot do what that of guest `web-1` does",
            "give web-1 another CPU",
        ),
        found(
            Severity::Error,
            "NETWORK_MISSING",
            "beta has no bridge `br0`",
            "make one",
        ),
        found(
            Severity::Warning,
            "LOCKS_DIFFER",
            "libvirt has lockd where guest `web-1` is",
            "set the same",
        ),
    ];
    plan.not_checked = vec![NotChecked {
        check: "memory of beta".into(),
        why: "no answer within 5 s".into(),
    }];
    plan.estimate = vec![
        part("unplug", 70, Some(600), "ACPI asks"),
        part("transfer", 12_300, None, "the guest writes faster"),
        part("plug", 1_300, Some(150_000), "pinning"),
    ];
}

#[test]
fn all_that_stands_in_the_way_is_told_at_once_with_what_to_do() {
    let (_dir, socket) = place();
    let _daemon = Daemon::start(&socket, script(troubled));
    let text = run(&socket, &["plan", "web-1", "beta"]);
    assert_eq!((text.code, text.err.as_str()), (1, ""));
    insta::assert_snapshot!(text.out, @r#"
    web-1 would not move from alpha to beta: 2 errors stand in its way (policy require)

             REASON           FOUND                                                      WHAT TO DO
    error    CPU_UNFIT        the CPU of beta cannot do what that of guest `web-1` does  give web-1 another CPU
    error    NETWORK_MISSING  beta has no bridge `br0`                                   make one
    warning  LOCKS_DIFFER     libvirt has lockd where guest `web-1` is                   set the same

    not known: memory of beta: no answer within 5 s

    About how long, by figures of others and not exact:
    PART      TAKES                               BECAUSE
    unplug    70 ms to 600 ms                     ACPI asks
    transfer  12 s or longer: no end is foreseen  the guest writes faster
    plug      1.3 s to 2 min                      pinning

    pair 52:54:00:00:00:01, pool blue
          VF            PF   BECAUSE
    gets  0000:01:10.2  pf0  on NUMA node 1, with the guest's memory, 2 of 3 VFs of pf0 are free
    fits  0000:01:10.4  pf0  pf0 has no link
    no    0000:01:10.0  pf0  guest `db-1` has it
    "#);
    let json = run(&socket, &["plan", "web-1", "beta", "--json"]).json();
    let plan = &json[0];
    assert_eq!(plan["moves"], false);
    assert_eq!(
        (&plan["findings"][0]["reason"], &plan["findings"][0]["severity"]),
        (&"CPU_UNFIT".into(), &"error".into())
    );
    assert_eq!(plan["not_checked"][0]["check"], "memory of beta");
    assert_eq!(plan["estimate"][1]["most_ms"], serde_json::Value::Null);
}

#[test]
fn what_the_transfer_is_to_be_like_is_asked_for_in_a_plan_too() {
    let (_dir, socket) = place();
    let daemon = Daemon::start(&socket, script(|_| {}));
    run(
        &socket,
        &[
            "plan",
            "web-1",
            "beta",
            "--bandwidth",
            "2GiB/s",
            "--parallel",
            "4",
        ],
    );
    assert_eq!(daemon.asked(), ["plan web-1 beta at 2048 MiB/s by 4"]);
}

#[test]
fn what_arrives_in_the_pause_is_told_of_each_nic() {
    let (_dir, socket) = place();
    let nic = |last: u8, not_kept: &str| NicPlan {
        mac: format!("52:54:00:00:00:{last:02}"),
        standby: last == 1,
        not_kept: not_kept.into(),
        ..NicPlan::default()
    };
    let lost = |last: u8, bytes: Option<(u64, u64)>, because: &str| NicPlan {
        loss_least_bytes: bytes.map(|(least, _)| least),
        loss_most_bytes: bytes.map(|(_, most)| most),
        loss_because: because.into(),
        ..nic(last, "it is a macvtap")
    };
    let planned = || {
        script(|plan| {
            plan.keep = Keep::On.into();
            plan.nics = vec![
                nic(1, ""),
                lost(2, Some((700, 3 << 20)), "12 KiB/s arrive now"),
                lost(3, None, "how much is not known: nobody counts it"),
            ];
            plan.pairs.clear();
        })
    };
    let daemon = Daemon::start(&socket, planned());
    let text = run(&socket, &["plan", "web-1", "beta", "--keep", "on"]);
    insta::assert_snapshot!(text.out, @r#"
    web-1 would move from alpha to beta without a VF (policy require)

    What arrives in the pause:
          NIC                LOSS            BECAUSE
    kept  52:54:00:00:00:01  0               it goes where the guest runs next
    lost  52:54:00:00:00:02  700 B to 3 MiB  it is a macvtap; 12 KiB/s arrive now
    lost  52:54:00:00:00:03  not known       it is a macvtap; how much is not known: nobody counts it
    "#);
    let json = run(&socket, &["plan", "web-1", "beta", "--json"]);
    let nics = r#""keep":{"mode":"on","nics":[{"mac":"52:54:00:00:00:01","standby":true,"not_kept":null,"loss_least_bytes":null,"loss_most_bytes":null,"loss_because":null},{"mac":"52:54:00:00:00:02","standby":false,"not_kept":"it is a macvtap","loss_least_bytes":700,"loss_most_bytes":3145728,"loss_because":"12 KiB/s arrive now"}"#;
    assert!(json.out.contains(nics), "{}", json.out);
    assert_eq!(daemon.asked(), ["plan web-1 beta KEEP_ON", "plan web-1 beta"]);
}

#[test]
fn who_proved_the_network_of_each_nic_is_told() {
    let (_dir, socket) = place();
    let proved = |last: u8, by: &[&str]| NicPlan {
        mac: format!("52:54:00:00:00:{last:02}"),
        standby: true,
        proved: by.iter().map(|by| (*by).into()).collect(),
        ..NicPlan::default()
    };
    let gateway = "10.77.0.1 (52:54:00:77:00:01) answers through bridge `br0` on beta";
    let _daemon = Daemon::start(
        &socket,
        script(|plan| {
            plan.nics = vec![
                proved(1, &[gateway, "fd00::1 (52:54:00:77:00:02) answers"]),
                proved(2, &[]),
            ];
            plan.pairs.clear();
        }),
    );
    let text = run(&socket, &["plan", "web-1", "beta"]);
    insta::assert_snapshot!(text.out, @r#"
    web-1 would move from alpha to beta without a VF (policy require)

    What arrives in the pause:
          NIC                LOSS  BECAUSE
    kept  52:54:00:00:00:01  0     it goes where the guest runs next
    kept  52:54:00:00:00:02  0     it goes where the guest runs next

    The same network, proved:
    NIC                BY
    52:54:00:00:00:01  10.77.0.1 (52:54:00:77:00:01) answers through bridge `br0` on beta
    52:54:00:00:00:01  fd00::1 (52:54:00:77:00:02) answers
    "#);
    let json = &run(&socket, &["plan", "web-1", "beta", "--json"]).json()[0];
    assert_eq!(json["networks"][0]["proved"][0], gateway);
    assert_eq!(json["networks"][1]["proved"], serde_json::json!([]));
}

#[test]
fn a_dry_run_of_a_move_is_its_plan_and_begins_nothing() {
    let (_dir, socket) = place();
    let options = [
        "web-1",
        "beta",
        "--policy",
        "prefer",
        "--keep",
        "on",
        "--bandwidth",
        "2GiB/s",
        "--parallel",
        "4",
        "--ignore",
        "CPU_UNFIT",
    ];
    // What is only about a move that is begun may stand there too.
    let more = [
        "--dry-run",
        "--wait",
        "--timeout",
        "5m",
        "--probes",
        "10",
        "--request-id",
        "x",
    ];
    let without = |plan: &mut PlanMigrationResponse| plan.pairs[0].vf.clear();
    let alike: [(Script, u8); 3] = [(script(|_| {}), 0), (script(without), 3), (script(troubled), 1)];
    for (script, code) in alike {
        let daemon = Daemon::start(&socket, script);
        for json in [&[][..], &["--json"]] {
            let plan = run(&socket, &[&["plan"], &options[..], json].concat());
            let dry = run(&socket, &[&["migrate"], &options[..], &more, json].concat());
            assert_eq!((plan.code, dry.code), (i32::from(code), i32::from(code)));
            assert_eq!((plan.out, plan.err), (dry.out, dry.err));
        }
        let asked = "plan web-1 beta POLICY_PREFER KEEP_ON at 2048 MiB/s by 4 ignore CPU_UNFIT";
        assert_eq!(daemon.asked(), [asked; 4]);
    }
}
