//! What a guest needs of the host that it comes to, as its live XML has it.

use godwit_migration::{
    MacAddress, Options,
    options::{Storage, Tls},
    plan::{CpuNeeds, GuestSize, HugePages, Machine, NeededDisk, NeededNic, Needs, NicVlans, PortVlans},
};
use roxmltree::{Document, Node};

use super::{XmlError, child, child_attribute, domain, examine::Examined, nodes::node_set};

/// Of an ordinary page on x86.
const ORDINARY_KIB: u64 = 4;

/// A guest as a move sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traveller {
    /// What it needs; sizes of disks, MTUs and what its host has are not in the XML.
    pub(crate) needs: Needs,
    /// What decides how long it takes.
    pub(crate) size: GuestSize,
    /// It has its host's CPU as it is.
    pub(crate) has_host_cpu: bool,
    /// Its disks that can be written, and that it has alone.
    pub(crate) own_disks: Vec<String>,
}

impl Traveller {
    /// # Errors
    /// As [`Examined::parse`].
    pub(crate) fn parse(
        xml: &str,
        options: &Options,
        standbys: &[MacAddress],
    ) -> Result<Traveller, XmlError> {
        let examined = Examined::parse(xml)?;
        let document = Document::parse(xml)?;
        let root = domain(&document)?;
        let devices = child(root, "devices").ok_or(XmlError::Missing("devices"))?;
        let own =
            |disk: &Node<'_, '_>| child(*disk, "readonly").is_none() && child(*disk, "shareable").is_none();
        let disks = || devices.children().filter(|node| node.has_tag_name("disk"));
        let own_disks = disks().filter(own).filter_map(target).map(str::to_owned);
        let own_disks: Vec<String> = own_disks.collect();
        let element = child(root, "cpu");
        let mode = element.and_then(|cpu| cpu.attribute("mode"));
        Ok(Traveller {
            needs: Needs {
                guest: examined.devices.name.clone(),
                machine: machine(root),
                cpu: CpuNeeds {
                    element: element.map(|cpu| xml[cpu.range()].to_owned()).unwrap_or_default(),
                    flags: Vec::new(),
                },
                memory: examined.memory.size,
                pages: pages(root, examined.memory.size),
                disks: disks()
                    .filter_map(|disk| needed_disk(disk, options, &own_disks))
                    .collect(),
                nics: devices
                    .children()
                    .filter_map(|node| needed_nic(node, standbys))
                    .collect(),
                lock_manager: None,
                tls: matches!(options.tls, Some(Tls::On { .. })),
            },
            size: GuestSize {
                memory: examined.memory.size,
                populated: examined.memory.populated,
                slow_unplug: examined.devices.native_hotplug,
            },
            has_host_cpu: matches!(mode, Some("host-passthrough" | "maximum")),
            own_disks,
        })
    }
}

fn machine(root: Node<'_, '_>) -> Machine {
    let kind = child(root, "os").and_then(|os| child(os, "type"));
    let of = |name: &str| {
        kind.and_then(|kind| kind.attribute(name))
            .unwrap_or_default()
            .to_owned()
    };
    Machine {
        kind: of("machine"),
        architecture: of("arch"),
        virtualisation: root.attribute("type").unwrap_or_default().to_owned(),
    }
}

/// A page with a set of nodes has the memory of those, one without has that of all others; without any page all of it is in pages of the
/// default size (`qemuBuildMemoryGetPagesize`).
fn pages(root: Node<'_, '_>, memory: u64) -> Vec<HugePages> {
    let Some(huge) = child(root, "memoryBacking").and_then(|backing| child(backing, "hugepages")) else {
        return Vec::new();
    };
    let cells = cells(root);
    let sizes = huge.children().filter(|node| node.has_tag_name("page"));
    let (named, others): (Vec<_>, Vec<_>) = sizes.partition(|page| page.attribute("nodeset").is_some());
    let of_nodes = |page: &Node<'_, '_>| {
        let nodes = page.attribute("nodeset").and_then(node_set).unwrap_or_default();
        let bytes = match cells.is_empty() {
            // A guest without nodes has all of its memory on node 0.
            true => memory,
            false => cells
                .iter()
                .filter(|(id, _)| nodes.contains(id))
                .map(|(_, bytes)| bytes)
                .sum(),
        };
        HugePages {
            kib: page_kib(*page),
            bytes,
        }
    };
    let mut pages: Vec<HugePages> = named.iter().map(of_nodes).collect();
    let left = memory.saturating_sub(pages.iter().map(|pages| pages.bytes).sum());
    let rest = match (others.first(), named.is_empty()) {
        (Some(page), _) => Some(page_kib(*page)),
        (None, true) => Some(0),
        // Ordinary ones.
        (None, false) => None,
    };
    pages.extend(rest.map(|kib| HugePages { kib, bytes: left }));
    // libvirt takes a page of the ordinary size for what it is.
    pages.retain(|pages| pages.bytes > 0 && pages.kib != ORDINARY_KIB);
    pages
}

/// The guest's NUMA nodes, with their memory in bytes.
fn cells(root: Node<'_, '_>) -> Vec<(u32, u64)> {
    let numa = child(root, "cpu").and_then(|cpu| child(cpu, "numa"));
    let cells = numa.into_iter().flat_map(|numa| numa.children());
    let cells = cells.filter(|node| node.has_tag_name("cell"));
    let cell = |(index, cell): (usize, Node<'_, '_>)| {
        let id = cell.attribute("id").and_then(|id| id.parse().ok());
        let memory = cell
            .attribute("memory")
            .and_then(|memory| memory.parse::<u64>().ok())?;
        let kib = memory.saturating_mul(unit_kib(cell.attribute("unit")));
        Some((id.unwrap_or(index as u32), kib.saturating_mul(1024)))
    };
    cells.enumerate().filter_map(cell).collect()
}

fn page_kib(page: Node<'_, '_>) -> u64 {
    let size = page.attribute("size").and_then(|size| size.parse::<u64>().ok());
    size.unwrap_or(0).saturating_mul(unit_kib(page.attribute("unit")))
}

fn unit_kib(unit: Option<&str>) -> u64 {
    match unit {
        Some("MiB" | "M") => 1024,
        Some("GiB" | "G") => 1024 * 1024,
        Some("TiB" | "T") => 1024 * 1024 * 1024,
        _ => 1,
    }
}

fn target<'a>(disk: Node<'a, '_>) -> Option<&'a str> {
    child_attribute(disk, "target", "dev")
}

/// A drive without a medium needs nothing.
fn needed_disk(disk: Node<'_, '_>, options: &Options, own: &[String]) -> Option<NeededDisk> {
    let name = target(disk)?.to_owned();
    let source = child(disk, "source")?;
    let path = source.attribute("file").or_else(|| source.attribute("dev"));
    let is_own = own.contains(&name);
    let (copied, incremental) = match &options.storage {
        Some(Storage::Copied { incremental, disks }) if disks.is_empty() => (is_own, *incremental),
        Some(Storage::Copied { incremental, disks }) => (disks.contains(&name), *incremental),
        Some(Storage::Shared) | None => (false, false),
    };
    Some(NeededDisk {
        target: name,
        path: path.unwrap_or_default().to_owned(),
        copied,
        incremental: copied && incremental,
        own: is_own,
        bytes: 0,
    })
}

fn needed_nic(node: Node<'_, '_>, standbys: &[MacAddress]) -> Option<NeededNic> {
    if !node.has_tag_name("interface") {
        return None;
    }
    let mac = child_attribute(node, "mac", "address")?;
    let source = child(node, "source")?;
    let kind = node.attribute("type")?;
    let name = match kind {
        "bridge" | "network" => source.attribute(kind)?,
        "direct" => source.attribute("dev")?,
        _ => return None,
    };
    let switched = child_attribute(node, "virtualport", "type") == Some("openvswitch");
    Some(NeededNic {
        mac: mac.to_owned(),
        kind: if switched { "openvswitch" } else { kind }.to_owned(),
        source: name.to_owned(),
        mtu: 0,
        standby: mac.parse().is_ok_and(|mac| standbys.contains(&mac)),
        vlans: NicVlans {
            port: port_vlans(node),
            ..NicVlans::default()
        },
        neighbours: Vec::new(),
    })
}

/// libvirt takes several tags of a trunk alone, and one without the word as that of an access port (`virNetDevVlanParse`).
fn port_vlans(nic: Node<'_, '_>) -> PortVlans {
    let Some(vlan) = child(nic, "vlan") else {
        return PortVlans::Open;
    };
    let tags = vlan.children().filter(|node| node.has_tag_name("tag"));
    let ids: Vec<u16> = tags.filter_map(|tag| tag.attribute("id")?.parse().ok()).collect();
    match (vlan.attribute("trunk"), ids.as_slice()) {
        (_, []) => PortVlans::Open,
        (Some("yes"), _) => PortVlans::Trunk(ids),
        (_, [id]) => PortVlans::Access(*id),
        (_, _) => PortVlans::Trunk(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<domain type='kvm'><name>web-1</name><uuid>60d01700-0000-4000-8000-000000000010</uuid>
        <memory unit='KiB'>4194304</memory>
        <memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>
        <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
        <cpu mode='custom' match='exact'><model>Skylake-Server</model></cpu><devices>
        <disk type='file' device='disk'><source file='/srv/a.qcow2'/><target dev='vda'/></disk>
        <disk type='file' device='disk'><source file='/srv/b.raw'/><target dev='vdb'/><shareable/></disk>
        <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
        <disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target dev='vdc'/></disk>
        <interface type='bridge'><mac address='52:54:00:aa:00:10'/><source bridge='br0'/></interface>
        <interface type='bridge'><mac address='52:54:00:aa:00:11'/><source bridge='ovs0'/><virtualport type='openvswitch'/><vlan trunk='yes'><tag id='7'/><tag id='42' nativeMode='untagged'/></vlan></interface>
        <interface type='network'><mac address='52:54:00:aa:00:12'/><source network='default' bridge='virbr0'/><vlan><tag id='43'/></vlan></interface>
        <interface type='direct'><mac address='52:54:00:aa:00:13'/><source dev='pf0' mode='bridge'/></interface>
        </devices></domain>";

    fn parse(xml: &str, options: &Options) -> Traveller {
        Traveller::parse(xml, options, &["52:54:00:aa:00:10".parse().unwrap()]).unwrap()
    }

    #[test]
    fn huge_pages_are_read_with_the_memory_that_is_in_them() {
        let of = |backing: &str, cpu: &str| {
            let one = "<hugepages><page size='2' unit='M'/></hugepages>";
            let xml = XML
                .replace(one, backing)
                .replace("</model></cpu>", &format!("</model>{cpu}</cpu>"));
            let pages = parse(&xml, &Options::default()).needs.pages.into_iter();
            pages
                .map(|pages| (pages.kib, pages.bytes >> 20))
                .collect::<Vec<_>>()
        };
        let numa = "<numa><cell id='0' cpus='0' memory='1' unit='GiB'/><cell id='1' cpus='1' memory='2097152'/>\
            <cell id='2' cpus='2' memory='1024' unit='MiB'/></numa>";
        assert_eq!(of("", ""), []);
        assert_eq!(of("<hugepages/>", ""), [(0, 4096)], "the default size");
        assert_eq!(
            of("<hugepages><page size='1048576'/></hugepages>", numa),
            [(1_048_576, 4096)]
        );
        let part = "<hugepages><page size='1' unit='G' nodeset='1'/></hugepages>";
        assert_eq!(
            of(part, numa),
            [(1_048_576, 2048)],
            "the rest is in ordinary ones"
        );
        let all = "<hugepages><page size='1' unit='G' nodeset='1'/><page size='2' unit='M'/></hugepages>";
        assert_eq!(of(all, numa), [(1_048_576, 2048), (2048, 2048)]);
        let each =
            "<hugepages><page size='2048' nodeset='0,2'/><page size='4' unit='KiB' nodeset='1'/></hugepages>";
        assert_eq!(of(each, numa), [(2048, 2048)]);
        let node = "<hugepages><page size='2048' nodeset='0'/></hugepages>";
        assert_eq!(of(node, ""), [(2048, 4096)], "a guest without nodes has one");
    }

    #[test]
    fn a_guest_is_read_as_a_move_sees_it() {
        let found = parse(XML, &Options::default());
        let Needs {
            machine, nics, disks, ..
        } = &found.needs;
        assert_eq!(
            (
                machine.kind.as_str(),
                machine.architecture.as_str(),
                machine.virtualisation.as_str()
            ),
            ("pc-q35-10.0", "x86_64", "kvm")
        );
        let pages = HugePages {
            kib: 2048,
            bytes: 4 << 30,
        };
        assert_eq!(
            (found.needs.memory, &found.needs.pages[..]),
            (4 << 30, &[pages][..])
        );
        assert!(found.needs.cpu.element.starts_with("<cpu mode='custom'") && !found.has_host_cpu);
        assert!(found.needs.cpu.element.ends_with("</cpu>") && found.size.populated);
        let nics: Vec<_> = nics
            .iter()
            .map(|nic| {
                (
                    nic.kind.as_str(),
                    nic.source.as_str(),
                    nic.standby,
                    nic.vlans.port.clone(),
                )
            })
            .collect();
        assert_eq!(
            nics,
            [
                ("bridge", "br0", true, PortVlans::Open),
                ("openvswitch", "ovs0", false, PortVlans::Trunk(vec![7, 42])),
                ("network", "default", false, PortVlans::Access(43)),
                ("direct", "pf0", false, PortVlans::Open)
            ]
        );
        let disks: Vec<_> = disks
            .iter()
            .map(|disk| (disk.target.as_str(), disk.path.as_str(), disk.copied))
            .collect();
        assert_eq!(
            disks,
            [
                ("vda", "/srv/a.qcow2", false),
                ("vdb", "/srv/b.raw", false),
                ("vdc", "", false)
            ]
        );
        assert_eq!(found.own_disks, ["vda", "vdc"]);
        let passed = XML.replace("mode='custom'", "mode='host-passthrough'");
        assert!(parse(&passed, &Options::default()).has_host_cpu);
    }

    #[test]
    fn copied_is_what_libvirt_would_copy() {
        let copied = |disks: &[&str]| {
            let storage = Storage::Copied {
                incremental: true,
                disks: disks.iter().map(|disk| (*disk).to_owned()).collect(),
            };
            let options = Options {
                storage: Some(storage),
                ..Options::default()
            };
            let all = parse(XML, &options).needs.disks.into_iter();
            all.filter(|disk| disk.copied && disk.incremental)
                .map(|disk| disk.target)
                .collect::<Vec<_>>()
        };
        assert_eq!(copied(&[]), ["vda", "vdc"]);
        assert_eq!(copied(&["vdb"]), ["vdb"]);
    }
}
