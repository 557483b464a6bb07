//! Reading and editing domain XML. Pure.
//!
//! Edits splice the text at the place of the element and leave every other byte as it was (comments, order, foreign
//! namespaces): what Godwit does not understand it cannot damage. Each edit is parsed again as a check.

use godwit_migration::{MacAddress, PciAddress};
use roxmltree::{Document, Node};
use uuid::Uuid;

pub(crate) mod examine;
pub(crate) mod hotplug;
pub(crate) mod needs;
mod nodes;

pub(crate) use self::nodes::memory_nodes;

/// The parts of a domain that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainDevices {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its memory, KiB.
    pub memory_kib: u64,
    /// Machine type (`pc-q35-10.0`).
    pub machine: String,
    /// Its slots have only their button: an unplug takes 6 s, and a second request within 5 s cancels the first.
    pub native_hotplug: bool,
    /// Network interfaces that QEMU emulates.
    pub nics: Vec<Nic>,
    /// Host PCI devices, plain or as an interface.
    pub hostdevs: Vec<HostDev>,
    /// Virtio-serial channels.
    pub channels: Vec<Channel>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// PCIe root ports without a device: places for a plug.
    pub free_root_ports: usize,
}

/// A network interface that QEMU emulates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nic {
    /// libvirt's alias; only in live XML, unless it is a user's own (`ua-`).
    pub alias: Option<String>,
    /// Its MAC.
    pub mac: MacAddress,
    /// `virtio`, `e1000e`, …
    pub(crate) model: Option<String>,
    /// What carries its packets, if the XML says it: `qemu`, `vhost`.
    pub(crate) driver: Option<String>,
    /// Bridge, network or host interface that it is connected to.
    pub source: Option<String>,
    /// Its tap on the host (`vnet3`); only in live XML.
    pub tap: Option<String>,
    /// `<teaming>`, if any.
    pub teaming: Option<Teaming>,
    /// Where it is in the guest.
    pub guest_address: Option<PciAddress>,
}

/// libvirt's `<teaming>` of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Teaming {
    /// This one stays: the standby.
    Persistent,
    /// This one comes and goes: the primary.
    Transient {
        /// Alias of the standby.
        standby: String,
    },
}

/// A PCI device of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDev {
    /// libvirt's alias; only in live XML, unless it is a user's own (`ua-`).
    pub alias: Option<String>,
    /// Where it is on the host.
    pub host_address: PciAddress,
    /// Where it is in the guest.
    pub guest_address: Option<PciAddress>,
    /// libvirt binds and unbinds it.
    pub managed: bool,
    /// How it is written.
    pub form: HostDevForm,
    /// `<teaming>`, if any.
    pub teaming: Option<Teaming>,
}

/// How a host device is written in the XML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostDevForm {
    /// `<hostdev>`: libvirt sets nothing on the VF.
    Plain,
    /// `<interface type='hostdev'>`: libvirt sets MAC and VLAN, and restores what it found.
    Interface {
        /// MAC that libvirt sets on the VF.
        mac: MacAddress,
    },
}

/// A virtio-serial channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channel {
    /// Its name in the guest (`org.godwit.agent.0`).
    pub name: String,
    /// Unix socket of its host end.
    pub path: Option<String>,
    /// The guest has opened it.
    pub connected: bool,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Its name in the guest's XML (`vda`).
    pub target: String,
    /// `<shareable/>`.
    pub shareable: bool,
    /// `<readonly/>`.
    pub readonly: bool,
}

/// XML that is not a domain, or an edit that did not come out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    /// Not XML.
    #[error("the domain's XML cannot be read: {0}")]
    NotXml(#[from] roxmltree::Error),
    /// Something that every domain has is not there.
    #[error("the domain's XML has no {0}")]
    Missing(&'static str),
    /// The text after an edit is not what was meant; nothing was changed.
    #[error("the edit of the domain's XML failed: {0}")]
    Edit(String),
}

impl Nic {
    /// It is the standby of a pair of libvirt's own.
    pub(crate) fn is_teamed(&self) -> bool {
        self.teaming == Some(Teaming::Persistent)
    }
}

impl DomainDevices {
    /// Reads a domain's XML, live or persistent.
    ///
    /// # Errors
    /// XML that is not a domain. Devices of other kinds, or without what would be needed here, are left out.
    pub(crate) fn parse(xml: &str) -> Result<Self, XmlError> {
        let document = Document::parse(xml)?;
        let domain = domain(&document)?;
        let text = |name: &'static str| {
            child(domain, name)
                .and_then(|node| node.text())
                .map(str::trim)
                .ok_or(XmlError::Missing(name))
        };
        let devices = child(domain, "devices").ok_or(XmlError::Missing("devices"))?;
        let os_type = child(domain, "os").and_then(|os| child(os, "type"));
        let machine = os_type.and_then(|node| node.attribute("machine"));
        let machine = machine.unwrap_or_default();
        Ok(DomainDevices {
            name: text("name")?.to_owned(),
            uuid: text("uuid")?
                .parse()
                .map_err(|_| XmlError::Missing("valid uuid"))?,
            memory_kib: memory_kib(domain)?,
            machine: machine.to_owned(),
            native_hotplug: hotplug::is_native(machine, domain),
            nics: devices.children().filter_map(nic).collect(),
            hostdevs: devices.children().filter_map(hostdev).collect(),
            channels: devices.children().filter_map(channel).collect(),
            disks: devices.children().filter_map(disk).collect(),
            free_root_ports: free_root_ports(devices),
        })
    }

    /// The host device of this alias.
    pub(crate) fn hostdev(&self, alias: &str) -> Option<&HostDev> {
        self.hostdevs
            .iter()
            .find(|device| device.alias.as_deref() == Some(alias))
    }
}

pub(super) fn domain<'a, 'input>(document: &'a Document<'input>) -> Result<Node<'a, 'input>, XmlError> {
    let root = document.root_element();
    if root.has_tag_name("domain") {
        Ok(root)
    } else {
        Err(XmlError::Missing("domain element"))
    }
}

pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn child_attribute<'a>(node: Node<'a, '_>, name: &str, attribute: &str) -> Option<&'a str> {
    child(node, name)?.attribute(attribute)
}

fn memory_kib(domain: Node<'_, '_>) -> Result<u64, XmlError> {
    size_kib(child(domain, "memory").ok_or(XmlError::Missing("memory"))?)
}

/// libvirt prints KiB; a person may have written another unit.
fn size_kib(node: Node<'_, '_>) -> Result<u64, XmlError> {
    let number: u64 = node
        .text()
        .and_then(|text| text.trim().parse().ok())
        .ok_or(XmlError::Missing("memory that is a number"))?;
    let unit = node.attribute("unit").unwrap_or("KiB");
    let bytes = unit_bytes(unit).ok_or(XmlError::Missing("memory in a known unit"))?;
    Ok(number.saturating_mul(bytes) >> 10)
}

/// As libvirt scales numbers (`virScaleInteger`): small and capital letters are one, and a letter alone is binary.
fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "b" | "byte" | "bytes") {
        return Some(1);
    }
    let (letter, rest) = unit.split_at_checked(1)?;
    let power = "kmgtpe".find(letter)? as u32 + 1;
    match rest {
        "" | "ib" => Some(1 << (10 * power)),
        "b" => Some(1000_u64.pow(power)),
        _ => None,
    }
}

fn alias(node: Node<'_, '_>) -> Option<String> {
    child_attribute(node, "alias", "name").map(str::to_owned)
}

fn mac(node: Node<'_, '_>) -> Option<MacAddress> {
    child_attribute(node, "mac", "address")?.parse().ok()
}

fn nic(node: Node<'_, '_>) -> Option<Nic> {
    if !node.has_tag_name("interface") || node.attribute("type") == Some("hostdev") {
        return None;
    }
    let source = child(node, "source");
    let source = ["bridge", "network", "dev"]
        .iter()
        .find_map(|name| source?.attribute(*name));
    Some(Nic {
        alias: alias(node),
        mac: mac(node)?,
        model: child_attribute(node, "model", "type").map(str::to_owned),
        driver: child_attribute(node, "driver", "name").map(str::to_owned),
        source: source.map(str::to_owned),
        tap: child_attribute(node, "target", "dev").map(str::to_owned),
        teaming: teaming(node),
        guest_address: child(node, "address").and_then(pci_address),
    })
}

fn teaming(node: Node<'_, '_>) -> Option<Teaming> {
    let teaming = child(node, "teaming")?;
    match teaming.attribute("type")? {
        "persistent" => Some(Teaming::Persistent),
        "transient" => Some(Teaming::Transient {
            standby: teaming.attribute("persistent").unwrap_or_default().to_owned(),
        }),
        _ => None,
    }
}

pub(super) fn hostdev(node: Node<'_, '_>) -> Option<HostDev> {
    let form = match (node.tag_name().name(), node.attribute("type")?) {
        ("interface", "hostdev") => HostDevForm::Interface { mac: mac(node)? },
        ("hostdev", "pci") => HostDevForm::Plain,
        _ => return None,
    };
    Some(HostDev {
        alias: alias(node),
        host_address: child(node, "source")
            .and_then(|source| child(source, "address"))
            .and_then(pci_address)?,
        guest_address: child(node, "address").and_then(pci_address),
        managed: node.attribute("managed") == Some("yes"),
        form,
        teaming: teaming(node),
    })
}

fn channel(node: Node<'_, '_>) -> Option<Channel> {
    let target = child(node, "target").filter(|target| target.attribute("type") == Some("virtio"))?;
    if !node.has_tag_name("channel") {
        return None;
    }
    Some(Channel {
        name: target.attribute("name")?.to_owned(),
        path: child_attribute(node, "source", "path").map(str::to_owned),
        connected: target.attribute("state") == Some("connected"),
    })
}

fn disk(node: Node<'_, '_>) -> Option<Disk> {
    if !node.has_tag_name("disk") {
        return None;
    }
    Some(Disk {
        target: child_attribute(node, "target", "dev")?.to_owned(),
        shareable: child(node, "shareable").is_some(),
        readonly: child(node, "readonly").is_some(),
    })
}

/// `<address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>`; a source address has no type.
pub(super) fn pci_address(node: Node<'_, '_>) -> Option<PciAddress> {
    if !matches!(node.attribute("type"), None | Some("pci")) {
        return None;
    }
    let number = |name: &str| number(node.attribute(name)?);
    let address = PciAddress {
        domain: number("domain").unwrap_or(0).try_into().ok()?,
        bus: number("bus")?.try_into().ok()?,
        slot: number("slot")?.try_into().ok().filter(|slot| *slot < 32)?,
        function: number("function")
            .unwrap_or(0)
            .try_into()
            .ok()
            .filter(|function| *function < 8)?,
    };
    Some(address)
}

/// A number as libvirt writes and reads one.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn free_root_ports(devices: Node<'_, '_>) -> usize {
    let on_bus = |index: u32| {
        devices
            .descendants()
            .filter(|node| node.has_tag_name("address") && node.attribute("type") == Some("pci"))
            // The address inside a <source> is the host's.
            .filter(|node| {
                node.parent()
                    .is_some_and(|parent| parent.parent() == Some(devices))
            })
            .any(|node| node.attribute("bus").and_then(number) == Some(index))
    };
    devices
        .children()
        .filter(|node| node.has_tag_name("controller") && node.attribute("model") == Some("pcie-root-port"))
        .filter(|port| child_attribute(*port, "target", "hotplug") != Some("off"))
        .filter_map(|port| number(port.attribute("index")?))
        .filter(|index| !on_bus(*index))
        .count()
}

/// Whether any device has this alias. XML that cannot be read may have it.
pub(crate) fn has_alias(xml: &str, alias: &str) -> bool {
    let Ok(document) = Document::parse(xml) else {
        return true;
    };
    let mut aliases = document.descendants().filter(|node| node.has_tag_name("alias"));
    aliases.any(|node| node.attribute("name") == Some(alias))
}

/// A text as the value of an attribute or the text of an element. What XML cannot hold at all becomes U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests;
