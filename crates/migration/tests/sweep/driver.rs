//! What the real loop does, in small: journal an event durably, work on the phase of the state, repeat; after a
//! crash, replay the journal and go on. One micro-step per tick, daemons and world taking turns.

use std::hash::{Hash, Hasher};

use godwit_migration::{
    Course, DestinationView, Happening, Illegal, Outcome, Phase, Role, SourceView, State, Whereabouts,
};

use crate::{
    works,
    world::{DESTINATION, Domain, FOR_EVER, Job, Nic, SOURCE, World},
};

/// What decides. The sweeps use the crate's; the mutants put something broken in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) next: fn(State, Happening) -> Result<State, Illegal>,
    pub(crate) read: fn(SourceView, DestinationView) -> Whereabouts,
    pub(crate) works: fn(State) -> &'static [Step],
    /// After a restart the daemon takes it that it had asked for the unplug.
    pub(crate) doubts_unplug: bool,
    /// A daemon that may have missed libvirt's events takes it that the guest was paused for the switch-over.
    pub(crate) doubts_events: bool,
    /// After a restart the daemon takes it that a transfer had been begun and is over.
    pub(crate) doubts_transfer: bool,
    /// A destination whose guest does not come asks the source whether it sends it.
    pub(crate) asks_source: bool,
}

impl Hash for Rules {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

pub(crate) const RULES: Rules = Rules {
    next: godwit_migration::table::next,
    read: Whereabouts::read,
    works: works::of,
    doubts_unplug: true,
    doubts_events: true,
    doubts_transfer: true,
    asks_source: true,
};

/// A micro-step: look, then make it so. Nothing can happen within it; anything can before and after.
pub(crate) type Step = (&'static str, fn(&mut Cluster, usize) -> Answer);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Next,
    /// The phase ends with this.
    Tell(Happening),
    /// It could not be made so.
    Fail,
    /// Not yet; the same step again.
    Wait,
}

/// What survives a crash. Left out of the cluster's hash: what follows depends on its state alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(pub(crate) Vec<Happening>);

impl Hash for Journal {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One host's daemon and its record of the one migration.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Daemon {
    /// It has a record of the migration.
    pub(crate) begun: bool,
    pub(crate) journal: Journal,
    /// Folded from the journal.
    pub(crate) state: State,
    /// A release failed: the host's own clean-up owes the VF one.
    pub(crate) owes_release: bool,
    /// Kept with the journal: the guest's boot that confirmed the fail over.
    pub(crate) confirmed_boot: u8,
    /// Rounds until it is started again; 0: it runs.
    pub(crate) down: u8,
    pub(crate) life: Life,
}

/// What a crash takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    /// Micro-step of the phase at work.
    pub(crate) step: usize,
    /// The phase's work is over, its outcome not yet durable.
    pub(crate) outcome: Option<Happening>,
    /// Rounds waited at this step.
    pub(crate) waited: u8,
    /// An unplug may have been asked for.
    pub(crate) may_have_asked: bool,
    /// It may have missed libvirt's events, and does not know the job's result.
    pub(crate) missed_events: bool,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Cluster {
    pub(crate) rules: Rules,
    pub(crate) world: World,
    pub(crate) daemons: [Daemon; 2],
    /// Source, destination, world.
    pub(crate) turn: usize,
}

impl Daemon {
    fn new(role: Role) -> Daemon {
        Daemon {
            begun: role == Role::Source,
            journal: Journal::default(),
            state: role.start(),
            owes_release: false,
            confirmed_boot: 0,
            down: 0,
            life: Life::default(),
        }
    }

    pub(crate) fn running(&self) -> bool {
        self.down == 0
    }

    pub(crate) fn ended(&self) -> bool {
        matches!(self.state, State::Done(_))
    }
}

impl Cluster {
    pub(crate) fn new(world: World, rules: Rules) -> Cluster {
        Cluster {
            rules,
            world,
            daemons: [Daemon::new(Role::Source), Daemon::new(Role::Destination)],
            turn: SOURCE,
        }
    }

    /// The process ends and is started again: the loop runs over what the journal says.
    pub(crate) fn restart(&mut self, at: usize) {
        let role = [Role::Source, Role::Destination][at];
        let rules = self.rules;
        let daemon = &mut self.daemons[at];
        daemon.state = daemon.journal.0.iter().fold(role.start(), |state, happening| {
            (rules.next)(state, *happening).expect("a journal replays")
        });
        daemon.life = Life {
            may_have_asked: rules.doubts_unplug,
            missed_events: true,
            ..Life::default()
        };
    }

    /// One micro-step of whoever's turn it is.
    pub(crate) fn tick(&mut self) {
        let turn = self.turn;
        self.turn = (turn + 1) % 3;
        if turn > DESTINATION {
            self.world.goes_on();
            return;
        }
        let daemon = &mut self.daemons[turn];
        if !self.world.hosts[turn].on || daemon.down == FOR_EVER {
            return;
        }
        if !daemon.running() {
            daemon.down -= 1;
            if daemon.running() {
                self.restart(turn);
            }
            return;
        }
        match daemon.life.outcome.take() {
            Some(happening) => self.write(turn, happening),
            None if self.works(turn) => self.step(turn, Fails::No),
            None => self.clean_up(turn),
        }
    }

    /// Not the migration's: once its record has ended, the host cleans a VF that a guest left by shutting down,
    /// or that a release failed on, and gives it back.
    fn clean_up(&mut self, at: usize) {
        let over = self.daemons[at].ended() || !self.daemons[at].begun;
        let due = over && (self.daemons[at].owes_release || self.world.stopped);
        let host = &mut self.world.hosts[at];
        let in_guest = host.domain == Domain::Running && host.guest.nic != Nic::None;
        if due && !in_guest && !host.vf.free {
            (host.vf.mac, host.copy) = (false, false);
            self.world.give_back(at);
        }
    }

    /// The daemon has something to work on.
    pub(crate) fn works(&self, at: usize) -> bool {
        let daemon = &self.daemons[at];
        daemon.begun && daemon.running() && !daemon.ended()
    }

    /// The phase's work has a step left to do.
    pub(crate) fn has_step(&self, at: usize) -> bool {
        let daemon = &self.daemons[at];
        daemon.life.step < (self.rules.works)(daemon.state).len()
    }

    /// The table has a row for it.
    pub(crate) fn takes(&self, at: usize, happening: Happening) -> bool {
        (self.rules.next)(self.daemons[at].state, happening).is_ok()
    }

    /// Does the micro-step of the phase at work. It may be made to fail, before or after its effect.
    pub(crate) fn step(&mut self, at: usize, fails: Fails) {
        let steps = (self.rules.works)(self.daemons[at].state);
        let answer = match steps.get(self.daemons[at].life.step) {
            None => Answer::Tell(Happening::Done),
            Some(_) if fails == Fails::Before => Answer::Fail,
            Some((_, work)) => {
                let answer = work(self, at);
                let failed = fails == Fails::After;
                if failed { Answer::Fail } else { answer }
            }
        };
        let life = &mut self.daemons[at].life;
        match answer {
            Answer::Next => (life.step, life.waited) = (life.step + 1, 0),
            Answer::Wait => life.waited = (life.waited + 1).min(works::PATIENCE),
            Answer::Tell(happening) => life.outcome = Some(happening),
            Answer::Fail => self.fail(at),
        }
    }

    /// What a failure is called. What rests, and what awaits, is simply tried again; and an unplug that was, or
    /// may have been, asked for cannot be withdrawn as long as the VF is there.
    fn fail(&mut self, at: usize) {
        let has_vf = self.world.hosts[at].guest.nic != Nic::None;
        let daemon = &mut self.daemons[at];
        (daemon.life.step, daemon.life.waited) = (0, 0);
        daemon.life.outcome = match daemon.state {
            State::Rest(..) | State::Work(_, Phase::Await) | State::Done(_) => None,
            State::Work(_, Phase::Unplug) if daemon.life.may_have_asked && has_vf => Some(Happening::Silent),
            State::Work(..) => Some(Happening::Failed),
        };
    }

    /// Makes an event durable, and with it, in one transaction, what it does to the holds. At rest, what changes
    /// nothing is not written.
    pub(crate) fn write(&mut self, at: usize, happening: Happening) {
        let daemon = &mut self.daemons[at];
        let next = match (self.rules.next)(daemon.state, happening) {
            Ok(next) => next,
            Err(illegal) => return self.world.note(&illegal.to_string()),
        };
        daemon.life.step = 0;
        daemon.life.waited = 0;
        if next == daemon.state {
            return;
        }
        if happening != Happening::CancelAsked {
            daemon.life.may_have_asked = false;
            daemon.life.missed_events &= next.phase() != Some(Phase::Transfer);
        }
        let released = matches!(daemon.state, State::Work(_, Phase::Release));
        daemon.owes_release |= released && happening == Happening::Failed;
        daemon.journal.0.push(happening);
        daemon.state = next;
        match next {
            State::Done(Outcome::Aborted | Outcome::Accelerated) => self.world.hosts[at].vf.held = false,
            State::Done(Outcome::Closed) => self.world.give_back(at),
            _ => {}
        }
    }

    /// A person asks; taken or not is the table's decision. The step at work goes on.
    pub(crate) fn ask(&mut self, at: usize, happening: Happening) {
        let life = self.daemons[at].life;
        self.write(at, happening);
        self.daemons[at].life = life;
    }

    /// The source's journal is lost, and it starts anew with an empty one.
    pub(crate) fn forget_at_source(&mut self) {
        self.daemons[SOURCE] = Daemon {
            begun: false,
            ..Daemon::new(Role::Source)
        };
        self.world.hosts[SOURCE].vf.held = false;
    }

    /// Where nothing moves any more and the source cannot be asked, a person gives up a guest that has not come.
    pub(crate) fn give_up_by_hand(&mut self) {
        let there = self.world.hosts[DESTINATION].domain;
        let away = matches!(there, Domain::Absent | Domain::ShutOff);
        let awaited = self.daemons[DESTINATION].begun
            && self.daemons[DESTINATION].state == State::Work(Course::Arrive, Phase::Await);
        if awaited && away && !self.connected() {
            self.write(DESTINATION, Happening::Closed);
        }
    }

    /// The daemons can ask each other.
    pub(crate) fn connected(&self) -> bool {
        self.world.linked() && self.daemons.iter().all(Daemon::running)
    }

    /// libvirt's result, as far as this life of the daemon saw the job.
    pub(crate) fn job_result(&self) -> Option<bool> {
        match self.world.job {
            Job::Over { reported_ok } if !self.daemons[SOURCE].life.missed_events => Some(reported_ok),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    No,
    Before,
    After,
}
