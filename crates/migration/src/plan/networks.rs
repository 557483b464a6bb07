//! What the networks of a host lack for the virtual NICs of a guest that is to come.

use super::{Neighbour, PortVlans, Ways, finding};
use crate::doctor::{Finding, Severity};

/// What a virtual NIC is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededNic {
    /// Its MAC, as libvirt writes it.
    pub mac: String,
    /// `bridge`, `openvswitch`, `network` or `direct`.
    pub kind: String,
    /// Name of the bridge, of libvirt's network, or of the NIC under a macvtap.
    pub source: String,
    /// MTU of what it is connected to at the source; 0: not known.
    pub mtu: u32,
    /// A pair's standby.
    pub standby: bool,
    /// VLANs.
    pub vlans: NicVlans,
    /// Whom the guest knows on its networks, by its agent's word.
    pub neighbours: Vec<Neighbour>,
}

/// The VLANs of a virtual NIC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicVlans {
    /// In which the guest itself tags what it sends, by its agent's word.
    pub guest: Vec<u16>,
    /// That the VF of its pair is put into; 0: none.
    pub vf: u16,
    /// Of its port, by its domain.
    pub port: PortVlans,
    /// In which what has no tag leaves the source; 0: without one. None: not known.
    pub leaves_in: Option<u16>,
}

/// A network by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkSeen {
    /// It is not there.
    Missing,
    /// It is there.
    There(Network),
}

/// What a virtual NIC can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// What it is.
    pub kind: NetworkKind,
    /// Its MTU.
    pub mtu: u32,
    /// Something with a link is in it, or it has one.
    pub link: bool,
    /// How frames get out of it.
    pub ways: Ways,
}

/// What a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// A bridge of the kernel's.
    Bridge,
    /// A bridge of Open vSwitch.
    OpenVswitch,
    /// Another interface.
    Interface,
    /// A network of libvirt's, which connects guests by itself.
    Libvirt,
}

impl NeededNic {
    /// For a sentence: "bridge `br0`".
    pub(super) fn place(&self) -> String {
        let what = match self.kind.as_str() {
            "network" => "active network",
            "direct" => "interface",
            "openvswitch" => "Open vSwitch bridge",
            _ => "bridge",
        };
        format!("{what} `{}`", self.source)
    }
}

impl NetworkKind {
    fn word(self) -> &'static str {
        match self {
            NetworkKind::Bridge => "a bridge of the kernel's",
            NetworkKind::OpenVswitch => "a bridge of Open vSwitch",
            NetworkKind::Interface => "no bridge",
            NetworkKind::Libvirt => "a network of libvirt's",
        }
    }
}

/// All that is wrong with what a NIC of that guest would be connected to on that host.
pub(super) fn of_nic(guest: &str, host: &str, nic: &NeededNic, seen: &NetworkSeen) -> Vec<Finding> {
    let network = match seen {
        NetworkSeen::There(network) => network,
        NetworkSeen::Missing => return vec![missing(guest, host, nic)],
    };
    if let Some(found) = of_kind(guest, host, nic, network.kind) {
        return vec![found];
    }
    let size = mtu(guest, host, nic, network.mtu).or_else(|| link(host, nic, network.link));
    size.into_iter()
        .chain(own_vlan(guest, host, nic, &network.ways))
        .chain(guest_vlans(guest, host, nic, &network.ways))
        .collect()
}

fn missing(guest: &str, host: &str, nic: &NeededNic) -> Finding {
    let what = format!(
        "{host} has no {}, which NIC {} of guest `{guest}` is connected to",
        nic.place(),
        nic.mac
    );
    let why = "libvirt there looks for it by its name, and would refuse the guest";
    let fix = match nic.kind.as_str() {
        "openvswitch" => format!(
            "on {host}: ovs-vsctl add-br {}, with a way into the same network",
            nic.source
        ),
        _ => format!("on {host}: make one of that name in the same network (ip link; virsh net-list)"),
    };
    finding(Severity::Error, "NETWORK_MISSING", host, [what, why.into(), fix])
}

/// libvirt adds the guest's tap to a bridge of the kind that the domain names, and fails on another.
fn of_kind(guest: &str, host: &str, nic: &NeededNic, kind: NetworkKind) -> Option<Finding> {
    let wanted = match nic.kind.as_str() {
        "openvswitch" => NetworkKind::OpenVswitch,
        "bridge" => NetworkKind::Bridge,
        _ => return None,
    };
    if matches!(kind, NetworkKind::Libvirt) || kind == wanted {
        return None;
    }
    let source = &nic.source;
    let what = format!(
        "`{source}` is {} on {host}, and NIC {} of guest `{guest}` needs {}",
        kind.word(),
        nic.mac,
        wanted.word()
    );
    let why = "libvirt there could not connect it, and would refuse the guest";
    let fix = format!(
        "on {host}: give it another name, and make {} `{source}` in the same network",
        wanted.word()
    );
    let words = [what, why.into(), fix];
    Some(finding(Severity::Error, "NETWORK_KIND", host, words))
}

fn mtu(guest: &str, host: &str, nic: &NeededNic, mtu: u32) -> Option<Finding> {
    if mtu >= nic.mtu {
        return None;
    }
    let what = format!(
        "{} has an MTU of {mtu} on {host}, and of {} where guest `{guest}` is",
        nic.place(),
        nic.mtu
    );
    let why = "larger frames of the guest's would be lost on its standby";
    let fix = format!("on {host}: ip link set {} mtu {}", nic.source, nic.mtu);
    let words = [what, why.into(), fix];
    Some(finding(Severity::Warning, "NETWORK_MTU", host, words))
}

fn link(host: &str, nic: &NeededNic, link: bool) -> Option<Finding> {
    if link || !nic.standby {
        return None;
    }
    let what = format!("{} has no link on {host}: nothing in it does", nic.place());
    let why = "the standby of a guest that arrives is its only way until it has its VF";
    let fix = match nic.kind.as_str() {
        "openvswitch" => format!("on {host}: ovs-vsctl show; ip -br link"),
        _ => format!("on {host}: bridge link; ip -br link"),
    };
    let words = [what, why.into(), fix];
    Some(finding(Severity::Warning, "STANDBY_WITHOUT_LINK", host, words))
}

/// The VLAN that the hosts put it into.
fn own_vlan(guest: &str, host: &str, nic: &NeededNic, ways: &Ways) -> Option<Finding> {
    let there = ways.untagged(&nic.vlans.port)?;
    let (vf, here) = (nic.vlans.vf, nic.vlans.leaves_in);
    let what = if vf != 0 && there != 0 && vf != there {
        format!(
            "NIC {} of guest `{guest}` would be {} on {host}, and its VF is in VLAN {vf}",
            nic.mac,
            lane(there)
        )
    } else {
        let here = here.filter(|here| *here != there)?;
        format!(
            "NIC {} of guest `{guest}` is {} where it is, and would be {} on {host}, by {}",
            nic.mac,
            lane(here),
            lane(there),
            nic.place()
        )
    };
    let why = match nic.standby {
        true => "if the switch does not make one network of the two, the guest is cut off on its standby",
        false => "if the switch does not make one network of the two, the guest is cut off on that NIC",
    };
    let fix = format!(
        "on {host}: put the ways out of {} into the same VLAN (ip -d link; ovs-vsctl show)",
        nic.place()
    );
    let words = [what, why.into(), fix];
    Some(finding(Severity::Warning, "NETWORK_VLAN", host, words))
}

fn lane(vlan: u16) -> String {
    match vlan {
        0 => "in no VLAN".into(),
        vlan => format!("in VLAN {vlan}"),
    }
}

/// The VLANs that the guest has on it itself.
fn guest_vlans(guest: &str, host: &str, nic: &NeededNic, ways: &Ways) -> Option<Finding> {
    let kept = |vlan: &u16| Some((*vlan, ways.obstacle(&nic.vlans.port, *vlan)?));
    let kept: Vec<(u16, &str)> = nic.vlans.guest.iter().filter_map(kept).collect();
    let (_, obstacle) = kept.first()?;
    let vlans: Vec<String> = kept.iter().map(|(vlan, _)| vlan.to_string()).collect();
    let plural = if vlans.len() == 1 { "" } else { "s" };
    let what = format!(
        "guest `{guest}` has VLAN{plural} {} on the pair {}, and {} on {host} does not let them through: {obstacle}",
        vlans.join(", "),
        nic.mac,
        nic.place()
    );
    let why = "the guest is cut off from them while it is on its standby";
    let fix = format!(
        "let them through there, to the guest's port too (`virsh edit {guest}`: <vlan trunk='yes'>; ip -d link; ovs-vsctl show)"
    );
    let words = [what, why.into(), fix];
    Some(finding(Severity::Warning, "NETWORK_VLAN", host, words))
}
