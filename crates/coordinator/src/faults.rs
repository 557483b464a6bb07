//! Faults on purpose: what an operator orders to see a host fail, and come back, before it does so by itself.
//!
//! [`Faulty`] stands between the loop and the world, so nothing else knows of it; without faults it hands everything on.
//! Each fault strikes a number of times, which is counted over restarts: a daemon that was to die once does not die
//! again when it takes up what it was at.

mod tally;

use std::{fmt, future::pending, io, path::Path, pin::pin, sync::Arc, time::Duration};

use godwit_api::{peer::v1::ListMacsResponse, v1 as api};
use godwit_migration::{
    Brief, Cause, Event, Guest, Pair, PciAddress, Phase, Policy, Sighting, State, Vf, VfUse,
    doctor::Diagnosis, preflight::GuestFacts,
};
use tracing::warn;

use self::tally::Tally;
use crate::{Job, Planned, Planning, World};

/// Something that goes wrong on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// How often, 1 or more, counted over restarts.
    pub times: u32,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unplug: the guest is not asked, and is said to be silent.
    Silent,
    /// Unplug: the guest is not asked, and that is said. Not where an earlier attempt may have asked it.
    Refused,
    /// A question to a guest's agent is not put, and is said to have no answer. Strikes where [`Faults::no_agent`] is
    /// asked: [`Faulty`] itself knows no agents.
    NoAgent,
    /// A look at this host's VFs finds none free.
    NoVf,
    /// The phase's work is not done, and is said to have failed.
    Fail(Phase),
    /// The phase's work begins that much later.
    Pause(Phase, Duration),
    /// The process dies.
    Die(Phase, Moment),
}

/// When in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The phase is durable, and its work has not begun.
    Before,
    /// So long after its work began; work that ends earlier goes on unharmed.
    During(Duration),
    /// The work is done, and its outcome is not durable.
    After,
}

impl Fault {
    /// # Errors
    /// Why there cannot be such a fault, one sentence.
    pub fn check(&self) -> Result<(), String> {
        match self.kind {
            _ if self.times == 0 => Err(format!("`{}` is to strike 0 times", self.kind)),
            Kind::Fail(Phase::Unplug) => Err(
                "an unplug fails only if nothing was asked: say `kind = \"refused\"`, or \"silent\"".into(),
            ),
            Kind::Fail(Phase::Hold) | Kind::Pause(Phase::Hold, _) | Kind::Die(Phase::Hold, _) => {
                Err("hold is not the world's work: say `kind = \"no-vf\"`".into())
            }
            Kind::Fail(Phase::Await) => Err("await cannot fail: it waits for the guest or for a word".into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Silent => write!(f, "a silent unplug"),
            Kind::Refused => write!(f, "a refused unplug"),
            Kind::NoAgent => write!(f, "no agent"),
            Kind::NoVf => write!(f, "no free VF"),
            Kind::Fail(phase) => write!(f, "{phase} fails"),
            Kind::Pause(phase, pause) => write!(f, "a pause of {} ms before {phase}", pause.as_millis()),
            Kind::Die(phase, Moment::Before) => write!(f, "death before {phase}"),
            Kind::Die(phase, Moment::During(after)) => {
                write!(f, "death in {phase} after {} ms", after.as_millis())
            }
            Kind::Die(phase, Moment::After) => write!(f, "death after {phase}"),
        }
    }
}

/// The faults of one process, and how often each has struck.
pub struct Faults {
    each: Vec<Fault>,
    tally: Tally,
    die: Box<dyn Fn() + Send + Sync>,
}

impl Faults {
    /// None.
    pub fn none() -> Faults {
        Faults {
            each: Vec::new(),
            tally: Tally::default(),
            die: Box::new(|| {}),
        }
    }

    /// These, counted in `directory/faults.json`, which goes when there are none. `die` ends the process; where it
    /// returns (in a test), the phase at hand goes no further.
    ///
    /// # Errors
    /// The file cannot be read or removed; it is named.
    pub fn open(
        directory: &Path,
        each: Vec<Fault>,
        die: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Faults> {
        let tally = Tally::open(directory, !each.is_empty())?;
        for Fault { kind, times } in &each {
            let struck = tally.of(&kind.to_string());
            warn!(fault = %kind, times, struck, "a fault on purpose is set");
        }
        Ok(Faults {
            each,
            tally,
            die: Box::new(die),
        })
    }

    /// Whether a question to an agent is to have no answer this time.
    pub fn no_agent(&self) -> bool {
        self.strike(|kind| matches!(kind, Kind::NoAgent)).is_some()
    }

    /// The first fault that fits and has not struck as often as it should strikes now.
    fn strike(&self, fits: impl Fn(&Kind) -> bool) -> Option<Kind> {
        let fit = self.each.iter().filter(|fault| fits(&fault.kind));
        for Fault { kind, times } in fit {
            match self.tally.count(&kind.to_string(), *times) {
                Ok(None) => {}
                Ok(Some(struck)) => {
                    warn!(fault = %kind, times, struck, "a fault on purpose strikes");
                    return Some(*kind);
                }
                // It might strike for ever.
                Err(error) => {
                    warn!(fault = %kind, %error, "a fault on purpose does not strike: it cannot be counted")
                }
            }
        }
        None
    }

    /// Returns only if there is no such fault.
    async fn die(&self, phase: Phase, fits: impl Fn(&Moment) -> bool) {
        let struck =
            self.strike(|kind| matches!(kind, Kind::Die(at, moment) if *at == phase && fits(moment)));
        if struck.is_some() {
            (self.die)();
            pending::<()>().await;
        }
    }

    /// When the process is to die in this work, if it is.
    fn death_during(&self, phase: Phase) -> Option<Duration> {
        self.each.iter().find_map(|fault| match fault.kind {
            Kind::Die(at, Moment::During(after)) if at == phase && self.is_left(fault) => Some(after),
            _ => None,
        })
    }

    fn is_left(&self, fault: &Fault) -> bool {
        self.tally.of(&fault.kind.to_string()) < fault.times
    }

    /// What the phase comes to without its work.
    fn instead(&self, phase: Phase, job: &Job) -> Option<Event> {
        // Of what was perhaps asked before nobody can say that it was not.
        let unasked = matches!(job.state, State::Work(..)) && !job.taken_up;
        let kind = self.strike(|kind| match kind {
            Kind::Silent => phase == Phase::Unplug,
            Kind::Refused => phase == Phase::Unplug && unasked,
            Kind::Fail(at) => *at == phase,
            _ => false,
        })?;
        let cause = cause(&kind);
        Some(match kind {
            Kind::Silent => Event::Silent(cause),
            _ => Event::Failed(cause),
        })
    }

    async fn pause(&self, phase: Phase) {
        if let Some(Kind::Pause(_, pause)) =
            self.strike(|kind| matches!(kind, Kind::Pause(at, _) if *at == phase))
        {
            tokio::time::sleep(pause).await;
        }
    }
}

fn cause(kind: &Kind) -> Cause {
    Cause {
        reason: "FAULT".into(),
        message: format!("a fault on purpose: {kind}"),
        causes: Vec::new(),
        hint: "remove [[fault]] from the configuration".into(),
        vf: None,
        kept: None,
    }
}

/// A world in which something goes wrong on purpose.
pub struct Faulty<W> {
    world: Arc<W>,
    faults: Arc<Faults>,
}

impl<W> Faulty<W> {
    /// That world, with these faults.
    pub fn new(world: Arc<W>, faults: Arc<Faults>) -> Faulty<W> {
        Faulty { world, faults }
    }
}

impl<W: World> Faulty<W> {
    /// The work, or death in the middle of it.
    async fn through(&self, phase: Phase, job: Job) -> Event {
        let mut work = pin!(self.world.work(job));
        let Some(after) = self.faults.death_during(phase) else {
            return work.await;
        };
        tokio::select! {
            biased;
            event = &mut work => return event,
            () = tokio::time::sleep(after) => {}
        }
        let during = |moment: &Moment| *moment == Moment::During(after);
        self.faults.die(phase, during).await;
        work.await
    }
}

impl<W: World> World for Faulty<W> {
    async fn work(&self, job: Job) -> Event {
        let phase = job.state.phase().filter(|_| !self.faults.each.is_empty());
        let Some(phase) = phase else {
            return self.world.work(job).await;
        };
        self.faults.die(phase, |moment| *moment == Moment::Before).await;
        self.faults.pause(phase).await;
        let event = match self.faults.instead(phase, &job) {
            Some(event) => event,
            None => self.through(phase, job).await,
        };
        self.faults.die(phase, |moment| *moment == Moment::After).await;
        event
    }

    async fn abort(&self, brief: &Brief) -> Result<(), Cause> {
        self.world.abort(brief).await
    }

    async fn guests(&self, named: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        self.world.guests(named).await
    }

    async fn adopt(&self, guest: &Guest, pairs: &[Pair], policy: Policy) -> Result<(), Cause> {
        self.world.adopt(guest, pairs, policy).await
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        let mut vfs = self.world.vfs().await?;
        let is_free = |vf: &Vf| vf.usage == VfUse::Free;
        if vfs.iter().any(is_free)
            && let Some(kind) = self.faults.strike(|kind| matches!(kind, Kind::NoVf))
        {
            for vf in vfs.iter_mut().filter(|vf| is_free(vf)) {
                vf.usage = VfUse::Other(cause(&kind).message);
            }
        }
        Ok(vfs)
    }

    async fn clean(&self, vf: PciAddress) -> Result<(), Cause> {
        self.world.clean(vf).await
    }

    async fn sight(&self, uuid: &str) -> Sighting {
        self.world.sight(uuid).await
    }

    async fn plan(&self, what: Planning<'_>) -> Result<Planned, Cause> {
        self.world.plan(what).await
    }

    async fn greet(&self, peer: &str) -> Result<api::Host, Cause> {
        self.world.greet(peer).await
    }

    async fn macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        self.world.macs(peer).await
    }

    async fn record(&self, brief: &Brief) -> Result<Option<api::Migration>, Cause> {
        self.world.record(brief).await
    }

    async fn doctor(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        self.world.doctor(guest).await
    }
}
