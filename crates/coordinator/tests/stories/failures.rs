//! A phase fails: the guest is put back where it was, or waits on its standby, and says why.

use std::time::Duration;

use godwit_api::v1::{Acceleration, Moved};
use godwit_migration::{Event, Phase, Verdict};
use tokio::time::Instant;

use crate::{
    facts,
    host::Host,
    world::{cause, failed},
};

/// What the source goes through when the phase fails once, up to its end.
fn fails_once(phase: Phase, locate: Option<Verdict>) -> (godwit_api::v1::Migration, Vec<Phase>) {
    let host = Host::source();
    host.world.once(phase, failed("WORLD"));
    if let Some(verdict) = locate {
        host.world.once(Phase::Locate, facts::located(verdict));
    }
    let end = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.ended(&id).await
    });
    assert_eq!(host.peek().holds().len(), host.peek().quarantined().len());
    (end, host.world.phases())
}

#[test]
fn what_failed_on_the_way_out_is_undone() {
    use Phase::{FailBack, FailOver, Locate, Plug, Queue, Reserve, Transfer, Unplug, Unreserve};
    let cases: [(Phase, Option<Verdict>, &[Phase]); 3] = [
        (FailOver, None, &[Reserve, Queue, FailOver, FailBack, Unreserve]),
        (
            Unplug,
            None,
            &[Reserve, Queue, FailOver, Unplug, Plug, FailBack, Unreserve],
        ),
        (
            Transfer,
            Some(Verdict::Here),
            &[
                Reserve, Queue, FailOver, Unplug, Transfer, Locate, Plug, FailBack, Unreserve,
            ],
        ),
    ];
    for (phase, verdict, went) in cases {
        let (end, phases) = fails_once(phase, verdict);
        assert_eq!(phases, went);
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Accelerated),
            "{phase}"
        );
        assert_eq!(end.failure.unwrap().reason, "WORLD");
        assert_eq!(end.timeline.iter().filter(|span| span.failed).count(), 1);
    }
}

#[test]
fn a_transfer_that_libvirt_calls_failed_has_moved_if_the_guest_is_there() {
    let (end, phases) = fails_once(Phase::Transfer, Some(Verdict::There));
    assert_eq!(end.moved(), Moved::Yes);
    assert_eq!(phases.last(), Some(&Phase::Follow));
    assert_eq!(end.failure, None, "moved and accelerated: no failure any more");
}

#[test]
fn once_the_guest_is_there_nothing_is_undone() {
    for phase in [Phase::Release, Phase::Follow] {
        let (end, phases) = fails_once(phase, None);
        assert_eq!((end.moved(), end.ended), (Moved::Yes, true), "{phase}");
        assert_eq!(phases.last(), Some(&Phase::Follow));
    }
}

#[test]
fn a_vf_that_could_not_be_cleaned_is_kept_from_everybody() {
    let host = Host::source();
    host.world.once(Phase::Release, failed("VF_RESET"));
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        assert_eq!(alpha.peek().quarantined(), ["vf_reset went wrong"]);
        alpha.world.sees(facts::WEB, godwit_migration::Sighting::Absent);
        let no = alpha.reserve("beta", facts::reserve(1, 1)).await.unwrap_err();
        assert_eq!(
            no.failure.message,
            "host alpha has no free VF in pool `fabric` (0 of 1 free)"
        );
        // Not by the back door either: a guest that somebody gave it does not move with it.
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (tonic::Code::FailedPrecondition, "VF_HELD")
        );
        assert_eq!(no.failure.hint, format!("godwit status {id}"));
    });
}

#[test]
fn a_guest_that_shuts_down_on_the_way_is_tidied_up_after() {
    for phase in [Phase::Reserve, Phase::FailOver, Phase::Unplug] {
        let host = Host::source();
        host.world.once(phase, Event::Left(cause("GUEST_LEFT")));
        host.live(async |alpha| {
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            let end = alpha.settled(&id).await;
            assert_eq!(
                (end.moved(), end.ended, end.needs_person),
                (Moved::Gone, true, true),
                "{phase}"
            );
            assert_eq!(end.failure.unwrap().reason, "GUEST_LEFT");
        });
        assert_eq!(
            host.world.phases().split_off(host.world.phases().len() - 2),
            [Phase::Release, Phase::Unreserve]
        );
        assert_eq!(host.peek().holds(), [""; 0]);
    }
}

#[test]
fn a_guest_that_leaves_during_the_transfer_is_looked_for() {
    let host = Host::source();
    host.world.once(Phase::Transfer, Event::Left(cause("GUEST_LEFT")));
    host.world.once(Phase::Locate, facts::located(Verdict::Gone));
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(alpha.settled(&id).await.moved(), Moved::Gone);
        assert_eq!(
            alpha.world.tried(Phase::Transfer),
            1,
            "it is over, whatever it was"
        );
    });
}

#[test]
fn work_that_never_ends_has_failed() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha.world.hold(Phase::FailOver);
        let begun = Instant::now();
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let end = alpha.ended(&id).await;
        let took = begun.elapsed().as_secs();
        assert!((45..60).contains(&took), "{took} s");
        let failure = end.failure.clone().unwrap();
        assert_eq!(failure.reason, "DEADLINE");
        assert_eq!(failure.message, "fail-over did not end within 30 s");
        assert_eq!(failure.hint, "godwit migrate web-1 beta");
        assert_eq!(end.moved(), Moved::No);
    });
}

#[test]
fn a_transfer_and_a_wait_have_no_clock_but_the_worlds() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        tokio::time::sleep(Duration::from_secs(90_000)).await;
        assert!(!alpha.get(&id).await.unwrap().settled);
        assert_eq!(alpha.world.tried(Phase::Transfer), 1);
        alpha.world.free(Phase::Transfer);
        assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
    });
}

#[test]
fn an_outcome_that_makes_no_sense_is_not_written_down_and_cancel_is_still_heard() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.once(Phase::FailOver, Event::Closed);
        let id = alpha.reach(Phase::FailOver).await;
        alpha.world.hold(Phase::FailOver);
        // It waits before it tries again; a command does not wait with it.
        let view = alpha.cancel(&id).await.unwrap();
        assert!(view.cancelled);
        assert_eq!(alpha.world.tried(Phase::FailOver), 1);
        alpha.world.free(Phase::FailOver);
        assert_eq!(alpha.settled(&id).await.moved(), Moved::No);
    });
}
