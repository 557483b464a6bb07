//! What the doctor looks at in a domain's XML: places to plug into, memory, devices of the host.

use godwit_migration::{PciAddress, doctor::Memory};
use roxmltree::{Document, Node};

use super::{
    DomainDevices, HostDev, HostDevForm, XmlError, child, child_attribute, domain, number, size_kib,
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
            devices,
        })
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
