//! Reserve: VFs set aside for a guest of another host, each for one.

use godwit_api::v1::Moved;
use godwit_coordinator::words;
use godwit_migration::{Event, Outcome, Phase, Profile, Sighting, State, VfUse, profile::Vlan};
use tonic::{Code, Request};

use crate::{
    facts,
    host::{Desk, Host},
    world::{Call, cause},
};

#[test]
fn repeated_it_gives_the_same_holds() {
    let host = Host::destination();
    let first = host.live(async |beta| {
        let first = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        assert_eq!(first, ["0000:01:10.4"]);
        assert_eq!(beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap(), first);
        first
    });
    host.live(async |beta| {
        assert_eq!(beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap(), first);
        assert_eq!(beta.peek().holds(), first);
        assert_eq!(beta.peek().migrations(), [facts::migration(1)]);
    });
}

/// What the guest's VF is to be set to is written down before the answer, and is there after a restart.
#[test]
fn a_profile_comes_with_the_request_and_stays() {
    let host = Host::destination();
    let profile = Profile {
        vlan: Vlan::new(100, 3, false).unwrap(),
        trust: true,
        ..Profile::default()
    };
    let of = |beta: &Desk| beta.peek().value(&facts::migration(1)).unwrap().brief.pairs[0].profile;
    host.live(async |beta| {
        let mut asked = facts::reserve(1, 1);
        asked.pairs[0].profile = Some(words::profile(&profile));
        beta.reserve("alpha", asked).await.unwrap();
        assert_eq!(of(&beta), Some(profile));
    });
    host.live(async |beta| {
        beta.world.attempts(Phase::Await, 1).await;
        assert_eq!(of(&beta), Some(profile));
        // An older source sends none.
        beta.reserve("alpha", facts::reserve(2, 2)).await.unwrap();
        let older = beta.peek().value(&facts::migration(2)).unwrap();
        assert_eq!(older.brief.pairs[0].profile, None);
        let mut wrong = facts::reserve(3, 3);
        wrong.pairs[0].profile = Some(godwit_api::v1::VfProfile {
            vlan: 4096,
            ..Default::default()
        });
        let no = beta.reserve("alpha", wrong).await.unwrap_err();
        assert_eq!(no.failure.message, "VLAN 4096 is not 0 to 4095");
    });
}

#[test]
fn two_at_once_for_the_last_vf_one_gets_it() {
    let host = Host::destination();
    host.world.set(|knobs| {
        knobs.vfs = vec![
            facts::vf(4, VfUse::Guest("db-1".into())),
            facts::vf(5, VfUse::Free),
        ]
    });
    host.live(async |beta| {
        let ask = |n: u8| {
            let beta = beta.clone();
            tokio::spawn(async move { beta.reserve("alpha", facts::reserve(n.into(), n)).await })
        };
        let two = [ask(1), ask(2)];
        let mut got = Vec::new();
        for one in two {
            match one.await.unwrap() {
                Ok(vfs) => got.extend(vfs),
                Err(no) => {
                    assert_eq!(
                        (no.code, no.failure.reason.as_str()),
                        (Code::FailedPrecondition, "NO_FREE_VF")
                    );
                    assert_eq!(
                        no.failure.message,
                        "host beta has no free VF in pool `fabric` (0 of 2 free)"
                    );
                }
            }
        }
        assert_eq!(got, ["0000:01:10.5"]);
        assert_eq!(beta.peek().holds(), got);
    });
}

#[test]
fn a_hold_that_ends_while_the_vfs_are_read_is_no_free_vf() {
    let host = Host::destination();
    host.world.set(|knobs| knobs.vfs.truncate(1));
    host.live(async |beta| {
        beta.world.hold(Phase::Plug);
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        beta.world.attempts(Phase::Plug, 1).await;

        // Another guest wants a VF; the list of VFs is from before web-1 is on its own.
        beta.world.hold_call(Call::Vfs);
        let other = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.reserve("alpha", facts::reserve(2, 2)).await })
        };
        beta.world.until(|world| world.knobs().asked_vfs == 2).await;
        beta.world.free(Phase::Plug);
        assert!(beta.settled(&facts::migration(1)).await.ended);
        beta.world.free_call(Call::Vfs);
        let no = other.await.unwrap().unwrap_err();
        assert_eq!(no.failure.reason, "NO_FREE_VF");
    });
}

#[test]
fn a_pool_that_is_not_there() {
    let host = Host::destination();
    host.live(async |beta| {
        let mut asked = facts::reserve(1, 1);
        asked.pairs[0].pool = "storage".into();
        let no = beta.reserve("alpha", asked).await.unwrap_err();
        assert_eq!(no.failure.reason, "NO_POOL");
        assert_eq!(
            no.failure.message,
            "host beta has no VF in a pool named `storage`"
        );
        assert!(
            no.failure.hint.starts_with("on beta: godwitd needs a [[pool]]"),
            "{}",
            no.failure.hint
        );
        nothing(&beta);
    });
}

fn nothing(beta: &Desk) {
    assert_eq!(beta.peek().holds(), [""; 0]);
    assert_eq!(beta.peek().migrations(), [""; 0]);
}

#[test]
fn a_guest_that_is_here_already() {
    for (sighting, reason, words) in [
        (Sighting::Running, "HOST_HAS_GUEST", "already (running)"),
        (Sighting::Paused, "HOST_HAS_GUEST", "already (paused)"),
        (Sighting::Incoming, "HOST_HAS_GUEST", "already (incoming)"),
        (
            Sighting::Unreadable,
            "HOST_REFUSED",
            "libvirt here does not answer",
        ),
    ] {
        let host = Host::destination();
        host.world.sees(facts::WEB, sighting);
        host.live(async |beta| {
            let no = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap_err();
            assert_eq!(no.failure.reason, reason);
            assert!(no.failure.message.contains(words), "{}", no.failure.message);
            nothing(&beta);
        });
    }
    // Defined and shut off is no obstacle.
    let host = Host::destination();
    host.world.sees(facts::WEB, Sighting::ShutOff);
    host.live(async |beta| assert!(beta.reserve("alpha", facts::reserve(1, 1)).await.is_ok()));
}

#[test]
fn a_guest_that_another_migration_brings() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        let no = beta.reserve("gamma", facts::reserve(2, 1)).await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_BUSY");
        assert_eq!(beta.peek().holds().len(), 1);
    });
}

#[test]
fn who_may_ask() {
    let host = Host::destination();
    host.live(async |beta| {
        use godwit_api::peer::v1::peer_service_server::PeerService;
        let desk = beta.peer_desk();
        let statuses = [
            desk.reserve(Request::new(facts::reserve(1, 1)))
                .await
                .unwrap_err(),
            desk.unreserve(Request::new(facts::unreserve(1, 1)))
                .await
                .unwrap_err(),
            desk.look(Request::new(facts::close(1, 1))).await.unwrap_err(),
        ];
        assert!(
            statuses
                .iter()
                .all(|status| status.code() == Code::PermissionDenied)
        );
        nothing(&beta);

        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        let foreign = [
            beta.reserve("gamma", facts::reserve(1, 1)).await.unwrap_err(),
            beta.unreserve("gamma", facts::unreserve(1, 1)).await.unwrap_err(),
            beta.look("gamma", facts::close(1, 1)).await.unwrap_err(),
            beta.look(
                "gamma",
                facts::look(&beta.peek().value(&facts::migration(1)).unwrap().brief, false),
            )
            .await
            .unwrap_err(),
            beta.arrival("gamma", &facts::migration(1)).await.unwrap_err(),
        ];
        for no in foreign {
            assert_eq!(
                (no.code, no.failure.reason.as_str()),
                (Code::PermissionDenied, "NOT_ALLOWED")
            );
        }
        assert_eq!(beta.peek().holds().len(), 1);
    });
}

#[test]
fn a_source_tells_its_destination_alone_of_its_own_migrations_and_takes_nothing_from_it() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Unplug);
        let id = alpha.reach(Phase::Unplug).await;
        let told = alpha.arrival("beta", &id).await.unwrap();
        assert_eq!((told.id.as_str(), told.moved()), (id.as_str(), Moved::Undecided));
        let mut close = facts::close(1, 1);
        close.migration_id = id.clone();
        for code in [
            alpha.arrival("gamma", &id).await.unwrap_err().code,
            alpha.look("beta", close).await.unwrap_err().code,
            alpha.admit("beta", &id).await.unwrap_err().code,
        ] {
            assert_eq!(code, Code::PermissionDenied);
        }
    });
}

#[test]
fn requests_that_are_none() {
    type Fault = fn(&mut godwit_api::peer::v1::ReserveRequest);
    let faults: [Fault; 20] = [
        |asked| asked.migration_id.clear(),
        |asked| asked.migration_id = "x".repeat(1024 * 1024),
        |asked| asked.migration_id = asked.migration_id.to_uppercase().replace('0', "A"),
        |asked| asked.migration_id = format!("{{{}}}", asked.migration_id),
        |asked| asked.guest_uuid = "web-1".into(),
        |asked| asked.guest_uuid = format!("urn:uuid:{}", asked.guest_uuid),
        |asked| asked.guest = "web\u{1b}[2J".into(),
        |asked| asked.guest = "x".repeat(1024 * 1024),
        |asked| asked.guest.clear(),
        |asked| asked.pairs.clear(),
        |asked| asked.pairs = vec![asked.pairs[0].clone(); 65],
        |asked| asked.pairs = vec![asked.pairs[0].clone(); 2],
        |asked| asked.pairs[0].alias = "hostdev0".into(),
        |asked| asked.pairs[0].alias = "ua-'/><x>".into(),
        |asked| asked.pairs[0].alias = format!("ua-{}", "x".repeat(62)),
        |asked| asked.pairs[0].mac = "01:00:5e:00:00:01".into(),
        |asked| asked.pairs[0].mac = "x".repeat(1024 * 1024),
        |asked| asked.pairs[0].primary_mac = "00:00:00:00:00:00".into(),
        |asked| asked.pairs[0].pool = "x".repeat(1024 * 1024),
        |asked| asked.pairs[0].pool = "fabric\n".into(),
    ];
    let host = Host::destination();
    host.live(async |beta| {
        for (index, fault) in faults.iter().enumerate() {
            let mut asked = facts::reserve(1, 1);
            fault(&mut asked);
            let no = beta.reserve("alpha", asked).await.unwrap_err();
            assert_eq!(
                (no.code, no.failure.reason.as_str()),
                (Code::InvalidArgument, "INVALID"),
                "{index}"
            );
            assert!(
                no.failure.message.len() < 300,
                "{index}: {}",
                no.failure.message.len()
            );
            nothing(&beta);
        }
        for (id, guest) in [
            ("web-1".to_owned(), facts::uuid(1)),
            (facts::migration(1), "web-1".to_owned()),
        ] {
            for close in [true, false] {
                let asked = godwit_api::peer::v1::LookRequest {
                    migration_id: id.clone(),
                    guest_uuid: guest.clone(),
                    close,
                };
                assert_eq!(
                    beta.look("alpha", asked).await.unwrap_err().code,
                    Code::InvalidArgument
                );
            }
        }
        nothing(&beta);
    });
}

#[test]
fn an_id_that_is_of_another_guest() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        assert_eq!(
            beta.reserve("alpha", facts::reserve(1, 2))
                .await
                .unwrap_err()
                .code,
            Code::InvalidArgument
        );
        let closed = beta.look("alpha", facts::close(1, 2)).await;
        assert_eq!(
            closed.unwrap_err().failure.message,
            format!("migration {} is of another guest", facts::migration(1))
        );
        assert_eq!(beta.peek().holds().len(), 1);
    });
}

#[test]
fn a_caller_that_goes_away_leaves_a_hold_that_is_waited_on() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.hold_call(Call::Vfs);
        let caller = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.reserve("alpha", facts::reserve(1, 1)).await })
        };
        beta.world.until(|world| world.knobs().asked_vfs == 1).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        beta.world.free_call(Call::Vfs);
        beta.world.attempts(Phase::Await, 1).await;
        assert_eq!(
            beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap(),
            ["0000:01:10.4"]
        );
    });
}

#[test]
fn a_quarantined_vf_is_given_to_nobody_also_after_a_restart() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.world.once(Phase::Plug, Event::Left(cause("GUEST_LEFT")));
        beta.world.once(Phase::Release, crate::world::failed("VF_RESET"));
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        beta.settled(&facts::migration(1)).await;
        let value = beta.peek().value(&facts::migration(1)).unwrap();
        assert_eq!(value.state(), State::Done(Outcome::Left));
    });
    assert_eq!(host.peek().quarantined(), ["vf_reset went wrong"]);
    host.live(async |beta| {
        assert_eq!(
            beta.reserve("alpha", facts::reserve(2, 2)).await.unwrap(),
            ["0000:01:10.5"]
        );
        let no = beta.reserve("alpha", facts::reserve(3, 3)).await.unwrap_err();
        assert!(
            no.failure.message.ends_with("(0 of 2 free)"),
            "{}",
            no.failure.message
        );
    });
}
