//! What a plan finds on pretend hosts that lack something.

use super::*;

pub(super) async fn plan_of(sim: &Pretend, request: api::PlanMigrationRequest) -> api::PlanMigrationResponse {
    let plan = sim.on(0).await.plan_migration(request).await;
    plan.unwrap().into_inner()
}

/// Whether it would move, and what a plan finds: severity, reason, what it is about.
pub(super) async fn planned(sim: &Pretend, guest: &str, bandwidth: u64) -> (bool, Vec<String>) {
    let request = api::PlanMigrationRequest {
        guest: guest.into(),
        destination: "beta".into(),
        transfer: Some(api::TransferOptions {
            bandwidth_mib_per_second: Some(bandwidth),
            ..Default::default()
        }),
        ..Default::default()
    };
    let plan = plan_of(sim, request).await;
    // An agent or a host that is older tells less.
    let older = |skipped: &api::NotChecked| skipped.why.contains("is older than this");
    assert!(plan.not_checked.iter().all(older), "{plan:?}");
    let told = |found: &api::Finding| {
        let severity = found.severity().as_str_name().trim_start_matches("SEVERITY_");
        format!("{severity} {} [{}]", found.reason, found.about)
    };
    (plan.moves, plan.findings.iter().map(told).collect())
}

#[tokio::test]
async fn a_plan_finds_what_was_ordered_and_nothing_else() {
    let well = sim(Layout::new(2, 2), &[]).await;
    assert_eq!(planned(&well, "web-1", 100).await, (true, vec![]));
    well.sim.stop();
    for (ill, found) in [
        ("cpu-unfit@beta", "ERROR CPU_UNFIT [beta]"),
        ("machine-unknown@beta", "ERROR MACHINE_UNKNOWN [beta]"),
        ("memory-short@beta", "ERROR MEMORY_SHORT [beta]"),
        ("memory-in-use@beta", "WARNING MEMORY_SHORT [beta]"),
        ("disk-missing@beta", "ERROR DISK_MISSING [beta]"),
        ("bridge-missing@beta", "ERROR NETWORK_MISSING [beta]"),
        ("bridge-mtu@beta", "WARNING NETWORK_MTU [beta]"),
        ("bridge-no-link@beta", "WARNING STANDBY_WITHOUT_LINK [beta]"),
        ("bridge-kind@beta", "ERROR NETWORK_KIND [beta]"),
        ("bridge-vlan@beta", "WARNING NETWORK_VLAN [beta]"),
        ("bridge-vlan@alpha", "WARNING NETWORK_VLAN [beta]"),
        ("old-agents@alpha", "WARNING AGENT_OLDER [web-1]"),
        ("lock-manager@beta", "WARNING LOCKS_DIFFER [beta]"),
        ("lock-manager@alpha", "WARNING LOCKS_DIFFER [beta]"),
        ("port-shut@beta", "WARNING MIGRATION_PORT [beta]"),
        ("libvirt-shut@beta", "ERROR MIGRATE_URI [beta]"),
        ("clock-ahead@beta", "WARNING PEER_CLOCK [beta]"),
        ("own-disks@alpha", "HINT NO_DISK_LOCKS [beta]"),
        ("busy-guests@alpha", "WARNING SLOW_TO_CONVERGE [web-1]"),
        ("busy-vf@alpha", "WARNING SLOW_TO_CONVERGE [web-1]"),
        ("memlock-low@beta", "ERROR MEMLOCK [beta]"),
        ("old-libvirt@alpha", "WARNING LIBVIRT_FAULTY [alpha]"),
        ("old-libvirt@beta", "WARNING LIBVIRT_FAULTY [beta]"),
        ("local-disk@alpha", "WARNING DISK_LOCAL [web-1]"),
        ("bond-broken@alpha", "ERROR GUEST_PAIR_UNKNOWN_TO_AGENT [web-1]"),
        (
            "standby-no-carrier@alpha",
            "ERROR GUEST_PAIR_UNKNOWN_TO_AGENT [web-1]",
        ),
        ("bond-unmonitored@alpha", "WARNING BOND_UNMONITORED [web-1]"),
        ("snapshots@alpha", "ERROR GUEST_HAS_SNAPSHOTS [web-1]"),
        ("passed-device@alpha", "ERROR GUEST_HOST_DEVICE [web-1]"),
        ("macvtaps@alpha", "WARNING FRAMES_NOT_KEPT [web-1]"),
        ("keeps-none@beta", "WARNING FRAMES_NOT_KEPT [beta]"),
        ("keeps-unknown@beta", "WARNING FRAMES_NOT_KEPT [beta]"),
        ("other-network@beta", "WARNING NETWORK_DIFFERS [beta]"),
        ("silent-network@beta", "WARNING NETWORK_SILENT [beta]"),
    ] {
        let sick = ailing(Layout::new(2, 2), &[], &[ill]).await;
        let moves = !found.starts_with("ERROR");
        let wanted = (moves, vec![found.to_owned()]);
        assert_eq!(planned(&sick, "web-1", 100).await, wanted, "{ill}");
        // A move is refused for the same reason, or begins.
        let begun = sick.create("web-1", "beta").await;
        match moves {
            true => assert!(begun.is_ok(), "{ill}: {begun:?}"),
            false => assert!(found.contains(&begun.unwrap_err()), "{ill}"),
        }
        sick.sim.stop();
    }
}

/// A disk whose storage does not answer is not known, and hides nothing else; a migration says so too, and begins.
#[tokio::test]
async fn a_look_that_does_not_end_hides_no_other() {
    let plan = async |sim: &Pretend| {
        let request = api::PlanMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            ..Default::default()
        };
        let plan = sim.on(0).await.plan_migration(request).await.unwrap();
        plan.into_inner()
    };
    let why = |skipped: &api::NotChecked| format!("{}: {}", skipped.check, skipped.why);
    let not_known = ["disk vda on beta: no answer within 5 s"];
    let both = ailing(Layout::new(2, 2), &[], &["storage-hangs@beta", "cpu-unfit@beta"]).await;
    let planned = plan(&both).await;
    assert_eq!(planned.not_checked.iter().map(why).collect::<Vec<_>>(), not_known);
    assert_eq!(
        (planned.moves, planned.findings[0].reason.as_str()),
        (false, "CPU_UNFIT")
    );
    assert_eq!(both.create("web-1", "beta").await.unwrap_err(), "CPU_UNFIT");
    both.sim.stop();
    let sick = ailing(Layout::new(2, 2), &[], &["storage-hangs@beta"]).await;
    assert!(plan(&sick).await.moves);
    let request = CreateMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        ..Default::default()
    };
    let begun = sick
        .on(0)
        .await
        .create_migration(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(begun.not_checked.iter().map(why).collect::<Vec<_>>(), not_known);
    sick.sim.stop();
}

/// Either side needs certificates where the transfer is to be by TLS; and both sides' versions are told.
#[tokio::test]
async fn certificates_are_missed_where_they_are_needed() {
    for (host, tls, found) in [
        ("alpha", true, "TRANSFER_TLS"),
        ("beta", true, "TRANSFER_TLS"),
        ("beta", false, ""),
    ] {
        let sick = ailing(Layout::new(2, 2), &[], &[&format!("no-certificates@{host}")]).await;
        let request = api::PlanMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            transfer: Some(api::TransferOptions {
                tls: Some(api::TransferTls {
                    enabled: tls,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let plan = plan_of(&sick, request).await;
        let told: Vec<_> = plan
            .findings
            .iter()
            .map(|found| (&*found.reason, &*found.about))
            .collect();
        let wanted: Vec<_> = (!found.is_empty()).then_some((found, host)).into_iter().collect();
        assert_eq!((told, plan.moves), (wanted, found.is_empty()), "{host}, {tls}");
        let versions = plan.destination_versions.clone().unwrap();
        assert_eq!(
            (versions.libvirt.as_str(), versions.qemu.as_str()),
            ("11.3.0", "10.0.2")
        );
        assert_eq!(plan.source_versions, plan.destination_versions);
        sick.sim.stop();
    }
}

#[tokio::test]
async fn an_old_agent_is_told_by_the_doctor_too() {
    let sick = ailing(Layout::new(2, 2), &[], &["old-agents@alpha"]).await;
    assert_eq!(sick.findings(0, "web-1").await, ["WARNING AGENT_OLDER [web-1]"]);
    assert_eq!(sick.findings(1, "web-2").await, [""; 0]);
    sick.sim.stop();
}

#[tokio::test]
async fn vlans_of_a_guest_that_a_bridge_does_not_let_through_are_found() {
    let sick = ailing(Layout::new(2, 5), &[], &["bridge-filters@beta"]).await;
    // Its VF is in a VLAN, and what the guest sends has no tag; the other tags itself.
    assert_eq!(planned(&sick, "web-1", 100).await, (true, vec![]));
    let told = (true, vec!["WARNING NETWORK_VLAN [beta]".to_owned()]);
    assert_eq!(planned(&sick, "web-5", 100).await, told);
    sick.sim.stop();
}

/// The network of each NIC is proved by whom the guest knows, or it is told why not; a move says the same, and begins.
#[tokio::test]
async fn the_same_network_is_proved_or_it_is_told_why_not() {
    let look = async |ills: &[&str], probes: Option<u32>| {
        let sim = ailing(Layout::new(2, 2), &[], ills).await;
        let request = api::PlanMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            ..Default::default()
        };
        let plan = plan_of(&sim, request).await;
        let request = CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            probes_per_second: probes,
            ..Default::default()
        };
        let begun = sim
            .on(0)
            .await
            .create_migration(request)
            .await
            .unwrap()
            .into_inner();
        let whys = |all: Vec<api::NotChecked>| all.into_iter().map(|skipped| skipped.why).collect::<Vec<_>>();
        let warned = begun
            .warnings
            .into_iter()
            .map(|found| found.reason)
            .collect::<Vec<_>>();
        sim.sim.stop();
        (
            plan.nics[0].proved.clone(),
            whys(plan.not_checked),
            warned,
            whys(begun.not_checked),
        )
    };
    let none = Vec::<String>::new;
    let gateway =
        "10.77.0.1 (52:54:00:77:00:01) answers through bridge `br0` on beta, to frames of 1500 bytes too";
    assert_eq!(
        look(&[], None).await,
        (vec![gateway.into()], none(), none(), none())
    );
    for (ill, reason) in [
        ("other-network@beta", "NETWORK_DIFFERS"),
        ("silent-network@beta", "NETWORK_SILENT"),
    ] {
        assert_eq!(
            look(&[ill], None).await,
            (none(), none(), vec![reason.into()], none()),
            "{ill}"
        );
    }
    let (proved, unknown, warned, told) = look(&["old-agents@alpha"], None).await;
    assert!(
        proved.is_empty() && unknown[0].contains("agent is older"),
        "{unknown:?}"
    );
    assert_eq!((warned, told), (vec!["AGENT_OLDER".into()], unknown));
    let (proved, unknown, _, told) = look(&["keeps-unknown@beta"], None).await;
    assert!(
        proved.is_empty() && unknown[0].contains("the godwitd of beta is older"),
        "{unknown:?}"
    );
    assert_eq!(told, unknown);
    // Where nothing is measured, nobody is asked either.
    let (_, _, warned, told) = look(&["silent-network@beta"], Some(0)).await;
    assert_eq!(warned, none());
    assert_eq!(told, ["so it is configured ([measure] probes = 0)"]);
}

/// Whether frames of the pause are kept where the guest moves only if they are, where it does not matter, and where none are.
#[tokio::test]
async fn a_guest_that_is_to_lose_nothing_in_its_pause_moves_only_where_that_can_be() {
    for (ill, kept) in [
        (None, true),
        (Some("macvtaps@alpha"), false),
        (Some("keeps-none@beta"), false),
        (Some("keeps-unknown@beta"), false),
    ] {
        let sim = ailing(Layout::new(2, 2), &[], Vec::from_iter(ill).as_slice()).await;
        let plan = async |keep: api::Keep| {
            let request = api::PlanMigrationRequest {
                guest: "web-1".into(),
                destination: "beta".into(),
                keep: keep.into(),
                ..Default::default()
            };
            let plan = sim.on(0).await.plan_migration(request).await.unwrap();
            plan.into_inner()
        };
        let (off, on) = (plan(api::Keep::Off).await, plan(api::Keep::On).await);
        assert!(off.moves && off.findings.is_empty(), "{ill:?}");
        let lost = |plan: &api::PlanMigrationResponse| plan.nics[0].loss_most_bytes;
        // 1 MiB/s, and 1.1 s at most.
        let most = Some((1 << 20) * 1100 / 1000);
        assert_eq!(
            (lost(&off), lost(&on)),
            (most, if kept { Some(0) } else { most }),
            "{ill:?}"
        );
        assert_eq!((on.moves, on.keep()), (kept, api::Keep::On), "{ill:?}");
        assert_eq!(on.nics.len(), 1, "{ill:?}");
        assert_eq!(on.nics[0].not_kept.is_empty(), kept, "{ill:?}: {:?}", on.nics);
        // Where nothing is said, the configuration has it: as well as it can be done.
        assert_eq!(plan(api::Keep::Unspecified).await.keep(), api::Keep::Auto);
        let request = |keep: api::Keep, ignore: &[&str]| api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            keep: keep.into(),
            ignore: ignore.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        };
        let begun = sim
            .on(0)
            .await
            .create_migration(request(api::Keep::On, &[]))
            .await;
        assert_eq!(begun.is_ok(), kept, "{ill:?}: {begun:?}");
        if let Err(no) = begun {
            let failure = godwit_api::status::failure(&no).unwrap();
            assert_eq!(failure.reason, "FRAMES_NOT_KEPT");
            assert!(failure.hint.ends_with("--keep off"), "{}", failure.hint);
            let listed = sim
                .on(0)
                .await
                .list_migrations(api::ListMigrationsRequest::default())
                .await;
            assert_eq!(
                listed.unwrap().into_inner().migrations.len(),
                0,
                "nothing was begun"
            );
            let ignored = request(api::Keep::On, &["FRAMES_NOT_KEPT"]);
            sim.on(0).await.create_migration(ignored).await.unwrap();
        }
        sim.sim.stop();
    }
}
