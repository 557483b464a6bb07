//! A guest whose fail back failed, as its agent tells of it, on a host with one PF that netlink does not know: what is done to a VF
//! can be seen from what comes of it.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Arc};

use godwit_api::agent::v1::{
    HostFrame, Inspected, Pair as Told, PairKind, Port, PortRole, Released, guest_frame, host_frame,
};
use godwit_coordinator::faults::Faults;
use tempfile::TempDir;

use super::*;
use crate::{
    agent::tests::{answer, guest, welcome},
    vf::PoolSpec,
};

const MAC: &str = "52:54:00:aa:00:10";
const VF: &str = "0000:01:10.0";

/// A host with `pf0`, which has that driver and one VF, and a guest of which that is told.
struct Place {
    folder: TempDir,
    vfs: Vfs,
    _agent: TempDir,
    channel: PathBuf,
}

impl Place {
    fn new(driver: &str, told: Told) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("sys/bus/pci/devices");
        for address in ["0000:01:00.0", VF] {
            fs::create_dir_all(devices.join(address)).unwrap();
        }
        let pf = devices.join("0000:01:00.0");
        fs::write(pf.join("sriov_numvfs"), "1\n").unwrap();
        symlink(format!("../{VF}"), pf.join("virtfn0")).unwrap();
        symlink(format!("../../drivers/{driver}"), pf.join("driver")).unwrap();
        let net = folder.path().join("sys/class/net/pf0");
        fs::create_dir_all(&net).unwrap();
        symlink("../../../bus/pci/devices/0000:01:00.0", net.join("device")).unwrap();
        let pool = PoolSpec {
            name: "fabric".into(),
            pfs: vec!["pf0".into()],
            ..PoolSpec::default()
        };
        let (agent, channel) = guest(Vec::new(), move |frame| {
            vec![welcome(&frame).unwrap_or_else(|| answer(&frame, tells(&frame, &told)))]
        });
        Place {
            vfs: Vfs::at(folder.path(), vec![pool]),
            folder,
            _agent: agent,
            channel,
        }
    }

    async fn starves(&self) -> Result<(), String> {
        let agents = Agents::with(Arc::new(Faults::none()));
        assert!(self.folder.path().exists());
        starve(
            &agents,
            &self.vfs,
            &self.channel,
            (&pair(MAC), VF.parse().unwrap()),
        )
        .await
    }
}

/// Answers what it is asked.
fn tells(frame: &HostFrame, told: &Told) -> guest_frame::Body {
    match &frame.body {
        Some(host_frame::Body::Inspect(_)) => guest_frame::Body::Inspected(Inspected {
            pairs: vec![told.clone()],
            ..Inspected::default()
        }),
        Some(host_frame::Body::ReleasePrimary(_)) => {
            guest_frame::Body::Released(Released { had_primary: true })
        }
        other => panic!("{other:?} is asked of a guest whose fail back failed"),
    }
}

fn pair(primary: &str) -> Pair {
    Pair {
        mac: MAC.parse().unwrap(),
        primary_mac: primary.parse().unwrap(),
        standby: "net0".into(),
        primary: "ua-vf0".into(),
        pool: "fabric".into(),
        source_vf: None,
        destination_vf: None,
        profile: None,
    }
}

/// A bond on its standby with a VF that works.
fn told() -> Told {
    let port = |role: PortRole, name: &str| Port {
        role: role.into(),
        name: name.into(),
        mac: MAC.into(),
        permanent_mac: MAC.into(),
        up: true,
        carrier: true,
        ..Port::default()
    };
    Told {
        kind: PairKind::Bond.into(),
        name: "bond0".into(),
        mac: MAC.into(),
        active: "eth0".into(),
        ports: vec![port(PortRole::Standby, "eth0"), port(PortRole::Primary, "eth1")],
        ..Told::default()
    }
}

#[tokio::test]
async fn a_vf_that_its_guest_does_not_use_loses_its_mac() {
    let why = Place::new("igb", told()).starves().await.unwrap_err();
    assert!(why.contains("pf0"), "netlink was not asked: {why}");
}

/// The guest's own driver fills the switch of such a NIC, and empties it when the port goes down.
#[tokio::test]
async fn where_the_guest_steers_its_agent_takes_the_port_down() {
    assert_eq!(Place::new("iavf-like", told()).starves().await, Ok(()));
}

#[tokio::test]
async fn frames_for_a_mac_of_its_own_are_the_vfs() {
    let place = Place::new("igb", told());
    let agents = Agents::with(Arc::new(Faults::none()));
    let (own, vf) = (pair("52:54:00:aa:00:99"), VF.parse().unwrap());
    assert_eq!(
        starve(&agents, &place.vfs, &place.channel, (&own, vf)).await,
        Ok(())
    );
}

/// Nothing is taken from a VF that may carry the traffic, whose driver may have no address yet, or that has no link: its bond
/// may be waiting for that alone.
#[tokio::test]
async fn a_vf_that_may_be_wanted_keeps_its_mac() {
    let changes: [fn(&mut Told); 7] = [
        |told| told.active = "eth1".into(),
        |told| told.active = String::new(),
        |told| told.ports[1].carrier = false,
        |told| told.ports[1].up = false,
        |told| drop(told.ports.pop()),
        |told| told.ports[1].permanent_mac = "02:11:22:33:44:55".into(),
        |told| told.kind = PairKind::NetFailover.into(),
    ];
    for change in changes {
        let mut told = told();
        change(&mut told);
        let why = Place::new("igb", told.clone()).starves().await.unwrap_err();
        assert_eq!(
            why, "the guest does not say that the VF is an idle port of the pair",
            "{told:?}"
        );
    }
}
