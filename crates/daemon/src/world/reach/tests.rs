//! Whose questions are asked, and through what; with bridges of the kernel's that sort VLANs in a network of the test's own.

use std::process::Command;

use godwit_migration::plan::{Neighbour, NicVlans, PortVlans, VlanTag, Ways};

use super::*;
use crate::{
    ask::tests::Fabric,
    keep::tests::place::{in_a_network, ip, run},
};

#[test]
fn a_peer_has_its_share_of_questions_and_takes_nobody_elses() {
    let asking = Asking::default();
    let now = Instant::now();
    let admits = |peer: &str, now| (0..10).filter(|_| asking.admits(peer, MOST, now)).count();
    assert_eq!((admits("alpha", now), admits("beta", now)), (2, 2));
    assert_eq!(admits("alpha", now + Duration::from_millis(500)), 1);
    assert_eq!(admits("alpha", now + Duration::from_secs(3600)), 2);
}

#[test]
fn the_own_port_of_a_switch_is_where_it_says() {
    let asks = |own: Uplink, port: PortVlans| {
        let tags = of_switch(own).tags(&port, &[]).ok()?;
        Some(tags.iter().map(|tag| tag.vlan).collect::<Vec<u16>>())
    };
    assert_eq!(asks(Uplink::Open, PortVlans::Open), Some(vec![]));
    assert_eq!(asks(Uplink::Open, PortVlans::Access(42)), Some(vec![42]));
    assert_eq!(asks(Uplink::Access(42), PortVlans::Access(42)), Some(vec![]));
    assert_eq!(asks(Uplink::Access(42), PortVlans::Open), None);
    assert_eq!(
        asks(Uplink::Trunk(vec![42]), PortVlans::Access(42)),
        Some(vec![42])
    );
    assert_eq!(asks(Uplink::Trunk(vec![42]), PortVlans::Open), None);
    assert_eq!(asks(Uplink::Trunk(vec![0, 42]), PortVlans::Open), Some(vec![]));
}

/// A standby on `br0` whose guest knows one neighbour, and 10.77.0.1 without a tag.
fn nic(port: PortVlans, who: &str, vlan: u32) -> NeededNic {
    let tags = VlanTag::new(0x8100, vlan).into_iter().collect();
    let mac = "52:54:00:77:00:01";
    NeededNic {
        mac: "52:54:00:aa:00:10".into(),
        kind: "bridge".into(),
        source: "br0".into(),
        mtu: 1500,
        standby: true,
        vlans: NicVlans {
            port,
            ..NicVlans::default()
        },
        neighbours: vec![
            Neighbour::new(who, mac, tags).unwrap(),
            Neighbour::new("10.77.0.1", mac, Vec::new()).unwrap(),
        ],
    }
}

async fn heard(nic: &NeededNic) -> Vec<String> {
    let machine = Machine::at("/");
    let Ok(NetworkSeen::There(network)) = machine.interface(&nic.source) else {
        panic!("there is no {}", nic.source);
    };
    let told = |heard: Fact<Heard>| match heard {
        Ok(Heard::Same { .. }) => "same".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(why) => why,
    };
    let heard = through(&machine, nic, &network, &[]).await.unwrap();
    heard.into_iter().map(told).collect()
}

#[test]
fn a_bridge_that_sorts_vlans_is_asked_in_that_of_the_guests_port() {
    in_a_network(
        "world::reach::tests::a_bridge_that_sorts_vlans_is_asked_in_that_of_the_guests_port",
        async || {
            let fabric = Fabric::new();
            let filters = Command::new("ip")
                .args("link add br9 type bridge vlan_filtering 1".split(' '))
                .status();
            if !fabric.has_vlan() || !filters.is_ok_and(|status| status.success()) {
                eprintln!("skipped: this kernel has no VLANs, or its bridges do not filter them");
                return;
            }
            let plain = nic(PortVlans::Open, "10.100.0.1", 100);
            assert_eq!(heard(&plain).await, ["same", "same"]);
            let access = nic(PortVlans::Access(100), "10.100.0.1", 0);
            let unsorted = "its port is to sort VLANs (<vlan>), and nothing does there";
            assert_eq!(heard(&access).await, [unsorted; 2]);
            ip("link set br0 type bridge vlan_filtering 1");
            run("bridge", "vlan add vid 100 dev up0");
            assert_eq!(
                heard(&access).await,
                ["the bridge's own port is not in VLAN 100"; 2]
            );
            run("bridge", "vlan add vid 100 dev br0 self");
            assert_eq!(heard(&access).await, ["same", "Nobody"]);
            let given_none = "the bridge filters VLANs (vlan_filtering), and the guest's port is given none";
            assert_eq!(heard(&plain).await, [given_none, "same"]);
            let trunk = nic(PortVlans::Trunk(vec![100]), "10.100.0.1", 100);
            assert_eq!(heard(&trunk).await[0], "same");
            // The uplink's port is taken out of the VLAN.
            run("bridge", "vlan del vid 100 dev up0");
            assert_eq!(heard(&access).await, ["Nobody"; 2]);
        },
    );
}

#[test]
fn a_network_of_libvirts_is_not_asked() {
    let mut nic = nic(PortVlans::Open, "10.77.0.9", 0);
    nic.kind = "network".into();
    let network = Network {
        kind: NetworkKind::Libvirt,
        mtu: u32::MAX,
        link: true,
        ways: Ways::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let machine = Machine::at("/");
    let why = runtime
        .block_on(through(&machine, &nic, &network, &[]))
        .unwrap_err();
    assert!(why.contains("libvirt"), "{why}");
    assert!(fits_kind(&nic, &network));
    nic.kind = "bridge".into();
    assert!(!fits_kind(&nic, &network));
}
