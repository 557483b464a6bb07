//! What of this machine the virtual NICs of a guest that comes can be connected to, by the kernel's word. All of it blocks.

use std::{collections::BTreeMap, fs, net::IpAddr};

use godwit_migration::{
    doctor::Fact,
    plan::{Network, NetworkKind, NetworkSeen, Uplink, Ways},
};

use nix::ifaddrs::getifaddrs;

use super::{MOST_ENTRIES, Machine};

/// The interface of this host that has the address.
pub(crate) fn interface_of(ip: IpAddr) -> Option<String> {
    let has = |entry: &nix::ifaddrs::InterfaceAddress| {
        let address = entry.address.as_ref()?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let mut all = getifaddrs().ok()?;
    let found = all.find(|entry| has(entry) == Some(ip.to_canonical()))?;
    Some(found.interface_name)
}

impl Machine {
    /// A bridge or another interface: its MTU, whether it has a link (of a bridge a port of it that is no guest's), and how frames get out of it.
    pub(crate) fn interface(&self, name: &str) -> Fact<NetworkSeen> {
        if !is_name(name) {
            return Err(format!("`{name}` is no name of an interface"));
        }
        let net = format!("sys/class/net/{name}");
        if !self.exists(&net)? {
            return Ok(NetworkSeen::Missing);
        }
        let mtu = self.mtu(name)?;
        let ports = self.ports(&net);
        let kind = match &ports {
            Some(_) => NetworkKind::Bridge,
            None => NetworkKind::Interface,
        };
        let out = ports.unwrap_or_else(|| vec![name.to_owned()]);
        let linked: Vec<String> = out.into_iter().filter(|port| self.has_link(port)).collect();
        let tagging = self.tagging();
        let filters = self.read(&format!("{net}/bridge/vlan_filtering"));
        let way = |port: &String| match tagging.get(port) {
            Some(vlan) => Uplink::Tagging(*vlan),
            None => Uplink::Open,
        };
        Ok(NetworkSeen::There(Network {
            kind,
            mtu,
            link: !linked.is_empty(),
            ways: Ways {
                uplinks: linked.iter().map(way).collect(),
                filters: filters.is_ok_and(|filters| filters.trim() == "1"),
            },
        }))
    }

    pub(crate) fn mtu(&self, name: &str) -> Fact<u32> {
        let mtu = self.read(&format!("sys/class/net/{name}/mtu"))?;
        let mtu = mtu.trim().parse();
        mtu.map_err(|_| format!("/sys/class/net/{name}/mtu is no number"))
    }

    /// By the speed of its link, bytes a second.
    pub(crate) fn speed(&self, name: &str) -> Fact<u64> {
        let text = self.read(&format!("sys/class/net/{name}/speed"))?;
        // -1, or as some drivers have it u32::MAX: none.
        let speed = text.trim().parse::<u32>().ok();
        let speed = speed.filter(|mbit| ![0, u32::MAX].contains(mbit));
        speed
            .map(|mbit| u64::from(mbit) * 125_000)
            .ok_or_else(|| format!("{name} does not tell its speed"))
    }

    /// The VLAN in which a bridge of the kernel's that filters puts what a guest sends without a tag; none: it does not pass.
    pub(crate) fn default_vlan(&self, bridge: &str) -> Fact<Option<u16>> {
        let file = |name: &str| self.read(&format!("sys/class/net/{bridge}/bridge/{name}"));
        if file("vlan_protocol")?.trim() != "0x8100" {
            return Err("the bridge sorts by tags of another kind (vlan_protocol)".into());
        }
        let vlan: u16 = file("default_pvid")?
            .trim()
            .parse()
            .map_err(|_| "its default_pvid is no number")?;
        Ok(Some(vlan).filter(|vlan| *vlan != 0))
    }

    /// The end of a guest's virtual NIC.
    pub(crate) fn is_tap(&self, name: &str) -> bool {
        is_name(name) && self.exists(&format!("sys/class/net/{name}/tun_flags")) == Ok(true)
    }

    /// One that is switched off has no carrier to be read.
    pub(crate) fn has_link(&self, name: &str) -> bool {
        let carrier = self.read(&format!("sys/class/net/{name}/carrier"));
        carrier.is_ok_and(|carrier| carrier.trim() == "1")
    }

    /// Ports of a bridge that are no guest's; none: it is no bridge of the kernel's.
    fn ports(&self, net: &str) -> Option<Vec<String>> {
        let entries = fs::read_dir(self.root.join(net).join("brif")).ok()?;
        let names = entries.flatten().take(MOST_ENTRIES);
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        Some(names.filter(|name| !self.is_tap(name)).collect())
    }

    /// VLAN interfaces with their VLANs, as `/proc/net/vlan/config` has them: after two lines of heads `NAME | ID | BELOW` each.
    fn tagging(&self) -> BTreeMap<String, u16> {
        let text = self.read("proc/net/vlan/config").unwrap_or_default();
        let row = |line: &str| {
            let mut fields = line.split('|').map(str::trim);
            Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
        };
        text.lines().filter_map(row).collect()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Tree, *};

    impl Tree {
        fn net(&self, name: &str, file: &str, text: &str) {
            self.file(&format!("sys/class/net/{name}/{file}"), text);
        }

        fn seen(&self, name: &str) -> Network {
            match self.machine().interface(name) {
                Ok(NetworkSeen::There(network)) => network,
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_nic_says_how_fast_its_link_is_or_that_it_has_none() {
        let tree = Tree::new();
        tree.net("eth0", "speed", "25000\n");
        assert_eq!(tree.machine().speed("eth0"), Ok(3_125_000_000));
        for none in ["-1\n", "4294967295\n", "0\n", ""] {
            tree.net("eth0", "speed", none);
            let why = tree.machine().speed("eth0").unwrap_err();
            assert_eq!(why, "eth0 does not tell its speed");
        }
        assert!(tree.machine().speed("eth1").is_err());
        let own = interface_of("127.0.0.1".parse().unwrap());
        assert_eq!(own.as_deref(), Some("lo"));
        assert_eq!(interface_of("192.0.2.1".parse().unwrap()), None);
    }

    /// A bridge with a guest's tap, and a NIC without a link.
    fn tree() -> Tree {
        let tree = Tree::new();
        tree.net("br0", "mtu", "1500\n");
        tree.net("br0", "carrier", "1\n");
        tree.net("br0", "brif/eth0/x", "");
        tree.net("br0", "brif/vnet0/x", "");
        tree.net("vnet0", "carrier", "1\n");
        tree.net("vnet0", "tun_flags", "0x1002\n");
        tree.net("eth0", "carrier", "0\n");
        tree.net("pf0", "mtu", "9000\n");
        tree.net("pf0", "carrier", "1\n");
        tree
    }

    #[test]
    fn a_bridge_has_a_link_by_a_port_that_is_no_guests() {
        let tree = tree();
        let dead = tree.seen("br0");
        assert_eq!(
            (dead.kind, dead.mtu, dead.link),
            (NetworkKind::Bridge, 1500, false)
        );
        assert_eq!(dead.ways.uplinks, []);
        tree.net("eth0", "carrier", "1\n");
        let alive = tree.seen("br0");
        assert!(alive.link && alive.ways.uplinks == [Uplink::Open] && !alive.ways.filters);
        let plain = tree.seen("pf0");
        assert_eq!(
            (plain.kind, plain.mtu, plain.link),
            (NetworkKind::Interface, 9000, true)
        );
        let machine = tree.machine();
        assert_eq!(machine.interface("br7"), Ok(NetworkSeen::Missing));
        for wrong in ["", "../x", "..", "a/b"] {
            assert!(machine.interface(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn vlans_of_a_bridge_and_of_its_ways_out_are_read() {
        let tree = tree();
        tree.net("br0", "brif/eth1.42/x", "");
        tree.net("eth1.42", "carrier", "1\n");
        tree.net("pf0", "carrier", "1\n");
        // As Linux 6.1 writes it.
        tree.file(
            "proc/net/vlan/config",
            "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\neth1.42        | 42  | eth1\npf0            | 7  | pf\n",
        );
        let seen = tree.seen("br0");
        assert_eq!(seen.ways.uplinks, [Uplink::Tagging(42)], "eth0 has no link");
        assert!(!seen.ways.filters);
        assert_eq!(tree.seen("pf0").ways.uplinks, [Uplink::Tagging(7)]);
        tree.net("br0", "bridge/vlan_filtering", "1\n");
        assert!(tree.seen("br0").ways.filters);
        tree.net("br0", "bridge/vlan_filtering", "0\n");
        assert!(!tree.seen("br0").ways.filters);
    }
}
