//! Pairs, and how they are found among the links of the guest. Pure: works on a snapshot.
//!
//! A pair is a bond in active-backup mode, or a `net_failover` master, with a device of some bus below
//! it. Which side a port is follows from its driver alone: `virtio_net` is the standby, anything else
//! the primary.

use std::collections::BTreeSet;

use godwit_api::agent::v1 as api;
use godwit_api::agent::v1::{PairKind, PortRole, RefusalReason};
use godwit_wire::{Mac, ethernet::Tag};

use crate::neighbourhood::carried;
use crate::refusal::Refusal;

const STANDBY_DRIVER: &str = "virtio_net";
/// The usual VLAN tag (`ETH_P_8021Q`).
pub(crate) const DOT1Q: u16 = 0x8100;

/// Bounds of what is reported. A guest with more has them in vain.
const MAX_PAIRS: usize = 64;
const MAX_PORTS: usize = 8;
const MAX_LOOSE: usize = 64;
const MAX_VLANS: usize = 64;

/// A network interface as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<Mac>,
    /// The address burnt in, as the driver tells it or as the bond remembers it.
    pub(crate) permanent: Option<Mac>,
    /// The interface above: bond, bridge, net_failover master.
    pub(crate) controller: Option<u32>,
    /// The interface below: of a VLAN or macvlan, in the same namespace.
    pub(crate) below: Option<u32>,
    pub(crate) kind: Kind,
    /// False while a bond does not (yet) count this port's link as up.
    pub(crate) usable_in_bond: bool,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) mtu: u32,
    pub(crate) rx_packets: u64,
    pub(crate) tx_packets: u64,
    /// What sysfs knows; `None` for interfaces without a device.
    pub(crate) device: Option<Device>,
}

/// What kind of interface a link is, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No kind is given: a device, or a net_failover master.
    #[default]
    Plain,
    Bond(Bond),
    /// Passes the frames of the interface below or of its ports on: VLAN (with the tag that it puts on them), macvlan, bridge.
    Carrier(Option<Tag>),
    Other,
}

/// The settings of a bond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bond {
    pub(crate) active_backup: bool,
    pub(crate) active: Option<u32>,
    /// The port that the bond prefers, when one is set and present.
    pub(crate) primary: Option<u32>,
    pub(crate) fail_over_mac: u32,
    pub(crate) miimon_ms: u32,
    /// Whether frames that arrive on an inactive port are accepted (`all_slaves_active`).
    pub(crate) all_ports_active: bool,
}

/// The device behind an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) driver: String,
    /// Empty when no PCI function is behind it.
    pub(crate) pci_address: String,
}

/// One primary and one standby that carry the same address; in life sometimes fewer or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) master: Link,
    /// `None` for net_failover.
    pub(crate) bond: Option<Bond>,
    pub(crate) ports: Vec<Link>,
}

impl Link {
    pub(crate) fn role(&self) -> PortRole {
        match &self.device {
            None => PortRole::Unspecified,
            Some(device) if device.driver == STANDBY_DRIVER => PortRole::Standby,
            Some(_) => PortRole::Primary,
        }
    }

    /// Up, with carrier, and the bond (if it is in one) agrees.
    pub(crate) fn is_usable(&self) -> bool {
        self.up && self.carrier && self.usable_in_bond
    }

    /// Whether this is the device with that address, now or burnt in.
    pub(crate) fn has_address(&self, mac: Mac) -> bool {
        self.permanent == Some(mac) || self.mac == Some(mac)
    }

    /// What still keeps traffic from this port, in words.
    pub(crate) fn obstacle(&self) -> &'static str {
        match (self.up, self.carrier, self.usable_in_bond) {
            (false, _, _) => "is down",
            (_, false, _) => "has no carrier",
            (_, _, false) => "is not counted as up by its bond",
            _ => "is usable",
        }
    }

    fn to_api(&self) -> api::Port {
        let text = |mac: Option<Mac>| mac.map(|mac| mac.to_string()).unwrap_or_default();
        let device = self.device.clone().unwrap_or_default();
        api::Port {
            role: self.role().into(),
            name: self.name.clone(),
            ifindex: self.index,
            mac: text(self.mac),
            permanent_mac: text(self.permanent),
            driver: device.driver,
            pci_address: device.pci_address,
            carrier: self.carrier,
            up: self.up,
            rx_packets: self.rx_packets,
            tx_packets: self.tx_packets,
        }
    }
}

impl Pair {
    /// The standby that the host names by its address, if it is in this pair. Where neither driver nor
    /// bond knows the address burnt in, the address of now counts.
    fn has_standby(&self, standby: Mac) -> bool {
        self.ports_of(PortRole::Standby)
            .any(|port| port.permanent.or(port.mac) == Some(standby))
    }

    pub(crate) fn ports_of(&self, role: PortRole) -> impl Iterator<Item = &Link> {
        self.ports.iter().filter(move |port| port.role() == role)
    }

    /// The port of that role that traffic can go to best: a usable one before any other.
    pub(crate) fn port(&self, role: PortRole) -> Option<&Link> {
        self.ports_of(role)
            .find(|port| port.is_usable())
            .or_else(|| self.ports_of(role).next())
    }

    /// The port that the kernel names active; net_failover's names none.
    pub(crate) fn active(&self) -> Option<&Link> {
        let active = self.bond?.active?;
        self.ports.iter().find(|port| port.index == active)
    }

    /// All addresses that frames of this guest may carry as their source.
    pub(crate) fn macs(&self) -> Vec<Mac> {
        let links = self.ports.iter().chain([&self.master]);
        links
            .flat_map(|link| [link.mac, link.permanent])
            .flatten()
            .collect()
    }

    /// The bond of this pair; verbs work on nothing else.
    pub(crate) fn bond(&self) -> Result<Bond, Refusal> {
        self.bond.ok_or_else(|| {
            let detail = format!(
                "{} is a net_failover pair; this agent moves the traffic of bonds only",
                self.master.name
            );
            Refusal::new(RefusalReason::Unsupported, detail).with(Some(self.to_api()))
        })
    }

    pub(crate) fn to_api(&self) -> api::Pair {
        let bond = self.bond.unwrap_or_default();
        let kind = if self.bond.is_some() {
            PairKind::Bond
        } else {
            PairKind::NetFailover
        };
        api::Pair {
            kind: kind.into(),
            name: self.master.name.clone(),
            mac: self.master.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            fail_over_mac: bond.fail_over_mac,
            active: self.active().map(|port| port.name.clone()).unwrap_or_default(),
            ports: self.ports.iter().map(Link::to_api).collect(),
            mtu: self.master.mtu,
            miimon_ms: bond.miimon_ms,
            vlans: Vec::new(),
            neighbours: Vec::new(),
        }
    }
}

/// The VLANs in which frames from above a pair are tagged below it.
fn vlans(links: &[Link], master: &Link) -> Vec<u32> {
    let above = carried(links, master.index).into_iter();
    let outermost = above.filter_map(|(_, tags)| tags.first().copied());
    let usual = outermost.filter(|tag| tag.protocol == DOT1Q);
    let ids: BTreeSet<u32> = usual.map(|tag| tag.id.into()).collect();
    ids.into_iter().take(MAX_VLANS).collect()
}

/// All pairs, in the kernel's order.
pub(crate) fn pairs(links: &[Link]) -> Vec<Pair> {
    let pairs = links.iter().filter_map(|master| {
        let bond = match &master.kind {
            Kind::Bond(bond) if bond.active_backup => Some(*bond),
            // A net_failover master borrows its standby's device; no other device has ports.
            Kind::Plain if master.device.is_some() => None,
            _ => return None,
        };
        let ports = links
            .iter()
            .filter(|port| port.controller == Some(master.index) && port.device.is_some());
        let ports: Vec<_> = ports.take(MAX_PORTS).cloned().collect();
        (!ports.is_empty()).then(|| Pair {
            master: master.clone(),
            bond,
            ports,
        })
    });
    pairs.take(MAX_PAIRS).collect()
}

/// The pair with that standby.
pub(crate) fn find(links: &[Link], standby: Mac) -> Result<Pair, Refusal> {
    pairs(links)
        .into_iter()
        .find(|pair| pair.has_standby(standby))
        .ok_or_else(|| {
            let above = |link: &Link| {
                let above = links.iter().find(|above| Some(above.index) == link.controller)?;
                matches!(above.kind, Kind::Bond(bond) if !bond.active_backup).then_some(&above.name)
            };
            let found = links
                .iter()
                .find(|link| link.device.is_some() && link.has_address(standby));
            let detail = match found.map(|link| (link, above(link))) {
                Some((link, Some(bond))) => format!(
                    "{} has the address {standby}, and its bond {bond} is not in active-backup mode",
                    link.name
                ),
                Some((link, None)) => format!(
                    "{} has the address {standby}, but is no standby in a pair",
                    link.name
                ),
                None => format!("no interface has the address {standby}"),
            };
            Refusal::new(RefusalReason::UnknownPair, detail)
        })
}

/// Everything the guest has: pairs, and devices that are in none.
pub(crate) fn inspected(links: &[Link]) -> api::Inspected {
    let pairs = pairs(links);
    let in_a_pair = |link: &Link| {
        pairs
            .iter()
            .any(|pair| pair.master.index == link.index || pair.ports.contains(link))
    };
    let known = |device: &Device| !device.pci_address.is_empty() || device.driver == STANDBY_DRIVER;
    let with_vlans = |pair: &Pair| api::Pair {
        vlans: vlans(links, &pair.master),
        ..pair.to_api()
    };
    let loose = links
        .iter()
        .filter(|link| link.device.as_ref().is_some_and(known) && !in_a_pair(link));
    api::Inspected {
        loose: loose.take(MAX_LOOSE).map(Link::to_api).collect(),
        pairs: pairs.iter().map(with_vlans).collect(),
        has_neighbours: false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0, 0x10]);
    pub(crate) const OTHER: Mac = Mac([0x52, 0x54, 0, 0xaa, 0, 0x11]);

    pub(crate) fn nic(index: u32, name: &str, driver: &str, controller: Option<u32>) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some(MAC),
            permanent: Some(MAC),
            controller,
            usable_in_bond: true,
            up: true,
            carrier: true,
            mtu: 1500,
            device: Some(Device {
                driver: driver.to_owned(),
                pci_address: format!("0000:0{index}:00.0"),
            }),
            ..Link::default()
        }
    }

    pub(crate) fn bond(index: u32, active: Option<u32>) -> Link {
        let bond = Bond {
            active_backup: true,
            active,
            miimon_ms: 100,
            ..Bond::default()
        };
        Link {
            device: None,
            kind: Kind::Bond(bond),
            ..nic(index, "bond0", "", None)
        }
    }

    fn guest() -> Vec<Link> {
        vec![
            nic(2, "eth0", "virtio_net", Some(4)),
            nic(3, "eth1", "igbvf", Some(4)),
            bond(4, Some(3)),
        ]
    }

    #[test]
    fn a_bond_with_a_vf_and_a_virtio_nic_is_a_pair() {
        let pair = find(&guest(), MAC).unwrap().to_api();
        assert_eq!(
            (pair.kind(), pair.name.as_str(), pair.active.as_str()),
            (PairKind::Bond, "bond0", "eth1")
        );
        assert_eq!(
            (pair.mtu, pair.miimon_ms, pair.mac.as_str()),
            (1500, 100, "52:54:00:aa:00:10")
        );
        let ports: Vec<_> = pair
            .ports
            .iter()
            .map(|port| (port.name.as_str(), port.role()))
            .collect();
        assert_eq!(ports, [("eth0", PortRole::Standby), ("eth1", PortRole::Primary)]);
        assert_eq!(pair.ports[1].pci_address, "0000:03:00.0");
    }

    #[test]
    fn vlans_above_a_pair_are_told_by_their_outermost_tag() {
        let vlan = |index, below, id, protocol| Link {
            index,
            name: format!("v{index}"),
            below: Some(below),
            kind: Kind::Carrier(Some(Tag { protocol, id })),
            ..Link::default()
        };
        let mut links = guest();
        assert_eq!(inspected(&links).pairs[0].vlans, []);
        links.extend([
            vlan(10, 4, 200, 0x8100),
            vlan(11, 4, 100, 0x8100),
            // Inside of the first, and of another kind: below the pair there is no such tag of 802.1Q.
            vlan(12, 10, 300, 0x8100),
            vlan(13, 4, 400, 0x88a8),
            // Of another interface.
            vlan(14, 2, 500, 0x8100),
        ]);
        assert_eq!(inspected(&links).pairs[0].vlans, [100, 200]);
        links.extend((0..99).map(|n| vlan(1000 + n, 4, 1000 + n as u16, 0x8100)));
        assert_eq!(inspected(&links).pairs[0].vlans.len(), MAX_VLANS);
    }

    #[test]
    fn the_standby_is_known_by_the_address_burnt_in() {
        // fail_over_mac=none gave the standby the bond's address.
        let mut links = guest();
        links[0].permanent = Some(OTHER);
        assert!(find(&links, OTHER).is_ok());
        let refusal = find(&links, MAC).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::UnknownPair);
        assert_eq!(
            refusal.detail,
            "eth0 has the address 52:54:00:aa:00:10, but is no standby in a pair"
        );
        // A primary's address names no pair.
        links[1].permanent = Some(Mac([2; 6]));
        assert_eq!(
            find(&links, Mac([2; 6])).unwrap_err().reason,
            RefusalReason::UnknownPair
        );
    }

    #[test]
    fn other_bonds_are_no_pairs() {
        let mut links = guest();
        links[2].kind = Kind::Bond(Bond::default());
        assert_eq!(pairs(&links), []);
        let refusal = find(&links, MAC).unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.detail.as_str()),
            (
                RefusalReason::UnknownPair,
                "eth0 has the address 52:54:00:aa:00:10, and its bond bond0 is not in active-backup mode"
            )
        );
        let loose: Vec<_> = inspected(&links)
            .loose
            .into_iter()
            .map(|port| port.name)
            .collect();
        assert_eq!(loose, ["eth0", "eth1"]);
        // A bond without any device below it.
        assert_eq!(pairs(&[bond(4, None)]), []);
    }

    #[test]
    fn net_failover_is_a_pair_and_verbs_on_it_are_refused() {
        let links = [
            nic(2, "eth0", "virtio_net", None),
            nic(3, "eth0nsby", "virtio_net", Some(2)),
            nic(4, "eth1", "igbvf", Some(2)),
        ];
        let pair = find(&links, MAC).unwrap();
        assert_eq!(pair.to_api().kind(), PairKind::NetFailover);
        assert_eq!(pair.to_api().active, "");
        assert_eq!(pair.bond().unwrap_err().reason, RefusalReason::Unsupported);
        assert_eq!(inspected(&links).loose, []);
    }

    #[test]
    fn a_port_in_a_bridge_is_loose_and_a_usb_nic_is_not_shown() {
        let bridge = Link {
            kind: Kind::Carrier(None),
            device: None,
            ..nic(9, "br0", "", None)
        };
        let mut usb = nic(6, "usb0", "cdc_ether", None);
        usb.device = Some(Device {
            driver: "cdc_ether".to_owned(),
            pci_address: String::new(),
        });
        let inspected = inspected(&[nic(5, "eth5", "e1000e", Some(9)), usb, bridge]);
        assert_eq!(inspected.pairs, []);
        assert_eq!(inspected.loose.len(), 1);
        assert_eq!(inspected.loose[0].name, "eth5");
    }

    #[test]
    fn of_two_primaries_the_usable_one_is_taken() {
        let mut links = guest();
        links[1].carrier = false;
        links.push(nic(5, "eth2", "igbvf", Some(4)));
        assert_eq!(
            find(&links, MAC).unwrap().port(PortRole::Primary).unwrap().name,
            "eth2"
        );
        links[3].usable_in_bond = false;
        assert_eq!(
            find(&links, MAC).unwrap().port(PortRole::Primary).unwrap().name,
            "eth1"
        );
    }

    #[test]
    fn an_answer_with_the_most_of_everything_fits_a_frame() {
        use prost::Message;
        let mut links = Vec::new();
        for pair in 0..70_u32 {
            let index = 100 + 20 * pair;
            links.push(Link {
                name: "n".repeat(15),
                ..bond(index, Some(index + 1))
            });
            links.extend((0..70).map(|id| Link {
                index: 10_000 + 100 * pair + id,
                below: Some(index),
                kind: Kind::Carrier(Some(Tag {
                    protocol: 0x8100,
                    id: 4000 + id as u16,
                })),
                ..Link::default()
            }));
            for port in 1..=3 {
                let driver = if port == 1 { "virtio_net" } else { "iavf" };
                let nic = nic(index + port, &"p".repeat(15), driver, Some(index));
                links.push(Link {
                    rx_packets: u64::MAX,
                    tx_packets: u64::MAX,
                    ..nic
                });
            }
        }
        links.extend((1..70).map(|index| nic(index, &"l".repeat(15), "virtio_net", None)));
        let inspected = inspected(&links);
        assert_eq!(
            (inspected.pairs.len(), inspected.loose.len()),
            (MAX_PAIRS, MAX_LOOSE)
        );
        assert!(
            inspected.encoded_len() < godwit_wire::MAX_MESSAGE,
            "{}",
            inspected.encoded_len()
        );
    }
}
