//! Bridges of another kind, and VLANs.

use super::*;

fn nic(change: impl FnOnce(&mut NeededNic, &mut Network)) -> String {
    comes(|needs, there| {
        let mut network = bridge();
        change(&mut needs.nics[0], &mut network);
        there.nics[0] = Ok(NetworkSeen::There(network));
    })
}

#[test]
fn a_bridge_of_another_kind_is_none() {
    assert_eq!(
        nic(|nic, _| nic.kind = "openvswitch".into()),
        "Error NETWORK_KIND: `br0` is a bridge of the kernel's on beta, and NIC 52:54:00:aa:00:10 of guest `web-1` \
         needs a bridge of Open vSwitch"
    );
    let other = nic(|_, network| network.kind = NetworkKind::OpenVswitch);
    assert!(other.contains("is a bridge of Open vSwitch on beta"), "{other}");
    let plain = nic(|_, network| network.kind = NetworkKind::Interface);
    assert!(plain.contains("is no bridge on beta"), "{plain}");
    let fits = nic(|nic, network| {
        nic.kind = "openvswitch".into();
        network.kind = NetworkKind::OpenVswitch;
    });
    let macvtap = nic(|nic, network| {
        nic.kind = "direct".into();
        network.kind = NetworkKind::Interface;
    });
    assert_eq!((fits.as_str(), macvtap.as_str()), ("", ""));
}

#[test]
fn a_standby_is_in_the_vlan_that_it_was_in_and_in_that_of_its_vf() {
    assert_eq!(
        nic(|_, network| network.ways.uplinks = vec![Uplink::Tagging(43)]),
        "Warning NETWORK_VLAN: NIC 52:54:00:aa:00:10 of guest `web-1` is in no VLAN where it is, and would be in VLAN 43 \
         on beta, by bridge `br0`"
    );
    let tagged = |here, vf, there| {
        nic(|nic, network| {
            (nic.vlans.leaves_in, nic.vlans.vf) = (here, vf);
            network.ways.uplinks = vec![Uplink::Tagging(there)];
        })
    };
    assert_eq!(
        tagged(Some(43), 42, 43),
        "Warning NETWORK_VLAN: NIC 52:54:00:aa:00:10 of guest `web-1` would be in VLAN 43 on beta, and its VF is in VLAN 42"
    );
    assert_eq!(tagged(Some(42), 42, 42), "");
    assert_eq!(tagged(None, 0, 42), "", "what is not known is no difference");
    // The switch may put what comes without a tag into the VF's VLAN.
    assert_eq!(nic(|nic, _| nic.vlans.vf = 42), "");
    let untagged = nic(|nic, _| (nic.vlans.leaves_in, nic.vlans.vf) = (Some(42), 42));
    assert!(
        untagged.contains("is in VLAN 42 where it is, and would be in no VLAN on beta"),
        "{untagged}"
    );
    let access = nic(|nic, network| {
        nic.vlans.port = PortVlans::Access(7);
        nic.vlans.leaves_in = Some(7);
        network.ways.uplinks = vec![Uplink::Access(7)];
    });
    assert!(
        access.contains("is in VLAN 7 where it is, and would be in no VLAN on beta"),
        "{access}"
    );
}

#[test]
fn vlans_of_the_guests_own_have_to_get_through() {
    let both = |nic: &mut NeededNic| nic.vlans.guest = vec![100, 200];
    assert_eq!(nic(|nic, _| both(nic)), "");
    assert_eq!(
        nic(|nic, network| {
            both(nic);
            network.ways.filters = true;
        }),
        "Warning NETWORK_VLAN: guest `web-1` has VLANs 100, 200 on the pair 52:54:00:aa:00:10, and bridge `br0` on beta does \
         not let them through: the bridge filters VLANs (vlan_filtering), and the guest's port is given none"
    );
    let one = nic(|nic, _| {
        both(nic);
        nic.vlans.port = PortVlans::Trunk(vec![100]);
        nic.vlans.leaves_in = None;
    });
    assert!(
        one.contains("has VLAN 200 on the pair") && one.contains("does not take that VLAN"),
        "{one}"
    );
    let trunk = nic(|nic, network| {
        both(nic);
        (nic.kind, network.kind) = ("openvswitch".into(), NetworkKind::OpenVswitch);
        network.ways.uplinks = vec![Uplink::Trunk(vec![0, 200])];
    });
    assert!(
        trunk.contains("has VLAN 100 on the pair") && trunk.contains("no way out"),
        "{trunk}"
    );
}

#[test]
fn all_that_is_wrong_with_a_network_is_told_at_once() {
    let all = nic(|nic, network| {
        nic.vlans.guest = vec![100];
        network.mtu = 1400;
        network.ways.uplinks = vec![Uplink::Tagging(42)];
    });
    let reasons: Vec<&str> = all
        .lines()
        .filter_map(|line| line.split([' ', ':']).nth(1))
        .collect();
    assert_eq!(reasons, ["NETWORK_MTU", "NETWORK_VLAN", "NETWORK_VLAN"], "{all}");
}
