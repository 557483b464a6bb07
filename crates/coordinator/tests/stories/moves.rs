//! A guest moves, and nothing goes wrong.

use godwit_api::v1::{Acceleration, Moved, Phase as Wire, Role};
use godwit_migration::{Course, Figures, Phase, Profile, State, profile::Vlan};

use crate::{
    facts,
    host::{Host, Two},
};

#[test]
fn a_guest_moves_and_both_hosts_agree() {
    let two = Two::new();
    let id = two.live(async |alpha, beta| {
        let begun = alpha.migrate("web-1", "beta").await.unwrap();
        assert_eq!(
            (begun.guest.as_str(), begun.guest_uuid.as_str()),
            ("web-1", facts::WEB)
        );
        assert_eq!(begun.pairs[0].source_vf, "0000:01:10.1");
        assert_eq!(begun.pairs[0].destination_vf, "0000:01:10.4");

        let there = alpha.settled(&begun.id).await;
        assert_eq!(
            (there.moved(), there.acceleration()),
            (Moved::Yes, Acceleration::Accelerated)
        );
        assert!(there.ended && there.settled && !there.needs_person && !there.cancelled);
        assert_eq!(there.failure, None);
        let told: Vec<(&str, Wire)> = there
            .timeline
            .iter()
            .map(|span| (span.host.as_str(), span.phase()))
            .collect();
        assert_eq!(
            told,
            [
                ("alpha", Wire::Reserve),
                ("alpha", Wire::Queue),
                ("alpha", Wire::FailOver),
                ("alpha", Wire::Unplug),
                ("alpha", Wire::Transfer),
                ("alpha", Wire::Locate),
                ("alpha", Wire::Release),
                ("alpha", Wire::Follow),
                ("beta", Wire::Await),
                ("beta", Wire::Hold),
                ("beta", Wire::Plug),
                ("beta", Wire::FailBack),
            ]
        );
        assert!(
            there
                .timeline
                .iter()
                .all(|span| span.ended.is_some() && !span.failed)
        );

        let here = beta.get(&begun.id).await.unwrap();
        assert_eq!((here.role(), here.moved()), (Role::Destination, Moved::Yes));
        assert_eq!(here.acceleration(), Acceleration::Accelerated);
        begun.id
    });
    assert_eq!(two.alpha.peek().holds(), [""; 0]);
    assert_eq!(two.beta.peek().holds(), [""; 0]);
    assert_eq!(two.beta.peek().migrations(), [id]);
}

/// Read while the guest has its VF; both hosts' records have it, each for its own plug.
#[test]
fn what_the_vf_is_set_to_goes_along() {
    let two = Two::new();
    let profile = Profile {
        vlan: Vlan::new(100, 3, false).unwrap(),
        spoofchk: false,
        ..Profile::default()
    };
    two.live(async |alpha, beta| {
        alpha
            .world
            .set(|knobs| knobs.guests[0].pairs[0].profile = Some(profile));
        let begun = alpha.migrate("web-1", "beta").await.unwrap();
        assert!(alpha.settled(&begun.id).await.ended);
        for host in [&alpha, &beta] {
            let written = host.peek().value(&begun.id).unwrap();
            assert_eq!(
                written.brief.pairs[0].profile,
                Some(profile),
                "{}",
                host.world.name
            );
        }
    });
}

#[test]
fn every_phase_is_worked_on_once_and_in_order() {
    let host = Host::source();
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
    });
    use Phase::{FailOver, Follow, Locate, Queue, Release, Reserve, Transfer, Unplug};
    let leave = |phase| State::Work(Course::Leave, phase);
    let all = [
        Reserve, Queue, FailOver, Unplug, Transfer, Locate, Release, Follow,
    ];
    assert_eq!(host.world.works(), all.map(leave));
    assert!(host.world.knobs().works.iter().all(|worked| !worked.taken_up));
}

#[test]
fn the_source_frees_its_vf_when_it_is_released_and_not_before() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Release);
        alpha.world.hold(Phase::Follow);
        let id = alpha.reach(Phase::Release).await;
        assert_eq!(alpha.peek().holds(), ["0000:01:10.1"]);
        alpha.world.free(Phase::Release);
        alpha.world.attempts(Phase::Follow, 1).await;
        assert_eq!(alpha.peek().holds(), [""; 0]);
        alpha.world.free(Phase::Follow);
        assert!(alpha.settled(&id).await.ended);
    });
}

#[test]
fn the_destination_frees_its_hold_when_the_guest_is_on_the_vf_and_not_before() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.hold(Phase::FailBack);
        assert_eq!(
            beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap(),
            ["0000:01:10.4"]
        );
        let id = facts::migration(1);
        beta.world.attempts(Phase::Await, 1).await;
        assert_eq!(
            beta.arrival("alpha", &id).await.unwrap().moved(),
            Moved::Undecided
        );

        beta.world.sees(facts::WEB, godwit_migration::Sighting::Running);
        beta.world.attempts(Phase::FailBack, 1).await;
        let view = beta.arrival("alpha", &id).await.unwrap();
        assert_eq!(
            (view.moved(), view.acceleration()),
            (Moved::Yes, Acceleration::Standby)
        );
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);

        beta.world.free(Phase::FailBack);
        let view = beta.settled(&id).await;
        assert_eq!(view.acceleration(), Acceleration::Accelerated);
        assert_eq!(beta.peek().holds(), [""; 0]);
        assert_eq!(beta.world.phases(), [Phase::Await, Phase::Plug, Phase::FailBack]);
    });
}

#[test]
fn a_guest_that_came_and_left_again_leaves_nothing_behind() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.once(
            Phase::FailBack,
            godwit_migration::Event::Left(crate::world::cause("GUEST_LEFT")),
        );
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, godwit_migration::Sighting::Running);
        let view = beta.settled(&facts::migration(1)).await;
        assert_eq!((view.moved(), view.ended), (Moved::Gone, true));
        assert_eq!(beta.world.phases().last(), Some(&Phase::Release));
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

#[test]
fn the_transfers_figures_are_seen_while_it_runs_and_afterwards() {
    let host = Host::source();
    let figures = |processed| Figures {
        memory_total: 1000,
        memory_processed: processed,
        ..Figures::default()
    };
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        assert_eq!(alpha.get(&id).await.unwrap().progress, None);
        for processed in [10, 500] {
            alpha.world.set(|knobs| knobs.figures = Some(figures(processed)));
            let mut views = alpha.watch(&id).await.unwrap();
            loop {
                let view = futures_util::StreamExt::next(&mut views).await.unwrap().unwrap();
                let progress = view.migration.unwrap().progress;
                if progress.is_some_and(|progress| progress.memory_processed_bytes == processed) {
                    break;
                }
            }
        }
        alpha.world.set(|knobs| knobs.figures = Some(figures(1000)));
        alpha.world.free(Phase::Transfer);
        let view = alpha.settled(&id).await;
        assert_eq!(view.progress.unwrap().memory_processed_bytes, 1000);
    });
}

#[test]
fn a_caller_that_hangs_up_does_not_stop_what_it_began() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold_call(crate::world::Call::Guests);
        let caller = {
            let alpha = alpha.clone();
            tokio::spawn(async move { alpha.migrate("web-1", "beta").await })
        };
        alpha.world.until(|world| world.knobs().asked_guests == 1).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        alpha.world.free_call(crate::world::Call::Guests);
        alpha.world.attempts(Phase::Follow, 1).await;
        let id = alpha.peek().migrations().pop().unwrap();
        assert_eq!(alpha.settled(&id).await.moved(), Moved::Yes);
    });
}

#[test]
fn migrations_are_listed_newest_first() {
    let host = Host::source();
    host.world.set(|knobs| knobs.guests.push(facts::guest(2)));
    host.live(async |alpha| {
        let mut ids = Vec::new();
        for guest in ["web-1", "web-2", "web-1"] {
            let id = alpha.migrate(guest, "beta").await.unwrap().id;
            alpha.settled(&id).await;
            ids.insert(0, id);
        }
        let listed = |all: Vec<godwit_api::v1::Migration>| -> Vec<String> {
            all.into_iter().map(|migration| migration.id).collect()
        };
        assert_eq!(listed(alpha.list("", 0).await), ids);
        assert_eq!(listed(alpha.list("", 2).await), ids[..2]);
        assert_eq!(listed(alpha.list("web-2", 0).await), ids[1..2]);
        assert_eq!(
            listed(alpha.list(facts::WEB, 0).await),
            [ids[0].clone(), ids[2].clone()]
        );
        assert_eq!(listed(alpha.list("' OR 1=1 --", 0).await), [""; 0]);
        // Page by page, although one more begins meanwhile.
        let (first, token) = alpha.page(2, "").await.unwrap();
        assert_eq!(listed(first), ids[..2]);
        let newest = alpha.migrate("web-2", "beta").await.unwrap().id;
        alpha.settled(&newest).await;
        let (rest, end) = alpha.page(2, &token).await.unwrap();
        assert_eq!((listed(rest), end.as_str()), (ids[2..].to_vec(), ""));
        let nonsense = alpha.page(2, "' OR 1=1 --").await.unwrap_err();
        assert_eq!(nonsense.failure.reason, "INVALID");
    });
}
