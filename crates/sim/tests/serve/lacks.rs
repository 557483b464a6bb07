//! What a plan finds that a guest would lack, and by what it judges its transfer.

use super::{
    plans::{plan_of, planned},
    *,
};

/// By the policy an error or a warning; beside what else stands in its way, of a migration too.
#[tokio::test]
async fn a_lack_of_vfs_is_a_finding_with_its_fix() {
    let few = || Layout {
        vfs: 1,
        extras: false,
        ..Layout::new(2, 2)
    };
    let look = async |sim: &Pretend, guest: &str, policy: api::Policy| {
        let request = api::PlanMigrationRequest {
            guest: guest.into(),
            destination: "beta".into(),
            policy: policy.into(),
            ..Default::default()
        };
        let plan = plan_of(sim, request).await;
        let told = |found: &api::Finding| (found.severity(), found.reason.clone(), found.fix.clone());
        (plan.moves, plan.findings.iter().map(told).collect::<Vec<_>>())
    };
    let well = sim(Layout::new(2, 2), &[]).await;
    let full = sim(few(), &[]).await;
    for (sim, guest, reason, fix) in [
        (&well, "nas-1", "NO_POOL", "[[pool]]"),
        (&full, "web-1", "NO_FREE_VF", "sriov_numvfs"),
    ] {
        for (policy, moves, severity) in [
            (api::Policy::Require, false, api::Severity::Error),
            (api::Policy::Prefer, true, api::Severity::Warning),
        ] {
            let (moved, found) = look(sim, guest, policy).await;
            assert_eq!((moved, found.len()), (moves, 1), "{found:?}");
            assert_eq!((found[0].0, found[0].1.as_str()), (severity, reason));
            assert!(found[0].2.contains(fix), "{found:?}");
        }
        let (moved, found) = look(sim, guest, api::Policy::StandbyOnly).await;
        assert_eq!((moved, found), (true, vec![]));
    }
    well.sim.stop();
    full.sim.stop();
    let sick = ailing(few(), &[], &["cpu-unfit@beta"]).await;
    let request = CreateMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        ..Default::default()
    };
    let refused = sick.on(0).await.create_migration(request).await.unwrap_err();
    let failure = godwit_api::status::failure(&refused).unwrap();
    assert_eq!(failure.reason, "CPU_UNFIT");
    let lack = failure.causes.last().unwrap();
    assert!(lack.contains("[NO_FREE_VF]: on beta: free a VF"), "{lack}");
    sick.sim.stop();
}

/// Each side is told the options, and refuses what it does not know.
#[tokio::test]
async fn an_option_that_qemu_has_no_more_is_found_on_both_hosts() {
    let sim = sim(Layout::new(2, 1), &[]).await;
    let request = api::PlanMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        transfer: Some(api::TransferOptions {
            compression: Some(api::TransferCompression {
                methods: vec![api::CompressionMethod::Mt.into()],
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let plan = plan_of(&sim, request).await;
    let told = plan.findings.iter().map(|found| (&*found.reason, &*found.about));
    let both = [("TRANSFER_OPTION", "alpha"), ("TRANSFER_OPTION", "beta")];
    assert_eq!(told.collect::<Vec<_>>(), both);
    assert!(!plan.moves);
    sim.sim.stop();
}

/// By the NIC on the way there, and then by the newest transfer.
#[tokio::test]
async fn without_a_limit_a_plan_says_by_what_it_judges_the_transfer() {
    let sim = ailing(Layout::new(2, 3), &[], &["busy-guests@alpha"]).await;
    let look = async |guest: &str| {
        let request = api::PlanMigrationRequest {
            guest: guest.into(),
            destination: "beta".into(),
            ..Default::default()
        };
        let plan = plan_of(&sim, request).await;
        let part = plan.estimate.into_iter().find(|part| part.step == "transfer");
        let found = plan.findings.into_iter().next().unwrap();
        assert_eq!(found.reason, "SLOW_TO_CONVERGE");
        (part.unwrap(), found.what)
    };
    let (part, found) = look("web-1").await;
    for told in [&part.because, &found] {
        assert!(
            told.contains("(that is the speed of `br0`, on the way to beta)"),
            "{told}"
        );
    }
    assert_eq!(part.most_ms, None, "no end is foreseen");
    let id = sim.migrate("web-1", "beta").await.id;
    let begun = Instant::now();
    while !sim.on_host(0, &id).await.ended {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (part, found) = look("web-3").await;
    for told in [part.because, found] {
        let newest = "(so fast was the newest transfer to beta, that of `web-1`)";
        assert!(told.contains(newest), "{told}");
    }
    sim.sim.stop();
}

/// What its VF receives is on top of what its CPUs write.
#[tokio::test]
async fn what_a_vf_receives_counts_as_written() {
    for (ill, told) in [
        (
            "busy-vf@alpha",
            "writes 1020 MiB/s (its VF receives 1000 of them), and 100 MiB/s",
        ),
        (
            "busy-guests@alpha",
            "writes 2001 MiB/s (its VF receives 1 of them), and 100 MiB/s",
        ),
    ] {
        let sick = ailing(Layout::new(2, 2), &[], &[ill]).await;
        let request = api::PlanMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            transfer: Some(api::TransferOptions {
                bandwidth_mib_per_second: Some(100),
                ..Default::default()
            }),
            ..Default::default()
        };
        let found = plan_of(&sick, request).await.findings.remove(0);
        assert!(found.what.contains(told), "{}", found.what);
        sick.sim.stop();
    }
}

/// A disk that is shared needs no room, and nobody to make it.
#[tokio::test]
async fn disks_that_are_copied_need_room_and_a_pool() {
    for (ill, reason, moves, told) in [
        ("disk-full@beta", "DISK_SPACE", false, "512 MiB free"),
        (
            "no-storage-pool@beta",
            "DISK_NOT_MADE",
            true,
            "no storage pool of /srv",
        ),
    ] {
        let sick = ailing(Layout::new(2, 2), &[], &[ill]).await;
        assert_eq!(planned(&sick, "web-1", 100).await, (true, vec![]), "{ill}");
        let request = api::PlanMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            transfer: Some(api::TransferOptions {
                storage: Some(api::TransferStorage {
                    copy: api::StorageCopy::All.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let plan = plan_of(&sick, request).await;
        let found = plan.findings.iter().map(|found| (&*found.reason, &*found.about));
        assert_eq!(found.collect::<Vec<_>>(), [(reason, "beta")]);
        assert!(
            plan.moves == moves && plan.findings[0].what.contains(told),
            "{plan:?}"
        );
        sick.sim.stop();
    }
}

/// One that has its VF has its port.
#[tokio::test]
async fn a_guest_on_its_standby_needs_a_port_for_its_vf() {
    let sick = ailing(Layout::new(2, 2), &[], &["no-free-port@alpha"]).await;
    assert_eq!(planned(&sick, "web-1", 100).await, (true, vec![]));
    let request = api::StandbyGuestRequest {
        guest: "web-1".into(),
        ..Default::default()
    };
    let mut client = GuestServiceClient::new(connect(sick.sim.socket(0)).await);
    let stay = client.standby_guest(request).await.unwrap().into_inner();
    let id = stay.operation.unwrap().id;
    let begun = Instant::now();
    while !sick.on_host(0, &id).await.settled {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = (false, vec!["ERROR GUEST_WITHOUT_PORT [web-1]".to_owned()]);
    assert_eq!(planned(&sick, "web-1", 100).await, told);
    assert_eq!(
        sick.create("web-1", "beta").await.unwrap_err(),
        "GUEST_WITHOUT_PORT"
    );
    sick.sim.stop();
}
