//! What a guest needs where it goes; the queue of transfers; and what a person may say of a guest that is not located.

use godwit_api::v1::{
    self as api, Acceleration, Moved, Phase as Wire, Policy, guest_service_server::GuestService,
};
use godwit_coordinator::{GuestDesk, Limits};
use godwit_migration::{Phase, Sighting, Verdict, VfUse};
use tonic::Request;

use crate::{
    facts,
    host::{Desk, Host, No, Two, no},
    world::failed,
};

/// Two hosts, of which the destination has no free VF.
fn full() -> Two {
    let two = Two::new();
    let taken = |n| facts::vf(n, VfUse::Guest("other".into()));
    two.beta.world.set(|knobs| knobs.vfs = vec![taken(4)]);
    two
}

#[test]
fn a_guest_that_requires_a_vf_stays_where_none_is_held() {
    let two = full();
    two.live(async |alpha, _| {
        for policy in [Policy::Unspecified, Policy::Require] {
            assert_eq!(
                alpha.migrate_by(policy).await.unwrap_err().failure.reason,
                "NO_FREE_VF"
            );
        }
    });
}

#[test]
fn a_guest_that_prefers_one_moves_and_is_accelerated_when_one_is_free() {
    let two = full();
    two.live(async |alpha, beta| {
        let id = alpha.migrate_by(Policy::Prefer).await.unwrap().id;
        let end = alpha.settled(&id).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::Yes, Acceleration::Standby)
        );
        let rest = beta.settled(&id).await;
        assert_eq!((rest.phase(), rest.moved()), (Wire::Hold, Moved::Yes));
        assert!(rest.because.contains("no free VF"), "{}", rest.because);

        beta.world.set(|knobs| knobs.vfs[0].usage = VfUse::Free);
        beta.coordinator.look_after_guests().await;
        let end = beta.ended(&id).await;
        assert_eq!(end.acceleration(), Acceleration::Accelerated);
        assert_eq!(end.pairs[0].destination_vf, "0000:01:10.4");
    });
    assert_eq!(two.beta.peek().holds(), [""; 0]);
}

#[test]
fn a_guest_that_wants_none_moves_and_takes_none() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        let id = alpha.migrate_by(Policy::StandbyOnly).await.unwrap().id;
        let end = alpha.settled(&id).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::Yes, Acceleration::Standby)
        );
        let end = beta.ended(&id).await;
        assert_eq!(
            (end.acceleration(), end.because.as_str()),
            (Acceleration::Standby, "its policy is standby-only")
        );
        assert_eq!(beta.world.tried(Phase::Plug), 0);
    });
    assert_eq!(two.beta.peek().holds(), [""; 0]);
}

async fn adopt(alpha: &Desk, policy: Policy) -> Result<api::Guest, No> {
    let desk = GuestDesk(alpha.coordinator.clone());
    let asked = api::AdoptGuestRequest {
        guest: "web-1".into(),
        policy: policy.into(),
    };
    let answer = desk.adopt_guest(Request::new(asked)).await.map_err(no)?;
    Ok(answer.into_inner().guest.unwrap())
}

/// An ordinary guest: no VF, no standby, no agent.
#[test]
fn a_guest_without_a_pair_is_moved_as_it_is_if_it_wants_no_vf() {
    let two = Two::new();
    two.alpha.world.set(|knobs| {
        let guest = &mut knobs.guests[0];
        guest.managed = false;
        guest.pairs.clear();
        guest.agent = Err("its domain has no channel".into());
    });
    two.live(async |alpha, beta| {
        for policy in [Policy::Unspecified, Policy::Require, Policy::Prefer] {
            let no = adopt(&alpha, policy).await.unwrap_err();
            assert_eq!(no.failure.reason, "GUEST_WITHOUT_VF", "{policy:?}");
        }
        let adopted = adopt(&alpha, Policy::StandbyOnly).await.unwrap();
        assert!(adopted.managed && adopted.problem.is_empty(), "{adopted:?}");
        for no in [alpha.standby("web-1").await, alpha.accelerate("web-1").await] {
            assert_eq!(no.unwrap_err().failure.reason, "GUEST_WITHOUT_VF");
        }
        // It has none, and is given none.
        assert!(alpha.migrate_by(Policy::Require).await.is_err());
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let end = alpha.settled(&id).await;
        assert_eq!(
            (end.moved(), end.acceleration(), end.pairs.len()),
            (Moved::Yes, Acceleration::Standby, 0)
        );
        let end = beta.ended(&id).await;
        assert_eq!(
            (end.acceleration(), end.because.as_str()),
            (Acceleration::Standby, "its policy is standby-only")
        );
        assert_eq!(beta.world.tried(Phase::Plug), 0);
    });
    assert_eq!(two.beta.peek().holds(), [""; 0]);
}

#[test]
fn the_policy_is_the_guests_own_unless_the_request_has_one() {
    let two = full();
    two.alpha
        .world
        .set(|knobs| knobs.guests[0].policy = godwit_migration::Policy::Prefer);
    two.live(async |alpha, _| {
        assert_eq!(
            alpha
                .migrate_by(Policy::Require)
                .await
                .unwrap_err()
                .failure
                .reason,
            "NO_FREE_VF"
        );
        let begun = alpha.migrate_by(Policy::Unspecified).await.unwrap();
        assert_eq!(begun.policy(), Policy::Prefer);
        alpha.settled(&begun.id).await;
    });
}

/// Three guests, one transfer at a time.
fn crowd() -> Host {
    let mut host = Host::source();
    host.limits = Limits {
        outgoing: 1,
        incoming: 1,
    };
    host.world.set(|knobs| {
        knobs.guests = (1..=3).map(facts::guest).collect();
        knobs.vfs = (1..=3)
            .map(|n| facts::vf(n, VfUse::Guest(format!("web-{n}"))))
            .collect();
    });
    host
}

#[test]
fn transfers_wait_for_each_other_with_their_vfs_and_in_their_order() {
    crowd().live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let first = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.world.attempts(Phase::Transfer, 1).await;
        let second = alpha.migrate("web-2", "beta").await.unwrap().id;
        alpha.view(&second, |view| view.queue_place == 1).await;
        let third = alpha.migrate("web-3", "beta").await.unwrap().id;
        let waits = alpha.view(&third, |view| view.queue_place == 2).await;
        assert_eq!(
            (waits.phase(), waits.acceleration()),
            (Wire::Queue, Acceleration::Accelerated)
        );
        assert_eq!(
            alpha.world.tried(Phase::FailOver),
            1,
            "no VF is given up by who waits"
        );

        // Who gives up leaves at once, and the others move up.
        assert!(alpha.cancel(&second).await.unwrap().cancelled);
        let end = alpha.settled(&second).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Accelerated)
        );
        alpha.view(&third, |view| view.queue_place == 1).await;

        alpha.world.free(Phase::Transfer);
        for id in [&first, &third] {
            assert_eq!(alpha.settled(id).await.moved(), Moved::Yes);
        }
    });
}

#[test]
fn after_a_restart_the_transfer_that_runs_has_its_place_and_the_others_wait() {
    let host = crowd();
    host.world.hold(Phase::Transfer);
    let (first, second) = host.live(async |alpha| {
        let first = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.world.attempts(Phase::Transfer, 1).await;
        let second = alpha.migrate("web-2", "beta").await.unwrap().id;
        alpha.view(&second, |view| view.queue_place == 1).await;
        (first, second)
    });
    host.live(async |alpha| {
        alpha.view(&second, |view| view.queue_place == 1).await;
        assert_eq!(alpha.world.tried(Phase::FailOver), 1);
        alpha.world.free(Phase::Transfer);
        for id in [&first, &second] {
            assert_eq!(alpha.settled(id).await.moved(), Moved::Yes);
        }
    });
}

#[test]
fn a_destination_lets_in_as_many_as_it_may() {
    let mut host = Host::destination();
    host.limits.incoming = 1;
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.reserve("gamma", facts::reserve(2, 2)).await.unwrap();
        let (one, two) = (facts::migration(1), facts::migration(2));
        assert_eq!(beta.admit("alpha", &one).await.unwrap(), 0);
        assert_eq!(beta.admit("gamma", &two).await.unwrap(), 1);
        assert_eq!(
            beta.admit("alpha", &one).await.unwrap(),
            0,
            "it is not taken back"
        );
        assert_eq!(
            beta.admit("gamma", &one).await.unwrap_err().failure.reason,
            "NOT_ALLOWED"
        );
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
        beta.settled(&one).await;
        assert_eq!(beta.admit("gamma", &two).await.unwrap(), 0);
        let no = beta.admit("alpha", &one).await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_REFUSED", "{}", no.failure.message);
    });
}

#[test]
fn a_person_says_where_the_guest_runs() {
    let cases = [
        ("alpha", Sighting::Running, false, Ok(Moved::No)),
        ("alpha", Sighting::Paused, false, Ok(Moved::No)),
        ("alpha", Sighting::Absent, true, Err("AGAINST_EVIDENCE")),
        // A half, which post-copy left: nobody's word makes a whole of it.
        ("alpha", Sighting::Split, true, Err("AGAINST_EVIDENCE")),
        ("beta", Sighting::Split, false, Ok(Moved::Yes)),
        ("beta", Sighting::Absent, false, Ok(Moved::Yes)),
        ("beta", Sighting::Running, false, Err("AGAINST_EVIDENCE")),
        ("gamma", Sighting::Running, false, Err("INVALID")),
    ];
    for (runs_on, here, force, wanted) in cases {
        let host = Host::source();
        host.world.breaks(Phase::Locate, facts::located(Verdict::Unknown));
        host.live(async |alpha| {
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            let rest = alpha.settled(&id).await;
            assert!(rest.needs_person && rest.moved() == Moved::Unknown);
            let failure = rest.failure.unwrap();
            assert_eq!(failure.reason, "GUEST_NOT_LOCATED");
            let command = format!("godwit resolve {id} --runs-on HOST");
            assert!(failure.hint.ends_with(&command), "{}", failure.hint);
            alpha.world.sees(facts::WEB, here);
            match (alpha.resolve(&id, runs_on, force).await, wanted) {
                (Ok(_), Ok(moved)) => {
                    let end = alpha.ended(&id).await;
                    assert_eq!(end.moved(), moved, "{runs_on} {here:?}");
                    let said = format!("a person said that it runs on {runs_on}");
                    assert!(
                        end.timeline.iter().any(|span| span.detail.starts_with(&said)),
                        "it is recorded"
                    );
                }
                (Err(no), Err(reason)) => assert_eq!(no.failure.reason, reason),
                (got, wanted) => panic!("{runs_on} {here:?}: {got:?}, not {wanted:?}"),
            }
        });
    }
}

#[test]
fn against_the_evidence_only_by_force_and_then_the_copy_here_is_suspended_first() {
    let host = Host::source();
    host.world.breaks(Phase::Locate, facts::located(Verdict::Unknown));
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        alpha.world.sees(facts::WEB, Sighting::Running);
        alpha.resolve(&id, "beta", true).await.unwrap();
        alpha.world.attempts(Phase::Suspend, 1).await;
        alpha.world.sees(facts::WEB, Sighting::Paused);
        alpha.view(&id, |view| view.settled).await;
        alpha.resolve(&id, "beta", false).await.unwrap();
        assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
        let no = alpha.resolve(&id, "beta", false).await.unwrap_err();
        assert_eq!(no.failure.reason, "NOTHING_TO_RESOLVE");
    });
}

/// It said that the guest stayed, and the destination, once it can be asked, says that it runs there.
#[test]
fn a_person_who_was_wrong_is_found_out_and_the_copy_here_is_suspended() {
    let host = Host::source();
    host.world.breaks(Phase::Locate, facts::located(Verdict::Unknown));
    host.world.breaks(Phase::Unreserve, failed("HOST_UNREACHABLE"));
    let own = host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        let own = alpha.peek().holds();
        assert_eq!(own.len(), 1);
        alpha.world.sees(facts::WEB, Sighting::Running);
        alpha.resolve(&id, "alpha", false).await.unwrap();
        alpha.world.attempts(Phase::Unreserve, 2).await;
        assert_eq!(alpha.peek().holds(), [""; 0], "the guest has its VF again");
        alpha.world.heals(Phase::Locate);
        alpha.world.hold(Phase::Suspend);
        alpha.world.breaks(Phase::Release, failed("RELEASE"));
        alpha
            .world
            .breaks(Phase::Unreserve, facts::located(Verdict::OnBoth));
        alpha.world.attempts(Phase::Suspend, 1).await;
        assert_eq!(alpha.peek().holds(), own, "the copy that is paused has it");
        alpha.world.free(Phase::Suspend);
        let end = alpha.ended(&id).await;
        assert_eq!(end.moved(), Moved::Yes);
        let phases = alpha.world.phases();
        let last = &phases[phases.len() - 4..];
        assert_eq!(
            last,
            [Phase::Suspend, Phase::Locate, Phase::Release, Phase::Follow]
        );
        own
    });
    host.live(async |alpha| assert_eq!(alpha.peek().quarantined().len(), own.len()));
}

/// A debt does not touch a guest that another operation is at work on.
#[test]
fn a_contradiction_waits_while_the_guest_is_moved_again() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha.world.breaks(Phase::Reserve, failed("HOST_UNREACHABLE"));
        alpha.world.breaks(Phase::Unreserve, failed("HOST_UNREACHABLE"));
        alpha.migrate("web-1", "beta").await.unwrap_err();
        let debt = alpha.peek().migrations().pop().unwrap();
        alpha.world.heals(Phase::Reserve);
        alpha.world.hold(Phase::Transfer);
        let other = alpha.migrate("web-1", "gamma").await.unwrap().id;
        alpha.world.attempts(Phase::Transfer, 1).await;
        alpha
            .world
            .breaks(Phase::Unreserve, facts::located(Verdict::OnBoth));
        let tried = alpha.world.tried(Phase::Unreserve);
        alpha.world.attempts(Phase::Unreserve, tried + 3).await;
        assert_eq!(alpha.world.tried(Phase::Suspend), 0);
        let told = alpha.get(&debt).await.unwrap();
        assert!(
            told.settled && !told.ended && told.failure.unwrap().reason == "HOST_HAS_GUEST",
            "it is told"
        );
        alpha.world.heals(Phase::Unreserve);
        alpha.world.free(Phase::Transfer);
        assert_eq!(alpha.settled(&other).await.moved(), Moved::Yes);
        assert_eq!(alpha.ended(&debt).await.moved(), Moved::No);
    });
}
