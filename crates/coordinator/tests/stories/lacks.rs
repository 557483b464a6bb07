//! What a plan says of a guest's VFs, its pairs and its transfer.

use godwit_api::v1::{self as api, Policy, migration_service_server::MigrationService};
use godwit_coordinator::MigrationDesk;
use godwit_migration::{Figures, Sighting, VfUse, choice::Group};
use tonic::Request;

use crate::{
    facts,
    host::Two,
    plans::{create, plan, reasons},
};

#[test]
fn without_a_vf_the_policy_decides() {
    let two = Two::new();
    two.beta
        .world
        .set(|knobs| knobs.vfs = vec![facts::vf(4, VfUse::Guest("other".into()))]);
    two.live(async |alpha, beta| {
        use api::Severity::{Error, Warning};
        for (policy, moves, severity) in [(Policy::Require, false, Error), (Policy::Prefer, true, Warning)] {
            let planned = plan(&alpha, policy).await.unwrap();
            assert_eq!((planned.moves, planned.policy()), (moves, policy));
            assert_eq!(planned.pairs[0].vf, "");
            let [lack] = &planned.findings[..] else {
                panic!("{policy:?}: {:?}", planned.findings)
            };
            assert_eq!((lack.severity(), lack.about.as_str()), (severity, "beta"));
            assert_eq!(
                lack.what,
                "host beta has no free VF in pool `fabric` (0 of 1 free)"
            );
            assert!(lack.fix.contains("sriov_numvfs"), "{}", lack.fix);
            assert_eq!(lack.fix.contains("--policy prefer"), !moves, "{}", lack.fix);
        }
        beta.world
            .set(|knobs| knobs.vfs = vec![facts::vf(4, VfUse::Free)]);
        // It would move, and takes none.
        let planned = plan(&alpha, Policy::StandbyOnly).await.unwrap();
        assert_eq!((planned.moves, planned.pairs[0].vf.as_str()), (true, ""));
        assert!(planned.findings.is_empty(), "{:?}", planned.findings);
    });
}

/// What is free and does not fit is mended otherwise than what is taken, and by whoever begins a move that wants a VF but needs none, too.
#[test]
fn a_lack_of_vfs_is_told_with_what_to_do_about_it() {
    let two = Two::new();
    let mut unfit = facts::vf(4, VfUse::Free);
    unfit.site.group = Group::Missing;
    two.beta.world.set(|knobs| knobs.vfs = vec![unfit]);
    two.live(async |alpha, beta| {
        let planned = plan(&alpha, Policy::Require).await.unwrap();
        assert_eq!(reasons(&planned), ["NO_FREE_VF"]);
        let lack = &planned.findings[0];
        assert!(
            lack.what.contains("0000:01:10.4: it is in no IOMMU group"),
            "{}",
            lack.what
        );
        assert!(lack.fix.contains("mend what rules those out"), "{}", lack.fix);
        // It is no error that could be ignored: Reserve is asked for a VF.
        let no = create(&alpha, &["NO_FREE_VF"]).await.unwrap_err();
        assert_eq!(no.failure.reason, "NO_FREE_VF");
        beta.world.set(|knobs| knobs.vfs.clear());
        let planned = plan(&alpha, Policy::Require).await.unwrap();
        assert_eq!(reasons(&planned), ["NO_POOL"]);
        assert!(planned.findings[0].fix.contains("[[pool]]"));
        let desk = MigrationDesk(alpha.coordinator.clone());
        let asked = api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            policy: Policy::Prefer.into(),
            ..Default::default()
        };
        let begun = desk
            .create_migration(Request::new(asked))
            .await
            .unwrap()
            .into_inner();
        let warned: Vec<_> = begun.warnings.iter().map(|found| found.reason.as_str()).collect();
        assert_eq!(warned, ["NO_POOL"]);
        alpha.settled(&begun.migration.unwrap().id).await;
    });
}

#[test]
fn that_a_pair_of_libvirts_own_loses_frames_is_a_hint() {
    let two = Two::new();
    two.live(async |alpha, _| {
        alpha.world.set(|knobs| {
            let guest = &mut knobs.guests[0];
            guest.pairs[0].teamed = true;
            guest.agent.as_mut().unwrap()[0].failover = true;
        });
        let planned = plan(&alpha, Policy::Unspecified).await.unwrap();
        let [hint] = &planned.findings[..] else {
            panic!("{:?}", planned.findings)
        };
        assert_eq!(
            (hint.severity(), hint.reason.as_str(), hint.about.as_str()),
            (api::Severity::Hint, "TEAMED_PAIR", "web-1")
        );
        assert!(
            planned.moves && hint.fix.contains("a bond of both"),
            "{}",
            hint.fix
        );
        // One who begins hears it as well.
        let begun = create(&alpha, &[]).await.unwrap();
        assert_eq!(begun.warnings[0].reason, "TEAMED_PAIR");
        alpha.settled(&begun.migration.unwrap().id).await;
    });
}

/// Of the same destination, not limited, and large enough to tell something.
#[test]
fn the_newest_transfer_there_tells_how_fast_the_next_may_be() {
    for (sent, rate, elapsed_ms, told) in [
        (1 << 30, 4 << 20, 7, Some(4 << 20)),
        (1 << 30, 0, 2000, Some(1 << 29)),
        (1 << 10, 9 << 20, 7, None),
    ] {
        let two = Two::new();
        two.live(async |alpha, beta| {
            let known = async |limit: Option<u64>| {
                let desk = MigrationDesk(alpha.coordinator.clone());
                let asked = api::PlanMigrationRequest {
                    guest: "web-1".into(),
                    destination: "beta".into(),
                    transfer: Some(api::TransferOptions {
                        bandwidth_mib_per_second: limit,
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                alpha.world.set(|knobs| knobs.carried = None);
                desk.plan_migration(Request::new(asked)).await.unwrap();
                alpha.world.knobs().carried.clone()
            };
            assert_eq!(known(None).await, None);
            let figures = Figures {
                memory_processed: sent,
                rate,
                elapsed_ms,
                ..Default::default()
            };
            alpha.world.set(|knobs| knobs.figures = Some(figures));
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            assert!(alpha.ended(&id).await.ended);
            // It is at alpha again, without a word of how it came.
            beta.world.sees(facts::WEB, Sighting::Absent);
            let carried = known(None).await;
            assert_eq!(carried.as_ref().map(|carried| carried.rate), told, "{figures:?}");
            let because = "so fast was the newest transfer to beta, that of `web-1`";
            assert!(carried.is_none_or(|carried| carried.because == because));
            // What limits it is what it is judged by.
            assert_eq!(known(Some(100)).await, None);
        });
    }
}
