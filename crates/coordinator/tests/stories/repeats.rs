//! A request that is made again, under the name that its caller gave it.

use godwit_api::v1::Moved;
use godwit_migration::Phase;
use tonic::Code;

use crate::{
    host::Host,
    world::{Call, failed},
};

#[test]
fn a_repeated_request_is_the_same_migration() {
    let host = Host::source();
    let id = host.live(async |alpha| {
        let ask = || {
            let alpha = alpha.clone();
            tokio::spawn(async move { alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id })
        };
        alpha.world.hold_call(Call::Guests);
        let two = [ask(), ask()];
        alpha.world.until(|world| world.knobs().asked_guests == 2).await;
        alpha.world.free_call(Call::Guests);
        let [one, other] = two;
        let id = one.await.unwrap();
        assert_eq!(other.await.unwrap(), id);
        alpha.settled(&id).await;
        assert_eq!(
            alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id,
            id
        );
        id
    });
    // The guest is on another host by now.
    host.world.set(|knobs| knobs.guests.clear());
    host.live(async |alpha| {
        assert_eq!(
            alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id,
            id
        );
        assert_eq!(alpha.peek().migrations(), [id]);
        let no = alpha.migrate_as("web-1", "beta", "ticket-8").await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_UNKNOWN");
    });
}

#[test]
fn a_repeated_request_that_was_refused_begins_anew() {
    let host = Host::source();
    host.world.breaks(Phase::Reserve, failed("NO_FREE_VF"));
    let refused = host.live(async |alpha| {
        let no = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap_err();
        assert_eq!(no.failure.reason, "NO_FREE_VF");
        let refused = alpha.peek().migrations().pop().unwrap();
        assert!(alpha.ended(&refused).await.ended);
        refused
    });
    // Still refused, for what is so now.
    host.world.breaks(Phase::Reserve, failed("LIBVIRT"));
    host.live(async |alpha| {
        let no = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap_err();
        assert_eq!((no.code, &*no.failure.reason), (Code::Unavailable, "LIBVIRT"));
        let second = alpha.peek().migrations().pop().unwrap();
        alpha.ended(&second).await;
        // And then no more.
        alpha.world.heals(Phase::Reserve);
        let begun = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id;
        assert!(begun != refused && begun != second);
        assert_eq!(alpha.settled(&begun).await.moved(), Moved::Yes);
        assert_eq!(
            alpha.peek().migrations().len(),
            3,
            "what was refused stays in the history"
        );
        // One that began is itself from now on, also when the guest has gone.
        alpha.world.set(|knobs| knobs.guests.clear());
        assert_eq!(
            alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id,
            begun
        );
    });
}

/// Its debt to a host that is away would keep a new one from beginning, and may yet be paid.
#[test]
fn a_repeated_request_whose_undoing_rests_is_refused_again_until_that_is_done() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        for phase in [Phase::Reserve, Phase::Unreserve] {
            alpha.world.breaks(phase, failed("HOST_UNREACHABLE"));
        }
        for _ in 0..2 {
            let no = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap_err();
            let reason = (no.code, no.failure.reason.as_str());
            assert_eq!(reason, (Code::Unavailable, "HOST_UNREACHABLE"));
            assert_eq!(alpha.peek().migrations().len(), 1);
        }
        let debt = alpha.peek().migrations().pop().unwrap();
        alpha.world.heals(Phase::Reserve);
        alpha.world.heals(Phase::Unreserve);
        alpha.ended(&debt).await;
        let begun = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id;
        assert_ne!(begun, debt);
        alpha.settled(&begun).await;
    });
}

/// It was accepted before it was cancelled: that is its end, and no refusal.
#[test]
fn a_repeated_request_that_was_undone_later_is_the_same_migration() {
    let host = Host::source();
    host.world.breaks(Phase::FailOver, failed("FAIL_OVER"));
    host.live(async |alpha| {
        let id = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap().id;
        assert_eq!(alpha.ended(&id).await.moved(), Moved::No);
        alpha.world.heals(Phase::FailOver);
        let again = alpha.migrate_as("web-1", "beta", "ticket-7").await.unwrap();
        assert_eq!((again.moved(), again.id), (Moved::No, id));
    });
}

#[test]
fn a_request_that_the_guest_stood_against_may_be_made_again() {
    let host = Host::source();
    host.world.set(|knobs| knobs.guests[0].managed = false);
    host.live(async |alpha| {
        assert!(alpha.migrate_as("web-1", "beta", "ticket-9").await.is_err());
        alpha.adopt("web-1").await.unwrap();
        assert!(alpha.migrate_as("web-1", "beta", "ticket-9").await.is_ok());
    });
}
