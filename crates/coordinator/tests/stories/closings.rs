//! Unreserve and Look: the destination gives back, and promises.

use godwit_api::{peer::v1::Sighting as Wire, v1::Moved};
use godwit_migration::{Event, Outcome, Phase, Sighting, State};

use crate::{
    facts,
    host::{Desk, Host},
    world::{Call, cause},
};

fn state(beta: &Desk, m: u32) -> State {
    beta.peek().value(&facts::migration(m)).unwrap().state()
}

#[test]
fn unreserve_frees_and_may_be_repeated() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        for _ in 0..3 {
            beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
            assert_eq!(beta.peek().holds(), [""; 0]);
        }
        assert_eq!(state(&beta, 1), State::Done(Outcome::Closed));
        assert_eq!(beta.settled(&facts::migration(1)).await.moved(), Moved::No);
        // The VF is another's now.
        assert_eq!(
            beta.reserve("alpha", facts::reserve(2, 2)).await.unwrap(),
            ["0000:01:10.4"]
        );
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);
    });
    host.live(async |beta| beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap());
}

#[test]
fn unreserve_refuses_while_the_guest_is_here() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.hold(Phase::Plug);
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        for (sighting, words) in [
            (Sighting::Incoming, "already (incoming)"),
            (Sighting::Paused, "already (paused)"),
            (Sighting::Unreadable, "libvirt here does not answer"),
        ] {
            beta.world.sees(facts::WEB, sighting);
            let no = beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap_err();
            assert!(no.failure.message.contains(words), "{}", no.failure.message);
        }
        beta.world.sees(facts::WEB, Sighting::Running);
        beta.world.attempts(Phase::Plug, 1).await;
        let no = beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_HAS_GUEST");
        // It is shut down, and this host has not noticed yet.
        beta.world.sees(facts::WEB, Sighting::ShutOff);
        let no = beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap_err();
        assert!(
            no.failure.message.contains("is at plug here"),
            "{}",
            no.failure.message
        );
        assert_eq!(beta.peek().holds().len(), 1);
    });
}

#[test]
fn a_guest_that_came_and_went_is_nothing_to_give_back_and_no_promise() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        assert!(beta.settled(&facts::migration(1)).await.ended);
        // A person said that it stayed, and was wrong: the source is told so, and does not end.
        let no = beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_HAS_GUEST");
        // It ran here; a copy of before must not be resumed elsewhere because it does not run here now.
        beta.world.sees(facts::WEB, Sighting::ShutOff);
        assert_eq!(
            beta.look("alpha", facts::close(1, 1)).await.unwrap(),
            (Wire::ShutOff, false)
        );
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
    });
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.once(Phase::Plug, Event::Left(cause("GUEST_LEFT")));
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        assert!(beta.settled(&facts::migration(1)).await.ended);
        beta.world.sees(facts::WEB, Sighting::Absent);
        assert_eq!(
            beta.look("alpha", facts::close(1, 1)).await.unwrap(),
            (Wire::Absent, false)
        );
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
    });
}

#[test]
fn what_was_never_heard_of_is_given_up_also_while_its_guest_runs_here_by_another_way() {
    let host = Host::destination();
    host.live(async |beta| {
        // The source could not reach this host, gave up, and the guest came by a later migration.
        beta.world.sees(facts::WEB, Sighting::Running);
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
        // What is still on its way comes too late, also when the guest has left again.
        beta.world.sees(facts::WEB, Sighting::Absent);
        let late = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert!(late.failure.message.contains("is closed here"), "{late:?}");
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

#[test]
fn looking_changes_nothing_and_says_what_was_promised() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        let mut look = facts::close(1, 1);
        look.close = false;
        for (sighting, wire) in [
            (Sighting::Incoming, Wire::Incoming),
            (Sighting::Paused, Wire::Paused),
            (Sighting::ShutOff, Wire::ShutOff),
            (Sighting::Unreadable, Wire::Unreadable),
            (Sighting::Split, Wire::Split),
            (Sighting::Absent, Wire::Absent),
        ] {
            beta.world.sees(facts::WEB, sighting);
            assert_eq!(beta.look("alpha", look.clone()).await.unwrap(), (wire, false));
        }
        assert_eq!(beta.peek().holds().len(), 1);
        assert_eq!(
            beta.look("alpha", facts::close(1, 1)).await.unwrap(),
            (Wire::Absent, true)
        );
        assert_eq!(
            beta.look("alpha", look.clone()).await.unwrap(),
            (Wire::Absent, true),
            "promised earlier"
        );
        // Of a migration that is not known nothing is written down by a look.
        look.migration_id = facts::migration(2);
        assert_eq!(beta.look("alpha", look).await.unwrap(), (Wire::Absent, false));
        assert_eq!(beta.peek().migrations().len(), 1);
    });
}

#[test]
fn an_awaited_guest_that_will_not_come_is_closed_for_good() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        assert_eq!(
            beta.look("alpha", facts::close(1, 1)).await.unwrap(),
            (Wire::Absent, true)
        );
        assert_eq!(state(&beta, 1), State::Done(Outcome::Closed));
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
    host.live(async |beta| {
        let no = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_REFUSED");
        assert!(
            no.failure.message.ends_with("is closed here"),
            "{}",
            no.failure.message
        );
    });
}

#[test]
fn a_promise_about_what_was_never_heard_of_outlives_a_restart() {
    let host = Host::destination();
    host.live(async |beta| {
        assert_eq!(
            beta.look("alpha", facts::close(1, 1)).await.unwrap(),
            (Wire::Absent, true)
        );
        // Durable in one step: no moment at which a crash would leave somebody waiting for the guest.
        assert_eq!(state(&beta, 1), State::Done(Outcome::Closed));
        assert_eq!(beta.world.works(), []);
    });
    host.live(async |beta| {
        let delayed = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert_eq!(delayed.failure.reason, "HOST_REFUSED");
        assert_eq!(
            beta.look("alpha", facts::close(1, 1)).await.unwrap(),
            (Wire::Absent, true)
        );
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
        assert_eq!(beta.peek().holds(), [""; 0]);
        // The guest itself may come with another migration.
        assert!(beta.reserve("alpha", facts::reserve(2, 1)).await.is_ok());
    });
}

#[test]
fn nothing_is_promised_while_the_guest_may_be_here() {
    for sighting in [
        Sighting::Running,
        Sighting::Paused,
        Sighting::Incoming,
        Sighting::Unreadable,
    ] {
        let host = Host::destination();
        host.world.sees(facts::WEB, sighting);
        host.live(async |beta| {
            assert!(
                !beta.look("alpha", facts::close(1, 1)).await.unwrap().1,
                "{sighting:?}"
            );
            assert_eq!(beta.peek().migrations(), [""; 0]);
        });
    }
}

#[test]
fn a_close_and_a_reserve_at_once_one_of_them_wins() {
    for first in [true, false] {
        let host = Host::destination();
        host.live(async |beta| {
            let close = async || beta.look("alpha", facts::close(1, 1)).await.unwrap().1;
            let reserve = async || beta.reserve("alpha", facts::reserve(1, 1)).await;
            let (closed, reserved) = if first {
                tokio::join!(close(), reserve())
            } else {
                let (reserved, closed) = tokio::join!(reserve(), close());
                (closed, reserved)
            };
            // Whoever came first: what was promised is closed, and nothing is held.
            assert!(closed);
            assert_eq!(reserved.is_ok(), !first);
            assert_eq!(state(&beta, 1), State::Done(Outcome::Closed));
            assert_eq!(beta.peek().holds(), [""; 0]);
        });
    }
}

/// Its VFs were made ready for it while it was on its way: nobody else gets one before that is off again.
#[test]
fn what_was_made_ready_for_a_guest_that_does_not_come_is_cleaned_before_it_is_free() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.hold_call(Call::Clean);
        let world = beta.world.clone();
        let (asked, ()) = tokio::join!(beta.unreserve("alpha", facts::unreserve(1, 1)), async {
            world.until(|world| !world.knobs().cleaned.is_empty()).await;
            assert_eq!(beta.peek().holds(), ["0000:01:10.4"], "still held");
            assert_eq!(state(&beta, 1).phase(), Some(Phase::Await), "nothing is promised");
            world.free_call(Call::Clean);
        });
        asked.unwrap();
        assert_eq!(beta.world.knobs().cleaned, [facts::address(4)]);
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

/// It is promised all the same: a guest may stand still until it is.
#[test]
fn a_vf_that_cannot_be_cleaned_for_the_next_is_kept_from_everybody() {
    for hangs in [false, true] {
        let host = Host::destination();
        host.live(async |beta| {
            beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
            match hangs {
                true => beta.world.hold_call(Call::Clean),
                false => beta.world.set(|knobs| knobs.dirty = Some(cause("VF_NOT_CLEAN"))),
            }
            let closed = beta.look("alpha", facts::close(1, 1)).await.unwrap();
            assert_eq!(closed, (Wire::Absent, true));
            let why = beta.peek().quarantined().join("; ");
            let told = if hangs {
                "was not cleaned within 5 s"
            } else {
                "vf_not_clean went wrong"
            };
            assert!(why.contains(told), "{why}");
            let next = beta.reserve("alpha", facts::reserve(2, 2)).await;
            assert_ne!(next.unwrap(), ["0000:01:10.4"]);
        });
    }
}

/// The host was started again without its VFs: there is nothing to clean, and nothing to keep.
#[test]
fn a_vf_that_has_gone_is_not_kept() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.set(|knobs| {
            knobs.dirty = Some(cause("VF_NOT_CLEAN"));
            knobs.vfs.clear();
        });
        beta.unreserve("alpha", facts::unreserve(1, 1)).await.unwrap();
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}
