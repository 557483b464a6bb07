//! A guest that stays: put on standby and accelerated without a migration, by a person and by the host itself.

use godwit_api::v1::{
    Acceleration, Migration, Moved, Phase as Wire, Role, StandbyGuestRequest,
    guest_service_server::GuestService,
};
use godwit_coordinator::{GuestDesk, HostDesk};
use godwit_migration::{Event, Phase, VfUse};
use tonic::Request;

use crate::{
    facts,
    host::{Desk, Host, No, no},
    world::{Call, cause, failed},
};

/// `web-1` on its standby, on a host with these VFs.
fn lowered(usages: &[VfUse]) -> Host {
    let host = Host::source();
    host.world.set(|knobs| {
        let facts = &mut knobs.guests[0];
        facts.pairs[0].vf = None;
        let seen = &mut facts.agent.as_mut().unwrap()[0];
        (seen.has_primary, seen.on_primary) = (false, false);
        knobs.vfs = (1..)
            .zip(usages)
            .map(|(n, usage)| facts::vf(n, usage.clone()))
            .collect();
    });
    host
}

async fn only_operation(desk: &Desk) -> godwit_api::v1::Migration {
    let all = desk.list("", 0).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn a_guest_is_put_on_standby_and_stays_there_until_somebody_asks_otherwise() {
    let host = Host::source();
    host.live(async |alpha| {
        let down = alpha.standby("web-1").await.unwrap();
        assert_eq!((down.role(), down.source.as_str()), (Role::Decelerate, "alpha"));
        let down = alpha.settled(&down.id).await;
        assert!(down.ended && down.failure.is_none());
        assert_eq!(
            (down.moved(), down.acceleration()),
            (Moved::No, Acceleration::Standby)
        );
        assert_eq!(down.because, "standby was asked for");
        assert_eq!(alpha.peek().holds(), [""; 0], "its VF is anybody's");
        alpha.coordinator.look_after_guests().await;
        assert_eq!(
            only_operation(&alpha).await.id,
            down.id,
            "it is left on its standby"
        );

        let up = alpha.accelerate("web-1").await.unwrap();
        let up = alpha.settled(&up.id).await;
        assert_eq!((up.role(), up.moved()), (Role::Accelerate, Moved::No));
        assert_eq!((up.ended, up.acceleration()), (true, Acceleration::Accelerated));
        assert_eq!(alpha.peek().holds(), [""; 0], "the guest has it");
    });
    use Phase::{FailBack, FailOver, Plug, Release, Unplug};
    assert_eq!(host.world.phases(), [FailOver, Unplug, Release, Plug, FailBack]);
}

#[test]
fn a_standby_that_cannot_be_had_leaves_the_guest_accelerated() {
    let host = Host::source();
    host.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
    host.live(async |alpha| {
        let id = alpha.standby("web-1").await.unwrap().id;
        let end = alpha.settled(&id).await;
        assert_eq!((end.ended, end.acceleration()), (true, Acceleration::Accelerated));
        assert_eq!(
            end.failure.unwrap().reason,
            "UNPLUG_REFUSED",
            "why it is not on its standby"
        );
        assert_eq!(alpha.peek().holds(), [""; 0]);
    });
    use Phase::{FailBack, FailOver, Plug, Unplug};
    assert_eq!(host.world.phases(), [FailOver, Unplug, Plug, FailBack]);
}

#[test]
fn a_failure_has_a_next_command_that_is_not_the_one_that_tells_it() {
    let hintless = |reason: &str| {
        Event::Failed(godwit_migration::Cause {
            hint: String::new(),
            ..cause(reason)
        })
    };
    let host = Host::source();
    host.world.once(Phase::Unplug, hintless("UNPLUG_REFUSED"));
    host.live(async |alpha| {
        let id = alpha.standby("web-1").await.unwrap().id;
        let end = alpha.ended(&id).await;
        assert_eq!(end.failure.unwrap().hint, "godwit standby web-1");
    });
    let host = lowered(&[VfUse::Free]);
    host.world.breaks(Phase::Plug, hintless("PLUG"));
    host.live(async |alpha| {
        let id = alpha.accelerate("web-1").await.unwrap().id;
        let rest = alpha.settled(&id).await;
        assert_eq!(rest.failure.unwrap().hint, format!("godwit retry {id}"));
    });
}

#[test]
fn a_silent_unplug_is_waited_for_and_needs_a_person() {
    let host = Host::source();
    host.world
        .breaks(Phase::Unplug, Event::Silent(cause("UNPLUG_PENDING")));
    host.live_fast(async |alpha| {
        let id = alpha.standby("web-1").await.unwrap().id;
        let rest = alpha.settled(&id).await;
        assert!(rest.needs_person && !rest.ended);
        assert_eq!(
            alpha.peek().holds(),
            ["0000:01:10.1"],
            "a VF that may leave is nobody else's"
        );
        alpha.world.heals(Phase::Unplug);
        assert_eq!(alpha.ended(&id).await.acceleration(), Acceleration::Standby);
    });
}

#[test]
fn a_guest_that_lost_its_vf_is_accelerated_by_the_host_itself() {
    let host = lowered(&[VfUse::Free]);
    host.live(async |alpha| {
        alpha.coordinator.look_after_guests().await;
        let up = alpha.settled(&only_operation(&alpha).await.id).await;
        assert_eq!(
            (up.role(), up.acceleration()),
            (Role::Accelerate, Acceleration::Accelerated)
        );
        assert_eq!(up.pairs[0].destination_vf, "0000:01:10.1");
        alpha.coordinator.look_after_guests().await;
        only_operation(&alpha).await;
    });
}

/// Every question about guests is answered when the guest has its VF, as it was before.
async fn overtaken<T: Send + 'static>(alpha: &Desk, asked: impl Future<Output = T> + Send + 'static) -> T {
    alpha.world.hold(Phase::Plug);
    let up = alpha.accelerate("web-1").await.unwrap().id;
    alpha.world.attempts(Phase::Plug, 1).await;
    alpha.world.hold_call(Call::Guests);
    let questions = alpha.world.knobs().asked_guests;
    let asked = tokio::spawn(asked);
    alpha
        .world
        .until(|world| world.knobs().asked_guests > questions)
        .await;
    alpha.world.free(Phase::Plug);
    assert_eq!(alpha.settled(&up).await.acceleration(), Acceleration::Accelerated);
    alpha.world.free_call(Call::Guests);
    asked.await.unwrap()
}

#[test]
fn a_look_at_all_guests_that_an_acceleration_overtook_begins_none() {
    let host = lowered(&[VfUse::Free, VfUse::Free]);
    host.live(async |alpha| {
        let looks = alpha.clone();
        overtaken(&alpha, async move { looks.coordinator.look_after_guests().await }).await;
        only_operation(&alpha).await;
        assert_eq!(alpha.peek().holds(), [""; 0]);
    });
}

#[test]
fn a_move_asked_for_before_an_acceleration_ended_knows_of_the_vf() {
    let host = lowered(&[VfUse::Free, VfUse::Free]);
    host.live(async |alpha| {
        let asks = alpha.clone();
        let moved = overtaken(&alpha, async move { asks.migrate("web-1", "beta").await }).await;
        assert_eq!(moved.unwrap().pairs[0].source_vf, "0000:01:10.1");
    });
}

#[test]
fn nothing_is_done_with_a_guest_that_wants_no_vf_or_whose_agent_is_silent_or_that_is_nobodys() {
    type Change = fn(&mut godwit_migration::preflight::GuestFacts);
    let changes: [Change; 4] = [
        |facts| facts.policy = godwit_migration::Policy::StandbyOnly,
        |facts| facts.agent = Err("it boots".into()),
        |facts| facts.managed = false,
        |facts| facts.running = false,
    ];
    for change in changes {
        let host = lowered(&[VfUse::Free]);
        host.world.set(|knobs| change(&mut knobs.guests[0]));
        host.live(async |alpha| {
            alpha.coordinator.look_after_guests().await;
            assert_eq!(alpha.list("", 0).await, []);
        });
    }
}

#[test]
fn a_vf_that_becomes_free_is_taken_at_once() {
    let host = lowered(&[VfUse::Guest("other".into())]);
    host.live_fast(async |alpha| {
        let id = alpha.accelerate("web-1").await.unwrap().id;
        let rest = alpha.settled(&id).await;
        assert_eq!(
            (rest.phase(), rest.acceleration()),
            (Wire::Hold, Acceleration::Standby)
        );
        assert_eq!(rest.failure.unwrap().reason, "NO_FREE_VF");
        alpha.rests_long(|world| world.knobs().asked_vfs).await;
        assert_eq!(
            alpha.peek().entries(&id).len(),
            1,
            "a retry that changes nothing writes nothing"
        );
        alpha.world.set(|knobs| knobs.vfs[0].usage = VfUse::Free);
        alpha.coordinator.look_after_guests().await;
        assert_eq!(alpha.ended(&id).await.acceleration(), Acceleration::Accelerated);
    });
}

#[test]
fn what_rests_is_tried_when_somebody_asks() {
    let host = lowered(&[VfUse::Free]);
    host.world.breaks(Phase::Plug, failed("PLUG"));
    host.live_fast(async |alpha| {
        let id = alpha.accelerate("web-1").await.unwrap().id;
        assert_eq!(alpha.settled(&id).await.phase(), Wire::Plug);
        alpha.rests_long(|world| world.tried(Phase::Plug)).await;
        alpha.world.heals(Phase::Plug);
        alpha.retry(&id[..13]).await.unwrap();
        assert_eq!(alpha.ended(&id).await.acceleration(), Acceleration::Accelerated);
        let no = alpha.retry(&id).await.unwrap_err();
        assert_eq!(no.failure.reason, "NOTHING_RESTS");
    });
}

#[test]
fn a_vf_that_cannot_be_plugged_is_set_aside_and_another_taken() {
    let host = lowered(&[VfUse::Free, VfUse::Free]);
    let bad = godwit_migration::Cause {
        vf: Some(facts::address(1)),
        ..cause("PLUG")
    };
    host.world.once(Phase::Plug, Event::Failed(bad));
    host.live(async |alpha| {
        let id = alpha.accelerate("web-1").await.unwrap().id;
        let end = alpha.ended(&id).await;
        assert_eq!(end.acceleration(), Acceleration::Accelerated);
        assert_eq!(end.pairs[0].destination_vf, "0000:01:10.2");
    });
    assert_eq!(host.peek().holds(), ["0000:01:10.1"]);
    assert_eq!(
        host.peek().quarantined(),
        ["0000:01:10.2 instead of 0000:01:10.1: plug went wrong"]
    );
}

#[test]
fn when_no_vf_works_the_fault_is_not_the_vfs() {
    let host = lowered(&[const { VfUse::Free }; 7]);
    for n in 1..=7 {
        let bad = godwit_migration::Cause {
            vf: Some(facts::address(n)),
            ..cause("PLUG")
        };
        host.world.once(Phase::Plug, Event::Failed(bad));
    }
    host.live_fast(async |alpha| {
        let id = alpha.accelerate("web-1").await.unwrap().id;
        alpha.ended(&id).await;
    });
    assert_eq!(host.peek().quarantined().len(), 3, "not all VFs of the host");
}

#[test]
fn standby_takes_over_from_an_acceleration_that_rests_or_is_at_work() {
    let host = lowered(&[VfUse::Free]);
    host.live(async |alpha| {
        alpha.world.hold(Phase::Plug);
        let id = alpha.accelerate("web-1").await.unwrap().id;
        alpha.world.attempts(Phase::Plug, 1).await;
        assert_eq!(alpha.standby("web-1").await.unwrap().id, id, "the same operation");
        assert_eq!(
            alpha.world.tried(Phase::FailOver),
            0,
            "the phase at work ends first"
        );
        alpha.world.free(Phase::Plug);
        let end = alpha.ended(&id).await;
        assert_eq!(
            (end.acceleration(), end.because.as_str()),
            (Acceleration::Standby, "standby was asked for")
        );
        alpha.coordinator.look_after_guests().await;
        assert_eq!(alpha.list("", 0).await.len(), 1, "and it is kept");

        alpha.world.breaks(Phase::Plug, failed("PLUG"));
        let id = alpha.accelerate("web-1").await.unwrap().id;
        alpha.settled(&id).await;
        alpha.standby("web-1").await.unwrap();
        assert_eq!(alpha.ended(&id).await.acceleration(), Acceleration::Standby);
    });
    assert_eq!(host.peek().holds(), [""; 0]);
}

#[test]
fn a_guest_that_rests_on_its_standby_can_be_migrated() {
    let host = lowered(&[VfUse::Guest("other".into())]);
    host.live(async |alpha| {
        let resting = alpha.accelerate("web-1").await.unwrap().id;
        alpha.settled(&resting).await;
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert!(alpha.get(&resting).await.unwrap().ended);
        assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
    });
}

#[test]
fn a_guest_whose_standby_cannot_be_confirmed_is_refused_at_once_and_goes_on_waiting() {
    let host = lowered(&[VfUse::Guest("other".into())]);
    host.world.once(Phase::FailOver, failed("AGENT_SILENT"));
    host.live(async |alpha| {
        let resting = alpha.accelerate("web-1").await.unwrap().id;
        alpha.settled(&resting).await;
        let asked = tokio::time::Instant::now();
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_BUSY");
        let waited = asked.elapsed();
        assert!(waited < std::time::Duration::from_secs(30), "waited {waited:?}");
        assert!(!alpha.get(&resting).await.unwrap().ended);
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
    });
}

#[test]
fn a_migration_of_a_guest_on_standby_that_fails_leaves_it_there_and_it_is_wanted_again() {
    let host = lowered(&[VfUse::Free]);
    host.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
    host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        let end = alpha.ended(&id).await;
        assert_eq!(
            (end.moved(), end.acceleration()),
            (Moved::No, Acceleration::Standby)
        );
        alpha.coordinator.look_after_guests().await;
        let up = alpha.list("", 1).await[0].clone();
        assert_eq!(
            alpha.ended(&up.id).await.acceleration(),
            Acceleration::Accelerated
        );
    });
}

#[test]
fn a_migration_that_is_refused_or_undone_does_not_end_a_standby_that_somebody_asked_for() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        let down = alpha.standby("web-1").await.unwrap().id;
        alpha.ended(&down).await;
        alpha.world.once(Phase::Reserve, failed("NO_FREE_VF"));
        alpha.migrate("web-1", "beta").await.unwrap_err();
        alpha.world.once(Phase::Unplug, failed("UNPLUG_REFUSED"));
        let undone = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(alpha.ended(&undone).await.moved(), Moved::No);
        alpha.coordinator.look_after_guests().await;
        assert_eq!(alpha.list("", 0).await.len(), 3, "nothing was begun");
    });
}

#[test]
fn what_is_busy_is_not_touched() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        alpha.reach(Phase::Transfer).await;
        alpha.coordinator.look_after_guests().await;
        for no in [alpha.standby("web-1").await, alpha.accelerate("web-1").await] {
            assert_eq!(no.unwrap_err().failure.reason, "GUEST_BUSY");
        }
    });
}

#[test]
fn a_pf_is_set_aside_with_all_its_guests_and_comes_back() {
    use godwit_api::v1::{AcceleratePfRequest, StandbyPfRequest, host_service_server::HostService};
    let host = Host::source();
    host.world.set(|knobs| knobs.vfs.push(facts::vf(2, VfUse::Free)));
    host.live(async |alpha| {
        let desk = HostDesk(alpha.coordinator.clone());
        let no = desk
            .standby_pf(tonic::Request::new(StandbyPfRequest { pf: "pf9".into() }))
            .await;
        assert!(no.unwrap_err().message().contains("there are: pf0"));
        let asked = tonic::Request::new(StandbyPfRequest { pf: "pf0".into() });
        let begun = desk.standby_pf(asked).await.unwrap().into_inner();
        assert_eq!((begun.operations.len(), begun.refused.len()), (1, 0));
        let down = alpha.ended(&begun.operations[0].id).await;
        assert_eq!(down.acceleration(), Acceleration::Standby);

        // It should have a VF, and there is none as long as the PF is set aside.
        alpha.coordinator.look_after_guests().await;
        let waits = alpha.list("", 1).await[0].clone();
        let waits = alpha.settled(&waits.id).await;
        assert_eq!(
            (waits.role(), waits.failure.unwrap().reason.as_str()),
            (Role::Accelerate, "NO_FREE_VF")
        );

        let asked = tonic::Request::new(AcceleratePfRequest { pf: "pf0".into() });
        let begun = desk.accelerate_pf(asked).await.unwrap().into_inner();
        assert_eq!(begun.operations[0].id, waits.id);
        assert_eq!(
            alpha.ended(&waits.id).await.acceleration(),
            Acceleration::Accelerated
        );
    });
}

/// 0 seconds: until somebody asks otherwise.
pub async fn standby_for(desk: &Desk, guest: &str, lasts_seconds: u32) -> Result<Migration, No> {
    let asked = StandbyGuestRequest {
        guest: guest.into(),
        lasts_seconds,
    };
    let answer = GuestDesk(desk.coordinator.clone())
        .standby_guest(Request::new(asked))
        .await;
    Ok(answer.map_err(no)?.into_inner().operation.unwrap())
}

/// For a save or a snapshot: nobody asked for the standby itself, so it ends with that.
#[test]
fn a_standby_for_something_lasts_as_long_and_ends_when_the_guest_stops_or_somebody_asks() {
    let begun = async |alpha: &Desk| alpha.list("", 0).await.len();
    type End = (&'static str, bool);
    let ends: [End; 3] = [
        ("it stopped and runs again", true),
        ("its time is over", true),
        ("it runs on", false),
    ];
    for (end, accelerated) in ends {
        let host = lowered(&[VfUse::Free]);
        host.live_fast(async |alpha| {
            // Facts as they are once it is on its standby.
            let before = alpha.world.knobs().guests.clone();
            alpha
                .world
                .set(|knobs| knobs.guests = Host::source().world.knobs().guests.clone());
            let down = standby_for(&alpha, "web-1", 600).await.unwrap();
            assert!(alpha.settled(&down.id).await.ended);
            alpha.world.set(|knobs| knobs.guests = before);
            alpha.coordinator.look_after_guests().await;
            assert_eq!(begun(&alpha).await, 1, "{end}: it is left alone meanwhile");
            match end {
                "it stopped and runs again" => {
                    alpha.world.set(|knobs| knobs.guests[0].running = false);
                    alpha.coordinator.look_after_guests().await;
                    alpha.world.set(|knobs| knobs.guests[0].running = true);
                }
                "its time is over" => tokio::time::sleep(std::time::Duration::from_secs(601)).await,
                _ => {}
            }
            alpha.coordinator.look_after_guests().await;
            assert_eq!(begun(&alpha).await, if accelerated { 2 } else { 1 }, "{end}");
        });
    }
    let host = lowered(&[VfUse::Free]);
    host.live(async |alpha| {
        let no = standby_for(&alpha, "web-1", 86_401).await.unwrap_err();
        assert_eq!(no.failure.reason, "INVALID");
    });
}
