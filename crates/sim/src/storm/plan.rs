//! What happens in a storm: decided before it begins, by its seed alone.

use std::time::Duration;

use godwit_api::v1 as api;
use godwit_migration::Phase;

use crate::{
    Layout,
    chance::Chance,
    faults::{Fault, Kind},
    model::{Fate, GuestId, HostId},
};

/// Faults strike, and requests come, in this time; then it is calm.
pub(super) const STORMY: Duration = Duration::from_secs(150);

/// One storm.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) faults: Vec<Fault>,
    /// When, in milliseconds, and what.
    pub(super) acts: Vec<(u64, Act)>,
    /// Seeds what the world does by chance.
    pub(super) seed: u64,
}

/// Something that comes from outside.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A request, once or several times at once.
    Migrate(Ask, u8),
    /// The guest is to be on its standby, where it is.
    Standby(GuestId),
    /// The guest is to be on its VF, where it is.
    Accelerate(GuestId),
    /// Cancel of whatever is under way for the guest.
    Cancel(GuestId),
    Crash(HostId, Duration),
    Cut(HostId, Duration),
    Stop(GuestId),
    Reboot(GuestId),
}

/// A request for a migration.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) guest: GuestId,
    /// Asked of this host; none: of the one where the guest runs.
    pub(super) of: Option<HostId>,
    pub(super) to: To,
    pub(super) request: String,
    pub(super) policy: api::Policy,
}

/// A destination.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Host(HostId),
    /// So many hosts on from where the guest runs.
    On(usize),
}

impl Plan {
    /// The storm of that seed.
    pub(super) fn random(seed: u64) -> Plan {
        let mut chance = Chance::new(seed);
        let layout = layout(&mut chance);
        let faults = (0..chance.below(10))
            .map(|_| fault(&mut chance, &layout))
            .collect();
        let mut acts = Vec::new();
        requests(&mut chance, &layout, &mut acts);
        for _ in 0..chance.below(4) {
            let (host, down) = (chance.below(layout.hosts), seconds(&mut chance, 40));
            acts.push((chance.between(0, 100_000), Act::Crash(host, down)));
        }
        for _ in 0..chance.below(3) {
            let (host, time) = (chance.below(layout.hosts), seconds(&mut chance, 40));
            acts.push((chance.between(0, 100_000), Act::Cut(host, time)));
        }
        for _ in 0..chance.below(4) {
            let guest = chance.below(layout.guests);
            let act = match chance.one_in(3) {
                true => Act::Accelerate(guest),
                false => Act::Standby(guest),
            };
            acts.push((chance.between(0, 120_000), act));
        }
        if chance.one_in(4) {
            acts.push((chance.between(0, 100_000), Act::Stop(chance.below(layout.guests))));
        }
        if chance.one_in(3) {
            acts.push((
                chance.between(0, 60_000),
                Act::Reboot(chance.below(layout.guests)),
            ));
        }
        acts.sort_by_key(|(at, _)| *at);
        let forgets = layout.guests == 1 && chance.one_in(4);
        Plan {
            faults: if forgets {
                vec![forget(&mut chance)]
            } else {
                faults
            },
            layout,
            acts,
            seed,
        }
    }
}

fn layout(chance: &mut Chance) -> Layout {
    let hosts = chance.between(2, 4) as usize;
    let guests = chance.between(1, 4) as usize;
    let pairs = 1 + usize::from(chance.one_in(4));
    // Sometimes too few for what is asked.
    let vfs = guests.div_ceil(hosts) * pairs + chance.between(0, 3) as usize;
    Layout {
        hosts,
        guests,
        vfs,
        extras: false,
        pairs,
    }
}

fn requests(chance: &mut Chance, layout: &Layout, acts: &mut Vec<(u64, Act)>) {
    for number in 0..chance.between(1, 8) {
        let guest = chance.below(layout.guests);
        let ask = Ask {
            guest,
            of: chance.one_in(10).then(|| chance.below(layout.hosts)),
            to: match chance.one_in(12) {
                true => To::Host(chance.below(layout.hosts)),
                false => To::On(1 + chance.below(layout.hosts - 1)),
            },
            request: format!("request-{number}"),
            policy: policy(chance),
        };
        let at = chance.between(0, 90_000);
        let times = if chance.one_in(5) { 3 } else { 1 };
        if chance.one_in(5) {
            acts.push((at + chance.between(0, 30_000), Act::Migrate(ask.clone(), 1)));
        }
        acts.push((at, Act::Migrate(ask, times)));
        if chance.one_in(4) {
            acts.push((at + chance.between(0, 12_000), Act::Cancel(guest)));
        }
    }
}

/// Mostly the guest's own.
fn policy(chance: &mut Chance) -> api::Policy {
    match chance.below(10) {
        0 | 1 => api::Policy::Prefer,
        2 => api::Policy::StandbyOnly,
        _ => api::Policy::Unspecified,
    }
}

fn seconds(chance: &mut Chance, most: u64) -> Duration {
    Duration::from_millis(chance.between(0, most * 1000))
}

fn fault(chance: &mut Chance, layout: &Layout) -> Fault {
    let phase = chance.pick(&Phase::ALL);
    Fault {
        phase,
        host: chance.one_in(2).then(|| chance.below(layout.hosts)),
        guest: chance.one_in(3).then(|| chance.below(layout.guests)),
        kind: kind(chance, phase),
        step: chance.below(9) as u8,
        times: chance.between(1, 3) as u32,
    }
}

/// Of one guest alone: what else a lost journal knew of others is lost with it, and nobody promises anything of that.
fn forget(chance: &mut Chance) -> Fault {
    Fault {
        step: chance.below(9) as u8,
        ..Fault::new(chance.pick(&FORGETS), Kind::Forget(seconds(chance, 30)))
    }
}

fn kind(chance: &mut Chance, phase: Phase) -> Kind {
    if phase == Phase::Transfer && !chance.one_in(3) {
        return Kind::Fate(chance.pick(&FATES));
    }
    if phase == Phase::Unplug && chance.one_in(3) {
        let late = chance.one_in(2).then(|| seconds(chance, 200));
        return Kind::Silent(late);
    }
    if phase == Phase::FailOver && chance.one_in(6) {
        return Kind::Lie;
    }
    let all = [
        Kind::Crash(seconds(chance, 30)),
        Kind::Cut(seconds(chance, 30)),
        Kind::Part(seconds(chance, 30)),
        Kind::Stop,
        Kind::Reboot,
        Kind::Cancel,
        Kind::Fail,
        Kind::Half,
        Kind::Hang,
    ];
    // Awaiting cannot fail, only libvirt's job can hang in a transfer, and a queue is waited in without a deadline.
    let possible = match phase {
        Phase::Await | Phase::Hold => &all[..6],
        Phase::Transfer | Phase::Queue => &all[..8],
        _ => &all[..],
    };
    chance.pick(possible)
}

/// Where a source's journal may be lost: nothing was done to the guest yet.
pub(super) const FORGETS: [Phase; 2] = [Phase::Reserve, Phase::Queue];

pub(super) const FATES: [Fate; 8] = [
    Fate::MovedButError,
    Fate::FailsBefore,
    Fate::FailsPaused,
    Fate::FailsResumed,
    Fate::Split,
    Fate::Hangs,
    Fate::Slow,
    Fate::Torn,
];
