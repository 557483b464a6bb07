//! What a pretend host knows of its guests and VFs.

use godwit_migration::{
    Vf, VfUse,
    choice::Site,
    doctor::Version,
    preflight::{GuestFacts, PairFacts, PairSeen},
};

use super::PretendWorld;
use crate::{
    ills::Ill,
    layout,
    model::{self, Body, Domain, GuestId, Host, Model, Nic, Port},
};

impl PretendWorld {
    pub(super) fn guest_facts(&self, named: Option<&str>) -> Vec<GuestFacts> {
        let model = self.model();
        let here = &model.hosts[self.host].guests;
        match named {
            None => here.iter().map(|guest| self.facts(&model, *guest)).collect(),
            Some(named) => {
                let found = model.find(named).filter(|guest| here.contains(guest));
                found.map(|guest| self.facts(&model, guest)).into_iter().collect()
            }
        }
    }

    fn facts(&self, model: &Model, guest: GuestId) -> GuestFacts {
        let found = &model.guests[guest];
        let domain = found.at.get(&self.host).map(|body| body.domain);
        let state = match domain {
            Some(Domain::Running) => "running",
            Some(Domain::Paused | Domain::Torn) => "paused",
            Some(Domain::Incoming) => "paused (migration)",
            Some(Domain::ShutOff) | None => "shut off",
        };
        let running = domain == Some(Domain::Running);
        let body = found
            .at
            .get(&self.host)
            .filter(|_| domain != Some(Domain::Incoming));
        GuestFacts {
            guest: found.id.clone(),
            state: state.into(),
            running,
            managed: found.managed.is_some(),
            policy: found.managed.unwrap_or_default(),
            pairs: body
                .map(|body| pairs(&model.hosts[self.host], found, body))
                .unwrap_or_default(),
            agent: match (running, found.agent, body) {
                (false, ..) => Err(format!("the guest is {state}")),
                (_, false, _) | (_, _, None) => Err("its domain has no channel org.godwit.agent.0".into()),
                (true, true, Some(body)) => Ok(seen(&model.hosts[self.host], found, body)),
            },
            agent_version: version(&model.hosts[self.host]),
            strays: Vec::new(),
            nodes: Vec::new(),
        }
    }

    pub(super) fn vf_facts(&self) -> Vec<Vf> {
        let model = self.model();
        let vf = |(address, vf): (&godwit_migration::PciAddress, &model::Vf)| Vf {
            address: *address,
            pool: vf.pool.clone(),
            pf: vf.pf.clone(),
            usage: match vf.owner {
                Some(guest) => VfUse::Guest(model.guests[guest].id.name.clone()),
                None => VfUse::Free,
            },
            profile: Some(vf.profile),
            site: Site::default(),
            mac: model.hosts[self.host].macs_of(*address).first().copied(),
        };
        model.hosts[self.host].vfs.iter().map(vf).collect()
    }
}

/// Of a managed guest those of its metadata, of another those that have a VF.
fn pairs(host: &model::Host, guest: &model::Guest, body: &Body) -> Vec<PairFacts> {
    let pairs = guest.pairs.iter().zip(&body.ports).enumerate();
    let known = pairs.filter(|(_, (_, ports))| guest.managed.is_some() || ports.vf.is_some());
    let facts = |(index, (pair, ports)): (usize, (&model::Pair, &model::Ports))| PairFacts {
        mac: pair.standby.then_some(pair.mac),
        primary_mac: Some(pair.mac),
        standby: pair.standby.then(|| format!("ua-standby{index}")),
        primary: (guest.managed.is_some() || ports.vf.is_some()).then(|| format!("ua-primary{index}")),
        vf: ports.vf,
        pool: Some(pair.pool.clone()),
        profile: match ports.vf.and_then(|vf| host.vfs.get(&vf)) {
            Some(vf) => Some(vf.profile),
            None => pair.recorded,
        },
        recorded: pair.recorded.filter(|_| guest.managed.is_some()),
        // No pretend guest has libvirt's own pairs.
        teamed: false,
    };
    known.map(facts).collect()
}

/// Of the agents of a host's guests: the simulator's own, or that of long ago.
fn version(host: &Host) -> Option<Version> {
    match host.ills.contains(&Ill::OldAgents) {
        true => Some(Version(0, 0, 1)),
        false => env!("CARGO_PKG_VERSION").parse().ok(),
    }
}

fn seen(host: &Host, guest: &model::Guest, body: &Body) -> Vec<PairSeen> {
    let ails = |ill| host.ills.contains(&ill);
    let problem = match (ails(Ill::BondBroken), ails(Ill::StandbyNoCarrier)) {
        (true, _) => Some("it is neither a bond in active-backup mode nor net_failover".to_owned()),
        (false, true) => Some("its standby has no carrier".to_owned()),
        (false, false) => None,
    };
    let standbys = guest
        .pairs
        .iter()
        .zip(&body.ports)
        .filter(|(pair, _)| pair.standby);
    let seen = |(pair, ports): (&model::Pair, &model::Ports)| PairSeen {
        mac: pair.mac,
        on_primary: ports.active == Port::Vf && ports.nic == Nic::Up,
        has_primary: ports.nic != Nic::None,
        failover: false,
        problem: problem.clone(),
        unmonitored: ails(Ill::BondUnmonitored),
        // Where the NIC tags nothing the guest does.
        vlans: Vec::from_iter((pair.profile.vlan.id == 0).then_some(layout::GUEST_VLAN)),
    };
    standbys.map(seen).collect()
}
