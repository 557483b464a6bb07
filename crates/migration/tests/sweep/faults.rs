//! What can go wrong, or be asked for, before any micro-step.

use std::fmt;

use godwit_migration::{Happening, Phase};

use crate::{
    driver::{Cluster, Fails},
    works::has_run,
    world::{DESTINATION, Job, SOURCE},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The step fails without, or in spite of, its effect.
    FailBefore,
    FailAfter,
    /// The daemon whose turn it is crashes, and is started again at once.
    Crash,
    /// The phase's work is done once more before its outcome is written.
    Again,
    Cancel,
    /// The guest is shut down, or crashes.
    Stop,
    Reboot,
    /// The hosts do not hear each other for a while.
    LinkLost,
    /// A daemon is down for a while.
    SourceDown,
    DestinationDown,
    /// The source's power goes, once the guest runs at the destination.
    SourceOff,
    /// Somebody asks the destination for the standby, while the guest is being accelerated there.
    StandbyAsked,
    /// The source's journal is lost, before anything was done to the guest.
    SourceForgets,
}

/// Rounds that a fault of some length lasts: longer than any wait of a phase.
const LASTS: u8 = 9;

impl Fault {
    pub(crate) const ALL: [Fault; 13] = [
        Fault::FailBefore,
        Fault::FailAfter,
        Fault::Crash,
        Fault::Again,
        Fault::Cancel,
        Fault::Stop,
        Fault::Reboot,
        Fault::LinkLost,
        Fault::SourceDown,
        Fault::DestinationDown,
        Fault::SourceOff,
        Fault::StandbyAsked,
        Fault::SourceForgets,
    ];

    /// It can happen now, and is not the same as another fault, or the same a moment later.
    pub(crate) fn possible(self, cluster: &Cluster) -> bool {
        let turn = cluster.turn;
        let working = turn <= DESTINATION && cluster.works(turn);
        let over = working && cluster.daemons[turn].life.outcome.is_some();
        let world = &cluster.world;
        match self {
            Fault::FailBefore | Fault::FailAfter => working && !over && cluster.has_step(turn),
            Fault::Crash => working,
            Fault::Again => over,
            Fault::Cancel => turn == SOURCE && working && cluster.takes(SOURCE, Happening::CancelAsked),
            Fault::StandbyAsked => {
                turn == DESTINATION && working && cluster.takes(DESTINATION, Happening::StandbyAsked)
            }
            Fault::Stop | Fault::Reboot => {
                let moving = matches!(world.job, Job::SwitchOver | Job::Finishing);
                // Of a split, only once the destination's daemon has seen the guest: if it is shut down before, nothing
                // is left that tells the copy here from one that never left.
                let split = world.runs(SOURCE) && world.runs(DESTINATION);
                let seen = has_run(cluster.daemons[DESTINATION].state);
                let there = world.runs(world.home()) && (!split || seen);
                turn > DESTINATION && !moving && !world.stopped && there
            }
            Fault::LinkLost => turn > DESTINATION && world.linked(),
            Fault::SourceDown => turn > DESTINATION && cluster.works(SOURCE),
            Fault::DestinationDown => turn > DESTINATION && cluster.daemons[DESTINATION].running(),
            Fault::SourceOff => turn > DESTINATION && world.hosts[SOURCE].on && world.runs(DESTINATION),
            Fault::SourceForgets => {
                let phase = cluster.daemons[SOURCE].state.phase();
                let early = matches!(phase, Some(Phase::Reserve | Phase::Queue));
                turn > DESTINATION && cluster.works(SOURCE) && early
            }
        }
    }

    pub(crate) fn strike(self, cluster: &mut Cluster) {
        let turn = cluster.turn;
        match self {
            Fault::FailBefore | Fault::FailAfter => {
                let before = self == Fault::FailBefore;
                cluster.step(turn, if before { Fails::Before } else { Fails::After });
                cluster.turn = (turn + 1) % 3;
            }
            Fault::Crash => cluster.restart(turn),
            Fault::Again => {
                cluster.daemons[turn].life.outcome = None;
                cluster.daemons[turn].life.step = 0;
            }
            Fault::Cancel => cluster.ask(SOURCE, Happening::CancelAsked),
            Fault::StandbyAsked => cluster.ask(DESTINATION, Happening::StandbyAsked),
            Fault::Stop => cluster.world.stop_guest(),
            Fault::Reboot => cluster.world.reboot_guest(),
            Fault::LinkLost => cluster.world.link_down = LASTS,
            Fault::SourceDown => cluster.daemons[SOURCE].down = LASTS,
            Fault::DestinationDown => cluster.daemons[DESTINATION].down = LASTS,
            Fault::SourceOff => cluster.world.switch_off_source(),
            Fault::SourceForgets => cluster.forget_at_source(),
        }
    }
}

/// A fault and when it struck; a list of them reproduces a run.
#[derive(Clone)]
pub(crate) struct Struck {
    pub(crate) tick: usize,
    pub(crate) fault: Fault,
    place: String,
}

impl Struck {
    pub(crate) fn at(tick: usize, fault: Fault, cluster: &Cluster) -> Struck {
        let turn = cluster.turn;
        let place = match cluster.daemons.get(turn) {
            None => format!("alpha at {}", cluster.daemons[SOURCE].state),
            Some(daemon) => {
                let steps = (cluster.rules.works)(daemon.state);
                let step = steps
                    .get(daemon.life.step)
                    .map_or("end of work", |(name, _)| name);
                format!("{} at {}, {step}", ["alpha", "beta"][turn], daemon.state)
            }
        };
        Struck { tick, fault, place }
    }
}

impl fmt::Display for Struck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {:?}) [{}]", self.tick, self.fault, self.place)
    }
}
