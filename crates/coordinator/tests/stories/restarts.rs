//! The daemon is killed, wherever it is, and started again: it goes on and ends right.

use godwit_api::v1::{Acceleration, Moved};
use godwit_migration::{Course, Event, Phase, Sighting, State, Verdict};

use crate::{
    facts,
    host::Host,
    world::{cause, failed},
};

/// Kills the daemon when the phase is at work, and says what the next one made of it.
fn killed_at(host: &Host, phase: Phase) -> godwit_api::v1::Migration {
    host.world.hold(phase);
    let id = host.live(async |alpha| alpha.reach(phase).await);
    let before = host.world.works().len();
    host.world.free(phase);
    let end = host.live_fast(async |alpha| alpha.ended(&id).await);
    let after = host.world.knobs().works[before].clone();
    assert_eq!((after.state.phase(), after.taken_up), (Some(phase), true));
    assert!(
        host.world.knobs().works[before + 1..]
            .iter()
            .all(|worked| !worked.taken_up)
    );
    assert_eq!(host.peek().holds(), [""; 0]);
    end
}

#[test]
fn killed_in_any_phase_of_the_way_out() {
    use Phase::{FailOver, Follow, Locate, Queue, Release, Reserve, Transfer, Unplug};
    for phase in [
        Reserve, Queue, FailOver, Unplug, Transfer, Locate, Release, Follow,
    ] {
        let host = Host::source();
        let end = killed_at(&host, phase);
        assert_eq!((end.moved(), end.ended), (Moved::Yes, true), "{phase}");
        let timeline: Vec<_> = end.timeline.iter().map(|span| span.phase()).collect();
        assert_eq!(timeline.len(), 8, "{phase}: {timeline:?}");
    }
}

/// The guest may have been asked for its VF, and the next daemon cannot even look: nothing is undone on that.
#[test]
fn killed_in_an_unplug_that_then_fails_it_waits_for_the_vf_to_leave() {
    let host = Host::source();
    host.world.hold(Phase::Unplug);
    let id = host.live(async |alpha| alpha.reach(Phase::Unplug).await);
    host.world.breaks(Phase::Unplug, failed("LIBVIRT"));
    host.live_fast(async |alpha| {
        let rests = alpha.settled(&id).await;
        assert_eq!(
            (rests.moved(), rests.acceleration()),
            (Moved::No, Acceleration::Standby)
        );
        assert_eq!(rests.failure.unwrap().reason, "LIBVIRT");
        assert_eq!(alpha.world.tried(Phase::Plug), 0, "the way back was begun");
        alpha.world.heals(Phase::Unplug);
        alpha.world.free(Phase::Unplug);
        assert_eq!(alpha.ended(&id).await.acceleration(), Acceleration::Accelerated);
    });
}

#[test]
fn killed_in_any_phase_of_the_way_back() {
    for phase in [Phase::Plug, Phase::FailBack, Phase::Unreserve] {
        let host = Host::source();
        host.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
        let end = killed_at(&host, phase);
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Accelerated),
            "{phase}"
        );
        assert_eq!(end.failure.unwrap().reason, "UNPLUG_REFUSED");
    }
}

#[test]
fn killed_while_it_settles_an_unclear_transfer() {
    for (phase, verdict) in [
        (Phase::Resume, Verdict::PausedHere),
        (Phase::Suspend, Verdict::OnBoth),
    ] {
        let host = Host::source();
        host.world.once(Phase::Locate, facts::located(verdict));
        let end = killed_at(&host, phase);
        let moved = if phase == Phase::Resume {
            Moved::No
        } else {
            Moved::Yes
        };
        assert_eq!(end.moved(), moved, "{phase}");
    }
}

#[test]
fn killed_while_it_tidies_up_after_a_guest_that_left() {
    for phase in [Phase::Release, Phase::Unreserve] {
        let host = Host::source();
        host.world.once(Phase::FailOver, Event::Left(cause("GUEST_LEFT")));
        assert_eq!(killed_at(&host, phase).moved(), Moved::Gone, "{phase}");
    }
}

#[test]
fn killed_in_any_phase_of_an_arrival() {
    for phase in [Phase::Await, Phase::Plug, Phase::FailBack] {
        let host = Host::destination();
        host.world.hold(phase);
        host.live(async |beta| {
            beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
            beta.world.sees(facts::WEB, Sighting::Running);
            beta.world.attempts(phase, 1).await;
        });
        host.world.free(phase);
        let end = host.live(async |beta| beta.settled(&facts::migration(1)).await);
        assert_eq!(end.acceleration(), Acceleration::Accelerated, "{phase}");
        assert_eq!(host.peek().holds(), [""; 0]);
    }
}

#[test]
fn killed_again_and_again_it_still_arrives() {
    let host = Host::source();
    use Phase::{FailOver, Follow, Locate, Queue, Release, Reserve, Transfer, Unplug};
    let all = [
        Reserve, Queue, FailOver, Unplug, Transfer, Locate, Release, Follow,
    ];
    for phase in all {
        host.world.hold(phase);
    }
    let id = host.live(async |alpha| alpha.reach(Reserve).await);
    for phase in all {
        host.live(async |alpha| {
            alpha.world.attempts(phase, 1).await;
            alpha.world.free(phase);
        });
    }
    let end = host.live(async |alpha| alpha.ended(&id).await);
    assert_eq!(end.moved(), Moved::Yes);
    assert_eq!(host.peek().entries(&id).len(), all.len());
}

#[test]
fn killed_in_a_transfer_that_was_cancelled_it_knows_that_it_was() {
    let host = Host::source();
    host.world.hold(Phase::Transfer);
    let id = host.live(async |alpha| {
        let id = alpha.reach(Phase::Transfer).await;
        assert!(alpha.cancel(&id).await.unwrap().cancelled);
        id
    });
    host.world.once(Phase::Transfer, failed("TRANSFER"));
    host.world.once(Phase::Locate, facts::located(Verdict::Here));
    let end = host.live(async |alpha| alpha.settled(&id).await);
    assert!(
        host.world
            .works()
            .contains(&State::Work(Course::Turn, Phase::Transfer))
    );
    assert_eq!((end.moved(), end.cancelled, end.ended), (Moved::No, true, true));
}

#[test]
fn killed_at_rest_it_tries_again() {
    let host = Host::source();
    host.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
    host.world.breaks(Phase::Plug, failed("NO_VF"));
    let id = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert!(!alpha.settled(&id).await.ended);
        id
    });
    host.world.heals(Phase::Plug);
    let end = host.live_fast(async |alpha| alpha.ended(&id).await);
    assert_eq!(
        (end.moved(), end.acceleration()),
        (Moved::No, Acceleration::Accelerated)
    );
}

#[test]
fn what_has_ended_is_not_taken_up_and_can_still_be_read() {
    let host = Host::source();
    let id = host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        id
    });
    let works = host.world.works().len();
    host.live(async |alpha| {
        let view = alpha.get(&id).await.unwrap();
        assert_eq!((view.moved(), view.ended), (Moved::Yes, true));
        assert_eq!(alpha.views(&id).await, [view]);
        alpha.migrate("web-1", "gamma").await.unwrap();
    });
    assert_eq!(
        host.world.works()[works],
        State::Work(Course::Leave, Phase::Reserve)
    );
}
