//! Faults on purpose: each strikes where it says and as often as it says, over restarts too.

use std::time::Duration;

use godwit_api::v1::{Acceleration, Moved};
use godwit_coordinator::faults::{Fault, Faults, Kind, Moment};
use godwit_migration::{Cause, Course, Event, Phase, State};

use crate::{
    facts,
    host::{Host, run},
};

/// A daemon that is to die there dies once, and the next one ends the migration. What was written when it died, and
/// how often the phase was then worked on in all.
fn dies_once(phase: Phase, moment: Moment) -> (Option<State>, usize) {
    let host = Host::source();
    host.fault(Kind::Die(phase, moment), 1);
    let id = host.live(async |alpha| {
        if matches!(moment, Moment::During(_)) {
            alpha.world.hold(phase);
        }
        let asked = {
            let alpha = alpha.clone();
            tokio::spawn(async move { alpha.migrate("web-1", "beta").await })
        };
        host.died(1).await;
        asked.abort();
        alpha.peek().migrations().pop().unwrap()
    });
    let written = host.peek().value(&id).map(|value| value.state());
    host.world.free(phase);
    let end = host.live(async |alpha| alpha.ended(&id).await);
    assert_eq!(
        (end.moved(), host.deaths()),
        (Moved::Yes, 1),
        "{phase} {moment:?}"
    );
    let again = host.live(async |alpha| {
        let again = alpha.migrate("web-1", "beta").await.unwrap();
        alpha.ended(&again.id).await
    });
    assert_eq!(
        (again.moved(), host.deaths()),
        (Moved::Yes, 1),
        "{phase} {moment:?}"
    );
    (written, host.world.tried(phase) - 1)
}

#[test]
fn death_before_the_work_of_a_phase_that_is_durable() {
    for phase in [Phase::Reserve, Phase::FailOver, Phase::Transfer, Phase::Release] {
        let (written, worked) = dies_once(phase, Moment::Before);
        assert_eq!(written, Some(State::Work(Course::Leave, phase)));
        assert_eq!(worked, 1, "{phase}: only by the second daemon");
    }
}

#[test]
fn death_in_the_work_of_a_phase() {
    for phase in [Phase::Unplug, Phase::Transfer] {
        let (written, worked) = dies_once(phase, Moment::During(Duration::from_millis(5)));
        assert_eq!(written, Some(State::Work(Course::Leave, phase)));
        assert_eq!(worked, 2, "{phase}: begun by both");
    }
}

#[test]
fn death_after_the_work_and_before_its_outcome_is_durable() {
    for phase in [Phase::FailOver, Phase::Transfer, Phase::Follow] {
        let (written, worked) = dies_once(phase, Moment::After);
        assert_eq!(written, Some(State::Work(Course::Leave, phase)));
        assert_eq!(worked, 2, "{phase}: done by both");
    }
}

#[test]
fn work_that_is_over_in_time_is_not_died_in() {
    let host = Host::source();
    host.fault(
        Kind::Die(Phase::Unplug, Moment::During(Duration::from_secs(20))),
        1,
    );
    let end = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.ended(&id).await
    });
    assert_eq!((end.moved(), host.deaths()), (Moved::Yes, 0));
    assert!(
        !host.directory().join("faults.json").exists(),
        "nothing was counted"
    );
}

#[test]
fn deaths_are_counted_as_long_as_the_fault_is_configured() {
    let host = Host::source();
    host.fault(Kind::Die(Phase::FailOver, Moment::Before), 2);
    let id = host.live(async |alpha| {
        let asked = {
            let alpha = alpha.clone();
            tokio::spawn(async move { alpha.migrate("web-1", "beta").await })
        };
        host.died(1).await;
        asked.abort();
        alpha.peek().migrations().pop().unwrap()
    });
    host.live(async |_alpha| host.died(2).await);
    host.live(async |alpha| assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes));
    assert_eq!(host.deaths(), 2);

    let counts = host.directory().join("faults.json");
    assert_eq!(
        std::fs::read_to_string(&counts).unwrap(),
        "{\"death before fail-over\":2}"
    );
    host.without_faults();
    host.live(async |_alpha| assert!(!counts.exists(), "a configuration without faults forgets them"));
}

#[test]
fn a_silent_unplug_asks_no_guest() {
    let host = Host::source();
    host.fault(Kind::Silent, 2);
    let end = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let rest = alpha.settled(&id).await;
        assert_eq!(rest.phase(), godwit_api::v1::Phase::Unplug);
        assert_eq!(rest.failure.unwrap().reason, "FAULT");
        assert_eq!(alpha.world.tried(Phase::Unplug), 0);
        alpha.ended(&id).await
    });
    assert_eq!(
        (end.moved(), end.acceleration()),
        (Moved::No, Acceleration::Accelerated),
        "the third attempt is a real one"
    );
    assert_eq!(host.world.tried(Phase::Unplug), 1);
}

/// Nothing was asked of the guest, so nothing is waited for: it is an honest failure, and undone.
#[test]
fn a_refused_unplug_asks_no_guest_and_is_undone() {
    let host = Host::source();
    host.fault(Kind::Refused, 1);
    host.live(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let end = alpha.settled(&id).await;
        assert!(end.ended);
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Accelerated)
        );
        let failure = end.failure.unwrap();
        assert_eq!(failure.message, "a fault on purpose: a refused unplug");
        assert_eq!(alpha.world.tried(Phase::Unplug), 0);
        let again = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(alpha.ended(&again).await.moved(), Moved::Yes);
    });
}

/// An attempt that may have asked, by this process or one before, is no longer to be refused.
#[test]
fn an_unplug_that_may_have_been_asked_for_is_not_refused() {
    let host = Host::source();
    host.fault(Kind::Refused, 1);
    host.fault(Kind::Silent, 1);
    host.fault(Kind::Die(Phase::Unplug, Moment::Before), 1);
    host.live(async |alpha| {
        let asked = {
            let alpha = alpha.clone();
            tokio::spawn(async move { alpha.migrate("web-1", "beta").await })
        };
        host.died(1).await;
        asked.abort();
    });
    let id = host.peek().migrations().pop().unwrap();
    let end = host.live_fast(async |alpha| {
        let rest = alpha.settled(&id).await;
        assert_eq!(rest.phase(), godwit_api::v1::Phase::Unplug);
        alpha.ended(&id).await
    });
    assert_eq!(end.moved(), Moved::No);
    let counts = std::fs::read_to_string(host.directory().join("faults.json")).unwrap();
    assert!(!counts.contains("refused"), "{counts}");
}

#[test]
fn a_plug_fails_so_often_and_then_goes_well() {
    let host = Host::source();
    host.fault(Kind::Fail(Phase::Plug), 3);
    host.world.once(Phase::Unplug, Event::Failed(Cause::default()));
    let end = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let rest = alpha.settled(&id).await;
        assert_eq!(rest.acceleration(), Acceleration::Standby);
        assert_eq!(rest.because, "a fault on purpose: plug fails");
        assert_eq!(alpha.world.tried(Phase::Plug), 0);
        alpha.ended(&id).await
    });
    assert_eq!(end.acceleration(), Acceleration::Accelerated);
    assert_eq!(
        host.world.tried(Phase::Plug),
        1,
        "the fourth attempt is a real one"
    );
}

#[test]
fn a_pause_is_before_the_work_and_once() {
    let host = Host::source();
    host.fault(Kind::Pause(Phase::Transfer, Duration::from_secs(40)), 1);
    let took = host.live_fast(async |alpha| {
        let mut took = Vec::new();
        for _ in 0..2 {
            let begun = tokio::time::Instant::now();
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
            took.push(begun.elapsed() >= Duration::from_secs(40));
        }
        took
    });
    assert_eq!(took, [true, false]);
}

#[test]
fn the_last_vf_is_taken_from_one_hold() {
    let host = Host::destination();
    host.fault(Kind::NoVf, 1);
    host.live(async |beta| {
        let no = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "NO_FREE_VF");
        assert_eq!(beta.peek().holds(), [""; 0]);
        assert_eq!(
            beta.reserve("alpha", facts::reserve(2, 1)).await.unwrap(),
            ["0000:01:10.4"]
        );
    });
}

#[test]
fn questions_without_an_answer_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let fault = || Fault {
        kind: Kind::NoAgent,
        times: 2,
    };
    let open = || Faults::open(directory.path(), vec![fault()], || {}).unwrap();
    assert!(open().no_agent());
    let second = open();
    assert_eq!([second.no_agent(), second.no_agent()], [true, false]);
    assert!(!Faults::none().no_agent());
}

#[test]
fn a_fault_that_cannot_be_counted_does_not_strike() {
    let host = Host::source();
    host.fault(Kind::Die(Phase::Unplug, Moment::Before), 1);
    let end = run(false, async || {
        let alpha = host.start().await;
        // Not even root can write a file where a directory is.
        std::fs::create_dir(host.directory().join("faults.json.next")).unwrap();
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.ended(&id).await
    });
    assert_eq!((end.moved(), host.deaths()), (Moved::Yes, 0));
}

#[test]
fn a_damaged_count_and_impossible_faults_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let counts = directory.path().join("faults.json");
    std::fs::write(&counts, "{").unwrap();
    let faults = vec![Fault {
        kind: Kind::Silent,
        times: 1,
    }];
    let error = Faults::open(directory.path(), faults, || {}).err().unwrap();
    assert!(error.to_string().starts_with(counts.to_str().unwrap()), "{error}");

    let check = |kind, times| Fault { kind, times }.check();
    assert_eq!(check(Kind::Fail(Phase::Plug), 1), Ok(()));
    let wrong = [
        (Kind::Silent, 0),
        (Kind::Fail(Phase::Unplug), 1),
        (Kind::Fail(Phase::Await), 1),
    ];
    for (kind, times) in wrong {
        assert!(check(kind, times).is_err(), "{kind}");
    }
}
