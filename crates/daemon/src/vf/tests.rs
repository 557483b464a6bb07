use super::{sysfs::tests::Machine, *};

fn vfs(machine: &Machine) -> Vfs {
    let pools = BTreeMap::from([
        ("fabric".to_owned(), vec!["pf0".to_owned()]),
        ("other".to_owned(), vec!["pf9".to_owned()]),
    ]);
    Vfs::at(machine.root(), &pools)
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
        .prepare(pci("0000:02:10.0"), Profile::default())
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
        .prepare(pci("0000:01:10.0"), Profile::default())
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "VF 0 of pf0 (0000:01:10.0) is still in use by qemu-system-x86 (process 77)"
    );
    assert_eq!(vfs(&machine).holders(pci("0000:01:10.0")).await.unwrap().len(), 1);
}

/// The removal event can come before QEMU has closed the VF.
#[tokio::test]
async fn a_vf_counts_as_left_when_it_is_closed() {
    let machine = Machine::new();
    machine.process(77, "qemu-system-x86", "/dev/vfio/12");
    let vfs = vfs(&machine);
    let (vf, _) = vfs.find(pci("0000:01:10.0")).await.unwrap();
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
    let (vf, _) = vfs.find(pci("0000:01:10.0")).await.unwrap();
    let kept = vfs.unused(&vf, LOOK * 2).await.unwrap_err();
    assert!(
        matches!(kept, VfError::InUse { ref holders, .. } if holders.len() == 1),
        "{kept}"
    );
}
