//! What a guest's NICs are connected to on this host, or would be.

use godwit_migration::{
    MacAddress, Pair,
    doctor::Fact,
    plan::{NeededNic, Network, NetworkKind, NetworkSeen, Ways},
    preflight::PairSeen,
};
use tokio::task::spawn_blocking;

use super::{RealWorld, ahead::told, doctor::in_time};
use crate::machine::Machine;

impl RealWorld {
    /// What a NIC is connected to here, or would be.
    pub(super) async fn network(&self, nic: &NeededNic) -> Fact<NetworkSeen> {
        let name = nic.source.clone();
        match nic.kind.as_str() {
            "network" => {
                let asked = async { self.libvirt.has_network(name).await.map_err(told) };
                Ok(by_libvirt(in_time(asked).await?))
            }
            "bridge" | "direct" | "openvswitch" => in_time(interface(&self.practice.machine, nic)).await,
            _ => Err("it is of a kind that is not looked at".into()),
        }
    }
}

/// What it is made of is libvirt's affair.
fn by_libvirt(active: bool) -> NetworkSeen {
    match active {
        true => NetworkSeen::There(Network {
            kind: NetworkKind::Libvirt,
            mtu: u32::MAX,
            link: true,
            ways: Ways::default(),
        }),
        false => NetworkSeen::Missing,
    }
}

/// By the kernel's word; of what is no bridge to it, by that of Open vSwitch.
async fn interface(machine: &Machine, nic: &NeededNic) -> Fact<NetworkSeen> {
    let (kernels, name) = (machine.clone(), nic.source.clone());
    let seen = spawn_blocking(move || kernels.interface(&name)).await;
    let seen = seen.map_err(|error| error.to_string())??;
    let is_bridge = matches!(&seen, NetworkSeen::There(network) if network.kind == NetworkKind::Bridge);
    if is_bridge || nic.kind == "direct" {
        return Ok(seen);
    }
    Ok(match machine.switch(&nic.source).await? {
        Some(switch) => NetworkSeen::There(switch),
        None => seen,
    })
}

/// Where it is.
pub(super) fn connected(nic: &mut NeededNic, network: &Network) {
    // A network of libvirt's does not tell.
    nic.mtu = Some(network.mtu).filter(|mtu| *mtu < u32::MAX).unwrap_or(0);
    nic.vlans.leaves_in = network.ways.untagged(&nic.vlans.port);
}

/// What its pair does about VLANs.
pub(super) fn of_pair(nic: &mut NeededNic, pairs: &[Pair], seen: &[PairSeen]) {
    let Ok(mac) = nic.mac.parse::<MacAddress>() else {
        return;
    };
    let profile = pairs.iter().find(|pair| pair.mac == mac);
    let profile = profile.and_then(|pair| pair.profile);
    nic.vlans.vf = profile.map_or(0, |profile| profile.vlan.id);
    if let Some(seen) = seen.iter().find(|seen| seen.mac == mac) {
        nic.vlans.guest.clone_from(&seen.vlans);
    }
}

#[cfg(test)]
mod tests {
    use godwit_migration::{
        Profile,
        plan::{NicVlans, Uplink},
        profile::Vlan,
    };

    use super::*;

    fn nic(kind: &str) -> NeededNic {
        NeededNic {
            mac: "52:54:00:aa:00:10".into(),
            kind: kind.into(),
            source: "br0".into(),
            mtu: 0,
            standby: true,
            vlans: NicVlans::default(),
            neighbours: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_the_kernel_calls_a_bridge_is_one_and_of_others_open_vswitch_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::at(folder.path());
        let kind = async |kind: &str| match interface(&machine, &nic(kind)).await {
            Ok(NetworkSeen::There(network)) => Ok(Some(network.kind)),
            Ok(NetworkSeen::Missing) => Ok(None),
            Err(why) => Err(why),
        };
        assert_eq!(kind("openvswitch").await, Ok(None), "there is no Open vSwitch");
        let net = folder.path().join("sys/class/net/br0");
        std::fs::create_dir_all(&net).unwrap();
        std::fs::write(net.join("mtu"), "1500").unwrap();
        // One that does not answer in its own language.
        let socket = folder.path().join("run/openvswitch");
        std::fs::create_dir_all(&socket).unwrap();
        let listener = tokio::net::UnixListener::bind(socket.join("db.sock")).unwrap();
        tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        assert_eq!(kind("direct").await, Ok(Some(NetworkKind::Interface)));
        assert!(
            kind("bridge")
                .await
                .unwrap_err()
                .contains("Open vSwitch cannot be asked")
        );
        std::fs::create_dir_all(net.join("brif")).unwrap();
        assert_eq!(kind("bridge").await, Ok(Some(NetworkKind::Bridge)));
    }

    #[test]
    fn a_nic_has_the_vlans_of_its_place_its_vf_and_its_guest() {
        let mut nic = nic("bridge");
        let network = |vlan, mtu| Network {
            kind: NetworkKind::Bridge,
            mtu,
            link: true,
            ways: Ways {
                uplinks: vec![Uplink::Tagging(vlan)],
                filters: false,
            },
        };
        connected(&mut nic, &network(42, 9000));
        assert_eq!((nic.mtu, nic.vlans.leaves_in), (9000, Some(42)));
        connected(&mut nic, &network(42, u32::MAX));
        assert_eq!(
            nic.mtu, 0,
            "not known is no MTU that others could be smaller than"
        );
        let seen = |mac: &str| PairSeen {
            mac: mac.parse().unwrap(),
            on_primary: true,
            has_primary: true,
            failover: false,
            problem: None,
            unmonitored: false,
            vlans: vec![100],
        };
        let vlan = Vlan {
            id: 42,
            ..Vlan::default()
        };
        let mac: MacAddress = nic.mac.parse().unwrap();
        let pair = Pair {
            mac,
            primary_mac: mac,
            standby: "ua-standby0".into(),
            primary: "ua-primary0".into(),
            pool: "fabric".into(),
            source_vf: None,
            destination_vf: None,
            profile: Some(Profile {
                vlan,
                ..Profile::default()
            }),
        };
        of_pair(
            &mut nic,
            &[pair],
            &[seen("52:54:00:aa:00:11"), seen("52:54:00:aa:00:10")],
        );
        assert_eq!((nic.vlans.vf, nic.vlans.guest.as_slice()), (42, &[100][..]));
    }
}
