//! Guests, as operators see them and make them managed.

use godwit_api::v1::Acceleration;
use godwit_migration::Phase;
use tonic::Code;

use crate::{
    facts,
    host::Host,
    world::{Call, cause},
};

#[test]
fn guests_are_shown_with_what_keeps_them_and_what_moves_them() {
    let host = Host::source();
    host.world.set(|knobs| {
        let mut unmanaged = facts::guest(2);
        unmanaged.managed = false;
        unmanaged.agent = Ok(Vec::new());
        knobs.guests.push(unmanaged);
    });
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        let guests = alpha.guests().await.unwrap();
        let [web, other] = &guests[..] else {
            panic!("{guests:?}")
        };
        assert_eq!(
            (web.name.as_str(), web.migration.as_str()),
            ("web-1", id.as_str())
        );
        assert_eq!(
            (web.acceleration(), web.problem.as_str()),
            (Acceleration::Accelerated, "")
        );
        assert_eq!(web.pairs[0].vf, "0000:01:10.1");
        assert_eq!(
            (other.migration.as_str(), other.acceleration()),
            ("", Acceleration::Unknown)
        );
        assert!(
            other.problem.contains("does not see the pair"),
            "{}",
            other.problem
        );
    });
}

#[test]
fn adopting_makes_a_guest_movable() {
    let host = Host::source();
    host.world.set(|knobs| knobs.guests[0].managed = false);
    host.live(async |alpha| {
        assert!(alpha.guests().await.unwrap()[0].problem.contains("not managed"));
        let guest = alpha.adopt(facts::WEB).await.unwrap();
        assert!(guest.managed && guest.problem.is_empty());
        assert!(alpha.adopt("web-1").await.is_ok(), "again is harmless");
        assert!(alpha.migrate("web-1", "beta").await.is_ok());
    });
}

#[test]
fn what_cannot_be_adopted() {
    let host = Host::source();
    host.world.set(|knobs| {
        knobs.guests[0].managed = false;
        knobs.guests[0].pairs[0].standby = None;
    });
    host.live(async |alpha| {
        assert_eq!(
            alpha.adopt("web-9").await.unwrap_err().failure.reason,
            "GUEST_UNKNOWN"
        );
        assert_eq!(
            alpha.adopt("web-1").await.unwrap_err().failure.reason,
            "GUEST_WITHOUT_STANDBY"
        );
        alpha.world.set(|knobs| knobs.silent = Some(cause("LIBVIRT")));
        assert_eq!(alpha.adopt("web-1").await.unwrap_err().code, Code::Unavailable);
        assert_eq!(alpha.guests().await.unwrap_err().failure.reason, "LIBVIRT");
    });
    assert!(!host.world.knobs().guests[0].managed);
}

#[test]
fn a_libvirt_that_is_slow_for_one_guest_keeps_no_peer_waiting() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold_call(Call::Guests);
        let slow = [
            {
                let alpha = alpha.clone();
                tokio::spawn(async move { alpha.migrate("web-1", "beta").await.map(drop) })
            },
            {
                let alpha = alpha.clone();
                tokio::spawn(async move { alpha.adopt("web-1").await.map(drop) })
            },
        ];
        alpha.world.until(|world| world.knobs().asked_guests == 2).await;
        assert!(alpha.look("beta", facts::close(1, 2)).await.unwrap().1);
        assert_eq!(
            alpha
                .reserve("beta", facts::reserve(2, 3))
                .await
                .unwrap_err()
                .failure
                .reason,
            "NO_FREE_VF"
        );
        alpha.world.free_call(Call::Guests);
        for slow in slow {
            // Which of the two comes first is not said.
            let _ = slow.await.unwrap();
        }
    });
}
