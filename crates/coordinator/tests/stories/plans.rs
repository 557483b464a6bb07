//! A plan says what a migration would hold, and holds nothing.

use godwit_api::v1::{self as api, Policy, migration_service_server::MigrationService};
use godwit_coordinator::MigrationDesk;
use godwit_migration::{Sighting, VfUse, choice::Group};
use tonic::Request;

use crate::{
    facts,
    host::{Desk, No, Two, no},
};

async fn plan(alpha: &Desk, policy: Policy) -> Result<api::PlanMigrationResponse, No> {
    let desk = MigrationDesk(alpha.coordinator.clone());
    let asked = api::PlanMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        policy: policy.into(),
    };
    let answer = desk.plan_migration(Request::new(asked)).await.map_err(no)?;
    Ok(answer.into_inner())
}

fn told(plan: &api::PlanMigrationResponse) -> Vec<String> {
    let each = plan.pairs.iter().flat_map(|pair| {
        let line = |one: &api::VfCandidate| {
            let word = match (one.fits, one.vf == pair.vf) {
                (true, true) => "gets",
                (true, false) => "fits",
                (false, _) => "no",
            };
            format!("{word} {}: {}", one.vf, one.reasons.join(", "))
        };
        pair.candidates.iter().map(line)
    });
    each.collect()
}

#[test]
fn what_is_planned_is_what_is_held_and_nothing_is_held_by_planning() {
    let two = Two::new();
    let mut shared = facts::vf(6, VfUse::Free);
    shared.site.group = Group::Missing;
    let vfs = vec![
        facts::vf(0, VfUse::Guest("db-1".into())),
        facts::vf(2, VfUse::Free),
        facts::vf(4, VfUse::Free),
        shared,
    ];
    two.beta.world.set(|knobs| knobs.vfs = vfs);
    two.live(async |alpha, beta| {
        beta.reserve("alpha", facts::reserve(9, 5)).await.unwrap();
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        assert!(planned.moves);
        assert_eq!(
            told(&planned),
            [
                "gets 0000:01:10.4: 2 of 4 VFs of pf0 are free".to_owned(),
                "no 0000:01:10.0: guest `db-1` has it".into(),
                format!("no 0000:01:10.2: migration {} holds it", facts::migration(9)),
                "no 0000:01:10.6: it is in no IOMMU group".into(),
            ]
        );
        assert_eq!(alpha.list("", 0).await.len(), 0, "nothing was begun");
        assert_eq!(beta.peek().holds(), ["0000:01:10.2"]);
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(
            alpha.settled(&id).await.pairs[0].destination_vf,
            planned.pairs[0].vf
        );
    });
}

#[test]
fn without_a_vf_the_policy_decides() {
    let two = Two::new();
    two.beta
        .world
        .set(|knobs| knobs.vfs = vec![facts::vf(4, VfUse::Guest("other".into()))]);
    two.live(async |alpha, beta| {
        for (policy, moves) in [(Policy::Require, false), (Policy::Prefer, true)] {
            let planned = plan(&alpha, policy).await.unwrap();
            assert_eq!((planned.moves, planned.policy()), (moves, policy));
            assert_eq!(planned.pairs[0].vf, "");
        }
        beta.world
            .set(|knobs| knobs.vfs = vec![facts::vf(4, VfUse::Free)]);
        // It would move, and takes none.
        let planned = plan(&alpha, Policy::StandbyOnly).await.unwrap();
        assert_eq!((planned.moves, planned.pairs[0].vf.as_str()), (true, ""));
    });
}

#[test]
fn a_plan_is_refused_for_what_a_migration_is_refused_for() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha.world.set(|knobs| knobs.guests[0].managed = false);
        let no = plan(&alpha, Policy::Unspecified).await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_NOT_MANAGED");
        alpha.world.set(|knobs| knobs.guests[0].managed = true);
        beta.world.sees(facts::WEB, Sighting::Running);
        plan(&alpha, Policy::Unspecified).await.unwrap_err();
    });
}
