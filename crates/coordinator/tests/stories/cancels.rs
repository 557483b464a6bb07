//! Cancel: taken up to the transfer, refused from then on.

use godwit_api::v1::{Acceleration, Moved};
use godwit_migration::{Course, Event, Phase, Sighting, State, Verdict};
use tonic::Code;

use crate::{
    facts,
    host::Host,
    world::{Call, cause, failed},
};

#[test]
fn taken_in_every_phase_before_the_transfer_and_undone() {
    use Phase::{FailBack, FailOver, Plug, Queue, Reserve, Unplug, Unreserve};
    let cases: [(Phase, &[Phase]); 3] = [
        (Reserve, &[Reserve, Unreserve]),
        (FailOver, &[Reserve, Queue, FailOver, FailBack, Unreserve]),
        (
            Unplug,
            &[Reserve, Queue, FailOver, Unplug, Plug, FailBack, Unreserve],
        ),
    ];
    for (phase, went) in cases {
        let host = Host::source();
        host.live(async |alpha| {
            alpha.world.hold(phase);
            let id = alpha.reach(phase).await;
            let view = alpha.cancel(&id).await.unwrap();
            assert!(view.cancelled && !view.settled);
            assert_eq!(
                alpha.world.phases().last(),
                Some(&phase),
                "the phase at work is not torn apart"
            );
            assert_eq!(alpha.world.tried(phase), 1);
            // Asked twice it is refused, and does no harm.
            assert_eq!(
                alpha.cancel(&id).await.unwrap_err().failure.reason,
                "TOO_LATE_TO_CANCEL"
            );
            alpha.world.free(phase);
            let end = alpha.settled(&id).await;
            assert_eq!(
                (end.moved(), end.acceleration()),
                (Moved::No, Acceleration::Accelerated),
                "{phase}"
            );
            assert!(end.ended && end.cancelled && end.failure.is_none());
        });
        assert_eq!(host.world.phases(), went);
        assert!(host.world.knobs().aborts.is_empty());
        assert_eq!(host.peek().holds(), [""; 0]);
    }
}

#[test]
fn in_the_transfer_it_aborts_and_waits_for_the_transfers_end() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        assert!(alpha.cancel(&id).await.unwrap().cancelled);
        alpha.world.until(|world| world.knobs().aborts.len() == 1).await;
        assert_eq!(alpha.world.knobs().aborts, [id.as_str()]);
        assert_eq!(alpha.world.tried(Phase::Transfer), 1, "not begun anew");
        assert!(!alpha.get(&id).await.unwrap().settled);

        alpha.world.once(Phase::Locate, facts::located(Verdict::Here));
        alpha.world.once(Phase::Transfer, failed("ABORTED"));
        assert_eq!(alpha.settled(&id).await.moved(), Moved::No);
    });
}

#[test]
fn an_abort_that_hangs_stops_nothing() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        alpha.world.hold_call(Call::Abort);
        let id = alpha.reach(Phase::Transfer).await;
        assert!(alpha.cancel(&id).await.unwrap().cancelled);
        alpha.world.until(|world| world.knobs().aborts.len() == 1).await;
        alpha.world.once(Phase::Locate, facts::located(Verdict::Here));
        alpha.world.free(Phase::Transfer);
        assert_eq!(alpha.settled(&id).await.moved(), Moved::No);
    });
}

#[test]
fn a_transfer_that_was_too_fast_to_abort_has_moved_the_guest() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        alpha.cancel(&id).await.unwrap();
        alpha.world.free(Phase::Transfer);
        let end = alpha.settled(&id).await;
        assert_eq!((end.moved(), end.cancelled), (Moved::Yes, true));
    });
}

#[test]
fn a_cancel_that_comes_with_the_transfers_end_is_too_late() {
    let host = Host::source();
    host.live(async |alpha| {
        for round in 1..=8 {
            alpha.world.hold(Phase::Transfer);
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            alpha.world.attempts(Phase::Transfer, round).await;
            // Both at once: what has happened comes before what is asked for.
            alpha.world.free(Phase::Transfer);
            assert_eq!(
                alpha.cancel(&id).await.unwrap_err().failure.reason,
                "TOO_LATE_TO_CANCEL"
            );
            assert!(!alpha.settled(&id).await.cancelled);
        }
    });
}

/// That cancel is refused while the phase is at work, and changes nothing.
fn too_late(host: &Host, phase: Phase, says: &str) {
    host.world.hold(phase);
    host.live(async |alpha| {
        let id = alpha.reach(phase).await;
        let written = alpha.peek().entries(&id).len();
        let no = alpha.cancel(&id).await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (Code::FailedPrecondition, "TOO_LATE_TO_CANCEL")
        );
        assert_eq!(
            no.failure.message,
            format!("migration {id} cannot be cancelled: it is at {says}")
        );
        assert_eq!(no.failure.hint, format!("godwit show {id}"));
        assert_eq!(alpha.peek().entries(&id).len(), written);
        assert!(!alpha.get(&id).await.unwrap().cancelled);
    });
}

#[test]
fn too_late_after_the_transfer() {
    for (phase, says) in [
        (Phase::Locate, "locate"),
        (Phase::Release, "release"),
        (Phase::Follow, "follow"),
    ] {
        too_late(&Host::source(), phase, says);
    }
    for (phase, verdict) in [
        (Phase::Resume, Verdict::PausedHere),
        (Phase::Suspend, Verdict::OnBoth),
    ] {
        let host = Host::source();
        host.world.breaks(Phase::Locate, facts::located(verdict));
        too_late(&host, phase, phase.name());
    }
}

#[test]
fn too_late_on_the_way_back() {
    for phase in [Phase::Plug, Phase::FailBack, Phase::Unreserve] {
        let host = Host::source();
        host.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
        too_late(&host, phase, phase.name());
    }
}

#[test]
fn too_late_at_rest_and_answered_at_once() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha
            .world
            .breaks(Phase::Unplug, Event::Silent(cause("UNPLUG_PENDING")));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        let no = alpha.cancel(&id).await.unwrap_err();
        assert!(
            no.failure.message.ends_with("it is at unplug"),
            "{}",
            no.failure.message
        );
    });
}

#[test]
fn the_destination_does_not_cancel_what_has_come() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.hold(Phase::Plug);
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        beta.world.attempts(Phase::Plug, 1).await;
        let no = beta.cancel(&facts::migration(1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "TOO_LATE_TO_CANCEL");
        beta.world.free(Phase::Plug);
        assert_eq!(beta.settled(&facts::migration(1)).await.moved(), Moved::Yes);
    });
}

#[test]
fn what_has_ended_or_never_was() {
    let host = Host::source();
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        let no = alpha.cancel(&id).await.unwrap_err();
        assert_eq!(
            no.failure.message,
            format!("migration {id} cannot be cancelled: it is at its end")
        );
        let no = alpha.cancel(&facts::migration(9)).await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (Code::NotFound, "MIGRATION_UNKNOWN")
        );
    });
}

#[test]
fn cancelled_by_many_at_once_one_is_told_that_it_was_taken() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::FailOver);
        let id = alpha.reach(Phase::FailOver).await;
        let asks: Vec<_> = (0..40)
            .map(|_| {
                let (alpha, id) = (alpha.clone(), id.clone());
                tokio::spawn(async move { alpha.cancel(&id).await.is_ok() })
            })
            .collect();
        let mut taken = 0;
        for ask in asks {
            taken += usize::from(ask.await.unwrap());
        }
        assert_eq!(taken, 1);
        alpha.world.free(Phase::FailOver);
        alpha.settled(&id).await;
        assert!(
            alpha
                .world
                .works()
                .contains(&State::Work(Course::Return, Phase::FailBack))
        );
        let cancels = alpha
            .peek()
            .entries(&id)
            .into_iter()
            .filter(|entry| entry.event == Event::CancelAsked);
        assert_eq!(cancels.count(), 1);
    });
}
