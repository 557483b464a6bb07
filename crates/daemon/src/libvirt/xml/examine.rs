//! What the doctor looks at in a domain's XML: places to plug into, memory, devices of the host.

use godwit_migration::{PciAddress, doctor::Memory};
use roxmltree::{Document, Node};

use super::{
    DomainDevices, HostDev, HostDevForm, XmlError, child, child_attribute, domain, number, pci_address,
    size_kib,
};

/// A domain, examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    /// Its devices.
    pub(crate) devices: DomainDevices,
    /// It has a PCIe root, so a plug needs a root port.
    pub(crate) has_root_ports: bool,
    /// Devices of the host that nothing can unplug.
    pub(crate) fixed: Vec<PciAddress>,
    /// Its memory.
    pub(crate) memory: Memory,
    /// Devices of the host that stay with it, in words, with the address of what is a PCI device.
    passed: Vec<(String, Option<PciAddress>)>,
}

impl Examined {
    /// # Errors
    /// As [`DomainDevices::parse`].
    pub(crate) fn parse(xml: &str) -> Result<Examined, XmlError> {
        let devices = DomainDevices::parse(xml)?;
        let document = Document::parse(xml)?;
        let domain = domain(&document)?;
        let list = child(domain, "devices").ok_or(XmlError::Missing("devices"))?;
        let has_root_ports = controllers(list).any(|model| model.attribute("model") == Some("pcie-root"));
        let closed = controllers(list)
            .filter(|port| child_attribute(*port, "target", "hotplug") == Some("off"))
            .filter_map(|port| number(port.attribute("index")?));
        // pcie.0 itself; of the older machines' bus 0 ACPI takes devices away.
        let closed: Vec<u32> = closed.chain(has_root_ports.then_some(0)).collect();
        let is_fixed = |device: &&HostDev| {
            let bus = device.guest_address.map(|address| u32::from(address.bus));
            bus.is_some_and(|bus| closed.contains(&bus))
        };
        Ok(Examined {
            has_root_ports,
            fixed: devices
                .hostdevs
                .iter()
                .filter(is_fixed)
                .map(|device| device.host_address)
                .collect(),
            memory: memory(domain, devices.memory_kib)?,
            passed: list.children().filter_map(passed).collect(),
            devices,
        })
    }

    /// The devices of its host that are none of these VFs and that no migration takes along, in words.
    pub(crate) fn passed(&self, vfs: &[PciAddress]) -> Vec<String> {
        let others = self.passed.iter();
        let others = others.filter(|(_, address)| address.is_none_or(|address| !vfs.contains(&address)));
        others.map(|(words, _)| words.clone()).collect()
    }

    /// Its VFs, as addresses on the host: what is written as an interface, and what is known as a VF.
    pub(crate) fn vfs(&self, known: &[PciAddress]) -> Vec<PciAddress> {
        let is_vf = |device: &&HostDev| {
            matches!(device.form, HostDevForm::Interface { .. }) || known.contains(&device.host_address)
        };
        let vfs = self.devices.hostdevs.iter().filter(is_vf);
        vfs.map(|device| device.host_address).collect()
    }
}

/// QEMU opens USB devices anew, and a target of iSCSI is the same for both hosts; what libvirt unplugs by itself (`<teaming>`) is in nobody's
/// way. libvirt refuses all but USB (`qemuMigrationSrcIsAllowedHostdev`), but from 8.5 on it leaves that to a QEMU that can say what it does
/// not migrate; and to QEMU a SCSI device is a disk, whose address at the destination may be another's.
fn passed(node: Node<'_, '_>) -> Option<(String, Option<PciAddress>)> {
    let teamed = child_attribute(node, "teaming", "type") == Some("transient");
    if !node.has_tag_name("hostdev") || teamed {
        return None;
    }
    let source = child(node, "source");
    let address = source.and_then(|source| child(source, "address"));
    match node.attribute("type")? {
        "pci" => {
            let address = address.and_then(pci_address)?;
            Some((format!("PCI device {address}"), Some(address)))
        }
        "mdev" => {
            let id = address
                .and_then(|address| address.attribute("uuid"))
                .unwrap_or("?");
            Some((format!("mediated device {id}"), None))
        }
        "scsi" if source.is_none_or(|source| source.attribute("protocol").is_none()) => {
            let adapter = source.and_then(|source| child_attribute(source, "adapter", "name"));
            let of = |name: &str| address.and_then(|address| address.attribute(name)).unwrap_or("?");
            let (adapter, bus, target, unit) = (adapter.unwrap_or("?"), of("bus"), of("target"), of("unit"));
            let words = format!(
                "SCSI device {bus}:{target}:{unit} of {adapter} (libvirt before 8.5 refuses it; later ones open what has \
                 that address at the destination)"
            );
            Some((words, None))
        }
        "scsi_host" => {
            let wwpn = source.and_then(|source| source.attribute("wwpn")).unwrap_or("?");
            Some((format!("SCSI adapter {wwpn}"), None))
        }
        _ => None,
    }
}

fn controllers<'a, 'input>(devices: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    devices.children().filter(|node| node.has_tag_name("controller"))
}

fn memory(domain: Node<'_, '_>, size: u64) -> Result<Memory, XmlError> {
    let limit = child(domain, "memtune").and_then(|tune| child(tune, "hard_limit"));
    let limit = limit.map(size_kib).transpose()?;
    let backing = child(domain, "memoryBacking");
    let has = |name: &str| backing.is_some_and(|backing| child(backing, name).is_some());
    let at_once =
        backing.is_some_and(|backing| child_attribute(backing, "allocation", "mode") == Some("immediate"));
    Ok(Memory {
        size: size.saturating_mul(1024),
        hard_limit: limit.map(|limit| limit.saturating_mul(1024)),
        populated: has("hugepages") || has("locked") || at_once,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::LIVE, *};

    fn pci(text: &str) -> PciAddress {
        text.parse().unwrap()
    }

    #[test]
    fn a_live_domain_is_examined() {
        let found = Examined::parse(LIVE).unwrap();
        assert!(found.has_root_ports && found.fixed.is_empty());
        let memory = Memory {
            size: 192 << 20,
            hard_limit: None,
            populated: false,
        };
        assert_eq!(found.memory, memory);
        assert_eq!(
            found.vfs(&[]),
            [pci("0000:02:10.2")],
            "what is written as an interface"
        );
        assert_eq!(found.vfs(&[pci("0000:01:10.0")]).len(), 2);
    }

    #[test]
    fn what_cannot_be_unplugged_is_named() {
        let plain =
            "<address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>\n    </hostdev>";
        assert!(LIVE.contains(plain));
        let on = |bus: &str| LIVE.replace(plain, &plain.replace("bus='0x03'", &format!("bus='{bus}'")));
        assert_eq!(Examined::parse(&on("0x00")).unwrap().fixed, [pci("0000:01:10.0")]);
        assert_eq!(Examined::parse(&on("0x05")).unwrap().fixed, [pci("0000:01:10.0")]);
        assert!(Examined::parse(&on("0x04")).unwrap().fixed.is_empty());
        // An older machine has no such root.
        let old = on("0x00").replace("model='pcie-root'", "model='pci-root'");
        let found = Examined::parse(&old).unwrap();
        assert!(!found.has_root_ports && found.fixed.is_empty());
    }

    #[test]
    fn devices_of_the_host_that_are_no_vfs_are_named() {
        let more = |more: &str| {
            let xml = LIVE.replacen("</devices>", &format!("{more}</devices>"), 1);
            Examined::parse(&xml).unwrap().passed(&[pci("0000:01:10.0")])
        };
        assert_eq!(more(""), [""; 0], "the VF of the guest's own pair is none");
        let gpu = "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></source>";
        assert_eq!(more(&format!("{gpu}</hostdev>")), ["PCI device 0000:03:00.0"]);
        let teamed = format!("{gpu}<teaming type='transient' persistent='ua-net0'/></hostdev>");
        assert_eq!(more(&teamed), [""; 0]);
        let others = "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='3'/></source></hostdev>
            <hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>
            <hostdev mode='subsystem' type='scsi_host'><source protocol='vhost' wwpn='naa.500140'/></hostdev>";
        assert_eq!(
            more(others),
            [
                "mediated device c2177883-f1bb-47f0-914d-32a22e3a8804",
                "SCSI adapter naa.500140"
            ]
        );
        let scsi = "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host2'/><address bus='0' target='3' unit='1'/></source></hostdev>";
        let found = more(scsi).concat();
        assert!(found.starts_with("SCSI device 0:3:1 of scsi_host2 ("), "{found}");
        let iscsi = "<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.2014-08.com.example:iscsi/1'><host name='example.org'/></source></hostdev>";
        assert_eq!(more(iscsi), [""; 0], "it is the same for every host");
    }

    #[test]
    fn memory_may_be_limited_and_populated() {
        let with = |more: &str| Examined::parse(&LIVE.replacen("<vcpu", &format!("{more}<vcpu"), 1));
        let limit = with("<memtune><hard_limit unit='GiB'>2</hard_limit></memtune>").unwrap();
        assert_eq!(limit.memory.hard_limit, Some(2 << 30));
        let none = with("<memtune><hard_limit unit='KiB'>9007199254740991</hard_limit></memtune>").unwrap();
        assert!(none.memory.hard_limit > Some(1 << 62));
        assert!(with("<memtune><hard_limit>much</hard_limit></memtune>").is_err());
        for backing in ["<hugepages/>", "<locked/>", "<allocation mode='immediate'/>"] {
            let found = with(&format!("<memoryBacking>{backing}</memoryBacking>")).unwrap();
            assert!(found.memory.populated, "{backing}");
        }
        let later = with("<memoryBacking><allocation mode='ondemand'/></memoryBacking>").unwrap();
        assert!(!later.memory.populated);
    }
}
