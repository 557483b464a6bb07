//! The adapter on a real libvirt: its built-in test driver, which needs no daemon. All tests of the process see one
//! pretend host, so each uses domains of its own.

use godwit_migration::{Policy, Profile, doctor};
use tokio::time::{Instant, sleep};

use super::{
    event::Resumed,
    metadata::{GuestWish, WishedPair},
    xml::DomainDevices,
    *,
};

const URI: &str = "test:///default";
const SOON: Duration = Duration::from_secs(10);

async fn libvirt() -> Libvirt {
    let libvirt = Libvirt::start(URI);
    libvirt.connected(SOON).await.unwrap();
    libvirt
}

fn domain_xml(name: &str, uuid: Uuid) -> String {
    format!(
        "<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type>hvm</type></os><devices/></domain>"
    )
}

fn wish() -> GuestWish {
    let pair = WishedPair {
        standby_mac: "52:54:00:aa:00:10".parse().unwrap(),
        standby_alias: "ua-net0".into(),
        primary_alias: "ua-godwit-0".into(),
        primary_mac: "52:54:00:aa:00:10".parse().unwrap(),
        pool: "fabric & co".into(),
        guest_address: Some("0000:05:00.0".parse().unwrap()),
        profile: Some(Profile::default()),
    };
    GuestWish {
        policy: Policy::Require,
        pairs: vec![pair],
    }
}

/// The next event about this domain.
async fn next_change(events: &mut broadcast::Receiver<Event>, of: Uuid) -> Lifecycle {
    let next = async {
        loop {
            match events.recv().await.unwrap() {
                Event::Lifecycle { uuid, change, .. } if uuid == of => return change,
                _ => {}
            }
        }
    };
    timeout(SOON, next).await.unwrap()
}

#[tokio::test]
async fn a_domain_is_defined_listed_and_described() {
    let libvirt = libvirt().await;
    let uuid = Uuid::new_v4();
    assert_eq!(libvirt.state(uuid).await.unwrap(), None);
    libvirt.define(domain_xml("described", uuid)).await.unwrap();
    let state = libvirt.state(uuid).await.unwrap().unwrap();
    assert_eq!((state.name.as_str(), state.persistent), ("described", true));
    assert!(matches!(state.run, RunState::ShutOff(_)), "{state:?}");
    assert!(libvirt.list().await.unwrap().contains(&state));
    let devices = DomainDevices::parse(&libvirt.xml(uuid, XmlOf::Persistent).await.unwrap()).unwrap();
    assert_eq!((devices.uuid, devices.memory_kib), (uuid, 64 << 10));
}

/// The driver's own domain `test` runs.
#[tokio::test]
async fn pausing_a_guest_is_seen_as_event_and_state() {
    let libvirt = libvirt().await;
    let mut events = libvirt.events();
    let running = libvirt
        .list()
        .await
        .unwrap()
        .into_iter()
        .find(|domain| domain.name == "test")
        .unwrap();
    assert!(matches!(running.run, RunState::Running(_)));
    libvirt.suspend(running.uuid).await.unwrap();
    assert_eq!(
        next_change(&mut events, running.uuid).await,
        Lifecycle::Suspended(Suspended::Paused)
    );
    let paused = libvirt.state(running.uuid).await.unwrap().unwrap();
    assert_eq!(paused.run, RunState::Paused(Paused::User));
    libvirt.resume(running.uuid).await.unwrap();
    assert_eq!(
        next_change(&mut events, running.uuid).await,
        Lifecycle::Resumed(Resumed::Unpaused)
    );
    let resumed = libvirt.state(running.uuid).await.unwrap().unwrap();
    assert_eq!(resumed.run, RunState::Running(Running::Unpaused));
}

#[tokio::test]
async fn metadata_goes_through_libvirt_unchanged() {
    let libvirt = libvirt().await;
    let uuid = Uuid::new_v4();
    let mut events = libvirt.events();
    libvirt.define(domain_xml("wishing", uuid)).await.unwrap();
    assert_eq!(next_change(&mut events, uuid).await, Lifecycle::Defined);
    assert_eq!(
        libvirt.metadata(uuid, MetadataOf::Persistent).await.unwrap(),
        None
    );
    // Twice: setting replaces.
    for _ in 0..2 {
        libvirt
            .set_metadata(uuid, Some(wish().to_element()))
            .await
            .unwrap();
    }
    let element = libvirt
        .metadata(uuid, MetadataOf::Persistent)
        .await
        .unwrap()
        .unwrap();
    assert!(
        !element.contains("xmlns"),
        "libvirt takes the namespace off: {element}"
    );
    assert_eq!(element.parse::<GuestWish>().unwrap(), wish());
    let xml = libvirt.xml(uuid, XmlOf::Persistent).await.unwrap();
    let in_xml = edit::metadata_in(&xml).unwrap().unwrap();
    assert!(
        in_xml.contains("xmlns:godwit"),
        "and puts it on in the XML: {in_xml}"
    );
    assert_eq!(in_xml.parse::<GuestWish>().unwrap(), wish());
    // What we splice in, libvirt takes.
    let mut other = wish();
    other.pairs[0].pool = "other".into();
    libvirt
        .define(edit::with_metadata(&xml, &other.to_namespaced()).unwrap())
        .await
        .unwrap();
    let element = libvirt
        .metadata(uuid, MetadataOf::Persistent)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(element.parse::<GuestWish>().unwrap(), other);
    libvirt.set_metadata(uuid, None).await.unwrap();
    assert_eq!(
        libvirt.metadata(uuid, MetadataOf::Persistent).await.unwrap(),
        None
    );
}

/// The form with its own namespace is refused: this is why there are two.
#[tokio::test]
async fn libvirt_wants_the_bare_element() {
    let libvirt = libvirt().await;
    let uuid = Uuid::new_v4();
    libvirt.define(domain_xml("bare", uuid)).await.unwrap();
    assert!(
        libvirt
            .set_metadata(uuid, Some(wish().to_namespaced()))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn errors_keep_their_kind_and_libvirts_words() {
    let libvirt = libvirt().await;
    let nobody = Uuid::new_v4();
    let missing = libvirt.xml(nobody, XmlOf::Live).await.unwrap_err();
    assert!(
        matches!(&missing, LibvirtError::NoDomain { message } if message.contains("not found")),
        "{missing:?}"
    );
    assert!(!missing.is_retryable());
    let refused = libvirt.define("<domain>".into()).await.unwrap_err();
    assert!(matches!(refused, LibvirtError::Refused { .. }), "{refused:?}");
    let uuid = Uuid::new_v4();
    libvirt.define(domain_xml("failing", uuid)).await.unwrap();
    assert!(
        libvirt.attach(uuid, "<hostdev/>".into()).await.is_err(),
        "not Ok, as virt's attach_device says"
    );
    assert!(
        libvirt.job_stats(uuid).await.is_err(),
        "not undefined, as virt's job_stats is"
    );
    assert!(libvirt.detach_alias(uuid, "ua-godwit-0".into()).await.is_err());
    assert!(libvirt.abort_job(uuid).await.is_err());
    assert!(libvirt.define("a\0b".into()).await.is_err());
    let request = MigrateRequest {
        uuid,
        destination: "qemu+tcp://nowhere/system".into(),
        migration_uri: None,
        persistent: true,
        live_xml: Some("<domain/>".into()),
        persistent_xml: None,
        options: Default::default(),
    };
    assert!(matches!(
        libvirt.migrate(request).await,
        Err(LibvirtError::Refused { .. })
    ));
    libvirt.list().await.unwrap();
}

#[tokio::test]
async fn without_libvirtd_calls_fail_at_once_and_say_why() {
    let start = Instant::now();
    let libvirt = Libvirt::start("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    let waited = libvirt.connected(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(waited, LibvirtError::Timeout { what: "connect", .. }));
    let failed = libvirt.list().await.unwrap_err();
    assert!(
        matches!(&failed, LibvirtError::ConnectionLost { message } if message.contains("/nonexistent")),
        "{failed}"
    );
    assert!(failed.is_retryable());
    assert!(start.elapsed() < SOON);
}

/// Threads and connections end with the last handle.
#[tokio::test]
async fn a_dropped_handle_leaves_no_threads() {
    let mine = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("gone-main")).count()
    };
    let slot = Slot::open(URI, "gone-main", None);
    let lane = Lane::start("gone-main", 2, &slot);
    let until = |count: usize| async move {
        let start = Instant::now();
        while mine() != count {
            assert!(start.elapsed() < SOON, "{} threads, not {count}", mine());
            sleep(Duration::from_millis(10)).await;
        }
    };
    until(3).await;
    slot.stop();
    drop(lane);
    until(0).await;
}

#[tokio::test]
async fn versions_are_asked_for() {
    let versions = libvirt().await.versions().await.unwrap();
    // That of the test driver is 2.
    assert_eq!(versions.qemu, doctor::Version(0, 0, 2));
    assert!(
        versions.libvirt > doctor::Version(4, 4, 0),
        "{}",
        versions.libvirt
    );
}
