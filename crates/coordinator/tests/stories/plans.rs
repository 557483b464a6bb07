//! A plan says what a migration would hold, and holds nothing.

use godwit_api::v1::{self as api, Policy, migration_service_server::MigrationService};
use godwit_coordinator::MigrationDesk;
use godwit_migration::{
    Sighting, VfUse,
    choice::Group,
    doctor::{Diagnosis, Finding, Severity},
};
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
        ..Default::default()
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

fn found(severity: api::Severity, reason: &str) -> api::Finding {
    api::Finding {
        severity: severity.into(),
        reason: reason.into(),
        about: "beta".into(),
        what: format!("{reason} stands in the way"),
        why: "it would be refused".into(),
        fix: format!("mend {reason}"),
    }
}

async fn create(alpha: &Desk, ignore: &[&str]) -> Result<api::CreateMigrationResponse, No> {
    let desk = MigrationDesk(alpha.coordinator.clone());
    let asked = api::CreateMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        ignore: ignore.iter().map(|reason| (*reason).to_owned()).collect(),
        ..Default::default()
    };
    let answer = desk.create_migration(Request::new(asked)).await.map_err(no)?;
    Ok(answer.into_inner())
}

#[test]
fn errors_of_both_hosts_are_told_at_once_and_keep_a_move_from_beginning() {
    use api::Severity::{Error, Warning};
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha
            .world
            .set(|knobs| knobs.found = vec![found(Warning, "DISK_LOCAL"), found(Error, "TRANSFER_OPTION")]);
        beta.world
            .set(|knobs| knobs.found = vec![found(Error, "CPU_UNFIT")]);
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        let reasons: Vec<&str> = planned
            .findings
            .iter()
            .map(|found| found.reason.as_str())
            .collect();
        assert_eq!(
            (planned.moves, reasons),
            (false, vec!["TRANSFER_OPTION", "CPU_UNFIT", "DISK_LOCAL"])
        );
        assert_eq!(beta.world.knobs().needs.as_ref().unwrap().guest, "web-1");
        let no = create(&alpha, &[]).await.unwrap_err();
        assert_eq!(no.failure.reason, "TRANSFER_OPTION");
        assert_eq!(no.failure.hint, "mend TRANSFER_OPTION");
        let and = "and CPU_UNFIT stands in the way [CPU_UNFIT]: mend CPU_UNFIT";
        assert_eq!(no.failure.causes, ["it would be refused", and]);
        assert_eq!(alpha.list("", 0).await.len(), 0, "nothing was begun");
        assert_eq!(beta.peek().holds(), Vec::<String>::new());
        // One that is ignored keeps nothing; the other still does.
        let no = create(&alpha, &["TRANSFER_OPTION"]).await.unwrap_err();
        assert_eq!(no.failure.reason, "CPU_UNFIT");
        let begun = create(&alpha, &["TRANSFER_OPTION", "CPU_UNFIT"]).await.unwrap();
        assert_eq!(begun.warnings.len(), 3);
        alpha.settled(&begun.migration.unwrap().id).await;
    });
}

#[test]
fn what_is_only_a_warning_is_told_and_a_destination_that_cannot_be_asked_is_none() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        beta.world
            .set(|knobs| knobs.found = vec![found(api::Severity::Warning, "NETWORK_MTU")]);
        let begun = create(&alpha, &[]).await.unwrap();
        assert_eq!(begun.warnings[0].reason, "NETWORK_MTU");
        alpha.settled(&begun.migration.unwrap().id).await;
    });
}

#[test]
fn what_the_doctor_finds_of_the_guest_counts_as_well() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        beta.world
            .set(|knobs| knobs.found = vec![found(api::Severity::Warning, "NETWORK_MTU")]);
        let fixed = Finding {
            severity: Severity::Error,
            reason: "GUEST_VF_FIXED",
            about: "web-1".into(),
            what: "guest `web-1` has VFs where nothing can be unplugged".into(),
            why: "pcie.0 lets no device go".into(),
            fix: "virsh edit web-1".into(),
        };
        let mut domain = Diagnosis::default();
        domain.add(fixed);
        domain.skip("stored definition of `web-1`", "no answer within 5 s");
        alpha.world.set(|knobs| knobs.domain = domain);
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        let reasons: Vec<&str> = planned
            .findings
            .iter()
            .map(|found| found.reason.as_str())
            .collect();
        assert_eq!(
            (planned.moves, reasons),
            (false, vec!["GUEST_VF_FIXED", "NETWORK_MTU"])
        );
        assert_eq!(planned.not_checked.len(), 1);
        let no = create(&alpha, &[]).await.unwrap_err();
        assert_eq!(no.failure.reason, "GUEST_VF_FIXED");
    });
}
