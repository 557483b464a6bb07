use godwit_migration::profile::{LinkState, Rate, Setting, Vlan};

use super::{sysfs::tests::Machine, *};

fn vfs(machine: &Machine) -> Vfs {
    let pool = |name: &str, pf: &str| PoolSpec {
        name: name.into(),
        pfs: vec![pf.into()],
        ..PoolSpec::default()
    };
    let pools = vec![pool("fabric", "pf0"), pool("other", "pf9")];
    Vfs::at(machine.root(), pools)
}

fn pci(text: &str) -> PciAddress {
    text.parse().unwrap()
}

/// Neither PF is there for netlink; each is named, and none hides another.
#[tokio::test]
async fn pfs_in_trouble_are_reported_one_by_one() {
    let inventory = vfs(&Machine::new()).list().await;
    let names: Vec<_> = inventory
        .problems
        .iter()
        .map(|problem| match problem {
            VfError::NoPf { pf, .. } => pf.as_str(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(names, ["pf0", "pf9"]);
}

#[tokio::test]
async fn only_vfs_of_pools_are_touched() {
    let machine = Machine::new();
    let refused = vfs(&machine)
        .prepare(pci("0000:02:10.0"), &Profile::default(), false)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "0000:02:10.0 is not a VF of any pool of this host"
    );
}

#[tokio::test]
async fn a_vf_in_use_is_not_prepared() {
    let machine = Machine::new();
    machine.process(77, "qemu-system-x86", "/dev/vfio/12");
    let refused = vfs(&machine)
        .prepare(pci("0000:01:10.0"), &Profile::default(), false)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "VF 0 of pf0 (0000:01:10.0) is still in use: qemu-system-x86 (process 77) has it open"
    );
    assert_eq!(vfs(&machine).holders(pci("0000:01:10.0")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_vf_that_the_host_uses_is_not_touched() {
    let machine = Machine::new();
    let flags = "sys/bus/pci/devices/0000:01:10.2/net/enp1s16f2/flags";
    machine.file(flags, "0x1003\n");
    let (vfs, vf) = (vfs(&machine), pci("0000:01:10.2"));
    let refused = vfs.prepare(vf, &Profile::default(), true).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "VF 1 of pf0 (0000:01:10.2) is still in use: the host has it as enp1s16f2, which is up"
    );
    assert_eq!(
        machine.text("sys/bus/pci/devices/0000:01:10.2/driver_override"),
        "(null)\n"
    );
}

/// The removal event can come before QEMU has closed the VF.
#[tokio::test]
async fn a_vf_counts_as_left_when_it_is_closed() {
    let machine = Machine::new();
    machine.process(77, "qemu-system-x86", "/dev/vfio/12");
    let vfs = vfs(&machine);
    let vf = vfs.find(pci("0000:01:10.0")).await.unwrap();
    let closing = async {
        sleep(LOOK * 2).await;
        machine.process(77, "qemu-system-x86", "/dev/null");
    };
    let (left, ()) = tokio::join!(vfs.unused(&vf, LET_GO), closing);
    left.unwrap();
}

#[tokio::test]
async fn a_vf_that_is_kept_open_is_not_touched() {
    let machine = Machine::new();
    machine.process(77, "qemu-system-x86", "/dev/vfio/12");
    let vfs = vfs(&machine);
    let vf = vfs.find(pci("0000:01:10.0")).await.unwrap();
    let kept = vfs.unused(&vf, LOOK * 2).await.unwrap_err();
    assert!(
        matches!(kept, VfError::InUse { ref by, .. } if by.contains("process 77")),
        "{kept}"
    );
}

fn igb() -> Option<&'static Driver> {
    Driver::named("igb")
}

fn settings(profile: Profile) -> Settings {
    Settings { mac: None, profile }
}

/// As a guest of another NIC had it.
fn wanted() -> Profile {
    Profile {
        vlan: Vlan::new(100, 0, false).unwrap(),
        trust: true,
        rate: Rate { min: 10, max: 500 },
        link: LinkState::Up,
        ..Profile::default()
    }
}

#[test]
fn a_driver_is_asked_only_for_what_differs_and_what_it_has() {
    let neutral = settings(Profile::default());
    assert_eq!(
        changes(&neutral, &wanted(), igb()),
        [
            Change::Vlan(wanted().vlan),
            Change::Trust(true),
            Change::Rate(Rate { min: 0, max: 500 })
        ]
    );
    assert_eq!(changes(&settings(wanted().on(igb())), &wanted(), igb()), []);
    // Of a driver that is not known everything is asked.
    assert_eq!(
        changes(&neutral, &wanted(), None)[2..],
        [Change::Rate(wanted().rate), Change::LinkState(LinkState::Up)]
    );
    // Cleaned, it has nothing of the guest left.
    assert_eq!(
        changes(&settings(wanted()), &Profile::default(), igb()),
        [
            Change::Vlan(Vlan::default()),
            Change::Trust(false),
            Change::Rate(Rate::default()),
            Change::LinkState(LinkState::Auto)
        ]
    );
}

#[test]
fn a_refusal_is_the_reason_of_its_difference() {
    let refused = |change: Change, errno: i32| {
        let source = std::io::Error::from_raw_os_error(errno);
        let vf = VfName {
            pf: "pf0".into(),
            index: 0,
            address: pci("0000:01:10.0"),
        };
        let setting = change.to_string();
        (change, VfError::Refused { vf, setting, source })
    };
    let found = Profile {
        rate: Rate::default(),
        ..wanted().on(igb())
    };
    let rate = Change::Rate(Rate { min: 0, max: 500 });
    let differences = left(wanted().differences(&found, igb()), &[refused(rate, 22)]);
    let most = differences
        .iter()
        .find(|one| one.setting == Setting::MaxTxRate)
        .unwrap();
    assert_eq!(
        most.to_string(),
        "no limit of the rate instead of at most 500 Mbit/s (the driver of pf0 refused it: Invalid argument (os error 22))"
    );
    // Neutral of a setting that the driver has not is where it is.
    let bare = Profile {
        spoofchk: false,
        ..Profile::default()
    };
    let differences = || Profile::default().differences(&bare, None);
    let spoofchk = |errno| [refused(Change::Spoofchk(true), errno)];
    assert_eq!(left(differences(), &spoofchk(95)), []);
    assert_eq!(left(differences(), &spoofchk(22)).len(), 1);
    assert_eq!(left(differences(), &[]).len(), 1);
}

#[tokio::test]
async fn the_driver_of_a_pf_is_known_by_its_name() {
    let machine = Machine::new();
    assert_eq!(vfs(&machine).driver_of("pf0").await.unwrap(), igb());
    assert_eq!(vfs(&machine).driver_of("pf9").await.unwrap(), None);
}

/// Who asked gives up while the work goes on: it ends all the same, and the next begins after it. One that has not begun
/// never does.
#[tokio::test(start_paused = true)]
async fn what_has_begun_ends_before_the_next_begins() {
    let machine = Machine::new();
    let vfs = vfs(&machine);
    let vf = vfs.find(pci("0000:01:10.0")).await.unwrap();
    let done = Arc::new(std::sync::Mutex::new(Vec::new()));
    let work = |name: &'static str| {
        let done = Arc::clone(&done);
        async move {
            sleep(Duration::from_secs(1)).await;
            done.lock().unwrap().push(name);
            Ok(())
        }
    };
    let brief = Duration::from_millis(500);
    let first = tokio::time::timeout(brief, vfs.in_turn(&vf, "first", work("first"))).await;
    let second = tokio::time::timeout(brief / 2, vfs.in_turn(&vf, "second", work("second"))).await;
    assert!(first.is_err() && second.is_err());
    vfs.in_turn(&vf, "third", work("third")).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(*done.lock().unwrap(), ["first", "third"]);
}
