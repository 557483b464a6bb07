//! What sysfs knows about the device behind an interface: driver and PCI address.

use std::path::{Path, PathBuf};

use crate::pair::Device;

/// The root is an argument so that tests can have their own.
pub(crate) struct Sysfs {
    root: PathBuf,
}

impl Sysfs {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The device of an interface; `None` when it has none, or while its driver is still being bound.
    pub(crate) fn device(&self, interface: &str) -> Option<Device> {
        let device = self
            .root
            .join("class/net")
            .join(interface)
            .join("device")
            .canonicalize()
            .ok()?;
        let driver = name(&device.join("driver").canonicalize().ok()?)?;
        // A virtio device is a child of its PCI function; a VF is one.
        let mut candidates = [Some(device.as_path()), device.parent()]
            .into_iter()
            .flatten()
            .filter_map(name);
        let pci_address = candidates.find(|name| is_pci_address(name)).unwrap_or_default();
        Some(Device { driver, pci_address })
    }

    /// The device node of a virtio-serial port, by the name that the host gave it. Where udev runs, the
    /// same is in /dev/virtio-ports.
    pub(crate) fn virtio_port(&self, name: &str) -> Option<PathBuf> {
        let ports = std::fs::read_dir(self.root.join("class/virtio-ports")).ok()?;
        let port = ports.flatten().find(|port| {
            std::fs::read_to_string(port.path().join("name")).is_ok_and(|text| text.trim_end() == name)
        })?;
        Some(Path::new("/dev").join(port.file_name()))
    }
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// `0000:02:00.0`; the domain may have more digits.
fn is_pci_address(text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let Some((slot, function)) = text.rsplit_once('.') else {
        return false;
    };
    let parts: Vec<_> = slot.split(':').collect();
    matches!(parts[..], [domain, bus, device] if domain.len() >= 4 && bus.len() == 2 && device.len() == 2)
        && function.len() == 1
        && hex(function)
        && parts.into_iter().all(hex)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree as a q35 guest has it: virtio-net behind one root port, a VF behind another.
    fn tree() -> (tempfile::TempDir, Sysfs) {
        let root = tempfile::tempdir().unwrap();
        let path = |tail: &str| root.path().join(tail);
        for directory in [
            "bus/virtio/drivers/virtio_net",
            "bus/pci/drivers/igbvf",
            "class/net/bond0",
            "class/virtio-ports/vport1p1",
        ] {
            std::fs::create_dir_all(path(directory)).unwrap();
        }
        for (interface, device, driver) in [
            (
                "eth0",
                "devices/pci0000:00/0000:00:02.0/0000:01:00.0/virtio0",
                "bus/virtio/drivers/virtio_net",
            ),
            (
                "eth1",
                "devices/pci0000:00/0000:00:03.0/0000:02:10.1",
                "bus/pci/drivers/igbvf",
            ),
            (
                "usb0",
                "devices/pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0",
                "bus/pci/drivers/igbvf",
            ),
        ] {
            std::fs::create_dir_all(path(device)).unwrap();
            symlink(path(driver), path(device).join("driver")).unwrap();
            std::fs::create_dir_all(path("class/net").join(interface)).unwrap();
            symlink(path(device), path("class/net").join(interface).join("device")).unwrap();
        }
        std::fs::write(path("class/virtio-ports/vport1p1/name"), "org.godwit.agent.0\n").unwrap();
        let sysfs = Sysfs::new(root.path());
        (root, sysfs)
    }

    #[test]
    fn driver_and_pci_address_of_both_sides() {
        let (_root, sysfs) = tree();
        let device = |driver: &str, pci: &str| {
            Some(Device {
                driver: driver.to_owned(),
                pci_address: pci.to_owned(),
            })
        };
        assert_eq!(sysfs.device("eth0"), device("virtio_net", "0000:01:00.0"));
        assert_eq!(sysfs.device("eth1"), device("igbvf", "0000:02:10.1"));
        assert_eq!(sysfs.device("usb0"), device("igbvf", ""));
        assert_eq!(sysfs.device("bond0"), None);
        assert_eq!(sysfs.device("gone"), None);
    }

    #[test]
    fn a_virtio_port_is_found_by_name() {
        let (_root, sysfs) = tree();
        assert_eq!(
            sysfs.virtio_port("org.godwit.agent.0"),
            Some(PathBuf::from("/dev/vport1p1"))
        );
        assert_eq!(sysfs.virtio_port("org.qemu.guest_agent.0"), None);
    }

    #[test]
    fn pci_addresses() {
        assert!(is_pci_address("0000:02:00.0") && is_pci_address("10000:e1:00.7"));
        for text in [
            "virtio0",
            "0000:02:00",
            "0000.02.00.0",
            "0000:02.00:0",
            "zzzz:02:00.0",
            "1-1:1.0",
        ] {
            assert!(!is_pci_address(text), "{text}");
        }
    }
}
