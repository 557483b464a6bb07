//! Guests that are awaited and do not come: their source is asked, or a person says so.

use std::time::Duration;

use godwit_api::v1::Moved;
use godwit_migration::{Event, Outcome, Phase, Report, Sighting, State, Verdict};
use tokio::time::{Instant, pause, resume, sleep};

use crate::{
    facts,
    host::{Desk, Host, Two},
    world::failed,
};

const HOUR: Duration = Duration::from_secs(3600);

fn state(desk: &Desk, m: u32) -> State {
    desk.peek().value(&facts::migration(m)).unwrap().state()
}

/// Its journal was lost, or the host made anew: what is held for it here is held for nobody.
#[test]
fn a_source_that_never_heard_of_it_sends_nobody() {
    let two = Two::new();
    two.live(async |_alpha, beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        // From here on nothing has a deadline: time passes as soon as everybody waits.
        pause();
        let begun = Instant::now();
        let end = beta.ended(&facts::migration(1)).await;
        assert_eq!((end.moved(), end.failure), (Moved::No, None));
        // At least: a look into the journal is not counted by this clock, so it may go on meanwhile.
        assert!(
            begun.elapsed() >= Duration::from_secs(60),
            "{:?}",
            begun.elapsed()
        );
        resume();
        assert_eq!(beta.world.knobs().cleaned, [facts::address(4)]);
        assert_eq!(beta.peek().holds(), [""; 0]);
        // What is still on its way comes too late.
        let late = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert!(late.failure.message.ends_with("is closed here"), "{late:?}");
        assert!(beta.reserve("alpha", facts::reserve(2, 1)).await.is_ok());
    });
}

#[test]
fn silence_keeps_the_hold_and_the_record_says_since_when() {
    let host = Host::destination();
    host.live_fast(async |beta| {
        let id = facts::migration(1);
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        sleep(HOUR).await;
        let view = beta.get(&id).await.unwrap();
        assert!(!view.ended && view.moved() == Moved::Undecided);
        let failure = view.failure.unwrap();
        let since = "guest `web-1` has been awaited since 20";
        assert!(failure.message.starts_with(since), "{}", failure.message);
        let why = "and alpha, which is to send it, cannot be asked: host_unreachable went wrong";
        assert!(failure.message.ends_with(why), "{}", failure.message);
        assert_eq!(
            failure.hint,
            format!("once it is certain that alpha does not send it: godwit cancel {id}")
        );
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);
        assert!(beta.peek().entries(&id).is_empty(), "a question is no event");
        let asked = beta.world.knobs().asked_record;
        assert!((12..=30).contains(&asked), "{asked} questions in an hour");
    });
}

#[test]
fn a_source_that_is_at_it_is_waited_for() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        pause();
        sleep(HOUR).await;
        assert!(beta.world.knobs().asked_record > 10);
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);
        assert_eq!(beta.get(&id).await.unwrap().failure, None);
        // Nor may a person give it up.
        let no = beta.cancel(&id).await.unwrap_err().failure;
        assert_eq!(
            (no.reason.as_str(), no.message),
            (
                "GUEST_MAY_COME",
                format!(
                    "migration {id} cannot be cancelled here: guest `web-1` may still come: alpha is at it, at transfer"
                )
            )
        );
        assert_eq!(no.hint, format!("on alpha: godwit cancel {id}"));
        resume();
        alpha.world.free(Phase::Transfer);
        assert_eq!(beta.ended(&id).await.moved(), Moved::Yes);
    });
}

/// It hears no Unreserve, but it can ask.
#[test]
fn a_source_whose_guest_stayed_sends_nobody() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha.world.once(Phase::FailOver, failed("FAIL_OVER"));
        alpha.world.breaks(Phase::Unreserve, failed("HOST_UNREACHABLE"));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.settled(&id).await;
        pause();
        assert_eq!(beta.ended(&id).await.moved(), Moved::No);
        assert_eq!(beta.peek().holds(), [""; 0]);
        resume();
        alpha.world.heals(Phase::Unreserve);
        alpha.retry(&id).await.unwrap();
        assert_eq!(alpha.ended(&id).await.moved(), Moved::No);
    });
}

/// It was shut down here before this host looked.
#[test]
fn a_guest_that_came_by_its_sources_word_and_is_not_here_has_left() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha
            .world
            .once(Phase::Transfer, Event::Done(Report::of("it went over")));
        alpha.world.once(Phase::Locate, facts::located(Verdict::There));
        alpha
            .world
            .once(Phase::Follow, Event::Done(Report::of("nothing was told")));
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
        pause();
        let end = beta.ended(&id).await;
        assert_eq!(end.moved(), Moved::Gone);
        assert_eq!(end.failure.unwrap().reason, "GUEST_LEFT");
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

#[test]
fn a_person_gives_it_up_where_its_source_cannot_be_asked() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        for (sighting, words) in [
            (Sighting::Incoming, "libvirt here shows it (incoming)"),
            (Sighting::Paused, "libvirt here shows it (paused)"),
            (Sighting::Split, "libvirt here shows it (split)"),
            (Sighting::Unreadable, "libvirt here does not answer"),
        ] {
            beta.world.sees(facts::WEB, sighting);
            let no = beta.cancel(&facts::migration(1)).await.unwrap_err().failure;
            assert_eq!(no.reason, "GUEST_MAY_COME");
            assert!(no.message.ends_with(words), "{}", no.message);
            assert_eq!(no.hint, "virsh domstate web-1 --reason");
        }
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);
        beta.world.sees(facts::WEB, Sighting::ShutOff);
        let end = beta.cancel(&facts::migration(1)).await.unwrap();
        assert!(end.ended && end.moved() == Moved::No);
        assert_eq!(state(&beta, 1), State::Done(Outcome::Closed));
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
    host.live(async |beta| {
        let late = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert!(late.failure.message.ends_with("is closed here"), "{late:?}");
        assert_eq!(
            beta.cancel(&facts::migration(1))
                .await
                .unwrap_err()
                .failure
                .reason,
            "TOO_LATE_TO_CANCEL"
        );
    });
}
