//! The rig's guests, by name.

use crate::guest::{Guest, Pair};

/// The newest: it asks its guest for a device by ACPI.
const ACPI: &str = "q35";

/// The guest that demonstrations and tests move.
pub const WEB_1: Guest = Guest {
    name: "web-1",
    uuid: "60d01700-0000-4000-8000-000000000010",
    mac: "52:54:00:aa:00:10",
    vf_mac: None,
    address: "10.77.0.100",
    second: None,
    machine: ACPI,
    standby: "standby.xml",
    teaming: false,
    port: 4555,
};

/// A second one, for who needs two. This and the others start when they are asked for.
pub const WEB_2: Guest = Guest {
    name: "web-2",
    uuid: "60d01700-0000-4000-8000-000000000020",
    mac: "52:54:00:aa:00:20",
    address: "10.77.0.101",
    port: 4556,
    ..WEB_1
};

/// One of two pairs, in a network each. It needs all VFs of its host.
pub const PAIRS_1: Guest = Guest {
    name: "pairs-1",
    uuid: "60d01700-0000-4000-8000-000000000030",
    mac: "52:54:00:aa:00:30",
    address: "10.77.0.102",
    second: Some(Pair {
        mac: "52:54:00:aa:00:31",
        address: "10.77.1.102",
    }),
    port: 4557,
    ..WEB_1
};

/// One that is asked for a device by the button of its slot: the last board of QEMU's without ACPI for that.
pub const NATIVE_1: Guest = Guest {
    name: "native-1",
    uuid: "60d01700-0000-4000-8000-000000000040",
    mac: "52:54:00:aa:00:40",
    address: "10.77.0.103",
    machine: "pc-q35-6.0",
    port: 4558,
    ..WEB_1
};

/// One whose VF has an address of its own.
pub const MACS_1: Guest = Guest {
    name: "macs-1",
    uuid: "60d01700-0000-4000-8000-000000000060",
    mac: "52:54:00:aa:00:60",
    vf_mac: Some("52:54:00:aa:00:61"),
    address: "10.77.0.105",
    port: 4560,
    ..WEB_1
};

/// One whose standby is a macvtap on the PF.
pub const TAP_1: Guest = Guest {
    name: "tap-1",
    uuid: "60d01700-0000-4000-8000-000000000070",
    mac: "52:54:00:aa:00:70",
    address: "10.77.0.106",
    standby: "macvtap.xml",
    port: 4561,
    ..WEB_1
};

/// One whose standby is a port of Open vSwitch.
pub const OVS_1: Guest = Guest {
    name: "ovs-1",
    uuid: "60d01700-0000-4000-8000-000000000080",
    mac: "52:54:00:aa:00:80",
    address: "10.77.0.107",
    standby: "ovs.xml",
    port: 4562,
    ..WEB_1
};

/// One whose standby the kernel's vhost carries.
pub const VHOST_1: Guest = Guest {
    name: "vhost-1",
    uuid: "60d01700-0000-4000-8000-000000000090",
    mac: "52:54:00:aa:00:90",
    address: "10.77.0.108",
    standby: "vhost.xml",
    port: 4563,
    ..WEB_1
};

/// One whose NIC is a trunk of VLAN 100. It has no VF.
pub const VLAN_1: Guest = Guest {
    name: "vlan-1",
    uuid: "60d01700-0000-4000-8000-0000000000a0",
    mac: "52:54:00:aa:00:a0",
    address: "10.77.0.109",
    standby: "trunk.xml",
    port: 4564,
    ..WEB_1
};

/// One that libvirt can move by itself, to compare with.
pub const TEAM_1: Guest = Guest {
    name: "team-1",
    uuid: "60d01700-0000-4000-8000-000000000050",
    mac: "52:54:00:aa:00:50",
    address: "10.77.0.104",
    teaming: true,
    port: 4559,
    ..WEB_1
};

impl Guest {
    /// All of them.
    pub const ALL: [Guest; 10] = [
        WEB_1, WEB_2, PAIRS_1, NATIVE_1, MACS_1, TAP_1, OVS_1, VHOST_1, VLAN_1, TEAM_1,
    ];
}
