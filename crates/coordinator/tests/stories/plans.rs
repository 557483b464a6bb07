//! A plan says what a migration would hold, and holds nothing.

use godwit_api::v1::{self as api, Policy, migration_service_server::MigrationService};
use godwit_coordinator::{Deadlines, MigrationDesk};
use godwit_migration::{
    Phase, Sighting, VfUse,
    choice::Group,
    doctor::{Diagnosis, Finding, Severity},
};
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::{
    facts,
    host::{Desk, Host, No, Two, no},
};

pub async fn plan(alpha: &Desk, policy: Policy) -> Result<api::PlanMigrationResponse, No> {
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

pub fn reasons(plan: &api::PlanMigrationResponse) -> Vec<&str> {
    let reason = |found: &'_ api::Finding| found.severity() == api::Severity::Error;
    let errors = plan.findings.iter().filter(|found| reason(found));
    errors.map(|found| found.reason.as_str()).collect()
}

#[test]
fn where_there_is_nothing_to_look_at_a_plan_is_refused_as_a_migration_is() {
    let two = Two::new();
    two.live(async |alpha, _| {
        let desk = MigrationDesk(alpha.coordinator.clone());
        let refused = async |guest: &str, destination: &str| {
            let asked = api::PlanMigrationRequest {
                guest: guest.into(),
                destination: destination.into(),
                ..Default::default()
            };
            let answer = desk.plan_migration(Request::new(asked)).await;
            no(answer.unwrap_err()).failure.reason
        };
        assert_eq!(refused("web-9", "beta").await, "GUEST_UNKNOWN");
        assert_eq!(refused("web-1", "alpha").await, "HOST_IS_SOURCE");
        assert_eq!(refused("web-1", "delta").await, "HOST_UNKNOWN");
        alpha.world.hold(Phase::Transfer);
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        assert_eq!(refused("web-1", "beta").await, "GUEST_BUSY");
        alpha.world.free(Phase::Transfer);
        alpha.settled(&id).await;
    });
}

/// The guest, its agent, its destination and what was found of all of them: nothing hides another.
#[test]
fn all_that_a_migration_would_be_refused_for_is_found_at_once() {
    use api::Severity::Error;
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha.world.set(|knobs| {
            knobs.guests[0].strays.push(facts::stray());
            knobs.guests[0].agent = Err("nobody listens".into());
            knobs.found = vec![found(Error, "TRANSFER_OPTION")];
        });
        beta.world.set(|knobs| {
            knobs.found = vec![found(Error, "CPU_UNFIT")];
            knobs.vfs = vec![facts::vf(4, VfUse::Guest("other".into()))];
        });
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        let guests = ["STRAY_VF", "GUEST_WITHOUT_AGENT"];
        let (own, there) = ("TRANSFER_OPTION", "CPU_UNFIT");
        assert_eq!(
            reasons(&planned),
            [guests[0], guests[1], own, there, "NO_FREE_VF"]
        );
        assert!(!planned.moves && planned.pairs[0].vf.is_empty());
        let agent = &planned.findings[1];
        assert_eq!(agent.about, "web-1");
        assert!(agent.fix.contains("systemctl status godwit-agent") && !agent.why.is_empty());
        // A migration says the same, all of it in one answer.
        let no = create(&alpha, &[]).await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (Code::FailedPrecondition, "STRAY_VF")
        );
        let told = |no: &No| {
            let named = no.failure.causes.iter().filter_map(|cause| {
                let (_, rest) = cause.strip_prefix("and ")?.split_once(" [")?;
                rest.split(']').next().map(str::to_owned)
            });
            named.collect::<Vec<_>>()
        };
        assert_eq!(told(&no), ["GUEST_WITHOUT_AGENT", own, there, "NO_FREE_VF"]);
        // What it refuses by itself cannot be ignored.
        let ignore = ["STRAY_VF", "GUEST_WITHOUT_AGENT", own, there];
        let no = create(&alpha, &ignore).await.unwrap_err();
        assert_eq!(
            (no.failure.reason.as_str(), told(&no)),
            (
                "STRAY_VF",
                vec!["GUEST_WITHOUT_AGENT".into(), "NO_FREE_VF".into()]
            )
        );
        // One alone is told as it always was, with its words for programs.
        alpha.world.set(|knobs| knobs.guests[0].strays.clear());
        alpha.world.set(|knobs| knobs.found.clear());
        beta.world
            .set(|knobs| (knobs.found, knobs.vfs) = (Vec::new(), vec![facts::vf(4, VfUse::Free)]));
        let no = create(&alpha, &[]).await.unwrap_err();
        assert_eq!(
            (no.failure.reason.as_str(), told(&no).len()),
            ("GUEST_WITHOUT_AGENT", 0)
        );
        assert_eq!(alpha.list("", 0).await.len(), 0, "nothing was begun");
    });
}

#[test]
fn a_guest_without_a_whole_pair_is_looked_at_all_the_same() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha.world.set(|knobs| knobs.guests[0].pairs[0].standby = None);
        beta.world
            .set(|knobs| knobs.found = vec![found(api::Severity::Error, "CPU_UNFIT")]);
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        assert_eq!(reasons(&planned), ["GUEST_WITHOUT_STANDBY", "CPU_UNFIT"]);
        assert_eq!((planned.moves, planned.policy()), (false, Policy::Require));
    });
}

#[test]
fn a_destination_that_refuses_hides_nothing_and_what_it_finds_is_told() {
    use api::Severity::Error;
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha
            .world
            .set(|knobs| knobs.found = vec![found(Error, "TRANSFER_OPTION")]);
        beta.world
            .set(|knobs| knobs.found = vec![found(Error, "CPU_UNFIT")]);
        beta.world.sees(facts::WEB, Sighting::Running);
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        assert_eq!(
            reasons(&planned),
            ["TRANSFER_OPTION", "HOST_HAS_GUEST", "CPU_UNFIT"]
        );
        assert!(!planned.moves);
        let asked = api::PlanMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            policy: api::Policy::Prefer.into(),
            ignore: ["TRANSFER_OPTION", "HOST_HAS_GUEST", "CPU_UNFIT"]
                .map(String::from)
                .to_vec(),
            ..Default::default()
        };
        let desk = MigrationDesk(alpha.coordinator.clone());
        let ignored = desk.plan_migration(Request::new(asked.clone())).await.unwrap();
        assert!(!ignored.into_inner().moves, "its refusal cannot be ignored");
        // Alone it is Reserve's to say.
        let no = create(&alpha, &["TRANSFER_OPTION", "HOST_HAS_GUEST", "CPU_UNFIT"])
            .await
            .unwrap_err();
        assert_eq!(no.failure.reason, "HOST_HAS_GUEST");
    });
}

/// What is known is judged, and what is not is told: in a plan, which says that it would not move, and by a migration that begins.
#[test]
fn a_destination_that_cannot_be_asked_hides_nothing() {
    use api::Severity::{Error, Warning};
    let two = Two::new();
    two.live(async |alpha, _| {
        alpha.world.set(|knobs| {
            knobs.cut = true;
            knobs.found = vec![found(Warning, "DISK_LOCAL"), found(Error, "TRANSFER_OPTION")];
        });
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        assert_eq!(reasons(&planned), ["HOST_UNREACHABLE", "TRANSFER_OPTION"]);
        assert!(!planned.moves && planned.findings.len() == 3);
        assert_eq!(planned.not_checked[0].check, "what beta has for it");
        let no = create(&alpha, &[]).await.unwrap_err();
        let reason = (no.code, no.failure.reason.as_str());
        assert_eq!(reason, (Code::Unavailable, "HOST_UNREACHABLE"));
        let and = "and TRANSFER_OPTION stands in the way [TRANSFER_OPTION]: mend TRANSFER_OPTION";
        assert_eq!(no.failure.causes, ["the world", and]);
        // Alone it keeps nothing: it answers when it is greeted, and what it has for the guest is Reserve's to find.
        let begun = create(&alpha, &["TRANSFER_OPTION"]).await.unwrap();
        let reasons: Vec<&str> = begun.warnings.iter().map(|found| found.reason.as_str()).collect();
        assert_eq!(reasons, ["TRANSFER_OPTION", "DISK_LOCAL"]);
        let not_known = &begun.not_checked[0];
        assert_eq!(
            (not_known.check.as_str(), not_known.why.as_str()),
            ("what beta has for it", "host_unreachable went wrong")
        );
        alpha.settled(&begun.migration.unwrap().id).await;
    });
}

/// Whoever asks waits once, and not for the look and then for Reserve; no record is left, and no debt.
#[test]
fn a_destination_that_is_away_is_told_within_one_deadline_and_nothing_was_begun() {
    let host = Host::source();
    host.live_fast(async |alpha| {
        alpha
            .world
            .set(|knobs| (knobs.cut, knobs.away) = (true, Some(u32::MAX)));
        let asked = Instant::now();
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        let reason = (no.code, no.failure.reason.as_str());
        assert_eq!(reason, (Code::Unavailable, "HOST_UNREACHABLE"));
        assert!(no.failure.message.contains("beta") && !no.failure.hint.is_empty());
        let reserve = Deadlines::new([]).of(Phase::Reserve);
        let took = asked.elapsed();
        assert!(took <= reserve, "twice: {took:?}");
        assert!(took > reserve / 2, "it may be starting again: {took:?}");
        assert_eq!(
            (alpha.world.phases(), alpha.peek().migrations()),
            (vec![], vec![])
        );
    });
}

#[test]
fn a_destination_that_is_starting_again_is_looked_at_when_it_answers() {
    let two = Two::new();
    two.live(async |alpha, beta| {
        alpha.world.set(|knobs| (knobs.cut, knobs.away) = (true, Some(3)));
        beta.world
            .set(|knobs| knobs.found = vec![found(api::Severity::Warning, "NETWORK_MTU")]);
        let begun = create(&alpha, &[]).await.unwrap();
        assert_eq!(begun.warnings[0].reason, "NETWORK_MTU");
        assert_eq!(alpha.world.tried(Phase::Reserve), 1);
        alpha.settled(&begun.migration.unwrap().id).await;
        // What is known to stand in the way is told at once.
        alpha.world.set(|knobs| {
            (knobs.cut, knobs.away, knobs.greetings) = (true, Some(3), 0);
            knobs.found = vec![found(api::Severity::Error, "TRANSFER_OPTION")];
        });
        create(&alpha, &[]).await.unwrap_err();
        assert!(alpha.world.knobs().greetings <= 1, "by the look at its clock");
    });
}

/// Its VF may be another guest's by then, which a move of what was seen before would clean.
#[test]
fn a_guest_that_has_gone_when_its_destination_answers_is_not_moved() {
    let two = Two::new();
    two.live(async |alpha, _| {
        alpha
            .world
            .set(|knobs| (knobs.cut, knobs.away) = (true, Some(12)));
        let goes = async {
            alpha.world.until(|world| world.knobs().greetings >= 6).await;
            alpha.world.set(|knobs| knobs.guests.clear());
        };
        let (no, ()) = tokio::join!(create(&alpha, &[]), goes);
        assert_eq!(no.unwrap_err().failure.reason, "GUEST_UNKNOWN");
        assert_eq!(
            (alpha.world.phases(), alpha.peek().migrations()),
            (vec![], vec![])
        );
    });
}

#[test]
fn what_has_to_be_known_and_cannot_be_asked_keeps_a_move_from_beginning() {
    let two = Two::new();
    two.live(async |alpha, _| {
        alpha.world.set(|knobs| knobs.cut = true);
        let desk = MigrationDesk(alpha.coordinator.clone());
        let asked = |ignore: &[&str]| api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            keep: api::Keep::On.into(),
            ignore: ignore.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        };
        let refused = desk.create_migration(Request::new(asked(&[]))).await;
        let no = no(refused.unwrap_err());
        let reason = (no.code, no.failure.reason.as_str());
        assert_eq!(reason, (Code::Unavailable, "HOST_UNREACHABLE"));
        assert_eq!(alpha.list("", 0).await.len(), 0, "nothing was begun");
        let begun = desk
            .create_migration(Request::new(asked(&["FRAMES_NOT_KEPT"])))
            .await;
        alpha
            .settled(&begun.unwrap().into_inner().migration.unwrap().id)
            .await;
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

pub async fn create(alpha: &Desk, ignore: &[&str]) -> Result<api::CreateMigrationResponse, No> {
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
fn what_is_only_a_warning_is_told_and_keeps_nothing() {
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
        alpha
            .world
            .set(|knobs| (knobs.domain, knobs.ahead_ms) = (domain, Some(0)));
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

#[test]
fn a_clock_that_is_another_is_told_before_a_move() {
    let two = Two::new();
    two.live(async |alpha, _| {
        let told = async |ahead_ms: Option<u64>| {
            alpha.world.set(|knobs| knobs.ahead_ms = ahead_ms);
            let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
            let found = planned.findings.into_iter().map(|found| found.reason);
            let skipped = planned.not_checked.into_iter().map(|skipped| skipped.check);
            (planned.moves, found.chain(skipped).collect::<Vec<_>>())
        };
        assert_eq!(told(Some(0)).await, (true, vec![]));
        assert_eq!(told(Some(60_000)).await, (true, vec!["PEER_CLOCK".to_owned()]));
        assert_eq!(told(None).await, (true, vec!["the clock of beta".to_owned()]));
    });
}
