//! The pretend world: hosts with VFs and an embedded switch, guests with a bond, a fabric between them.
//!
//! It knows nothing of the workflow. What must never happen to it is noted in [`Model::wrong`], by the deed itself
//! or by the look that follows every deed (`invariants.rs`).

mod deeds;
mod flow;
mod invariants;
mod libvirt;
mod packets;
mod probes;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use godwit_migration::{MacAddress, PciAddress, Policy, Profile};
use tokio::time::Instant;

pub use self::packets::Way;
pub(crate) use self::{
    flow::{Frame, PERIOD, Tap, emulated},
    libvirt::{Fate, Stage, Transfer},
};
use crate::{faults::Knobs, ills::Ill};

/// Index of a host.
pub type HostId = usize;
/// Index of a guest.
pub type GuestId = usize;

/// At most so many broken rules are told; the first is the one to look at.
const MOST_WRONG: usize = 20;

/// A guest's domain on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Being received; it has not run here.
    Incoming,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Defined, not running.
    ShutOff,
    /// Paused for good: post-copy broke, and a part of its memory is on each host.
    Torn,
}

/// The port of the bond that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The virtio NIC.
    Standby,
    /// The VF.
    Vf,
}

/// The VF as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// There is none.
    None,
    /// Plugged; the guest's driver is not up.
    Plugged,
    /// An enslaved, working port of the bond.
    Up,
}

/// One pair of a guest, as one host's copy of the guest has it.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Which port sends.
    pub active: Port,
    /// Both ports accept frames (`all_slaves_active`).
    pub accepts_all: bool,
    /// The VF in the guest.
    pub nic: Nic,
    /// Which VF that is, on the host.
    pub vf: Option<PciAddress>,
    /// The guest was asked to let the VF go and has not done so.
    pub unplug_pending: bool,
}

/// A guest on one host.
#[derive(Clone, Debug)]
pub struct Body {
    /// libvirt's state.
    pub domain: Domain,
    /// In the order of the guest's pairs.
    pub ports: Vec<Ports>,
}

/// A pair, wherever the guest is.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Both ports' address.
    pub mac: MacAddress,
    /// Its VFs come from here.
    pub pool: String,
    /// It has a virtio NIC.
    pub standby: bool,
    /// The host whose uplink the fabric has learned for the address.
    pub fabric: HostId,
    /// What its VFs are to be set to: what its first one was.
    pub profile: Profile,
    /// What the metadata says of that.
    pub recorded: Option<Profile>,
}

/// A guest.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name and UUID.
    pub id: godwit_migration::Guest,
    /// What the metadata of its domain says; none: it has none.
    pub managed: Option<Policy>,
    /// Its agent answers.
    pub agent: bool,
    /// Its memory, bytes.
    pub memory: u64,
    /// Its pairs.
    pub pairs: Vec<Pair>,
    /// Where it is.
    pub at: BTreeMap<HostId, Body>,
    /// Hosts where libvirt, by its own fault, resumed a copy although another had run: until somebody ends it.
    pub stale: BTreeSet<HostId>,
    /// It was shut down, or crashed.
    pub stopped: bool,
    /// It answers no unplug before then.
    pub silent_until: Option<Instant>,
    /// Its last transfer.
    pub(crate) transfer: Option<Transfer>,
}

/// A VF as its host sees it.
#[derive(Clone, Debug)]
pub struct Vf {
    /// Interface name of its PF.
    pub pf: String,
    /// Its pool.
    pub pool: String,
    /// The guest that has it.
    pub owner: Option<GuestId>,
    /// What its PF has set for it.
    pub profile: Profile,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its VFs.
    pub vfs: BTreeMap<PciAddress, Vf>,
    /// The embedded switch: which VF gets the frames for an address. What is not in it goes to the PF, and so to
    /// the bridge.
    pub switch: BTreeMap<MacAddress, PciAddress>,
    /// Addresses whose frames the switch copies to the PF as well.
    pub copies: BTreeSet<MacAddress>,
    /// The guests that are on it, in whatever state.
    pub guests: BTreeSet<GuestId>,
    /// It hears nobody before then.
    pub cut_until: Option<Instant>,
    /// Its daemon hears no other before then, though libvirt and QEMU do.
    pub parted_until: Option<Instant>,
    /// What the doctor is to find.
    pub ills: BTreeSet<Ill>,
    /// Its journal was lost.
    pub(crate) forgot: bool,
    /// How often its daemon has died.
    pub(crate) deaths: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Model {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The guests.
    pub guests: Vec<Guest>,
    /// What goes wrong, and when.
    pub knobs: Knobs,
    /// Rules that were broken: the first few.
    pub wrong: Vec<String>,
    /// How many were.
    pub wrongs: u64,
    /// Guests whose agents say of the switch that they are asked for next that it is made, and make none.
    pub(crate) liars: BTreeSet<GuestId>,
    /// Where a migration's guest ran as it arrived.
    pub(crate) arrivals: BTreeMap<String, HostId>,
    /// What the guests' agents count.
    probing: BTreeMap<GuestId, probes::Probing>,
    /// What the network sends to guests that move; a frame each so often.
    flows: BTreeMap<GuestId, flow::Flow>,
    pub(crate) period: Duration,
    taps: u64,
    named: HashMap<String, GuestId>,
    transfers: u64,
}

impl Guest {
    /// Writes what was seen of the pairs' VFs into the metadata.
    pub(crate) fn record(&mut self, seen: &[godwit_migration::Pair]) {
        for pair in &mut self.pairs {
            let seen = seen.iter().find(|seen| seen.mac == pair.mac);
            pair.recorded = seen.and_then(|seen| seen.profile).or(pair.recorded);
        }
    }
}

impl Host {
    pub(crate) fn new(name: String) -> Host {
        Host {
            name,
            vfs: BTreeMap::new(),
            switch: BTreeMap::new(),
            copies: BTreeSet::new(),
            guests: BTreeSet::new(),
            cut_until: None,
            parted_until: None,
            ills: BTreeSet::new(),
            forgot: false,
            deaths: 0,
        }
    }

    /// Nothing is set on the VF, but perhaps a MAC.
    pub fn is_neutral(&self, vf: PciAddress) -> bool {
        self.vfs
            .get(&vf)
            .is_none_or(|vf| vf.profile == Profile::default())
    }

    /// The addresses that the switch gives to the VF.
    pub fn macs_of(&self, vf: PciAddress) -> Vec<MacAddress> {
        let of = |entry: (&MacAddress, &PciAddress)| (*entry.1 == vf).then_some(*entry.0);
        self.switch.iter().filter_map(of).collect()
    }
}

impl Model {
    /// Puts a guest into the world, running on a host; each pair that has a free VF of its pool is on it.
    pub(crate) fn add_guest(&mut self, mut guest: Guest, host: HostId) -> GuestId {
        let id = self.guests.len();
        self.named.insert(guest.id.name.clone(), id);
        self.named.insert(guest.id.uuid.clone(), id);
        let ports = guest
            .pairs
            .iter_mut()
            .map(|pair| self.plugged(id, host, pair))
            .collect();
        let body = Body {
            domain: Domain::Running,
            ports,
        };
        guest.at.insert(host, body);
        self.hosts[host].guests.insert(id);
        self.guests.push(guest);
        id
    }

    fn plugged(&mut self, guest: GuestId, host: HostId, pair: &mut Pair) -> Ports {
        let host = &mut self.hosts[host];
        let free = |vf: &Vf| vf.owner.is_none() && vf.pool == pair.pool;
        let found = host.vfs.iter_mut().find(|(_, vf)| free(vf));
        let vf = found.map(|(address, vf)| {
            (vf.owner, vf.profile) = (Some(guest), pair.profile);
            *address
        });
        if vf.is_none() {
            // Nobody has ever seen a VF of it.
            pair.profile = Profile::default();
        }
        if let Some(vf) = vf {
            host.switch.insert(pair.mac, vf);
        }
        Ports {
            active: if vf.is_some() { Port::Vf } else { Port::Standby },
            accepts_all: false,
            nic: if vf.is_some() { Nic::Up } else { Nic::None },
            vf,
            unplug_pending: false,
        }
    }

    /// The guest of that name or UUID.
    pub fn find(&self, named: &str) -> Option<GuestId> {
        self.named.get(named).copied()
    }

    /// Its agent says what is not so. Like every other fault that is over when all are.
    pub(crate) fn lies(&self, guest: GuestId) -> bool {
        self.liars.contains(&guest) && !self.knobs.off()
    }

    /// The guest on that host.
    pub fn body(&self, guest: GuestId, at: HostId) -> Option<&Body> {
        self.guests[guest].at.get(&at)
    }

    pub(crate) fn ports_mut(&mut self, guest: GuestId, at: HostId) -> Option<&mut Vec<Ports>> {
        Some(&mut self.guests[guest].at.get_mut(&at)?.ports)
    }

    /// It runs there.
    pub fn runs(&self, guest: GuestId, at: HostId) -> bool {
        self.body(guest, at)
            .is_some_and(|body| body.domain == Domain::Running)
    }

    /// Where it runs, stale copies left out.
    pub fn running_on(&self, guest: GuestId) -> Vec<HostId> {
        let guest = &self.guests[guest];
        let running = |(host, body): (&HostId, &Body)| {
            (body.domain == Domain::Running && !guest.stale.contains(host)).then_some(*host)
        };
        guest.at.iter().filter_map(running).collect()
    }

    /// It went on to another host, by whatever means.
    pub(crate) fn running_on_other(&self, uuid: &str, host: HostId) -> bool {
        self.find(uuid)
            .is_some_and(|guest| self.running_on(guest) != [host])
    }

    /// The two hosts hear each other.
    pub fn linked(&self, one: HostId, other: HostId) -> bool {
        let now = Instant::now();
        let hears = |host: HostId| self.hosts[host].cut_until.is_none_or(|until| until <= now);
        hears(one) && hears(other)
    }

    /// Their daemons hear each other.
    pub(crate) fn hears(&self, one: HostId, other: HostId) -> bool {
        let now = Instant::now();
        let apart = |host: HostId| self.hosts[host].parted_until.is_some_and(|until| until > now);
        self.linked(one, other) && !apart(one) && !apart(other)
    }

    /// A rule was broken.
    pub(crate) fn note(&mut self, guest: Option<GuestId>, wrong: impl Into<String>) {
        let wrong = match guest {
            Some(guest) => format!("{}: {}", self.guests[guest].id.name, wrong.into()),
            None => wrong.into(),
        };
        self.wrongs += 1;
        if self.wrong.len() < MOST_WRONG {
            tracing::error!("BROKEN: {wrong}");
            self.wrong.push(wrong);
        }
    }
}
