//! Whether what a guest would be connected to on a host is the same network as where it is: whether those whom the guest knows answer
//! there. The guest tells whom it knows, and may lie: it comes to a few questions, and to warnings.

use std::{collections::BTreeSet, net::IpAddr};

use super::{NeededNic, PortVlans, finding};
use crate::{
    MacAddress,
    doctor::{Diagnosis, Fact, Finding, Severity},
};

/// A VLAN tag in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// Its kind: 0x8100 for 802.1Q, 0x88a8 for 802.1ad.
    pub kind: u16,
    /// Its VLAN.
    pub vlan: u16,
}

/// Somebody on a network of a guest's, by the guest's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    ip: IpAddr,
    mac: Option<MacAddress>,
    tags: Vec<VlanTag>,
}

/// What came of asking for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It answered, with the address that the guest knows.
    Same {
        /// With frames of so many bytes behind their header too, or not; none: it was not asked with such.
        long: Option<(u32, bool)>,
    },
    /// Somebody answered, and the guest knows no address of it.
    Somebody(MacAddress),
    /// Somebody else answered for its address.
    Other(MacAddress),
    /// Nobody did.
    Nobody,
}

/// What a bridge does about VLANs at its own port, through which a host asks, and at that of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnPort {
    /// Nothing: all frames pass everywhere as they are.
    Plain,
    /// It sorts them.
    Sorting {
        /// In which VLAN its own frames without a tag are; 0: in none. None: they do not pass.
        untagged: Option<u16>,
        /// Which tags its own frames may have; none: all.
        tagged: Option<BTreeSet<u16>>,
        /// In which VLAN a guest's frames without a tag are, if its domain says nothing; none: they do not pass.
        guests: Option<u16>,
        /// And whether those with a tag pass.
        guests_tagged: bool,
    },
}

impl VlanTag {
    /// Of the usual kind.
    pub const USUAL: u16 = 0x8100;
    const SERVICE: u16 = 0x88a8;
    /// More of them have no network that could be asked in.
    pub const MOST: usize = 4;

    /// None: no frame has such a tag.
    pub fn new(kind: u32, vlan: u32) -> Option<VlanTag> {
        let (kind, vlan) = (u16::try_from(kind).ok()?, u16::try_from(vlan).ok()?);
        let known = matches!(kind, VlanTag::USUAL | VlanTag::SERVICE) && (1..4095).contains(&vlan);
        known.then_some(VlanTag { kind, vlan })
    }
}

impl Neighbour {
    /// More of one NIC are not asked for.
    pub const MOST: usize = 8;

    /// As somebody told of it; an empty `mac`: the guest has not learned it. None: nobody can have such an address, or it is that of many.
    pub fn new(ip: &str, mac: &str, tags: Vec<VlanTag>) -> Option<Neighbour> {
        let ip: IpAddr = ip.parse().ok()?;
        let mac = match mac {
            "" => None,
            mac => Some(mac.parse().ok()?),
        };
        (may_answer(ip) && tags.len() <= VlanTag::MOST).then_some(Neighbour { ip, mac, tags })
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// As the guest knows it.
    pub fn mac(&self) -> Option<MacAddress> {
        self.mac
    }

    /// Of the guest's own frames to it, the outermost first.
    pub fn tags(&self) -> &[VlanTag] {
        &self.tags
    }
}

/// One host's alone. What is at the end of a network (its broadcast) cannot be told from here, and nobody answers for it.
fn may_answer(ip: IpAddr) -> bool {
    match ip {
        // 0/8 is nobody, 127/8 oneself, from 224/4 on groups, what is reserved, and everybody.
        IpAddr::V4(ip) => !matches!(ip.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(ip) => {
            let oneself = ip.is_unspecified() || ip.is_loopback();
            !oneself && !ip.is_multicast() && ip.to_ipv4_mapped().is_none()
        }
    }
}

impl OwnPort {
    /// The tags that a frame needs here to be where the guest's, with these tags and through such a port, would be.
    ///
    /// # Errors
    /// It cannot get there, or the guest's would not.
    pub fn tags(&self, port: &PortVlans, guest: &[VlanTag]) -> Fact<Vec<VlanTag>> {
        let OwnPort::Sorting {
            untagged,
            tagged,
            guests,
            guests_tagged,
        } = self
        else {
            return match port {
                PortVlans::Open => Ok(guest.to_vec()),
                PortVlans::Access(_) | PortVlans::Trunk(_) => {
                    Err("its port is to sort VLANs (<vlan>), and nothing does there".into())
                }
            };
        };
        let (inside, rest) = match (port, guest) {
            (PortVlans::Open, []) => (
                guests.ok_or("a guest's port there is in no VLAN (default_pvid)")?,
                guest,
            ),
            (PortVlans::Open, [tag, rest @ ..]) if *guests_tagged => (usual(*tag)?, rest),
            (PortVlans::Open, [..]) => {
                return Err(
                    "the bridge filters VLANs (vlan_filtering), and the guest's port is given none".into(),
                );
            }
            (PortVlans::Access(vlan), []) => (*vlan, guest),
            (PortVlans::Access(_), [..]) => {
                return Err("its port there takes frames without a tag alone (<vlan>)".into());
            }
            (PortVlans::Trunk(_), []) => {
                return Err(
                    "in which VLAN its frames without a tag would be is not known (<vlan trunk='yes'>)"
                        .into(),
                );
            }
            (PortVlans::Trunk(vlans), [tag, rest @ ..]) if vlans.contains(&tag.vlan) => (usual(*tag)?, rest),
            (PortVlans::Trunk(_), [..]) => {
                return Err("its port there does not take that VLAN (<vlan>)".into());
            }
        };
        let tag = VlanTag {
            kind: VlanTag::USUAL,
            vlan: inside,
        };
        let passes = inside != 0 && tagged.as_ref().is_none_or(|tagged| tagged.contains(&inside));
        match *untagged == Some(inside) {
            true => Ok(rest.to_vec()),
            false if passes => Ok([&[tag], rest].concat()),
            false if inside == 0 => Err("the bridge's own port takes no frames without a tag".into()),
            false => Err(format!("the bridge's own port is not in VLAN {inside}")),
        }
    }
}

/// Bridges that sort do it by tags of one kind.
fn usual(tag: VlanTag) -> Fact<u16> {
    match tag.kind {
        VlanTag::USUAL => Ok(tag.vlan),
        _ => Err("its tag is none that the bridge sorts by".into()),
    }
}

/// What is told of one NIC.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// A sentence for each network that is the same.
    pub(super) proved: Vec<String>,
    /// What is not, or not known.
    pub(super) rest: Diagnosis,
}

/// Each network of the NIC by itself: those whom the guest knows there stand for each other. `heard` is in the order of the
/// neighbours; where nobody was asked for there is none.
pub(super) fn of_nic(guest: &str, host: &str, nic: &NeededNic, heard: &[Fact<Heard>]) -> Reached {
    let all: Vec<(&Neighbour, &Fact<Heard>)> = nic.neighbours.iter().zip(heard).collect();
    let mut reached = Reached::default();
    let mut seen: Vec<&[VlanTag]> = Vec::new();
    for (neighbour, _) in &all {
        if seen.contains(&neighbour.tags()) {
            continue;
        }
        seen.push(neighbour.tags());
        let network = Network {
            nic,
            tags: neighbour.tags(),
            asked: all
                .iter()
                .filter(|(other, _)| other.tags == neighbour.tags)
                .copied()
                .collect(),
        };
        network.judge(guest, host, &mut reached);
    }
    reached
}

/// One network of a NIC, and who was asked for in it.
struct Network<'a> {
    nic: &'a NeededNic,
    tags: &'a [VlanTag],
    asked: Vec<(&'a Neighbour, &'a Fact<Heard>)>,
}

impl Network<'_> {
    fn judge(&self, guest: &str, host: &str, reached: &mut Reached) {
        let each = || {
            self.asked
                .iter()
                .filter_map(|(who, heard)| Some((*who, heard.as_ref().ok()?)))
        };
        let place = self.nic.place();
        let lane = self.lane();
        let check = format!("network of {place} on {host}{lane}");
        if let Some((who, long)) = each().find_map(|(who, heard)| match heard {
            Heard::Same { long } => Some((who, *long)),
            _ => None,
        }) {
            let long = match long {
                Some((bytes, true)) => format!(", to frames of {bytes} bytes too"),
                Some((bytes, false)) => format!(", and not to frames of {bytes} bytes"),
                None => String::new(),
            };
            reached.proved.push(format!(
                "{} answers through {place} on {host}{lane}{long}",
                told(who)
            ));
        } else if let Some((who, other)) = each().find_map(|(who, heard)| match heard {
            Heard::Other(mac) => Some((who, *mac)),
            _ => None,
        }) {
            reached.rest.add(self.differs(guest, host, who, other));
        } else if let Some((who, mac)) = each().find_map(|(who, heard)| match heard {
            Heard::Somebody(mac) => Some((who, *mac)),
            _ => None,
        }) {
            let why = format!(
                "{mac} answers for {}, and guest `{guest}` has not learned whose address that is",
                who.ip
            );
            reached.rest.skip(check, why);
        } else if each().next().is_some() {
            reached.rest.add(self.silent(guest, host));
        } else if let Some((_, Err(why))) = self.asked.first() {
            reached.rest.skip(check, why.clone());
        }
    }

    fn silent(&self, guest: &str, host: &str) -> Finding {
        let (place, lane) = (self.nic.place(), self.lane());
        let asked = self.asked.iter().filter(|(_, heard)| heard.is_ok());
        let asked: Vec<String> = asked.map(|(who, _)| told(who)).collect();
        let what = format!(
            "nobody answers through {place} on {host}{lane}: guest `{guest}` knows {} on the network of NIC {}",
            asked.join(", "),
            self.nic.mac
        );
        let why = "it may be another network of the same name, or one without a way out, and the guest is cut off there; or who was asked sleeps, \
                   or has a firewall";
        let fix = format!(
            "on {host}: look at the cable of the way out of {place}, and at the VLANs of the switch's port (bridge link; ip -d link); who always \
             answers can be named ([measure] ask)"
        );
        finding(Severity::Warning, "NETWORK_SILENT", host, [what, why.into(), fix])
    }

    fn differs(&self, guest: &str, host: &str, who: &Neighbour, other: MacAddress) -> Finding {
        let (place, lane) = (self.nic.place(), self.lane());
        let what = format!(
            "{other} answers for {} through {place} on {host}{lane}, and guest `{guest}` knows {} there, on the network of NIC {}",
            who.ip,
            told(who),
            self.nic.mac
        );
        let why = "it may be another network of the same name and with the same addresses, and the guest is cut off from its own there; or an \
                   address that moves between routers";
        let fix = format!(
            "on {host}: look which network the way out of {place} leads to (bridge link; ip -d link; ovs-vsctl show); in {guest}: ip neigh show {}",
            who.ip
        );
        finding(
            Severity::Warning,
            "NETWORK_DIFFERS",
            host,
            [what, why.into(), fix],
        )
    }

    /// For a sentence: ", in VLAN 100".
    fn lane(&self) -> String {
        let vlans: Vec<String> = self.tags.iter().map(|tag| tag.vlan.to_string()).collect();
        match vlans.is_empty() {
            true => String::new(),
            false => format!(", in VLAN {}", vlans.join(" in ")),
        }
    }
}

/// For a sentence: "10.77.0.1 (52:54:00:77:00:01)".
fn told(who: &Neighbour) -> String {
    match who.mac {
        Some(mac) => format!("{} ({mac})", who.ip),
        None => who.ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_many_or_of_nobody_are_no_neighbours() {
        let neighbour = |ip: &str, mac: &str| Neighbour::new(ip, mac, Vec::new()).is_some();
        let mac = "52:54:00:77:00:01";
        for ip in ["10.77.0.1", "192.0.2.9", "fe80::1", "fd00::1"] {
            assert!(neighbour(ip, mac) && neighbour(ip, ""), "{ip}");
        }
        for ip in [
            "",
            "x",
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.251",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "::ffff:10.77.0.1",
            "10.77.0.1/24",
            "fe80::1%eth0",
        ] {
            assert!(!neighbour(ip, mac), "{ip}");
        }
        for mac in [
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "52:54:00",
            "\n",
        ] {
            assert!(!neighbour("10.77.0.1", mac), "{mac}");
        }
        let tag = |kind, vlan| VlanTag::new(kind, vlan).is_some();
        assert!(tag(0x8100, 1) && tag(0x88a8, 4094));
        assert!(
            !tag(0x8100, 0)
                && !tag(0x8100, 4095)
                && !tag(0x0800, 1)
                && !tag(0x8100, u32::MAX)
                && !tag(0x18100, 1)
        );
        let tags = vec![VlanTag::new(0x8100, 7).unwrap(); 5];
        assert_eq!(Neighbour::new("10.77.0.1", mac, tags), None);
    }

    #[test]
    fn a_question_has_the_tags_with_which_it_is_where_the_guests_frames_would_be() {
        use PortVlans::{Access, Open, Trunk};
        let tag = |vlan| VlanTag { kind: 0x8100, vlan };
        let sorting = |untagged, tagged: Option<&[u16]>, guests, guests_tagged| OwnPort::Sorting {
            untagged,
            tagged: tagged.map(|vlans| vlans.iter().copied().collect()),
            guests,
            guests_tagged,
        };
        let asks = |own: &OwnPort, port: PortVlans, guest: &[u16]| {
            let guest: Vec<VlanTag> = guest.iter().map(|vlan| tag(*vlan)).collect();
            let tags = own.tags(&port, &guest).ok()?;
            Some(tags.into_iter().map(|tag| tag.vlan).collect::<Vec<u16>>())
        };
        let to = |vlans: &[u16]| Some(vlans.to_vec());
        assert_eq!(asks(&OwnPort::Plain, Open, &[]), to(&[]));
        assert_eq!(asks(&OwnPort::Plain, Open, &[7, 8]), to(&[7, 8]));
        assert_eq!(asks(&OwnPort::Plain, Access(42), &[]), None);
        // A bridge of the kernel's that filters, and is itself in the VLANs 1 (without a tag) and 42.
        let kernels = sorting(Some(1), Some(&[42]), Some(1), false);
        assert_eq!(asks(&kernels, Open, &[]), to(&[]));
        assert_eq!(asks(&kernels, Open, &[42]), None);
        assert_eq!(asks(&kernels, Access(42), &[]), to(&[42]));
        assert_eq!(asks(&kernels, Access(1), &[]), to(&[]));
        assert_eq!(asks(&kernels, Access(43), &[]), None);
        assert_eq!(asks(&kernels, Access(42), &[7]), None);
        assert_eq!(asks(&kernels, Trunk(vec![42]), &[42, 7]), to(&[42, 7]));
        assert_eq!(asks(&kernels, Trunk(vec![42]), &[43]), None);
        assert_eq!(asks(&kernels, Trunk(vec![42]), &[]), None);
        let apart = sorting(Some(9), Some(&[1]), Some(1), false);
        assert_eq!(asks(&apart, Open, &[]), to(&[1]));
        assert_eq!(
            asks(&sorting(Some(9), Some(&[]), Some(1), false), Open, &[]),
            None
        );
        assert_eq!(asks(&sorting(Some(1), None, None, false), Open, &[]), None);
        // One of Open vSwitch.
        let switch = sorting(Some(0), None, Some(0), true);
        assert_eq!(asks(&switch, Open, &[]), to(&[]));
        assert_eq!(asks(&switch, Open, &[7]), to(&[7]));
        assert_eq!(asks(&switch, Access(42), &[]), to(&[42]));
        let access = sorting(Some(42), Some(&[]), Some(0), true);
        assert_eq!(asks(&access, Access(42), &[]), to(&[]));
        assert_eq!(asks(&access, Open, &[]), None);
        let service = VlanTag {
            kind: 0x88a8,
            vlan: 7,
        };
        assert_eq!(OwnPort::Plain.tags(&Open, &[service]), Ok(vec![service]));
        assert!(switch.tags(&Open, &[service]).is_err());
    }
}
