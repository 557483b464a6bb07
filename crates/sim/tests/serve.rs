//! The sim as a newcomer, a tester and a control plane see it: the real services over real sockets.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

#[path = "serve/lacks.rs"]
mod lacks;
#[path = "serve/plans.rs"]
mod plans;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use godwit_api::v1::{
    self as api, AdoptGuestRequest, CheckVfsRequest, CleanVfRequest, CreateMigrationRequest, DoctorRequest,
    GetMigrationRequest, ListGuestsRequest, WatchMigrationRequest, guest_service_client::GuestServiceClient,
    host_service_client::HostServiceClient, migration_service_client::MigrationServiceClient,
};
use godwit_sim::{
    Layout,
    serve::{Options, Sim},
};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

struct Pretend {
    sim: Sim,
    directory: tempfile::TempDir,
}

async fn sim(layout: Layout, faults: &[&str]) -> Pretend {
    ailing(layout, faults, &[]).await
}

async fn ailing(layout: Layout, faults: &[&str], ills: &[&str]) -> Pretend {
    paced(50.0, layout, faults, ills).await
}

async fn paced(speed: f64, layout: Layout, faults: &[&str], ills: &[&str]) -> Pretend {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        layout,
        speed,
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        ills: ills.iter().map(|ill| ill.parse().unwrap()).collect(),
        sockets: directory.path().join("sockets"),
        state: None,
        network: None,
    };
    let sim = Sim::start(options).await.unwrap();
    Pretend { sim, directory }
}

async fn connect(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://sim.local")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

impl Pretend {
    /// What the doctor finds: severity, reason, what it is about.
    async fn findings(&self, host: usize, guest: &str) -> Vec<String> {
        let mut client = HostServiceClient::new(connect(self.sim.socket(host)).await);
        let request = DoctorRequest { guest: guest.into() };
        let answer = client.doctor(request).await.unwrap().into_inner();
        assert!(answer.not_checked.is_empty(), "{answer:?}");
        let told = |found: &api::Finding| {
            let severity = found.severity().as_str_name().trim_start_matches("SEVERITY_");
            format!("{severity} {} [{}]", found.reason, found.about)
        };
        answer.findings.iter().map(told).collect()
    }

    /// What is wrong with the host's VFs: address, words, what to type.
    async fn wrong(&self, host: usize) -> Vec<(String, String, String)> {
        let mut client = HostServiceClient::new(connect(self.sim.socket(host)).await);
        let answer = client.check_vfs(CheckVfsRequest::default()).await.unwrap();
        let checks = answer.into_inner().checks.into_iter();
        let wrong = checks.filter(|check| !check.wrong.is_empty());
        wrong
            .map(|check| (check.vf.unwrap().address, check.wrong.join(", "), check.fix))
            .collect()
    }

    async fn clean(&self, host: usize, vf: &str) -> Result<api::VfCheck, String> {
        let mut client = HostServiceClient::new(connect(self.sim.socket(host)).await);
        let answer = client.clean_vf(CleanVfRequest { vf: vf.into() }).await;
        answer
            .map(|answer| answer.into_inner().check.unwrap())
            .map_err(|status| godwit_api::status::failure(&status).unwrap().reason)
    }

    async fn on(&self, host: usize) -> MigrationServiceClient<Channel> {
        MigrationServiceClient::new(connect(self.sim.socket(host)).await)
    }

    async fn guests(&self, host: usize) -> Vec<api::Guest> {
        let mut client = GuestServiceClient::new(connect(self.sim.socket(host)).await);
        client
            .list_guests(ListGuestsRequest {})
            .await
            .unwrap()
            .into_inner()
            .guests
    }

    async fn create(&self, guest: &str, destination: &str) -> Result<api::Migration, String> {
        let request = CreateMigrationRequest {
            guest: guest.into(),
            destination: destination.into(),
            request_id: String::new(),
            ..Default::default()
        };
        let answer = self.on(0).await.create_migration(request).await;
        answer
            .map(|answer| answer.into_inner().migration.unwrap())
            .map_err(|status| godwit_api::status::failure(&status).unwrap().reason)
    }

    /// As `godwit migrate --wait`.
    async fn migrate(&self, guest: &str, destination: &str) -> api::Migration {
        let id = self.create(guest, destination).await.unwrap().id;
        let mut changes = self
            .on(0)
            .await
            .watch_migration(WatchMigrationRequest {
                id,
                after_revision: 0,
            })
            .await
            .unwrap()
            .into_inner();
        loop {
            let migration = changes.message().await.unwrap().unwrap().migration.unwrap();
            if migration.settled {
                return migration;
            }
        }
    }

    async fn on_host(&self, host: usize, id: &str) -> api::Migration {
        let request = GetMigrationRequest { id: id.into() };
        let answer = self.on(host).await.get_migration(request).await.unwrap();
        answer.into_inner().migration.unwrap()
    }

    fn stop(self) {
        assert_eq!(self.sim.broken().0, 0, "{:?}", self.sim.broken().1);
        let sockets = self.directory.path().join("sockets");
        self.sim.stop();
        assert_eq!(
            std::fs::read_dir(sockets).unwrap().count(),
            0,
            "something is left behind"
        );
    }
}

#[tokio::test]
async fn the_first_minute() {
    let sim = sim(Layout::new(2, 1), &[]).await;
    assert!(
        sim.guests(0)
            .await
            .iter()
            .any(|guest| guest.name == "web-1" && guest.problem.is_empty())
    );
    let migration = sim.migrate("web-1", "beta").await;
    assert_eq!(migration.moved(), api::Moved::Yes);
    assert_eq!(migration.acceleration(), api::Acceleration::Accelerated);
    assert!(sim.guests(1).await.iter().any(|guest| guest.name == "web-1"));
    sim.stop();
}

/// The source's record follows the destination's, so both have all phases; and one that is not to be measured is not.
#[tokio::test]
async fn a_move_is_measured_phase_by_phase() {
    let sim = sim(Layout::new(2, 1), &[]).await;
    let migration = sim.migrate("web-1", "beta").await;
    let there = sim.on_host(1, &migration.id).await;
    let measured = migration.measurement.unwrap();
    assert_eq!(Some(&measured), there.measurement.as_ref());
    let [pair] = &measured.pairs[..] else {
        panic!("{measured:?}")
    };
    assert_eq!((pair.kind(), pair.per_second), (api::ProbeKind::Arp, 100));
    let phases: Vec<_> = pair.phases.iter().map(api::PhaseMeasurement::phase).collect();
    let expected = [
        api::Phase::FailOver,
        api::Phase::Unplug,
        api::Phase::Transfer,
        api::Phase::Plug,
        api::Phase::FailBack,
    ];
    assert_eq!(phases, expected);
    let lost: u64 = pair.phases.iter().map(|phase| phase.lost).sum();
    let sent: u64 = pair.phases.iter().map(|phase| phase.sent).sum();
    assert!(lost == 0 && sent > 0, "{measured:?}");
    let request = CreateMigrationRequest {
        guest: "web-1".into(),
        destination: "alpha".into(),
        probes_per_second: Some(0),
        keep: 0,
        ..Default::default()
    };
    let back = sim.on(1).await.create_migration(request).await.unwrap();
    let id = back.into_inner().migration.unwrap().id;
    let watched = sim
        .on(1)
        .await
        .watch_migration(WatchMigrationRequest {
            id,
            ..Default::default()
        })
        .await;
    let mut changes = watched.unwrap().into_inner();
    let mut last = None;
    while let Some(change) = changes.message().await.unwrap() {
        last = change.migration;
    }
    let back = last.unwrap();
    assert_eq!((back.moved(), back.measurement), (api::Moved::Yes, None));
    sim.stop();
}

#[tokio::test]
async fn every_refusal_can_be_tried() {
    let sim = sim(Layout::new(2, 1), &[]).await;
    for (guest, reason) in [
        ("db-1", "GUEST_NOT_MANAGED"),
        ("legacy-1", "GUEST_WITHOUT_AGENT"),
        ("edge-1", "GUEST_WITHOUT_STANDBY"),
        ("batch-1", "GUEST_WITHOUT_VF"),
        ("nas-1", "NO_POOL"),
        ("off-1", "GUEST_NOT_RUNNING"),
        ("nobody", "GUEST_UNKNOWN"),
    ] {
        assert_eq!(sim.create(guest, "beta").await.unwrap_err(), reason, "{guest}");
    }
    assert_eq!(sim.create("web-1", "alpha").await.unwrap_err(), "HOST_IS_SOURCE");
    assert_eq!(sim.create("web-1", "omega").await.unwrap_err(), "HOST_UNKNOWN");
    let mut client = GuestServiceClient::new(connect(sim.sim.socket(0)).await);
    client
        .adopt_guest(AdoptGuestRequest {
            guest: "db-1".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(sim.migrate("db-1", "beta").await.moved(), api::Moved::Yes);
    sim.stop();
    let mut few = Layout::new(2, 2);
    (few.vfs, few.extras) = (1, false);
    let sim = self::sim(few, &[]).await;
    assert_eq!(sim.create("web-1", "beta").await.unwrap_err(), "NO_FREE_VF");
    sim.stop();
}

#[tokio::test]
async fn a_plug_that_fails_leaves_it_on_standby_until_it_does_not() {
    let sim = sim(Layout::new(2, 1), &["plug@beta=fail:2"]).await;
    let migration = sim.migrate("web-1", "beta").await;
    assert_eq!(
        (migration.moved(), migration.acceleration()),
        (api::Moved::Yes, api::Acceleration::Standby)
    );
    let begun = Instant::now();
    while !sim.on_host(1, &migration.id).await.ended {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never plugs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sim.stop();
}

#[tokio::test]
async fn a_transfer_that_fails_brings_it_back() {
    for fault in [
        "transfer=paused",
        "transfer=fail",
        "unplug=half",
        "fail-over=cancel",
        "fail-over=lie",
    ] {
        let sim = sim(Layout::new(2, 1), &[fault]).await;
        let migration = sim.migrate("web-1", "beta").await;
        assert_eq!(migration.moved(), api::Moved::No, "{fault}");
        assert_eq!(
            migration.acceleration(),
            api::Acceleration::Accelerated,
            "{fault}"
        );
        sim.stop();
    }
}

/// A split, hosts that do not hear each other, and a person who takes the stale copy for the guest.
#[tokio::test]
async fn a_wrong_word_about_a_split_is_found_out() {
    let faults = ["transfer=split", "locate@alpha=cut"];
    let sim = paced(4.0, Layout::new(2, 1), &faults, &[]).await;
    let id = sim.migrate("web-1", "beta").await.id;
    let word = api::ResolveMigrationRequest {
        id: id.clone(),
        runs_on: "alpha".into(),
        ..Default::default()
    };
    // On a machine that stands still for seconds the hosts may have heard each other before.
    let believed = sim.on(0).await.resolve_migration(word).await.is_ok();
    let begun = Instant::now();
    let end = loop {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let migration = sim.on_host(0, &id).await;
        if migration.ended {
            break migration;
        }
    };
    assert_eq!(end.moved(), api::Moved::Yes);
    let worked = |phase| end.timeline.iter().any(|span| span.phase() == phase);
    assert!(worked(api::Phase::Suspend), "{end:?}");
    assert_eq!(worked(api::Phase::Unreserve), believed, "{end:?}");
    let state = |guests: Vec<api::Guest>| guests.into_iter().find(|guest| guest.name == "web-1");
    assert_ne!(state(sim.guests(0).await).unwrap().state, "running");
    assert_eq!(state(sim.guests(1).await).unwrap().state, "running");
    sim.sim.stop();
}

#[tokio::test]
async fn a_coordinator_that_dies_takes_its_connections_along_and_comes_back() {
    let sim = sim(Layout::new(2, 1), &["unplug=crash", "transfer=moved"]).await;
    let id = sim.create("web-1", "beta").await.unwrap().id;
    let watch = sim
        .on(0)
        .await
        .watch_migration(WatchMigrationRequest {
            id: id.clone(),
            after_revision: 0,
        })
        .await;
    let mut changes = watch.unwrap().into_inner();
    let broken = async { while changes.message().await.is_ok_and(|change| change.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(20), broken)
        .await
        .expect("the connection breaks");
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if sim.sim.socket(0).exists() {
            let migration = sim.on_host(0, &id).await;
            if migration.settled {
                assert_eq!(migration.moved(), api::Moved::Yes);
                break;
            }
        }
    }
    sim.stop();
}

#[tokio::test]
async fn many_hosts_and_guests_start_at_once() {
    let begun = Instant::now();
    let sim = sim(Layout::new(50, 2000), &[]).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(sim.guests(7).await.len(), 40);
    assert_eq!(sim.migrate("web-1", "host-50").await.moved(), api::Moved::Yes);
    sim.stop();
}

#[tokio::test]
async fn the_doctor_finds_what_was_ordered_and_nothing_else() {
    let plain = || Layout {
        extras: false,
        ..Layout::new(2, 2)
    };
    let well = sim(plain(), &[]).await;
    for host in [0, 1] {
        assert_eq!(well.findings(host, "").await, [""; 0]);
    }
    assert_eq!(well.findings(0, "web-1").await, [""; 0]);
    well.sim.stop();
    for (ill, found) in [
        ("iommu-off", "ERROR IOMMU_OFF []"),
        ("no-vfio@alpha", "ERROR VFIO_MISSING []"),
        ("link-down", "ERROR PF_LINK_DOWN [enp1s0f0]"),
        ("old-libvirt", "WARNING LIBVIRT_FAULTY []"),
    ] {
        let sick = ailing(plain(), &[], &[ill]).await;
        assert_eq!(sick.findings(0, "").await, [found], "{ill}");
        sick.sim.stop();
    }
    let far = ailing(plain(), &[], &["certificate-ends@beta"]).await;
    assert_eq!(far.findings(0, "").await, ["WARNING CERTIFICATE [beta]"]);
    assert_eq!(far.findings(1, "").await, ["WARNING CERTIFICATE []"]);
    far.sim.stop();
    let bare = sim(Layout { vfs: 0, ..plain() }, &[]).await;
    assert_eq!(
        bare.findings(0, "").await,
        ["ERROR PF_WITHOUT_VFS [enp1s0f0]", "HINT NO_FREE_VF [beta]"]
    );
    bare.sim.stop();
}

#[tokio::test]
async fn what_was_left_on_a_vf_is_found_and_cleaned() {
    let plain = Layout {
        extras: false,
        ..Layout::new(2, 2)
    };
    let sick = ailing(plain, &[], &["leftover-vf@beta", "duplicate-mac@beta"]).await;
    let mut found = sick.findings(1, "").await;
    found.sort();
    let [one, other] = &sick.wrong(1).await[..] else {
        panic!("{:?}", sick.wrong(1).await)
    };
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("ERROR MAC_DUPLICATE"), "{found:?}");
    assert_eq!(found[1], format!("WARNING VF_LEFTOVER [{}]", one.0));
    assert_eq!(found[2], format!("WARNING VF_LEFTOVER [{}]", other.0));
    assert_eq!(
        sick.findings(0, "").await.len(),
        1,
        "alpha sees the MAC of its guest there"
    );
    assert!(other.1.ends_with("VLAN 999 with priority 0"), "{other:?}");
    assert_eq!(sick.wrong(0).await, []);
    for (vf, _, fix) in [one, other] {
        assert_eq!(*fix, format!("`godwit vfs check {vf} --clean`"));
        assert_eq!(sick.clean(1, vf).await.unwrap().wrong, [""; 0]);
    }
    assert_eq!(sick.findings(1, "").await, [""; 0]);
    // A move there and its VF are as they should be; the VF is nobody's to clean.
    assert_eq!(sick.migrate("web-1", "beta").await.moved(), api::Moved::Yes);
    assert_eq!(sick.wrong(1).await, []);
    let mut vfs = HostServiceClient::new(connect(sick.sim.socket(1)).await);
    let vfs = vfs
        .list_vfs(api::ListVfsRequest {})
        .await
        .unwrap()
        .into_inner()
        .vfs;
    let hers = vfs.into_iter().find(|vf| vf.by == "web-1").unwrap();
    assert_eq!(sick.clean(1, &hers.address).await.unwrap_err(), "VF_NOT_FREE");
    assert_eq!(sick.findings(1, "web-1").await, [""; 0]);
    assert_eq!(sick.sim.broken().0, 0, "{:?}", sick.sim.broken());
    sick.sim.stop();
}

#[tokio::test]
async fn the_doctor_names_what_each_guest_lacks() {
    let sim = sim(Layout::new(2, 1), &[]).await;
    assert_eq!(sim.findings(0, "").await, ["WARNING POOL_UNMATCHED [storage]"]);
    assert_eq!(sim.findings(1, "").await, ["HINT POOL_UNMATCHED [storage]"]);
    for (guest, found) in [
        ("db-1", "WARNING GUEST_NOT_MANAGED [db-1]"),
        ("legacy-1", "ERROR GUEST_WITHOUT_AGENT [legacy-1]"),
        ("edge-1", "ERROR GUEST_WITHOUT_STANDBY [edge-1]"),
        ("batch-1", "ERROR GUEST_WITHOUT_VF [batch-1]"),
    ] {
        assert_eq!(sim.findings(0, guest).await, [found]);
    }
    sim.sim.stop();
}

#[tokio::test]
async fn a_directory_that_others_can_enter_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options {
        layout: Layout::new(2, 1),
        speed: 1.0,
        faults: Vec::new(),
        ills: Vec::new(),
        sockets: directory.path().to_owned(),
        state: None,
        network: None,
    };
    let error = Sim::start(options).await.err().unwrap().to_string();
    assert!(error.contains("open to others"), "{error}");
}

/// The two programs, as they are typed; the CLI's own tests build it, this one only uses it.
#[test]
fn the_command_line_finds_it() {
    let sim = env!("CARGO_BIN_EXE_godwit-sim");
    let godwit = Path::new(sim).with_file_name("godwit");
    if !godwit.exists() {
        println!("skipped: {} is not built", godwit.display());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let mut sim = Command::new(sim)
        .env("XDG_RUNTIME_DIR", directory.path())
        .args(["--speed", "50", "--check"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let socket = directory.path().join("godwit-sim/alpha.sock");
    let begun = Instant::now();
    while !socket.exists() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let migrate = Command::new(godwit)
        .env("GODWIT_SOCKET", &socket)
        .args(["migrate", "web-1", "beta", "--wait"])
        .output();
    let told = migrate.unwrap();
    let terminated = rustix::process::kill_process(
        rustix::process::Pid::from_child(&sim),
        rustix::process::Signal::TERM,
    );
    terminated.unwrap();
    assert!(sim.wait().unwrap().success());
    assert!(!socket.exists());
    assert!(
        told.status.success(),
        "{}{}",
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
}
