//! What to announce and whom to ask when traffic moves. Pure but for [`Surroundings::read`]: works on what the kernel listed.

use std::net::{IpAddr, Ipv4Addr};

use godwit_wire::Mac;
use godwit_wire::ethernet::Tag;

use crate::frames;
use crate::kernel::{Address, Kernel, KernelError, Somebody};
use crate::pair::{Kind, Link};

/// Bounds: addresses announced (an IPv4 and an IPv6 one in each VLAN that there can be), and questions asked at once.
const MAX_ANNOUNCED: usize = 8192;
const MAX_QUESTIONS: usize = 8;

/// A frame to be sent on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) interface: u32,
    pub(crate) frame: Vec<u8>,
}

/// A frame that somebody should answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) to: IpAddr,
    pub(crate) ask: Outgoing,
}

/// Somebody to be asked through a port itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Near {
    pub(crate) ip: IpAddr,
    /// Of the VLANs above the bond that lead there, the outermost first.
    pub(crate) tags: Vec<Tag>,
    /// Its address, where the guest knows it.
    pub(crate) mac: Option<Mac>,
}

/// Somebody to be asked again and again through a bond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ip: IpAddr,
    /// The bond, or what is built on it, that leads there: index and name.
    pub(crate) link: u32,
    pub(crate) name: String,
    /// That link's address, and ours there; unspecified where there is none (ARP needs none).
    pub(crate) mac: Mac,
    pub(crate) from: IpAddr,
    /// On that link's own network.
    pub(crate) near: bool,
    /// The UDP port of the reflector that this is.
    pub(crate) reflector: Option<u16>,
}

/// What the kernel knows of the networks above a bond.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) addresses: Vec<Address>,
    pub(crate) gateways: Vec<Somebody>,
    pub(crate) neighbours: Vec<Somebody>,
    /// Who is to prove a port, instead of these.
    pub(crate) wanted: Option<IpAddr>,
}

/// The bond and what is built on it, as far as it passes frames on: VLANs, macvlans, bridges, and those
/// on top of these; each with the VLAN tags that its frames have below the bond, the outermost first.
pub(crate) fn carried(links: &[Link], bond: u32) -> Vec<(&Link, Vec<Tag>)> {
    let bonds = links.iter().filter(|link| link.index == bond);
    let mut found: Vec<(&Link, Vec<Tag>)> = bonds.map(|link| (link, Vec::new())).collect();
    // Each round adds at least one link or is the last.
    loop {
        let above = links.iter().filter_map(|link| {
            let is_new = found.iter().all(|(other, _)| other.index != link.index);
            let on_top =
                |lower: &Link| link.below == Some(lower.index) || lower.controller == Some(link.index);
            let (_, tags) = found.iter().find(|(lower, _)| on_top(lower))?;
            let Kind::Carrier(tag) = link.kind else {
                return None;
            };
            is_new.then(|| (link, tags.iter().copied().chain(tag).collect()))
        });
        let above: Vec<(&Link, Vec<Tag>)> = above.collect();
        if above.is_empty() {
            return found;
        }
        found.extend(above);
    }
}

/// The announcements of every address above the bond; where there is none, one of the bond itself, so that some frame always
/// leaves by the port that carries the traffic now. `forwards` tells whether an interface (by name)
/// forwards IPv6.
pub(crate) fn announcements(
    links: &[Link],
    bond: u32,
    addresses: &[Address],
    forwards: impl Fn(&str) -> bool,
) -> Vec<Outgoing> {
    let mut all = Vec::new();
    for (link, _) in carried(links, bond) {
        let Some(mac) = link.mac else { continue };
        let router = forwards(&link.name);
        let own = addresses.iter().filter(|address| address.interface == link.index);
        all.extend(own.map(|address| Outgoing {
            interface: link.index,
            frame: frames::announcement(mac, address.ip, router),
        }));
    }
    // Nobody has to be told of an address: switches are told where the bond is.
    if all.is_empty()
        && let Some(link) = links.iter().find(|link| link.index == bond)
        && let Some(mac) = link.mac
    {
        all.push(Outgoing {
            interface: bond,
            frame: frames::presence(mac),
        });
    }
    all.truncate(MAX_ANNOUNCED);
    all
}

impl Surroundings {
    /// Read while the traffic still flows.
    pub(crate) async fn read(kernel: Kernel, wanted: Option<IpAddr>) -> Result<Self, KernelError> {
        Ok(Self {
            wanted,
            addresses: kernel.addresses().await?,
            gateways: kernel.gateways().await?,
            neighbours: kernel.neighbours().await?,
        })
    }

    /// Questions to those who should answer through the bond: who is wanted first, then gateways, then neighbours.
    pub(crate) fn questions(&self, links: &[Link], bond: u32) -> Vec<Question> {
        let carried = carried(links, bond);
        let wanted = self.wanted(&carried, bond).and_then(|(wanted, link)| {
            let mac = link.mac?;
            self.question(wanted, mac).or_else(|| {
                let frame = frames::probe(mac, wanted.ip, &[]);
                let interface = wanted.interface;
                Some(Question {
                    to: wanted.ip,
                    ask: Outgoing { interface, frame },
                })
            })
        });
        let mut questions: Vec<Question> = wanted.into_iter().collect();
        for somebody in self.gateways.iter().chain(&self.neighbours) {
            if questions.len() >= MAX_QUESTIONS {
                break;
            }
            let link = carried.iter().find(|(link, _)| link.index == somebody.interface);
            let Some(question) = link.and_then(|(link, _)| self.question(*somebody, link.mac?)) else {
                continue;
            };
            if !questions.contains(&question) {
                questions.push(question);
            }
        }
        questions
    }

    /// Whom to ask through a port itself, past the bond and what is built on it: who is wanted alone, or gateways first.
    pub(crate) fn near(&self, links: &[Link], bond: u32) -> Vec<Near> {
        let carried = carried(links, bond);
        let known = || self.gateways.iter().chain(&self.neighbours).copied();
        let asked: Vec<Somebody> = match self.wanted(&carried, bond) {
            Some((wanted, _)) => vec![wanted],
            None => known().collect(),
        };
        let mut all: Vec<Near> = Vec::new();
        for somebody in asked {
            let there = carried.iter().find(|(link, _)| link.index == somebody.interface);
            let near = there.map(|(_, tags)| Near {
                ip: somebody.ip,
                tags: tags.clone(),
                mac: self.mac_of(&somebody),
            });
            all.extend(near.filter(|near| all.len() < MAX_QUESTIONS && !all.contains(near)));
        }
        all
    }

    /// Of gateways and who is wanted the list of neighbours knows it.
    pub(crate) fn mac_of(&self, somebody: &Somebody) -> Option<Mac> {
        let same = |other: &&Somebody| (other.interface, other.ip) == (somebody.interface, somebody.ip);
        somebody.mac.or_else(|| self.neighbours.iter().find(same)?.mac)
    }

    /// Who is wanted, where it is: on a network of the guest's above the bond. Where the guest knows nobody there and has no address
    /// of that family, on the bond itself. Not one that is the guest itself.
    pub(crate) fn wanted<'a>(
        &self,
        carried: &[(&'a Link, Vec<Tag>)],
        bond: u32,
    ) -> Option<(Somebody, &'a Link)> {
        let ip = self.wanted?;
        let at = |interface| carried.iter().find(|(link, _)| link.index == interface);
        let own = || self.addresses.iter().filter(|own| at(own.interface).is_some());
        if own().any(|own| own.ip == ip) {
            return None;
        }
        let on_link = own().find(|own| shares_prefix(own.ip, ip, own.prefix));
        let lost = || {
            let somebody = self.gateways.iter().chain(&self.neighbours);
            somebody.clone().all(|known| at(known.interface).is_none())
                && own().all(|own| own.ip.is_ipv4() != ip.is_ipv4())
        };
        let interface = match on_link {
            Some(own) => own.interface,
            None if lost() => bond,
            None => return None,
        };
        Some((Somebody::at(interface, ip), at(interface)?.0))
    }

    /// Whom to ask through the bond: the one that is wanted, or the first gateway, or the first neighbour.
    pub(crate) fn target(&self, links: &[Link], bond: u32, wanted: Option<IpAddr>) -> Option<Target> {
        let carried = carried(links, bond);
        let target = |somebody: Somebody, near: bool| {
            let (link, _) = carried
                .iter()
                .find(|(link, _)| link.index == somebody.interface)?;
            let from = self.address_towards(somebody);
            Some(Target {
                ip: somebody.ip,
                link: link.index,
                name: link.name.clone(),
                mac: link.mac?,
                from: from.or(somebody.ip.is_ipv4().then_some(Ipv4Addr::UNSPECIFIED.into()))?,
                near,
                reflector: None,
            })
        };
        let known = || self.gateways.iter().chain(&self.neighbours);
        let Some(ip) = wanted else {
            return known().find_map(|somebody| target(*somebody, true));
        };
        let at = |interface| Somebody::at(interface, ip);
        let near = self
            .addresses
            .iter()
            .filter(|own| shares_prefix(own.ip, ip, own.prefix));
        let near = near.map(|own| target(at(own.interface), true));
        let gateways = self
            .gateways
            .iter()
            .filter(|gateway| gateway.ip.is_ipv4() == ip.is_ipv4());
        let far = gateways.map(|gateway| target(at(gateway.interface), false));
        near.chain(far).chain([target(at(bond), false)]).flatten().next()
    }

    fn question(&self, somebody: Somebody, mac: Mac) -> Option<Question> {
        let from = self.address_towards(somebody)?;
        let ask = Outgoing {
            interface: somebody.interface,
            frame: frames::question(mac, from, somebody.ip)?,
        };
        Some(Question { to: somebody.ip, ask })
    }

    /// Our address that shares a network with somebody, or else any of that family there.
    fn address_towards(&self, somebody: Somebody) -> Option<IpAddr> {
        let own = || {
            let on_interface = self
                .addresses
                .iter()
                .filter(|address| address.interface == somebody.interface);
            on_interface.filter(|address| address.ip.is_ipv4() == somebody.ip.is_ipv4())
        };
        let near = own().find(|address| shares_prefix(address.ip, somebody.ip, address.prefix));
        near.or_else(|| own().next())
            .map(|address| address.ip)
            .filter(|ip| *ip != somebody.ip)
    }
}

fn shares_prefix(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let same = |a: u128, b: u128, bits: u32| {
        (a ^ b)
            .checked_shr(bits.saturating_sub(prefix.into()))
            .unwrap_or(0)
            == 0
    };
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::tests::{MAC, OTHER, bond, nic};

    const BOND: u32 = 4;

    fn upper(index: u32, below: Option<u32>, controller: Option<u32>) -> Link {
        Link {
            kind: Kind::Carrier(None),
            device: None,
            below,
            ..nic(index, &format!("up{index}"), "", controller)
        }
    }

    fn links() -> Vec<Link> {
        vec![
            nic(2, "eth0", "virtio_net", Some(BOND)),
            Link {
                controller: Some(12),
                ..bond(BOND, Some(2))
            },
            upper(10, Some(BOND), None),
            Link {
                mac: Some(OTHER),
                ..upper(11, Some(10), None)
            },
            upper(12, None, None),
            upper(13, Some(2), None),
            Link {
                kind: Kind::Other,
                ..upper(14, Some(BOND), None)
            },
        ]
    }

    fn address(interface: u32, text: &str, prefix: u8) -> Address {
        Address {
            interface,
            ip: text.parse().unwrap(),
            prefix,
        }
    }

    fn somebody(interface: u32, text: &str) -> Somebody {
        Somebody::at(interface, text.parse().unwrap())
    }

    #[test]
    fn what_is_built_on_the_bond_is_announced_and_nothing_else() {
        let indexes: Vec<_> = carried(&links(), BOND)
            .iter()
            .map(|(link, _)| link.index)
            .collect();
        assert_eq!(indexes, [BOND, 10, 12, 11]);
        let addresses = [
            address(2, "10.0.0.2", 24),
            address(BOND, "10.0.4.1", 24),
            address(11, "fd00::11", 64),
            address(13, "10.0.13.1", 24),
            address(12, "10.0.12.1", 24),
        ];
        let all = announcements(&links(), BOND, &addresses, |_| false);
        let expected = [
            (BOND, MAC, "10.0.4.1"),
            (12, MAC, "10.0.12.1"),
            (11, OTHER, "fd00::11"),
        ];
        let expected = expected.map(|(interface, mac, ip)| Outgoing {
            interface,
            frame: frames::announcement(mac, ip.parse().unwrap(), false),
        });
        assert_eq!(all, expected);
    }

    #[test]
    fn a_bond_without_an_address_announces_itself() {
        let addresses = [address(2, "10.0.0.2", 24), address(13, "10.0.13.1", 24)];
        let all = announcements(&links(), BOND, &addresses, |_| false);
        let itself = Outgoing {
            interface: BOND,
            frame: frames::presence(MAC),
        };
        assert_eq!(all, [itself]);
    }

    #[test]
    fn gateways_are_asked_before_neighbours_from_the_address_of_their_network() {
        let surroundings = Surroundings {
            addresses: vec![
                address(BOND, "10.1.0.1", 24),
                address(BOND, "10.77.0.100", 24),
                address(BOND, "fe80::9", 64),
            ],
            gateways: vec![
                somebody(99, "10.9.0.1"),
                somebody(BOND, "10.77.0.1"),
                somebody(BOND, "fe80::1"),
            ],
            neighbours: vec![
                somebody(BOND, "10.77.0.1"),
                somebody(BOND, "10.1.0.7"),
                somebody(2, "10.0.0.1"),
            ],
            ..Surroundings::default()
        };
        let questions = surroundings.questions(&links(), BOND);
        let expected = [
            ("10.77.0.100", "10.77.0.1"),
            ("fe80::9", "fe80::1"),
            ("10.1.0.1", "10.1.0.7"),
        ];
        let expected = expected.map(|(from, to)| {
            let to = to.parse().unwrap();
            let frame = frames::question(MAC, from.parse().unwrap(), to).unwrap();
            Question {
                to,
                ask: Outgoing {
                    interface: BOND,
                    frame,
                },
            }
        });
        assert_eq!(questions, expected);
        let near = surroundings.near(&links(), BOND).into_iter();
        let near: Vec<String> = near.map(|near| near.ip.to_string()).collect();
        assert_eq!(near, ["10.77.0.1", "fe80::1", "10.1.0.7"]);
    }

    /// A VLAN on a VLAN; a bridge puts no tag on.
    #[test]
    fn those_in_vlans_are_asked_with_their_tags() {
        let tag = |id| Tag { protocol: 0x8100, id };
        let mut links = links();
        (links[2].kind, links[3].kind) = (Kind::Carrier(Some(tag(7))), Kind::Carrier(Some(tag(100))));
        let surroundings = Surroundings {
            gateways: vec![somebody(11, "10.0.11.1"), somebody(12, "10.0.12.1")],
            neighbours: vec![
                somebody(10, "10.0.10.7"),
                somebody(13, "10.0.13.7"),
                Somebody {
                    mac: Some(OTHER),
                    ..somebody(12, "10.0.12.1")
                },
            ],
            ..Surroundings::default()
        };
        let near = surroundings.near(&links, BOND);
        let expected = [
            ("10.0.11.1", vec![tag(7), tag(100)], None),
            ("10.0.12.1", vec![], Some(OTHER)),
            ("10.0.10.7", vec![tag(7)], None),
        ];
        let expected = expected.map(|(ip, tags, mac)| Near {
            ip: ip.parse().unwrap(),
            tags,
            mac,
        });
        assert_eq!(near, expected);
    }

    #[test]
    fn a_target_is_the_one_that_is_wanted_or_the_first_that_is_known() {
        let mut surroundings = Surroundings {
            addresses: vec![address(BOND, "10.77.0.100", 24), address(11, "10.0.11.2", 24)],
            gateways: vec![somebody(99, "10.9.0.1"), somebody(BOND, "10.77.0.1")],
            neighbours: vec![somebody(11, "10.0.11.7")],
            ..Surroundings::default()
        };
        let target = |surroundings: &Surroundings, wanted: Option<&str>| {
            let wanted = wanted.map(|wanted| wanted.parse().unwrap());
            let target = surroundings.target(&links(), BOND, wanted)?;
            Some((
                target.ip.to_string(),
                target.link,
                target.from.to_string(),
                target.near,
            ))
        };
        let is = |ip: &str, link, from: &str, near| Some((ip.to_owned(), link, from.to_owned(), near));
        assert_eq!(
            target(&surroundings, None),
            is("10.77.0.1", BOND, "10.77.0.100", true)
        );
        let wanted = |ip| target(&surroundings, Some(ip));
        assert_eq!(wanted("10.0.11.9"), is("10.0.11.9", 11, "10.0.11.2", true));
        assert_eq!(wanted("192.0.2.1"), is("192.0.2.1", BOND, "10.77.0.100", false));
        assert_eq!(wanted("fd00::1"), None);
        surroundings.gateways.clear();
        assert_eq!(
            target(&surroundings, None),
            is("10.0.11.7", 11, "10.0.11.2", true)
        );
        surroundings.neighbours.clear();
        assert_eq!(target(&surroundings, None), None);
    }

    /// In a VLAN of the guest's it is asked with the tag.
    #[test]
    fn who_is_wanted_proves_a_port_alone() {
        let tag = Tag {
            protocol: 0x8100,
            id: 7,
        };
        let mut links = links();
        links[2].kind = Kind::Carrier(Some(tag));
        let surroundings = |wanted: &str| Surroundings {
            addresses: vec![address(BOND, "10.77.0.100", 24), address(10, "10.0.10.2", 24)],
            gateways: vec![somebody(BOND, "10.77.0.1")],
            wanted: Some(wanted.parse().unwrap()),
            ..Surroundings::default()
        };
        let near = |wanted: &str| {
            let near = surroundings(wanted).near(&links, BOND).into_iter();
            near.map(|near| (near.ip.to_string(), near.tags))
                .collect::<Vec<_>>()
        };
        let is = |ip: &str, tags| vec![(ip.to_owned(), tags)];
        assert_eq!(near("10.77.0.9"), is("10.77.0.9", vec![]));
        assert_eq!(near("10.0.10.9"), is("10.0.10.9", vec![tag]));
        // Behind a router, of another family, or the guest itself: it proves no port.
        for other in ["192.0.2.1", "fd00::1", "10.77.0.100"] {
            assert_eq!(near(other), is("10.77.0.1", vec![]), "{other}");
        }
        // After the switch it is asked beside the others: any frame will do.
        let asked = surroundings("10.77.0.9").questions(&links, BOND).into_iter();
        let asked: Vec<String> = asked.map(|question| question.to.to_string()).collect();
        assert_eq!(asked, ["10.77.0.9", "10.77.0.1"]);
    }

    #[test]
    fn without_an_address_who_is_wanted_is_asked_by_nobody() {
        let surroundings = Surroundings {
            wanted: Some("10.77.0.9".parse().unwrap()),
            ..Surroundings::default()
        };
        let near = surroundings.near(&links(), BOND);
        let only = Near {
            ip: "10.77.0.9".parse().unwrap(),
            tags: vec![],
            mac: None,
        };
        assert_eq!(near, [only]);
        let ask = Outgoing {
            interface: BOND,
            frame: frames::probe(MAC, "10.77.0.9".parse().unwrap(), &[]),
        };
        let to = "10.77.0.9".parse().unwrap();
        assert_eq!(surroundings.questions(&links(), BOND), [Question { to, ask }]);
    }

    #[test]
    fn each_of_four_thousand_vlans_is_announced() {
        let vlans = 100..4100;
        let mut links = links();
        links.extend(vlans.clone().map(|index| Link {
            kind: Kind::Carrier(Some(Tag {
                protocol: 0x8100,
                id: index as u16 - 99,
            })),
            ..upper(index, Some(BOND), None)
        }));
        let addresses = vlans.clone().map(|index| {
            let ip = Ipv4Addr::from_bits(0x0a00_0001 + (index << 8)).into();
            Address {
                interface: index,
                ip,
                prefix: 24,
            }
        });
        let addresses: Vec<Address> = addresses.collect();
        let told = announcements(&links, BOND, &addresses, |_| false);
        let told: Vec<u32> = told.into_iter().map(|told| told.interface).collect();
        assert_eq!(told, Vec::from_iter(vlans));
    }

    #[test]
    fn without_an_address_nobody_can_be_asked() {
        let gateways = vec![somebody(BOND, "10.77.0.1")];
        let mut surroundings = Surroundings {
            gateways,
            ..Surroundings::default()
        };
        assert_eq!(surroundings.questions(&links(), BOND), []);
        surroundings.addresses.push(address(BOND, "fd00::1", 64));
        assert_eq!(surroundings.questions(&links(), BOND), []);
    }

    #[test]
    fn prefixes() {
        let shares = |a: &str, b: &str, prefix| shares_prefix(a.parse().unwrap(), b.parse().unwrap(), prefix);
        assert!(shares("10.0.0.1", "10.0.0.254", 24) && !shares("10.0.0.1", "10.0.1.1", 24));
        assert!(shares("10.0.0.1", "192.168.0.1", 0) && shares("fe80::1", "fe80::2", 64));
        assert!(!shares("fe80::1", "fd00::1", 64) && shares("::1", "fd00::1", 0));
        assert!(shares("10.0.0.1", "10.0.0.1", 200));
    }
}
