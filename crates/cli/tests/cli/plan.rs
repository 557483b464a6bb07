//! `godwit plan`.

use godwit_api::v1::{PairPlan, PlanMigrationResponse, Policy, VfCandidate};

use crate::fake::{Answer, Daemon, Script};
use crate::story::{place, run};

fn candidate(vf: &str, fits: bool, reasons: &[&str]) -> VfCandidate {
    VfCandidate {
        vf: vf.into(),
        pf: "pf0".into(),
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
    {"guest":"web-1","source":"alpha","destination":"beta","policy":"require","moves":true,"pairs":[{"mac":"52:54:00:00:00:01","pool":"blue","vf":"0000:01:10.2","candidates":[{"vf":"0000:01:10.2","pf":"pf0","fits":true,"reasons":["on NUMA node 1, with the guest's memory","2 of 3 VFs of pf0 are free"]},{"vf":"0000:01:10.4","pf":"pf0","fits":true,"reasons":["pf0 has no link"]},{"vf":"0000:01:10.0","pf":"pf0","fits":false,"reasons":["guest `db-1` has it"]}]}]}
    "#);
    assert_eq!(
        daemon.asked(),
        ["plan web-1 beta", "plan web-1 beta POLICY_PREFER"]
    );
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
