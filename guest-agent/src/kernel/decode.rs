//! Netlink messages to the values of this program. Pure; whatever is not understood is left out.

use std::net::IpAddr;

use godwit_wire::ethernet::Tag;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    BondAllPortActive, BondMode, InfoBond, InfoBondPort, InfoData, InfoKind, InfoPortData, InfoVlan,
    LinkAttribute, LinkEvent, LinkFlags, LinkInfo, LinkMessage, MiiStatus,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};

use super::{Address, Somebody, mac};
use crate::pair::{Bond, DOT1Q, Kind, Link};

pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let up = message.header.flags.contains(LinkFlags::Up);
    let mut link = Link {
        index: message.header.index,
        up,
        usable_in_bond: true,
        ..Link::default()
    };
    let mut foreign = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            // What the driver says comes before what a bond remembers.
            LinkAttribute::PermAddress(bytes) => link.permanent = mac(bytes).or(link.permanent),
            LinkAttribute::Controller(index) => link.controller = Some(*index).filter(|index| *index != 0),
            LinkAttribute::Link(index) => link.below = Some(*index),
            LinkAttribute::LinkNetNsId(_) => foreign = true,
            LinkAttribute::Carrier(carrier) => link.carrier = up && *carrier != 0,
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Stats64(stats) => {
                (link.rx_packets, link.tx_packets) = (stats.rx_packets, stats.tx_packets);
            }
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| of_info(&mut link, info)),
            _ => {}
        }
    }
    link.below = link.below.filter(|_| !foreign);
    (!link.name.is_empty()).then_some(link)
}

fn of_info(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Data(InfoData::Bond(infos)) => link.kind = Kind::Bond(bond(infos)),
        // The bond's data follows its kind.
        LinkInfo::Kind(InfoKind::Bond) => link.kind = Kind::Bond(Bond::default()),
        LinkInfo::Kind(InfoKind::Vlan | InfoKind::MacVlan | InfoKind::Bridge) => {
            link.kind = Kind::Carrier(None);
        }
        LinkInfo::Kind(_) => link.kind = Kind::Other,
        // The VLAN's data follows its kind, too.
        LinkInfo::Data(InfoData::Vlan(infos)) => link.kind = Kind::Carrier(tag(infos)),
        LinkInfo::PortData(InfoPortData::BondPort(infos)) => {
            for info in infos {
                match info {
                    InfoBondPort::MiiStatus(status) => link.usable_in_bond = *status == MiiStatus::Up,
                    InfoBondPort::PermHwaddr(bytes) => link.permanent = link.permanent.or(mac(bytes)),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Kernels of before 802.1ad tell no protocol.
fn tag(infos: &[InfoVlan]) -> Option<Tag> {
    let id = infos.iter().find_map(|info| match info {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    let protocol = infos.iter().find_map(|info| match info {
        InfoVlan::Protocol(protocol) => Some(u16::from(*protocol)),
        _ => None,
    });
    Some(Tag {
        protocol: protocol.unwrap_or(DOT1Q),
        id,
    })
}

fn bond(infos: &[InfoBond]) -> Bond {
    let mut bond = Bond::default();
    for info in infos {
        match info {
            InfoBond::Mode(mode) => bond.active_backup = *mode == BondMode::ActiveBackup,
            InfoBond::ActivePort(index) => bond.active = Some(*index).filter(|index| *index != 0),
            InfoBond::Primary(index) => bond.primary = Some(*index).filter(|index| *index != 0),
            InfoBond::FailOverMac(how) => bond.fail_over_mac = u8::from(*how).into(),
            InfoBond::MiiMon(milliseconds) => bond.miimon_ms = *milliseconds,
            InfoBond::AllPortsActive(value) => bond.all_ports_active = *value == BondAllPortActive::Delivered,
            _ => {}
        }
    }
    bond
}

/// The interface of a message that says: notify the peers (`NETDEV_NOTIFY_PEERS`).
pub(super) fn announced(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = &message.payload else {
        return None;
    };
    let notifies = |attribute: &LinkAttribute| *attribute == LinkAttribute::Event(LinkEvent::NotifyPeers);
    link.attributes.iter().any(notifies).then_some(link.header.index)
}

/// It is about an interface that has another above it.
pub(super) fn is_port(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = &message.payload else {
        return false;
    };
    let above =
        |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::Controller(index) if *index != 0);
    link.attributes.iter().any(above)
}

pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // An address that is still being checked for duplicates, or was found to be one, is not ours.
    if flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed) {
        return None;
    }
    let ip = local.or(peer)?;
    Some(Address {
        interface: message.header.index,
        ip,
        prefix: message.header.prefix_len,
    })
}

pub(super) fn gateways(message: &RouteMessage) -> Vec<Somebody> {
    if message.header.destination_prefix_length != 0 || message.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let interface = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let mut gateways: Vec<_> = interface
        .and_then(|index| gateway(index, &message.attributes))
        .into_iter()
        .collect();
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            gateways.extend(
                hops.iter()
                    .filter_map(|hop| gateway(hop.interface_index, &hop.attributes)),
            );
        }
    }
    gateways
}

fn gateway(interface: u32, attributes: &[RouteAttribute]) -> Option<Somebody> {
    attributes.iter().find_map(|attribute| {
        let ip = match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
                IpAddr::V4(*ip)
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                IpAddr::V6(*ip)
            }
            _ => return None,
        };
        Some(Somebody::at(interface, ip))
    })
}

pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Somebody> {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    if !matches!(message.header.state, Reachable | Stale | Delay | Probe) {
        return None;
    }
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    });
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
        _ => None,
    });
    Some(Somebody {
        mac,
        fresh: message.header.state == Reachable,
        ..Somebody::at(message.header.ifindex, ip?)
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{BondFailOverMac, VlanProtocol};
    use netlink_packet_route::route::RouteNextHop;

    use super::*;
    use godwit_wire::Mac;

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 4;
        message.header.flags = LinkFlags::Up;
        message.attributes = attributes;
        message.attributes.push(LinkAttribute::IfName("eth0".to_owned()));
        message
    }

    #[test]
    fn a_bond() {
        let data = vec![
            InfoBond::Mode(BondMode::ActiveBackup),
            InfoBond::ActivePort(2),
            InfoBond::Primary(3),
            InfoBond::MiiMon(100),
            InfoBond::FailOverMac(BondFailOverMac::Active),
            InfoBond::AllPortsActive(BondAllPortActive::Delivered),
        ];
        let info = vec![
            LinkInfo::Kind(InfoKind::Bond),
            LinkInfo::Data(InfoData::Bond(data)),
        ];
        let link = link(&message(vec![LinkAttribute::LinkInfo(info)])).unwrap();
        let bond = Bond {
            active_backup: true,
            active: Some(2),
            primary: Some(3),
            fail_over_mac: 1,
            miimon_ms: 100,
            all_ports_active: true,
        };
        assert_eq!(
            (link.kind, link.index, link.up, link.usable_in_bond),
            (Kind::Bond(bond), 4, true, true)
        );
    }

    /// Only the one mode in which one port carries the traffic and somebody may say which; not what is not understood.
    #[test]
    fn a_bond_in_another_mode() {
        let kind = |data: Vec<InfoBond>| {
            let info = vec![
                LinkInfo::Kind(InfoKind::Bond),
                LinkInfo::Data(InfoData::Bond(data)),
            ];
            link(&message(vec![LinkAttribute::LinkInfo(info)])).unwrap().kind
        };
        let modes = [
            BondMode::BalanceRr,
            BondMode::BalanceXor,
            BondMode::Broadcast,
            BondMode::Ieee8023Ad,
            BondMode::BalanceTlb,
            BondMode::BalanceAlb,
        ];
        let told = modes.map(|mode| vec![InfoBond::Mode(mode), InfoBond::ActivePort(2)]);
        for data in told.into_iter().chain([vec![InfoBond::ActivePort(2)]]) {
            let bond = Bond {
                active_backup: false,
                active: Some(2),
                ..Bond::default()
            };
            assert_eq!(kind(data.clone()), Kind::Bond(bond), "{data:?}");
        }
    }

    #[test]
    fn a_port() {
        let (now, burnt_in) = (vec![2, 0, 0, 0, 0, 1], vec![2, 0, 0, 0, 0, 2]);
        let port = |status| {
            let data = vec![
                InfoBondPort::MiiStatus(status),
                InfoBondPort::PermHwaddr(burnt_in.clone()),
            ];
            let info = vec![LinkInfo::PortData(InfoPortData::BondPort(data))];
            message(vec![
                LinkAttribute::Address(now.clone()),
                LinkAttribute::Controller(9),
                LinkAttribute::Carrier(1),
                LinkAttribute::LinkInfo(info),
            ])
        };
        let up = link(&port(MiiStatus::Up)).unwrap();
        assert!(up.is_usable());
        assert_eq!((up.controller, up.kind), (Some(9), Kind::Plain));
        assert_eq!(
            (up.mac, up.permanent),
            (Some(Mac([2, 0, 0, 0, 0, 1])), Some(Mac([2, 0, 0, 0, 0, 2])))
        );
        assert!(!link(&port(MiiStatus::GoingBack)).unwrap().is_usable());
        // A port that is down may still report its carrier; that is worth nothing.
        let mut down = port(MiiStatus::Up);
        down.header.flags = LinkFlags::empty();
        assert!(!link(&down).unwrap().carrier);
        // The driver knows better than the bond.
        let mut told = port(MiiStatus::Up);
        told.attributes
            .push(LinkAttribute::PermAddress(vec![2, 0, 0, 0, 0, 3]));
        assert_eq!(link(&told).unwrap().permanent, Some(Mac([2, 0, 0, 0, 0, 3])));
    }

    #[test]
    fn a_lower_interface_in_another_namespace_is_none() {
        let vlan = vec![LinkInfo::Kind(InfoKind::Vlan)];
        let mut attributes = vec![LinkAttribute::Link(7), LinkAttribute::LinkInfo(vlan)];
        let here = link(&message(attributes.clone())).unwrap();
        assert_eq!((here.below, here.kind), (Some(7), Kind::Carrier(None)));
        let data = |infos| LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(infos))]);
        let tagged = |infos| {
            link(&message([&attributes[..], &[data(infos)]].concat()))
                .unwrap()
                .kind
        };
        let tag = |protocol| Kind::Carrier(Some(Tag { protocol, id: 100 }));
        assert_eq!(tagged(vec![InfoVlan::Id(100)]), tag(0x8100));
        let service = InfoVlan::Protocol(VlanProtocol::Ieee8021Ad);
        assert_eq!(tagged(vec![service, InfoVlan::Id(100)]), tag(0x88a8));
        attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(link(&message(attributes)).unwrap().below, None);
    }

    #[test]
    fn addresses_that_are_ours() {
        let (ip, peer) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut message = AddressMessage::default();
        message.header.index = 4;
        message.header.prefix_len = 24;
        message.attributes = vec![AddressAttribute::Address(peer), AddressAttribute::Local(ip)];
        assert_eq!(
            address(&message),
            Some(Address {
                interface: 4,
                ip,
                prefix: 24
            })
        );
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Tentative));
        assert_eq!(address(&message), None);
    }

    #[test]
    fn gateways_of_default_routes() {
        let via = |ip: &str| RouteAttribute::Gateway(RouteAddress::Inet(ip.parse().unwrap()));
        let mut message = RouteMessage::default();
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Oif(4), via("10.0.0.1")];
        let gateway = |interface, ip: &str| Somebody::at(interface, ip.parse().unwrap());
        assert_eq!(gateways(&message), [gateway(4, "10.0.0.1")]);
        message.header.destination_prefix_length = 8;
        assert_eq!(gateways(&message), []);

        let mut hop = RouteNextHop::default();
        (hop.interface_index, hop.attributes) = (5, vec![via("10.0.0.9")]);
        message.header.destination_prefix_length = 0;
        message.attributes = vec![RouteAttribute::MultiPath(vec![hop])];
        assert_eq!(gateways(&message), [gateway(5, "10.0.0.9")]);
    }

    #[test]
    fn neighbours_that_answered() {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 4;
        let ip = NeighbourAddress::Inet("10.0.0.1".parse().unwrap());
        let address = NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]);
        message.attributes = vec![NeighbourAttribute::Destination(ip), address];
        for (state, known) in [
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, true),
            (NeighbourState::Failed, false),
            (NeighbourState::Noarp, false),
            (NeighbourState::Incomplete, false),
        ] {
            message.header.state = state;
            let found = neighbour(&message);
            assert_eq!(found.is_some(), known, "{state:?}");
            let fresh = found.map(|found| (found.mac, found.fresh));
            let mac = Some(Mac([2, 0, 0, 0, 0, 1]));
            assert_eq!(fresh, known.then_some((mac, state == NeighbourState::Reachable)));
        }
    }
}
