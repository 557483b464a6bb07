//! A listed host that asks for another host's guest, by its UUID: what it hears, and what it can do.

use godwit_api::peer::v1::{LookRequest, Sighting as Wire};
use godwit_migration::Sighting;
use tonic::Code;

use crate::{facts, host::Host};

/// A source may have lost its answer, and this host its journal: whether a guest runs here is told for any migration, or a source would run
/// it once more. Nothing else is.
#[test]
fn a_peer_hears_of_a_guest_by_its_uuid_whether_it_runs_here_and_nothing_else() {
    let host = Host::destination();
    host.world.sees(facts::WEB, Sighting::Running);
    host.live(async |beta| {
        let asked = |close| LookRequest {
            migration_id: facts::migration(7),
            guest_uuid: facts::uuid(1),
            close,
        };
        for close in [false, true] {
            assert_eq!(
                beta.look("gamma", asked(close)).await.unwrap(),
                (Wire::Running, false)
            );
        }
        assert_eq!(
            beta.arrival("gamma", &facts::migration(7))
                .await
                .unwrap_err()
                .code,
            Code::NotFound
        );
        let no = beta.reserve("gamma", facts::reserve(7, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_HAS_GUEST");
        assert_eq!(beta.peek().migrations(), [""; 0]);
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

/// Whose guest it is no host can see: the first that asks has its UUID here, and a person gives that up.
#[test]
fn a_guest_that_one_peer_announced_is_nobody_elses_until_a_person_says_so() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("gamma", facts::reserve(7, 1)).await.unwrap();
        let no = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_BUSY");
        assert!(no.failure.message.contains(&facts::migration(7)), "{no:?}");
        // Another guest of alpha's is not kept out, and what is gamma's is not alpha's to end.
        beta.reserve("alpha", facts::reserve(2, 2)).await.unwrap();
        let unreserve = beta.unreserve("alpha", facts::unreserve(7, 1)).await.unwrap_err();
        let look = beta.look("alpha", facts::close(7, 1)).await.unwrap_err();
        for no in [unreserve, look] {
            assert_eq!(no.code, Code::PermissionDenied);
        }
        assert_eq!(beta.peek().holds().len(), 2);
        beta.cancel(&facts::migration(7)).await.unwrap();
        assert_eq!(beta.peek().holds().len(), 1);
        // Its VF is free again, and so is its UUID.
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
    });
}

/// What another host holds here is not touched by who knows its migration and its guest.
#[test]
fn a_peer_does_nothing_to_the_guest_that_another_reserved_for() {
    let host = Host::destination();
    host.live(async |beta| {
        let held = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        let refusals = [
            beta.look("gamma", facts::close(1, 1)).await.map(drop),
            beta.look("gamma", facts::close(1, 2)).await.map(drop),
            beta.unreserve("gamma", facts::unreserve(1, 1)).await,
            beta.reserve("gamma", facts::reserve(1, 1)).await.map(drop),
            beta.admit("gamma", &facts::migration(1)).await.map(drop),
            beta.arrival("gamma", &facts::migration(1)).await.map(drop),
        ];
        for no in refusals {
            assert_eq!(no.unwrap_err().code, Code::PermissionDenied);
        }
        // By a migration of its own it closes that alone.
        beta.unreserve("gamma", facts::unreserve(7, 1)).await.unwrap();
        assert_eq!(beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap(), held);
        beta.admit("alpha", &facts::migration(1)).await.unwrap();
    });
}
