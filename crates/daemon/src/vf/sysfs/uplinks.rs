//! The PFs that a guest's standby reaches the network through.

use std::{collections::BTreeSet, fs, path::PathBuf};

use godwit_migration::MacAddress;

use super::{Sysfs, link_name, number, text};

/// What is under an interface is a link of its folder with this before its name.
const BELOW: &str = "lower_";

/// A VLAN of a bond of PFs is three deep.
const DEPTH: u8 = 4;

/// This host's end of a standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) name: String,
    /// It is up, and its emulator has it.
    pub(crate) up: bool,
    /// Frames that the guest has sent through it.
    pub(crate) heard: u64,
}

/// The ports by which a bridge reaches the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BridgePorts {
    /// Its ports, but for guests' taps.
    pub(crate) ports: Vec<String>,
    /// It passes frames on with the VLAN tags that they have, to whatever port.
    pub(crate) plain: bool,
}

impl Sysfs {
    /// Of the bridge that this tap is a port of; none where it is a port of none.
    pub(crate) fn bridge_ports(&self, tap: &str) -> BridgePorts {
        let Some(bridge) = self.bridge_of(tap) else {
            return BridgePorts::default();
        };
        let is_tap = |name: &String| self.folder(name).join("tun_flags").exists();
        let mut ports = self.interfaces();
        ports.retain(|name| self.bridge_of(name).as_ref() == Some(&bridge) && !is_tap(name));
        ports.sort();
        let sorts = number(&self.folder(&bridge).join("bridge/vlan_filtering"), 10);
        BridgePorts {
            ports,
            plain: sorts == Some(0),
        }
    }

    /// The PFs under the bridge (Linux or Open vSwitch) that the guest's tap is a port of; none while there is no such tap.
    /// libvirt gives a tap the MAC of its NIC with 0xfe as the first byte (`virNetDevTapCreateInBridgePort`), so a tap is
    /// found before its domain can be read.
    pub(crate) fn uplinks(&self, mac: MacAddress) -> BTreeSet<String> {
        let interfaces = self.interfaces();
        let taps = interfaces.iter().filter(|name| self.is_tap_of(name, mac));
        let bridges: BTreeSet<String> = taps.filter_map(|tap| self.bridge_of(tap)).collect();
        let ports = interfaces.iter().filter(|name| {
            self.bridge_of(name)
                .is_some_and(|bridge| bridges.contains(&bridge))
        });
        ports.flat_map(|port| self.pfs_below(port, DEPTH)).collect()
    }

    /// A PF is, or is under, a port of some bridge: a standby may hang on it.
    pub(crate) fn is_bridged(&self, pf: &str) -> bool {
        let above =
            |name: &String| self.bridge_of(name).is_some() && self.pfs_below(name, DEPTH).contains(pf);
        self.interfaces().iter().any(above)
    }

    /// The guest's standby has its end on this host.
    pub(crate) fn has_tap(&self, mac: MacAddress) -> bool {
        self.tap_folder(mac).is_some()
    }

    /// The folder of the guest's tap in `/sys/class/net`, by whose name it ends.
    pub(crate) fn tap_folder(&self, mac: MacAddress) -> Option<PathBuf> {
        let all = self.interfaces();
        let name = all.iter().find(|name| self.is_tap_of(name, mac))?;
        Some(self.folder(name))
    }

    /// What this host sees of the guest's standby at its own end of it.
    pub(crate) fn tap(&self, mac: MacAddress) -> Option<Tap> {
        let folder = self.tap_folder(mac)?;
        let name = folder.file_name()?.to_str()?.to_owned();
        Some(Tap {
            // Not readable while it is down.
            up: number(&folder.join("carrier"), 10) == Some(1),
            heard: self.frames_from_guest(&name)?,
            name,
        })
    }

    fn interfaces(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("sys/class/net"));
        let names = entries.into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join("sys/class/net").join(name)
    }

    fn is_tap_of(&self, name: &str, mac: MacAddress) -> bool {
        let folder = self.folder(name);
        let mut wanted = mac.bytes();
        wanted[0] = 0xfe;
        let has = text(&folder.join("address")).and_then(|address| address.trim().parse().ok());
        let has: Option<MacAddress> = has;
        has.is_some_and(|has| has.bytes() == wanted) && folder.join("tun_flags").exists()
    }

    /// The bridge that it is a port of. All bridges of Open vSwitch are one `ovs-system` to the kernel.
    pub(crate) fn bridge_of(&self, name: &str) -> Option<String> {
        let master = link_name(&self.folder(name).join("master"))?;
        let is_bridge = master == "ovs-system" || self.folder(&master).join("bridge").exists();
        is_bridge.then_some(master)
    }

    /// Itself, or what it is built on.
    fn pfs_below(&self, name: &str, depth: u8) -> BTreeSet<String> {
        let folder = self.folder(name);
        if number(&folder.join("device/sriov_numvfs"), 10).is_some_and(|vfs| vfs > 0) {
            return BTreeSet::from([name.to_owned()]);
        }
        if depth == 0 {
            return BTreeSet::new();
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix(BELOW)?.to_owned())
        });
        below
            .flat_map(|below| self.pfs_below(&below, depth - 1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;

    const MAC: &str = "52:54:00:aa:00:10";

    fn uplinks(machine: &Machine) -> Vec<String> {
        let found = machine.sysfs().uplinks(MAC.parse().unwrap());
        found.into_iter().collect()
    }

    fn port(machine: &Machine, name: &str, bridge: &str) {
        machine.link(&format!("sys/class/net/{name}/master"), &format!("../{bridge}"));
    }

    fn tap(machine: &Machine, name: &str, address: &str, bridge: &str) {
        machine.file(&format!("sys/class/net/{name}/address"), &format!("{address}\n"));
        machine.file(&format!("sys/class/net/{name}/tun_flags"), "0x5002\n");
        port(machine, name, bridge);
    }

    /// A guest on `br0`, whose port is a NIC without VFs.
    fn machine() -> Machine {
        let machine = Machine::new();
        machine.file("sys/class/net/br0/bridge/stp_state", "0\n");
        machine.file("sys/class/net/up0/address", "52:54:00:01:00:01\n");
        port(&machine, "up0", "br0");
        tap(&machine, "vnet0", "fe:54:00:aa:00:10", "br0");
        machine
    }

    #[test]
    fn a_standby_with_an_uplink_of_its_own_hangs_on_no_pf() {
        let machine = machine();
        assert_eq!(uplinks(&machine), [""; 0]);
        assert!(machine.sysfs().has_tap(MAC.parse().unwrap()));
        assert!(!machine.sysfs().is_bridged("pf0"));
        // A bond of the PF is no bridge.
        machine.file("sys/class/net/bond0/bonding/mode", "active-backup 1\n");
        port(&machine, "pf0", "bond0");
        assert!(!machine.sysfs().is_bridged("pf0"));
    }

    #[test]
    fn a_bridge_reaches_the_network_by_the_ports_that_are_no_guests() {
        let machine = machine();
        tap(&machine, "vnet1", "fe:54:00:aa:00:11", "br0");
        port(&machine, "pf0", "br1");
        machine.file("sys/class/net/br1/bridge/stp_state", "0\n");
        let bridge_ports = |name: &str| machine.sysfs().bridge_ports(name);
        assert_eq!(
            (bridge_ports("vnet0").ports, bridge_ports("vnet0").plain),
            (vec!["up0".to_owned()], false)
        );
        machine.file("sys/class/net/br0/bridge/vlan_filtering", "0\n");
        assert!(bridge_ports("vnet0").plain);
        machine.file("sys/class/net/br0/bridge/vlan_filtering", "1\n");
        assert!(!bridge_ports("vnet0").plain);
        // Open vSwitch sorts as it likes.
        port(&machine, "vnet0", "ovs-system");
        port(&machine, "eno1", "ovs-system");
        assert_eq!(
            (bridge_ports("vnet0").ports, bridge_ports("vnet0").plain),
            (vec!["eno1".to_owned()], false)
        );
        assert_eq!(bridge_ports("vnet9").ports, [""; 0]);
    }

    #[test]
    fn what_a_guest_sends_through_its_standby_is_counted_at_its_tap() {
        let machine = machine();
        let seen = || machine.sysfs().tap(MAC.parse().unwrap());
        assert_eq!(seen(), None, "without counters nothing is known");
        machine.file("sys/class/net/vnet0/statistics/rx_packets", "17\n");
        machine.file("sys/class/net/vnet0/carrier", "1\n");
        let tap = seen().unwrap();
        assert_eq!((tap.name.as_str(), tap.up, tap.heard), ("vnet0", true, 17));
        machine.file("sys/class/net/vnet0/carrier", "0\n");
        assert!(!seen().unwrap().up);
    }

    #[test]
    fn the_pf_is_a_port_of_its_bridge() {
        let machine = machine();
        port(&machine, "pf0", "br0");
        assert_eq!(uplinks(&machine), ["pf0"]);
        assert!(machine.sysfs().is_bridged("pf0"));
        // Another guest's tap, and one that is not there.
        tap(&machine, "vnet0", "fe:54:00:aa:00:11", "br0");
        assert_eq!(uplinks(&machine), [""; 0]);
        // A PF without VFs has no switch.
        tap(&machine, "vnet0", "fe:54:00:aa:00:10", "br0");
        machine.file("sys/class/net/pf0/device/sriov_numvfs", "0\n");
        assert_eq!(uplinks(&machine), [""; 0]);
    }

    #[test]
    fn the_pf_is_under_a_vlan_of_a_bond() {
        let machine = machine();
        machine.file("sys/class/net/bond0.7/lower_bond0/ifindex", "7\n");
        machine.file("sys/class/net/bond0/lower_pf0/ifindex", "8\n");
        port(&machine, "bond0.7", "br0");
        assert_eq!(uplinks(&machine), ["pf0"]);
        // What is its own ground ends.
        machine.file("sys/class/net/loop0/lower_loop0/ifindex", "9\n");
        port(&machine, "loop0", "br0");
        assert_eq!(uplinks(&machine), ["pf0"]);
    }

    #[test]
    fn open_vswitch_is_a_bridge_too() {
        let machine = machine();
        machine.file("sys/class/net/ovs-system/ifindex", "5\n");
        port(&machine, "vnet0", "ovs-system");
        port(&machine, "pf0", "ovs-system");
        assert_eq!(uplinks(&machine), ["pf0"]);
    }

    /// Somebody's interface may have any address; a tap is one that says so.
    #[test]
    fn what_is_no_tap_is_nobodys_standby() {
        let machine = machine();
        port(&machine, "pf0", "br0");
        std::fs::remove_file(machine.root().join("sys/class/net/vnet0/tun_flags")).unwrap();
        assert_eq!(uplinks(&machine), [""; 0]);
        assert!(!machine.sysfs().has_tap(MAC.parse().unwrap()));
    }
}
