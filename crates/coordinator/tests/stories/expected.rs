//! Guests that libvirt's hook announces: VFs are held for them, and for no longer than they need to show.

use std::{future::ready, time::Duration};

use godwit_api::v1::{Acceleration, Moved, Role};
use godwit_coordinator::{Expected, Refused};
use godwit_migration::{
    Brief, Cause, Guest, MacAddress, Outcome, Pair, PciAddress, Phase, Sighting, State, VfUse,
};
use tokio::time::{Instant, sleep};

use crate::{
    facts,
    host::{Desk, Host},
    world::{Call, cause},
};

fn expected(n: u8) -> Expected {
    Expected {
        guest: Guest {
            name: format!("web-{n}"),
            uuid: facts::uuid(n),
        },
        pairs: vec![Pair {
            mac: facts::mac(n),
            primary_mac: facts::mac(n),
            standby: "ua-net0".into(),
            primary: "hostdev0".into(),
            pool: "fabric".into(),
            source_vf: None,
            destination_vf: None,
            profile: None,
        }],
        nodes: Vec::new(),
        until: Instant::now() + Duration::from_secs(5),
    }
}

async fn expect(desk: &Desk, n: u8) -> Result<(String, Vec<(MacAddress, PciAddress)>), Refused> {
    let vfs = desk.world.knobs().vfs.clone();
    desk.coordinator.hold_for(expected(n), ready(Ok(vfs))).await
}

/// Time passes: as fast as everybody waits. What is done meanwhile may not be written yet.
async fn passes(seconds: u64) {
    tokio::time::pause();
    sleep(Duration::from_secs(seconds)).await;
    tokio::time::resume();
    sleep(Duration::from_millis(20)).await;
}

fn state(desk: &Desk, id: &str) -> State {
    desk.peek().value(id).unwrap().state()
}

#[test]
fn a_guest_that_another_tool_brings_gets_what_was_held_for_it() {
    let host = Host::destination();
    host.live(async |beta| {
        let (id, held) = expect(&beta, 1).await.unwrap();
        assert_eq!(held, [(facts::mac(1), facts::address(4))]);
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"], "durable before the answer");
        assert_eq!(beta.world.knobs().asked_vfs, 0, "not through libvirt");
        beta.world.sees(facts::WEB, Sighting::Running);
        let came = beta.settled(&id).await;
        assert_eq!(
            (came.role(), came.source.as_str()),
            (Role::Destination, Brief::ELSEWHERE)
        );
        assert_eq!(
            (came.moved(), came.acceleration()),
            (Moved::Yes, Acceleration::Accelerated)
        );
        assert_eq!(beta.peek().holds(), [""; 0], "the guest has it");
        assert_eq!(beta.world.knobs().cleaned, []);
    });
}

#[test]
fn a_guest_that_does_not_show_holds_nothing() {
    let host = Host::destination();
    host.live(async |beta| {
        let (id, _) = expect(&beta, 1).await.unwrap();
        passes(50).await;
        assert_eq!(beta.peek().holds().len(), 1);
        passes(30).await;
        assert!(beta.settled(&id).await.ended);
        assert_eq!(state(&beta, &id), State::Done(Outcome::Closed));
        assert_eq!(beta.peek().holds(), [""; 0]);
        assert_eq!(beta.world.knobs().cleaned, [facts::address(4)], "as good as new");
    });
}

#[test]
fn a_guest_that_is_on_its_way_is_waited_for_however_long_it_takes() {
    let host = Host::destination();
    host.live(async |beta| {
        let (id, _) = expect(&beta, 1).await.unwrap();
        for sighting in [Sighting::Incoming, Sighting::Unreadable, Sighting::Paused] {
            beta.world.sees(facts::WEB, sighting);
            passes(600).await;
            assert_eq!(beta.peek().holds().len(), 1, "{sighting:?}");
        }
        // Its transfer failed.
        beta.world.sees(facts::WEB, Sighting::Absent);
        passes(30).await;
        assert!(beta.settled(&id).await.ended);
        assert_eq!(state(&beta, &id), State::Done(Outcome::Closed));
    });
}

#[test]
fn a_restart_forgets_neither_the_hold_nor_its_end() {
    let host = Host::destination();
    let id = host.live(async |beta| expect(&beta, 1).await.unwrap().0);
    host.live(async |beta| {
        assert_eq!(beta.peek().holds().len(), 1);
        passes(90).await;
        assert!(beta.settled(&id).await.ended);
        assert_eq!(state(&beta, &id), State::Done(Outcome::Closed));
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

#[test]
fn asked_again_it_is_the_same_and_its_time_begins_anew() {
    let host = Host::destination();
    host.live(async |beta| {
        let first = expect(&beta, 1).await.unwrap();
        passes(40).await;
        assert_eq!(expect(&beta, 1).await.unwrap(), first);
        passes(40).await;
        assert_eq!(beta.peek().holds().len(), 1);
        passes(40).await;
        assert!(beta.settled(&first.0).await.ended);
        assert_eq!(beta.peek().holds(), [""; 0]);
        // With other pairs it is another arrival.
        let (old, _) = expect(&beta, 1).await.unwrap();
        let mut other = expected(1);
        other.pairs[0].mac = facts::mac(9);
        let vfs = beta.world.knobs().vfs.clone();
        let (new, held) = beta.coordinator.hold_for(other, ready(Ok(vfs))).await.unwrap();
        assert_eq!(
            (state(&beta, &old), held[0].0),
            (State::Done(Outcome::Closed), facts::mac(9))
        );
        assert_ne!(new, old);
        assert_eq!(beta.peek().holds().len(), 1);
    });
}

#[test]
fn an_answer_that_nobody_heard_holds_nothing() {
    let host = Host::destination();
    host.live(async |beta| {
        let (id, _) = expect(&beta, 1).await.unwrap();
        beta.coordinator.give_up(&id).await;
        assert_eq!(state(&beta, &id), State::Done(Outcome::Closed));
        assert_eq!(beta.peek().holds(), [""; 0]);
        // What cannot be cleaned is nobody's.
        beta.world.set(|knobs| knobs.dirty = Some(cause("VF_NOT_CLEAN")));
        let (id, _) = expect(&beta, 1).await.unwrap();
        beta.coordinator.give_up(&id).await;
        assert_eq!(beta.peek().holds().len(), 1);
        assert_eq!(
            expect(&beta, 1).await.unwrap().1,
            [(facts::mac(1), facts::address(5))]
        );
    });
}

/// A move of Godwit's own holds VFs already: the hook is told those, and frees none of them.
#[test]
fn a_move_of_our_own_keeps_what_it_holds() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        let (id, held) = expect(&beta, 1).await.unwrap();
        assert_eq!(
            (id.as_str(), &held),
            (
                facts::migration(1).as_str(),
                &vec![(facts::mac(1), facts::address(4))]
            )
        );
        beta.coordinator.give_up(&id).await;
        passes(600).await;
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);
        assert_eq!(state(&beta, &id).phase(), Some(Phase::Await));
    });
}

#[test]
fn guests_that_come_at_once_get_different_vfs_or_a_sentence() {
    let host = Host::destination();
    host.world
        .set(|knobs| knobs.vfs = (0..8).map(|n| facts::vf(n, VfUse::Free)).collect());
    host.live(async |beta| {
        let all = futures_util::future::join_all((1..=10).map(|n| expect(&beta, n))).await;
        let (held, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        let mut vfs: Vec<_> = held.into_iter().map(|held| held.unwrap().1[0].1).collect();
        vfs.sort();
        vfs.dedup();
        assert_eq!((vfs.len(), refused.len()), (8, 2));
        for refused in refused {
            assert!(refused.unwrap_err().to_string().contains("no free VF"));
        }
        assert_eq!(beta.peek().holds().len(), 8);
    });
}

#[test]
fn what_cannot_be_answered_in_time_begins_nothing() {
    let host = Host::destination();
    host.live(async |beta| {
        // Somebody else chooses, and waits for libvirt.
        beta.world.hold_call(Call::Vfs);
        let chooses = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.reserve("alpha", facts::reserve(2, 2)).await.map(drop) })
        };
        beta.world.until(|world| world.knobs().asked_vfs == 1).await;
        let mut soon = expected(1);
        soon.until = Instant::now() + Duration::from_millis(300);
        let late = beta.coordinator.hold_for(soon, ready(Ok(Vec::new()))).await;
        let late = late.unwrap_err().to_string();
        assert!(late.contains("busy"), "{late}");
        beta.world.free_call(Call::Vfs);
        chooses.await.unwrap().unwrap();
        assert_eq!(beta.peek().holds(), ["0000:01:10.4"]);
        // VFs that cannot be looked at.
        let blind = beta
            .coordinator
            .hold_for(expected(1), ready(Err(Cause::default())))
            .await;
        assert!(blind.is_err());
        assert_eq!(beta.peek().migrations().len(), 1);
    });
}
