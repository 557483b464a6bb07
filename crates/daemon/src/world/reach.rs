//! Whether this host has the networks of a guest that is to come: those whom the guest knows are asked for here. And whom it knows, of
//! a guest that is to leave. What it means is in `godwit_migration::plan`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use godwit_keep::Rate;
use godwit_migration::{
    Brief, MacAddress,
    doctor::Fact,
    plan::{Heard, NeededNic, Needs, Network, NetworkKind, NetworkSeen, OwnPort, Uplink},
};
use tokio::time::sleep;

use super::{RealWorld, doctor::in_time, open_channel_of};
use crate::{
    agent::Known,
    ask::{self, Question},
    machine::Machine,
    vf::own_vlans,
};

/// So long an agent may take to tell whom its guest knows.
const TELL: Duration = Duration::from_secs(3);
/// More questions of one plan are not asked.
const MOST: usize = 32;
/// A peer may have so many asked at once, and as many again in each second.
const OF_ONE: usize = 64;
/// So often one that has had its share is looked at again.
const AGAIN: Duration = Duration::from_millis(100);

/// Whose questions this host asks, and how many.
#[derive(Debug)]
pub(super) struct Asking {
    allowed: bool,
    rates: Mutex<HashMap<String, Rate>>,
}

impl Default for Asking {
    fn default() -> Asking {
        Asking::new(true)
    }
}

impl Asking {
    pub(super) fn new(allowed: bool) -> Asking {
        Asking {
            allowed,
            rates: Mutex::default(),
        }
    }

    /// When the peer may have so many asked.
    async fn turn(&self, peer: &str, questions: usize) {
        while !self.admits(peer, questions, Instant::now()) {
            sleep(AGAIN).await;
        }
    }

    /// Only hosts of the configuration get here, so the list stays short.
    fn admits(&self, peer: &str, questions: usize, now: Instant) -> bool {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates
            .entry(peer.to_owned())
            .or_insert_with(|| Rate::new(OF_ONE, now));
        rate.admits(questions, 0, now)
    }
}

impl RealWorld {
    /// Whom a guest of this host knows, by its agent's word.
    pub(super) async fn known(&self, brief: &Brief) -> Fact<Known> {
        if brief.probes == 0 {
            return Err("so it is configured ([measure] probes = 0)".into());
        }
        let asked = async {
            let devices = self.devices(brief).await;
            let devices = devices.map_err(|_| "the guest's domain cannot be read".to_owned())?;
            let path = open_channel_of(&devices).ok_or("no agent tells whom the guest knows")?;
            let known = self
                .agents
                .known(&path, TELL)
                .await
                .map_err(|error| error.to_string())?;
            known.ok_or_else(|| {
                "the guest's agent is older than this, and does not tell whom the guest knows".into()
            })
        };
        in_time(asked).await
    }

    /// What comes of asking for each NIC's neighbours here; of a NIC whose network is not there, or that has none, nothing.
    pub(super) async fn asked(
        &self,
        needs: &Needs,
        networks: &[Fact<NetworkSeen>],
        peer: &str,
    ) -> Vec<Vec<Fact<Heard>>> {
        let never: Vec<MacAddress> = needs.nics.iter().filter_map(|nic| nic.mac.parse().ok()).collect();
        let mut left = MOST;
        let looks = needs.nics.iter().zip(networks).map(|(nic, seen)| {
            let questions = nic.neighbours.len();
            let fits = questions <= left;
            left -= if fits { questions } else { 0 };
            let never = &never;
            async move {
                let Ok(NetworkSeen::There(network)) = seen else {
                    return Vec::new();
                };
                if questions == 0 || !fits_kind(nic, network) {
                    return Vec::new();
                }
                let asked = match (self.asking.allowed, fits) {
                    (false, _) => Err("so it is configured there ([measure] probes = 0)".to_owned()),
                    (_, false) => Err("the guest knows too many".to_owned()),
                    (true, true) => {
                        in_time(async {
                            self.asking.turn(peer, questions).await;
                            through(&self.practice.machine, nic, network, never).await
                        })
                        .await
                    }
                };
                asked.unwrap_or_else(|why| vec![Err(why); questions])
            }
        });
        join_all(looks).await
    }
}

/// One of another kind is told as that, and takes no guest.
fn fits_kind(nic: &NeededNic, network: &Network) -> bool {
    match nic.kind.as_str() {
        "bridge" => network.kind == NetworkKind::Bridge,
        "openvswitch" => network.kind == NetworkKind::OpenVswitch,
        _ => true,
    }
}

/// Of each neighbour of the NIC, through what the NIC would be connected to.
async fn through(
    machine: &Machine,
    nic: &NeededNic,
    network: &Network,
    never: &[MacAddress],
) -> Fact<Vec<Fact<Heard>>> {
    let own = own_port(machine, nic, network).await?;
    let tags: Vec<_> = nic
        .neighbours
        .iter()
        .map(|who| own.tags(&nic.vlans.port, who.tags()))
        .collect();
    let questions: Vec<Question> = nic
        .neighbours
        .iter()
        .zip(&tags)
        .filter_map(|(who, tags)| {
            Some(Question {
                ip: who.ip(),
                mac: who.mac(),
                tags: tags.as_ref().ok()?.clone(),
            })
        })
        .collect();
    if questions.is_empty() {
        return Ok(tags.into_iter().map(|tags| tags.and(Ok(Heard::Nobody))).collect());
    }
    let mtu = if nic.mtu == 0 {
        network.mtu
    } else {
        nic.mtu.min(network.mtu)
    };
    let mut heard = ask::ask(&nic.source, mtu, never, &questions).await?.into_iter();
    let each = tags
        .into_iter()
        .map(|tags| tags.and_then(|_| heard.next().ok_or("it was not asked".into())));
    Ok(each.collect())
}

/// What the bridge does about VLANs where this host itself is in it.
async fn own_port(machine: &Machine, nic: &NeededNic, network: &Network) -> Fact<OwnPort> {
    match network.kind {
        NetworkKind::Interface => Ok(OwnPort::Plain),
        NetworkKind::Bridge if !network.ways.filters => Ok(OwnPort::Plain),
        NetworkKind::Bridge => {
            let (untagged, tagged) = own_vlans(&nic.source).await?;
            Ok(OwnPort::Sorting {
                untagged,
                tagged: Some(tagged),
                guests: machine.default_vlan(&nic.source)?,
                guests_tagged: false,
            })
        }
        NetworkKind::OpenVswitch => {
            let own = machine.switch_port(&nic.source).await?;
            Ok(of_switch(own.ok_or("the bridge has no port of its own")?))
        }
        NetworkKind::Libvirt => Err("a network of libvirt's does not tell what it is made of".into()),
    }
}

/// Open vSwitch' own port. A guest's without `<vlan>` passes all as it is.
fn of_switch(own: Uplink) -> OwnPort {
    let (untagged, tagged) = match own {
        Uplink::Open => (Some(0), None),
        Uplink::Access(vlan) | Uplink::Tagging(vlan) => (Some(vlan), Some(Vec::new())),
        Uplink::Trunk(vlans) => (vlans.contains(&0).then_some(0), Some(vlans)),
    };
    OwnPort::Sorting {
        untagged,
        tagged: tagged.map(|vlans| vlans.into_iter().collect()),
        guests: Some(0),
        guests_tagged: true,
    }
}

/// Puts whom the guest knows to its NICs.
pub(super) fn acquaint(needs: &mut Needs, known: Known) {
    for (mac, neighbours) in known {
        let nic = needs.nics.iter_mut().find(|nic| nic.mac.parse() == Ok(mac));
        if let Some(nic) = nic {
            nic.neighbours = neighbours;
        }
    }
}

#[cfg(test)]
mod tests;
