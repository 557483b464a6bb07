//! Netlink messages to the values of this program. Pure; whatever is not understood is left out.

use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    BondAllPortActive, BondMode, InfoBond, InfoBondPort, InfoData, InfoKind, InfoPortData, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MiiStatus,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};

use super::{Address, Somebody, mac};
use crate::pair::{Bond, Kind, Link};

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
        LinkInfo::Kind(InfoKind::Vlan | InfoKind::MacVlan | InfoKind::Bridge) => link.kind = Kind::Carrier,
        LinkInfo::Kind(_) => link.kind = Kind::Other,
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
        Some(Somebody { interface, ip })
    })
}

pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Somebody> {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    if !matches!(message.header.state, Reachable | Stale | Delay | Probe) {
        return None;
    }
    message.attributes.iter().find_map(|attribute| {
        let ip = match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => IpAddr::V4(*ip),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => IpAddr::V6(*ip),
            _ => return None,
        };
        Some(Somebody {
            interface: message.header.ifindex,
            ip,
        })
    })
}
