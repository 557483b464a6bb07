use std::{
    os::unix::fs::symlink,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    thread::JoinHandle,
};

use tempfile::TempDir;

use super::*;

/// A made-up machine: `pf0` with two VFs, of which `igbvf` has the second.
pub(in super::super) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(in super::super) fn new() -> Self {
        let machine = Machine {
            folder: TempDir::new().unwrap(),
        };
        for address in ["0000:01:00.0", "0000:01:10.0", "0000:01:10.2"] {
            let device = machine.device(address);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("driver_override"), "(null)\n").unwrap();
        }
        machine.file("sys/bus/pci/drivers_probe", "");
        for driver in ["igb", "igbvf", "vfio-pci"] {
            machine.file(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
        }
        let pf = machine.device("0000:01:00.0");
        fs::write(pf.join("sriov_numvfs"), "2\n").unwrap();
        // Not in order, as read_dir may give them.
        symlink("../0000:01:10.2", pf.join("virtfn1")).unwrap();
        symlink("../0000:01:10.0", pf.join("virtfn0")).unwrap();
        machine.link(
            "sys/class/net/pf0/device",
            "../../../bus/pci/devices/0000:01:00.0",
        );
        machine.file("sys/class/net/pf0/flags", "0x1003\n");
        machine.link("sys/bus/pci/devices/0000:01:00.0/driver", "../../drivers/igb");
        machine.link(
            "sys/bus/pci/devices/0000:01:10.0/iommu_group",
            "../../../../kernel/iommu_groups/12",
        );
        machine.link("sys/bus/pci/devices/0000:01:10.2/driver", "../../drivers/igbvf");
        machine.file("sys/bus/pci/devices/0000:01:10.2/net/enp1s16f2/address", "");
        machine.file("proc/1/comm", "init\n");
        machine
    }

    pub(in super::super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(in super::super) fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(in super::super) fn link(&self, path: &str, to: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(to, path).unwrap();
    }

    fn device(&self, address: &str) -> PathBuf {
        self.root().join("sys/bus/pci/devices").join(address)
    }

    pub(in super::super) fn text(&self, path: &str) -> String {
        self.read(path)
    }

    pub(in super::super) fn remove(&self, path: &str) {
        fs::remove_dir_all(self.root().join(path)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(in super::super) fn sysfs(&self) -> Sysfs {
        Sysfs::new(self.root())
    }

    /// A process with an open file.
    pub(in super::super) fn process(&self, pid: u32, command: &str, open: &str) {
        self.file(&format!("proc/{pid}/comm"), &format!("{command}\n"));
        self.link(&format!("proc/{pid}/fd/0"), "/dev/null");
        self.link(&format!("proc/{pid}/fd/27"), open);
    }

    /// The kernel's side of unbind and probe, until dropped.
    fn kernel(&self) -> Kernel {
        let stop = Arc::new(AtomicBool::new(false));
        let (root, stopped) = (self.root().to_owned(), stop.clone());
        let thread = thread::spawn(move || {
            let pci = root.join("sys/bus/pci");
            while !stopped.load(Ordering::Relaxed) {
                for driver in ["igbvf", "vfio-pci"] {
                    if let Some(address) = take(&pci.join("drivers").join(driver).join("unbind")) {
                        fs::remove_file(pci.join("devices").join(address).join("driver")).unwrap();
                    }
                }
                if let Some(address) = take(&pci.join("drivers_probe")) {
                    let device = pci.join("devices").join(address);
                    let wanted = fs::read_to_string(device.join("driver_override")).unwrap();
                    symlink(format!("../../drivers/{}", wanted.trim()), device.join("driver")).unwrap();
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        Kernel {
            stop,
            thread: Some(thread),
        }
    }
}

fn take(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    if text.is_empty() {
        return None;
    }
    fs::write(file, "").unwrap();
    Some(text)
}

struct Kernel {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn name(index: u32, address: &str) -> VfName {
    VfName {
        pf: "pf0".into(),
        index,
        address: address.parse().unwrap(),
    }
}

#[test]
fn vfs_of_a_pf_are_listed_in_order() {
    let machine = Machine::new();
    let found = machine.sysfs().functions("pf0").unwrap();
    let free = Function {
        name: name(0, "0000:01:10.0"),
        driver: None,
        group: Some(12),
        used: None,
    };
    let taken = Function {
        name: name(1, "0000:01:10.2"),
        driver: Some("igbvf".into()),
        group: None,
        used: Some("the host has it as enp1s16f2".into()),
    };
    assert_eq!(found, [free, taken]);
}

#[test]
fn what_is_not_an_sriov_interface_is_named() {
    let machine = Machine::new();
    machine.file("sys/class/net/eth0/device/vendor", "");
    let says = |pf: &str| machine.sysfs().functions(pf).unwrap_err().to_string();
    assert_eq!(
        says("pf9"),
        "pf9 is not an SR-IOV interface of this host: no such PCI interface"
    );
    assert_eq!(
        says("eth0"),
        "eth0 is not an SR-IOV interface of this host: its device has no SR-IOV"
    );
    assert!(says("../../etc").contains("not an interface name"));
    assert!(says("").contains("not an interface name"));
}

#[test]
fn a_vf_goes_to_vfio_and_that_can_be_repeated() {
    let machine = Machine::new();
    let sysfs = machine.sysfs();
    let _kernel = machine.kernel();
    for vf in [name(0, "0000:01:10.0"), name(1, "0000:01:10.2")] {
        let now = || sysfs.functions("pf0").unwrap()[vf.index as usize].driver.clone();
        for _ in 0..2 {
            sysfs.bind_vfio(&vf).unwrap();
            assert_eq!(now().as_deref(), Some("vfio-pci"));
        }
        let chosen = machine.read(&format!("sys/bus/pci/devices/{}/driver_override", vf.address));
        assert_eq!(chosen.trim(), "vfio-pci");
    }
}

#[test]
fn a_failed_write_names_vf_and_file() {
    let machine = Machine::new();
    let failed = machine
        .sysfs()
        .bind_vfio(&name(6, "0000:01:11.6"))
        .unwrap_err()
        .to_string();
    assert!(failed.starts_with("VF 6 of pf0 (0000:01:11.6): "), "{failed}");
    assert!(failed.contains("driver_override: No such file"), "{failed}");
}

#[test]
fn a_reset_needs_a_device_that_can() {
    let machine = Machine::new();
    let vf = name(0, "0000:01:10.0");
    assert!(!machine.sysfs().reset(&vf).unwrap());
    machine.file("sys/bus/pci/devices/0000:01:10.0/reset", "");
    assert!(machine.sysfs().reset(&vf).unwrap());
    assert_eq!(machine.read("sys/bus/pci/devices/0000:01:10.0/reset"), "1");
    // igbvf would never come back from it.
    let other = name(1, "0000:01:10.2");
    machine.file("sys/bus/pci/devices/0000:01:10.2/reset", "");
    assert!(!machine.sysfs().reset(&other).unwrap());
    machine.link(
        "sys/bus/pci/devices/0000:01:10.2/driver",
        "../../drivers/vfio-pci",
    );
    assert!(machine.sysfs().reset(&other).unwrap());
}

#[test]
fn holders_are_found_by_group_and_by_device() {
    let machine = Machine::new();
    let vf = name(0, "0000:01:10.0");
    let holders = |vf: &VfName| machine.sysfs().holders(vf).unwrap();
    assert_eq!(holders(&vf), []);
    machine.process(77, "qemu-system-x86", "/dev/vfio/12");
    machine.process(78, "other", "/dev/vfio/120");
    let qemu = Holder {
        pid: 77,
        command: "qemu-system-x86".into(),
        guest: None,
    };
    assert_eq!(holders(&vf), [qemu]);
    assert_eq!(holders(&name(1, "0000:01:10.2")), [], "has no group");
    machine.process(77, "qemu-system-x86", "/dev/null");
    machine.process(78, "private dev", "/dev/vfio/12 (deleted)");
    assert_eq!(holders(&vf)[0].pid, 78);
    machine.file("sys/bus/pci/devices/0000:01:10.2/vfio-dev/vfio3/dev", "");
    machine.process(79, "iommufd", "/dev/vfio/devices/vfio3");
    assert_eq!(holders(&name(1, "0000:01:10.2"))[0].pid, 79);
}

#[test]
fn a_vf_in_an_emulator_is_known_by_its_guest() {
    let machine = Machine::new();
    machine.file("sys/bus/pci/devices/0000:01:10.2/vfio-dev/vfio3/dev", "");
    machine.process(77, "qemu-system-x86", "/dev/vfio/12");
    let line = "qemu\0-name\0guest=web-1\0-uuid\x006cb0e5f6-9b6a-4a52-8d6f-0d7ad6d1a001\0-S\0";
    machine.file("proc/77/cmdline", line);
    machine.process(78, "other", "/dev/vfio/devices/vfio3");
    machine.file("proc/78/cmdline", "other\0-uuid\0no-uuid\0");
    machine.process(79, "dpdk", "/dev/vfio/vfio");
    let both = [name(0, "0000:01:10.0"), name(1, "0000:01:10.2")];
    let mut open = machine.sysfs().open_vfs(&both).unwrap();
    open.sort_by_key(|(vf, _)| *vf);
    let told: Vec<_> = open
        .iter()
        .map(|(vf, holder)| (vf.to_string(), holder.pid, holder.guest.map(|id| id.to_string())))
        .collect();
    let guest = Some("6cb0e5f6-9b6a-4a52-8d6f-0d7ad6d1a001".to_owned());
    assert_eq!(
        told,
        [
            ("0000:01:10.0".to_owned(), 77, guest),
            ("0000:01:10.2".to_owned(), 78, None)
        ]
    );
    assert_eq!(machine.sysfs().open_vfs(&[]).unwrap(), []);
}

#[test]
fn a_pf_that_was_switched_off_is_seen() {
    let machine = Machine::new();
    for (flags, up) in [
        ("0x1003\n", Some(true)),
        ("0x1002\n", Some(false)),
        ("up", None),
        ("", None),
    ] {
        machine.file("sys/class/net/pf0/flags", flags);
        assert_eq!(machine.sysfs().is_up("pf0"), up, "{flags:?}");
    }
    assert_eq!(machine.sysfs().is_up("pf9"), None, "nothing is known of it");
}
