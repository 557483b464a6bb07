//! A host that is about to end: nothing new begins, what has begun goes on.

use godwit_api::v1::{Moved, Policy};
use godwit_migration::{Phase, VfUse};
use tonic::Code;

use crate::{
    facts,
    host::{Host, No, Two},
    plans::plan,
};

fn going_down(no: &No, words: &str) {
    let failure = &no.failure;
    assert_eq!(
        (no.code, failure.reason.as_str()),
        (Code::FailedPrecondition, "HOST_GOING_DOWN")
    );
    assert_eq!(failure.message, words);
}

#[test]
fn nothing_begins_on_a_host_that_is_going_down_until_it_is_not() {
    let host = Host::source();
    host.live(async |alpha| {
        let words = "alpha is shutting down: nothing new is begun there";
        alpha.coordinator.going_down(Some("is shutting down"));
        going_down(&alpha.migrate("web-1", "beta").await.unwrap_err(), words);
        going_down(&alpha.standby("web-1").await.unwrap_err(), words);
        assert_eq!(alpha.peek().migrations(), [""; 0]);
        assert_eq!(host.world.works(), []);
        alpha.coordinator.going_down(None);
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(alpha.settled(&id).await.moved(), Moved::Yes);
    });
}

#[test]
fn a_host_that_is_going_down_looks_after_nobody() {
    let host = Host::source();
    host.world.set(|knobs| {
        knobs.guests[0].pairs[0].vf = None;
        let seen = &mut knobs.guests[0].agent.as_mut().unwrap()[0];
        (seen.has_primary, seen.on_primary) = (false, false);
        knobs.vfs[0].usage = VfUse::Free;
    });
    host.live(async |alpha| {
        alpha.coordinator.going_down(Some("is going to sleep"));
        alpha.coordinator.look_after_guests().await;
        assert_eq!(alpha.peek().migrations(), [""; 0]);
        alpha.coordinator.going_down(None);
        alpha.coordinator.look_after_guests().await;
        assert_eq!(alpha.peek().migrations().len(), 1);
    });
}

#[test]
fn a_guest_does_not_set_out_for_a_host_that_is_going_down() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        beta.coordinator.going_down(Some("is shutting down"));
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        let told = format!("{} {:?}", no.failure.message, no.failure.causes);
        assert!(told.contains("beta is shutting down"), "{told}");
        assert_eq!(beta.peek().holds(), [""; 0]);
    });
}

/// A migration is refused for it; so a plan finds it, of either host, beside what else there is.
#[test]
fn a_plan_finds_that_a_host_is_going_down() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        let (here, there) = (&alpha.coordinator, &beta.coordinator);
        alpha
            .world
            .set(|knobs| knobs.guests[0].strays.push(facts::stray()));
        for (first, second) in [
            (Some("is shutting down"), None),
            (None, Some("is going to sleep")),
        ] {
            here.going_down(first);
            there.going_down(second);
            let planned = plan(&alpha, Policy::Prefer).await.unwrap();
            let which = if first.is_some() { "alpha" } else { "beta" };
            let found = planned.findings.iter().find(|found| found.about == which);
            let found = found.unwrap();
            assert_eq!(found.reason, "HOST_GOING_DOWN");
            let words = first.or(second).unwrap();
            assert_eq!(found.what, format!("{which} {words}: nothing new is begun there"));
            assert!(planned.findings.iter().any(|found| found.reason == "STRAY_VF"));
        }
        alpha.world.set(|knobs| knobs.guests[0].strays.clear());
        let planned = plan(&alpha, Policy::Prefer).await.unwrap();
        assert!(!planned.moves, "that finding alone keeps it");
        there.going_down(None);
        assert!(plan(&alpha, Policy::Prefer).await.unwrap().moves);
    });
}

#[test]
fn what_has_begun_goes_on() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Unplug);
        let id = alpha.reach(Phase::Unplug).await;
        let mut running = alpha.coordinator.running();
        assert_eq!(
            running.iter().map(|one| one.id()).collect::<Vec<_>>(),
            [id.as_str()]
        );
        let turns = alpha.coordinator.turns();
        alpha.coordinator.going_down(Some("is shutting down"));
        alpha.world.free(Phase::Unplug);
        let mut one = running.remove(0);
        while one.changed().await {
            let _ = one.now();
        }
        assert!(one.now().ended);
        alpha
            .world
            .until(|_| alpha.coordinator.running().is_empty())
            .await;
        assert!(
            turns.has_changed().unwrap(),
            "who looks after all of them is told"
        );
    });
}
