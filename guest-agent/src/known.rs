//! Whom this guest knows on the networks of its pairs, told to the host: another host asks for them, to see whether it has the same
//! networks. Pure: works on what the kernel listed.

use std::net::IpAddr;

use godwit_api::agent::v1 as api;
use godwit_wire::Mac;
use godwit_wire::ethernet::Tag;

use crate::kernel::Somebody;
use crate::neighbourhood::{Surroundings, carried};
use crate::pair::{self, Link};

/// Bounds of what is told: of one network, of a pair, and in one answer, which has to fit a frame.
const MAX_OF_NETWORK: usize = 3;
const MAX_OF_PAIR: usize = 8;
const MAX_TOLD: usize = 64;
/// Frames with more tags have no network that a host could ask in.
const MAX_TAGS: usize = 4;

/// Somebody whom the guest knows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    ip: IpAddr,
    /// None: of who is wanted, and not known yet.
    mac: Option<Mac>,
    /// Of the VLANs above the pair that lead there, the outermost first.
    tags: Vec<Tag>,
}

/// Puts into each pair whom the guest knows there.
pub(crate) fn tell(inspected: &mut api::Inspected, surroundings: &Surroundings, links: &[Link]) {
    let mut left = MAX_TOLD;
    // The same pairs, in the same order.
    for (told, pair) in inspected.pairs.iter_mut().zip(pair::pairs(links)) {
        let mut known = known(surroundings, links, pair.master.index);
        known.truncate(left);
        left -= known.len();
        told.neighbours = known.iter().map(Known::to_api).collect();
    }
    inspected.has_neighbours = true;
}

/// Who is wanted alone where it is above the pair; or else gateways, then neighbours, those first that were heard from just now.
fn known(surroundings: &Surroundings, links: &[Link], master: u32) -> Vec<Known> {
    let carried = carried(links, master);
    let tags = |interface| {
        let found = carried.iter().find(|(link, _)| link.index == interface);
        found.map(|(_, tags)| tags.clone())
    };
    let mac = |at: &Somebody| surroundings.mac_of(at);
    if let Some((wanted, _)) = surroundings.wanted(&carried, master) {
        let (ip, mac) = (wanted.ip, mac(&wanted));
        let known = |tags| Known { ip, mac, tags };
        return tags(wanted.interface).map(known).into_iter().collect();
    }
    let (fresh, old): (Vec<_>, Vec<_>) = surroundings.neighbours.iter().partition(|found| found.fresh);
    let mut all: Vec<Known> = Vec::new();
    for somebody in surroundings.gateways.iter().chain(fresh).chain(old) {
        if all.len() >= MAX_OF_PAIR {
            break;
        }
        // A gateway that has not been found is nobody to be found elsewhere.
        let Some((tags, mac)) = tags(somebody.interface).zip(mac(somebody)) else {
            continue;
        };
        let same = all.iter().filter(|known| known.tags == tags);
        let is_told = all
            .iter()
            .any(|known| known.ip == somebody.ip && known.tags == tags);
        if is_told || same.count() >= MAX_OF_NETWORK || tags.len() > MAX_TAGS || !may_answer(somebody.ip) {
            continue;
        }
        let (ip, mac) = (somebody.ip, Some(mac));
        all.push(Known { ip, mac, tags });
    }
    all
}

/// Groups are in the kernel's list of neighbours, too.
fn may_answer(ip: IpAddr) -> bool {
    let everybody = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_multicast() || ip.is_unspecified() || ip.is_loopback() || everybody)
}

impl Known {
    fn to_api(&self) -> api::Neighbour {
        let tag = |tag: &Tag| api::Tag {
            protocol: tag.protocol.into(),
            id: tag.id.into(),
        };
        api::Neighbour {
            ip: self.ip.to_string(),
            mac: self.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            tags: self.tags.iter().map(tag).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Address;
    use crate::pair::Kind;
    use crate::pair::tests::{OTHER, bond, nic};

    const BOND: u32 = 4;
    const VLAN: u32 = 10;
    const TAG: Tag = Tag {
        protocol: 0x8100,
        id: 100,
    };

    /// A bond with its ports, and a VLAN above it.
    fn links() -> Vec<Link> {
        vec![
            nic(2, "eth0", "virtio_net", Some(BOND)),
            bond(BOND, Some(2)),
            Link {
                kind: Kind::Carrier(Some(TAG)),
                device: None,
                below: Some(BOND),
                ..nic(VLAN, "bond0.100", "", None)
            },
        ]
    }

    fn neighbour(interface: u32, ip: &str, fresh: bool) -> Somebody {
        Somebody {
            mac: Some(OTHER),
            fresh,
            ..Somebody::at(interface, ip.parse().unwrap())
        }
    }

    fn told(surroundings: &Surroundings) -> Vec<String> {
        let known = known(surroundings, &links(), BOND).into_iter();
        known
            .map(|known| {
                format!(
                    "{} {}",
                    known.ip,
                    known.tags.iter().map(|tag| tag.id).sum::<u16>()
                )
            })
            .collect()
    }

    #[test]
    fn gateways_are_told_first_then_who_was_heard_from_just_now() {
        let surroundings = Surroundings {
            gateways: vec![
                Somebody::at(BOND, "10.77.0.1".parse().unwrap()),
                Somebody::at(BOND, "10.77.0.254".parse().unwrap()),
            ],
            neighbours: vec![
                neighbour(BOND, "10.77.0.8", false),
                neighbour(BOND, "10.77.0.9", true),
                neighbour(BOND, "10.77.0.1", false),
                neighbour(BOND, "10.77.0.7", false),
                neighbour(VLAN, "10.100.0.7", false),
                neighbour(2, "10.0.0.2", true),
            ],
            ..Surroundings::default()
        };
        // The second gateway has not been found, and the last neighbour is not above the bond.
        let first = ["10.77.0.1 0", "10.77.0.9 0", "10.77.0.8 0", "10.100.0.7 100"];
        assert_eq!(told(&surroundings), first);
    }

    #[test]
    fn who_is_wanted_is_told_alone_with_the_address_that_the_guest_has_learned() {
        let surroundings = |wanted: &str| Surroundings {
            addresses: vec![Address {
                interface: VLAN,
                ip: "10.100.0.5".parse().unwrap(),
                prefix: 24,
            }],
            neighbours: vec![
                neighbour(VLAN, "10.100.0.7", true),
                neighbour(BOND, "10.77.0.9", true),
            ],
            wanted: wanted.parse().ok(),
            ..Surroundings::default()
        };
        let known = |wanted| known(&surroundings(wanted), &links(), BOND);
        let only = |ip: &str, mac| {
            let ip = ip.parse().unwrap();
            [Known {
                ip,
                mac,
                tags: vec![TAG],
            }]
        };
        assert_eq!(known("10.100.0.7"), only("10.100.0.7", Some(OTHER)));
        assert_eq!(known("10.100.0.8"), only("10.100.0.8", None));
        // It is on none of these networks.
        assert_eq!(known("192.0.2.1").len(), 2);
    }

    #[test]
    fn of_thousands_of_neighbours_a_few_are_told_and_no_group() {
        let mut links = Vec::new();
        for pair in 0..64 {
            let master = 1000 + pair;
            links.push(nic(2000 + pair, "eth0", "virtio_net", Some(master)));
            links.push(bond(master, None));
        }
        let groups = ["224.0.0.251", "255.255.255.255", "ff02::1", "0.0.0.0", "::"];
        let groups = groups.map(|ip| neighbour(1000, ip, true)).into_iter();
        let neighbours = (0..10_000u32).map(|number| {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0001 + number).to_string();
            neighbour(1000 + number % 64, &ip, true)
        });
        let surroundings = Surroundings {
            neighbours: groups.chain(neighbours).collect(),
            ..Surroundings::default()
        };
        let mut inspected = pair::inspected(&links);
        tell(&mut inspected, &surroundings, &links);
        let all = inspected.pairs.iter().map(|pair| pair.neighbours.len());
        assert_eq!(all.clone().max(), Some(MAX_OF_NETWORK));
        assert_eq!(all.sum::<usize>(), MAX_TOLD);
        let first = &inspected.pairs[0].neighbours[0];
        assert_eq!(
            (first.ip.as_str(), first.mac.as_str()),
            ("10.0.0.1", OTHER.to_string().as_str())
        );
        assert!(inspected.has_neighbours && godwit_wire::encode(&inspected).is_ok());
    }
}
