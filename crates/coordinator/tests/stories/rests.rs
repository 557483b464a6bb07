//! Resting: the guest is safe, the phase is tried again ever more rarely, and goes on when the world heals.

use std::time::Duration;

use godwit_api::v1::{Acceleration, Moved};
use godwit_migration::{Course, Event, Phase, Sighting, State, Verdict};
use tokio::time::Instant;

use crate::{
    facts,
    host::{Desk, Host},
    world::{cause, failed},
};

/// The pauses before each attempt at rest.
fn pauses(alpha: &Desk, rest: State) -> Vec<Duration> {
    let knobs = alpha.world.knobs();
    let at: Vec<Instant> = knobs
        .works
        .iter()
        .filter(|worked| worked.state == rest)
        .map(|worked| worked.at)
        .collect();
    at.windows(2).map(|two| two[1] - two[0]).collect()
}

/// Half of each of these at least, and never more than the longest.
fn grow(pauses: &[Duration]) {
    assert!(pauses[0] < Duration::from_secs(3), "{pauses:?}");
    assert!(
        pauses.iter().all(|pause| *pause <= Duration::from_secs(300)),
        "{pauses:?}"
    );
    let late = &pauses[pauses.len() - 4..];
    assert!(
        late.iter().all(|pause| *pause >= Duration::from_secs(100)),
        "{pauses:?}"
    );
}

#[test]
fn an_undo_that_fails_rests_on_standby_until_the_world_heals() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
        alpha.world.breaks(Phase::Plug, failed("VF_GONE"));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let view = alpha.settled(&id).await;
        assert_eq!(
            (view.moved(), view.acceleration()),
            (Moved::No, Acceleration::Standby)
        );
        assert!(!view.ended && !view.needs_person && view.standby_since.is_some());
        assert_eq!(view.because, "vf_gone went wrong");

        let written = alpha.peek().entries(&id).len();
        alpha.world.attempts(Phase::Plug, 30).await;
        assert_eq!(
            alpha.peek().entries(&id).len(),
            written,
            "nothing new, nothing written"
        );
        // Why it fails now is told, and again not written.
        alpha.world.breaks(Phase::Plug, failed("STRAY_VF"));
        alpha.world.attempts(Phase::Plug, 32).await;
        let view = alpha.settled(&id).await;
        let reason = view.failure.map(|failure| failure.reason);
        assert_eq!(
            (view.because.as_str(), reason.as_deref()),
            ("stray_vf went wrong", Some("STRAY_VF"))
        );
        assert_eq!(alpha.peek().entries(&id).len(), written);
        grow(&pauses(&alpha, State::Rest(Course::Return, Phase::Plug)));
        // The destination's hold was given back all the same; this host's own stays for the way back.
        assert_eq!(alpha.world.tried(Phase::Unreserve), 1);
        assert_eq!(alpha.peek().holds(), ["0000:01:10.1"]);

        alpha.world.heals(Phase::Plug);
        let end = alpha.ended(&id).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Accelerated)
        );
        assert_eq!(alpha.peek().holds(), [""; 0]);
    });
}

/// A PF that is switched on again is not waited for until the pause is over.
#[test]
fn what_rests_for_the_hardware_is_tried_when_that_changes() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
        alpha.world.breaks(Phase::Plug, failed("PF_DOWN"));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.world.attempts(Phase::Plug, 20).await;
        alpha.world.heals(Phase::Plug);
        let changed = Instant::now();
        alpha.coordinator.hardware_changed().await;
        let end = alpha.ended(&id).await;
        assert_eq!(end.acceleration(), Acceleration::Accelerated);
        let (waited, pauses) = (
            changed.elapsed(),
            pauses(&alpha, State::Rest(Course::Return, Phase::Plug)),
        );
        // The one that it was woken from is not among them, and would not have been shorter.
        let last = pauses[pauses.len() - 2];
        assert!(waited < last / 2, "{waited:?} of {last:?}");
    });
}

/// Its VF has to have its MAC before the guest's driver reads it.
#[test]
fn a_guest_that_is_reset_is_tried_at_once() {
    let host = Host::destination();
    host.live_fast(async |beta| {
        beta.world.breaks(Phase::FailBack, failed("FAIL_BACK"));
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        beta.world.attempts(Phase::FailBack, 20).await;
        let tried = beta.world.tried(Phase::Plug);
        let reset = Instant::now();
        beta.coordinator.devices_begin_anew();
        beta.world.attempts(Phase::Plug, tried + 1).await;
        assert!(reset.elapsed() < Duration::from_secs(1), "{:?}", reset.elapsed());
    });
}

#[test]
fn a_fail_back_that_fails_for_ever_is_tried_ever_more_rarely() {
    let host = Host::destination();
    host.live_fast(async |beta| {
        beta.world.breaks(Phase::FailBack, failed("AGENT"));
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        let view = beta.settled(&facts::migration(1)).await;
        assert_eq!(
            (view.moved(), view.acceleration()),
            (Moved::Yes, Acceleration::Standby)
        );
        beta.world.attempts(Phase::FailBack, 25).await;
        grow(&pauses(&beta, State::Rest(Course::Arrive, Phase::Plug)));
        beta.world.heals(Phase::FailBack);
        let end = beta.ended(&facts::migration(1)).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::Yes, Acceleration::Accelerated)
        );
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

#[test]
fn an_unplug_without_an_answer_waits_for_the_vf_to_leave() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha
            .world
            .breaks(Phase::Unplug, Event::Silent(cause("UNPLUG_PENDING")));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let view = alpha.settled(&id).await;
        assert!(view.needs_person && !view.ended);
        assert_eq!(
            (view.moved(), view.acceleration()),
            (Moved::No, Acceleration::Standby)
        );
        assert_eq!(view.failure.unwrap().reason, "UNPLUG_PENDING");
        let written = alpha.peek().entries(&id).len();
        alpha.world.attempts(Phase::Unplug, 5).await;
        assert_eq!(alpha.peek().entries(&id).len(), written);

        // Long after, the VF leaves: it is plugged back.
        alpha.world.heals(Phase::Unplug);
        let end = alpha.ended(&id).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Accelerated)
        );
        let phases = alpha.world.phases();
        assert_eq!(
            phases[phases.len() - 3..],
            [Phase::Plug, Phase::FailBack, Phase::Unreserve]
        );
        assert!(
            !phases.contains(&Phase::Transfer),
            "no transfer with an unplug pending"
        );
    });
}

#[test]
fn a_guest_that_is_nowhere_to_be_seen_waits_for_evidence() {
    for (verdict, moved) in [
        (Verdict::There, Moved::Yes),
        (Verdict::Here, Moved::No),
        (Verdict::PausedHere, Moved::No),
        (Verdict::Gone, Moved::Gone),
    ] {
        let host = Host::source();
        host.live_fast(async |alpha| {
            alpha
                .world
                .breaks(Phase::Locate, facts::located(Verdict::Unknown));
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            let view = alpha.settled(&id).await;
            assert_eq!((view.moved(), view.ended), (Moved::Unknown, false));
            assert!(view.needs_person);
            let written = alpha.peek().entries(&id).len();
            alpha.world.attempts(Phase::Locate, 4).await;
            alpha.world.breaks(Phase::Locate, failed("LIBVIRT"));
            alpha.world.attempts(Phase::Locate, 8).await;
            assert_eq!(alpha.peek().entries(&id).len(), written);
            let touched = [Phase::Plug, Phase::Resume, Phase::Suspend, Phase::Release];
            assert!(
                !alpha.world.phases().iter().any(|phase| touched.contains(phase)),
                "unknown is not touched"
            );

            alpha.world.breaks(Phase::Locate, facts::located(verdict));
            assert_eq!(alpha.ended(&id).await.moved(), moved, "{verdict:?}");
        });
    }
}

#[test]
fn a_resume_that_fails_again_and_again_is_no_hot_loop() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha
            .world
            .breaks(Phase::Locate, facts::located(Verdict::PausedHere));
        alpha.world.breaks(Phase::Resume, failed("LIBVIRT"));
        alpha.migrate("web-1", "beta").await.unwrap();
        alpha.world.attempts(Phase::Resume, 25).await;
        grow(&pauses(&alpha, State::Rest(Course::Leave, Phase::Locate)));
    });
}

#[test]
fn a_debt_to_a_host_that_is_down_waits_for_nobody() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha.world.breaks(Phase::Reserve, failed("HOST_UNREACHABLE"));
        alpha.world.breaks(Phase::Unreserve, failed("HOST_UNREACHABLE"));
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        let reason = (no.code, no.failure.reason.as_str());
        assert_eq!(reason, (tonic::Code::Unavailable, "HOST_UNREACHABLE"));
        let debt = alpha.peek().migrations().pop().unwrap();
        let view = alpha.get(&debt).await.unwrap();
        assert_eq!(
            (view.moved(), view.acceleration()),
            (Moved::No, Acceleration::Accelerated)
        );
        assert!(view.settled && !view.ended && !view.needs_person);

        // To that host no second debt is made ...
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_BUSY");
        // ... and to any other the guest may go.
        alpha.world.heals(Phase::Reserve);
        let other = alpha.migrate("web-1", "gamma").await.unwrap().id;
        assert_eq!(alpha.settled(&other).await.moved(), Moved::Yes);

        alpha.world.heals(Phase::Unreserve);
        assert_eq!(alpha.ended(&debt).await.moved(), Moved::No);
    });
}

/// Its old VF may have its MAC still, and the switch give that its frames.
#[test]
fn a_guest_that_comes_home_early_is_let_in_when_its_old_vf_is_clean() {
    let host = Host::source();
    host.world.hold(Phase::Release);
    host.world.hold(Phase::Follow);
    host.live(async |alpha| {
        alpha.reach(Phase::Release).await;
        alpha.world.sees(facts::WEB, Sighting::Absent);
        let early = alpha.reserve("beta", facts::reserve(2, 1)).await.unwrap_err();
        assert_eq!(early.failure.reason, "GUEST_BUSY");
        assert_eq!(alpha.peek().holds(), ["0000:01:10.1"], "still its old host's");
        alpha.world.free(Phase::Release);
        alpha.world.attempts(Phase::Follow, 1).await;
        // That this host has not heard yet how it fared there is in nobody's way.
        let home = alpha.reserve("beta", facts::reserve(2, 1)).await.unwrap();
        assert_eq!(home, ["0000:01:10.1"]);
    });
}
