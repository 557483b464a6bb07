//! The pretend world behind the coordinator's one trait. One exhaustive `match` from phase to work.
//!
//! The order of looks and deeds is that of `crates/daemon/src/world`; what it does not do is libvirt's XML.

// The error is the loop's own event, made once in a phase; a box would only hide it.
#![allow(clippy::result_large_err)]

mod ahead;
mod arriving;
mod attempt;
mod doctor;
mod facts;
mod keeping;
mod leaving;
mod locate;
mod measure;
#[cfg(test)]
mod moving;
mod order;
mod peers;
mod reach;
mod taking;
mod transfer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use godwit_api::{peer::v1::ListMacsResponse, v1 as api};
use godwit_coordinator::{Coordinator, Job, Planned, Planning, World};
use godwit_migration::{
    Brief, Cause, Course, Event, Guest, Pair, PciAddress, Phase, Policy, Role, Sighting, State, Vf,
    doctor::Diagnosis, preflight::GuestFacts,
};
use tokio::sync::{Notify, mpsc, watch};

use self::attempt::Attempt;
pub(crate) use self::{order::Order, taking::Taking};
use crate::{
    model::{Domain, GuestId, HostId, Model, PERIOD},
    pace::Pace,
    stopwatch::{Stopwatch, What},
};

/// What a phase's work ends with when it does not end well.
type Work<T> = Result<T, Event>;

/// What all hosts of one sim have in common.
pub(crate) struct Shared {
    model: Mutex<Model>,
    /// One for each guest: something about it has changed.
    changed: Vec<Notify>,
    /// The coordinator of each host, as long as it lives.
    seats: Vec<Mutex<Option<Seat>>>,
    pub(crate) pace: Pace,
    pub(crate) stopwatch: Stopwatch,
    /// What the world asks of whoever runs it.
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    /// The host's holds are compared with the switch at the start of every phase.
    pub(crate) strict: bool,
}

/// A living coordinator.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) coordinator: Coordinator<PretendWorld>,
    /// Turned true when it dies.
    pub(crate) life: Arc<watch::Sender<bool>>,
    /// Frames that it is brought for guests that come, by migration.
    pub(crate) takings: Arc<Mutex<BTreeMap<String, Taking>>>,
}

impl Seat {
    /// Until it dies.
    pub(crate) async fn death(&self) {
        // The sender is in this very hand.
        let _ = self.life.subscribe().wait_for(|dead| *dead).await;
    }
}

/// One life of one host's daemon.
pub(crate) struct PretendWorld {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: HostId,
    name: String,
    /// The transfers that this life saw begin, by guest: of another it may have missed libvirt's events.
    seen: Mutex<BTreeMap<GuestId, u64>>,
    /// Migrations whose transfer is to end early.
    aborted: Mutex<BTreeSet<String>>,
    /// Turns true when this life ends: then nothing more is done, and nothing answered.
    dead: watch::Receiver<bool>,
}

impl Shared {
    pub(crate) fn new(
        mut model: Model,
        pace: Pace,
        orders: mpsc::UnboundedSender<Order>,
        strict: bool,
    ) -> Shared {
        model.period = pace.exactly(PERIOD);
        Shared {
            changed: model.guests.iter().map(|_| Notify::new()).collect(),
            seats: model.hosts.iter().map(|_| Mutex::default()).collect(),
            model: Mutex::new(model),
            pace,
            stopwatch: Stopwatch::default(),
            orders,
            strict,
        }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seat(&self, host: HostId) -> MutexGuard<'_, Option<Seat>> {
        self.seats[host].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the guest, looks whether all is well, and wakes who waits for it.
    pub(crate) fn deed<T>(&self, guest: GuestId, what: &str, deed: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.model();
        model.pass_time(guest);
        model.flow(guest);
        let done = deed(&mut model);
        model.flow(guest);
        model.check(guest, what);
        drop(model);
        self.changed[guest].notify_waiters();
        done
    }

    /// Until something about the guest changes, or the time is over.
    pub(crate) async fn wait(&self, guest: GuestId, at_most: std::time::Duration) {
        let _ = tokio::time::timeout(at_most, self.changed[guest].notified()).await;
    }
}

impl PretendWorld {
    pub(crate) fn new(shared: Arc<Shared>, host: HostId, dead: watch::Receiver<bool>) -> PretendWorld {
        let name = shared.model().hosts[host].name.clone();
        PretendWorld {
            shared,
            host,
            name,
            dead,
            seen: Mutex::default(),
            aborted: Mutex::default(),
        }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.shared.model()
    }

    fn host_named(&self, name: &str) -> Option<HostId> {
        self.model().hosts.iter().position(|host| host.name == name)
    }

    /// What the work itself shows of a defect in the workflow.
    fn watch_over(&self, guest: GuestId, job: &Job) {
        let undoes = matches!(
            job.state,
            State::Work(Course::Return | Course::Stay, _) | State::Rest(Course::Return, _)
        );
        let mut model = self.model();
        let transfer = model.guests[guest].transfer.as_ref();
        let ran_there =
            transfer.is_some_and(|transfer| transfer.migration == job.brief.id && transfer.events.ran_there);
        if job.brief.role == Role::Source && undoes && ran_there {
            model.note(
                Some(guest),
                "the source undoes although the guest ran at the destination",
            );
        }
    }

    /// No VF that this host would give to the next guest has a MAC on it, or is in a guest.
    pub(crate) async fn check_free_vfs(&self) {
        let seat = self.shared.seat(self.host).clone();
        let Some(seat) = seat else { return };
        let Ok(vfs) = seat.coordinator.vfs().await else {
            return;
        };
        let mut model = self.model();
        for vf in vfs.iter().filter(|vf| vf.usage == godwit_migration::VfUse::Free) {
            let host = &model.hosts[self.host];
            if let Some(mac) = host.macs_of(vf.address).first() {
                let wrong = format!("{}: VF {} is free and has MAC {mac} on it", host.name, vf.address);
                model.note(None, wrong);
            } else if !host.is_neutral(vf.address) {
                let wrong = format!("{}: VF {} is free and set for a guest", host.name, vf.address);
                model.note(None, wrong);
            }
        }
    }
}

impl PretendWorld {
    /// What a living process does; one that dies leaves it where it is.
    async fn living<T>(&self, work: impl Future<Output = T>) -> T {
        let mut dead = self.dead.clone();
        let death = async { drop(dead.wait_for(|dead| *dead).await) };
        tokio::select! {
            biased;
            () = death => std::future::pending().await,
            done = work => done,
        }
    }

    async fn worked(&self, job: Job, phase: Phase) -> Event {
        let Some(guest) = self.model().find(&job.brief.guest.uuid) else {
            return Event::Left(cause("GUEST_LEFT", "no such guest in this world"));
        };
        self.watch_over(guest, &job);
        if self.shared.strict {
            self.check_free_vfs().await;
        }
        self.measure_from(guest, &job, phase);
        let (brief, state) = (job.brief.clone(), job.state);
        let attempt = Attempt::new(self, job, guest, phase);
        let worked = match phase {
            Phase::Reserve => attempt.reserve().await,
            Phase::Queue => attempt.queue().await,
            Phase::Hold => Err(Event::Failed(cause(
                "DEFECT",
                "the coordinator holds VFs by itself",
            ))),
            Phase::FailOver => attempt.fail_over().await,
            Phase::Unplug => attempt.unplug().await,
            Phase::Transfer => attempt.transfer().await,
            Phase::Locate => attempt.locate().await,
            Phase::Resume => attempt.resume().await,
            Phase::Suspend => attempt.suspend().await,
            Phase::Release => attempt.release().await,
            Phase::Follow => attempt.follow().await,
            Phase::Await => attempt.arrival().await,
            Phase::Plug => attempt.plug().await,
            Phase::FailBack => attempt.fail_back().await,
            Phase::Unreserve => attempt.unreserve().await,
        };
        let worked = match worked {
            Ok(report) => attempt.at_the_end().await.map(|()| report),
            failed => failed,
        };
        self.note_unkept((guest, &brief.id), phase, &worked);
        let mut event = worked.map_or_else(|event| event, Event::Done);
        self.measure_until(guest, (&brief, state), &mut event);
        // Between the work and the journal there is a moment in which a daemon can die.
        tokio::time::sleep(self.shared.pace.of(2)).await;
        event
    }

    fn sighted(&self, uuid: &str) -> Sighting {
        let model = self.model();
        let body = model.find(uuid).and_then(|guest| model.body(guest, self.host));
        match body.map(|body| body.domain) {
            None => Sighting::Absent,
            Some(Domain::Incoming) => Sighting::Incoming,
            Some(Domain::Running) => Sighting::Running,
            Some(Domain::Paused) => Sighting::Paused,
            Some(Domain::ShutOff) => Sighting::ShutOff,
            Some(Domain::Torn) => Sighting::Split,
        }
    }
}

impl World for PretendWorld {
    async fn work(&self, job: Job) -> Event {
        let Some(phase) = job.state.phase() else {
            return Event::Failed(cause("DEFECT", "work was asked for after the end"));
        };
        let work = self.living(self.worked(job, phase));
        self.shared
            .stopwatch
            .time(self.host, What::Phase(phase), work)
            .await
    }

    async fn abort(&self, brief: &Brief) -> Result<(), Cause> {
        self.aborted().insert(brief.id.clone());
        Ok(())
    }

    async fn guests(&self, named: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        let facts = async {
            self.living(tokio::time::sleep(self.shared.pace.of(5))).await;
            self.guest_facts(named)
        };
        Ok(self.shared.stopwatch.time(self.host, What::Look, facts).await)
    }

    async fn adopt(&self, guest: &Guest, pairs: &[Pair], policy: Policy) -> Result<(), Cause> {
        self.living(tokio::time::sleep(self.shared.pace.of(20))).await;
        let mut model = self.model();
        if let Some(guest) = model.find(&guest.uuid) {
            model.guests[guest].managed = Some(policy);
            model.guests[guest].record(pairs);
        }
        Ok(())
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        Ok(self.vf_facts())
    }

    async fn clean(&self, vf: PciAddress) -> Result<(), Cause> {
        self.living(tokio::time::sleep(self.shared.pace.of(20))).await;
        let cleaned = self.model().clean(self.host, vf);
        cleaned.map_err(|why| Cause {
            causes: vec![why],
            hint: format!("mend what the cause names; then again: `godwit vfs release {vf}`"),
            ..cause(
                "VF_NOT_CLEAN",
                format!("VF {vf} could not be cleaned: it is in quarantine"),
            )
        })
    }

    async fn sight(&self, uuid: &str) -> Sighting {
        let look = async {
            self.living(tokio::time::sleep(self.shared.pace.of(2))).await;
            self.sighted(uuid)
        };
        self.shared.stopwatch.time(self.host, What::Look, look).await
    }

    async fn plan(&self, what: Planning<'_>) -> Result<Planned, Cause> {
        match what {
            Planning::Leaving { brief, seen, carried } => {
                let planned = self.plan_leaving(brief, seen, carried);
                Ok(self.living(planned).await)
            }
            Planning::Arriving(needs, _) => Ok(self.plan_arriving(needs)),
        }
    }

    async fn greet(&self, peer: &str) -> Result<api::Host, Cause> {
        self.living(self.ask_greet(peer)).await
    }

    async fn macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        self.living(self.ask_macs(peer)).await
    }

    async fn record(&self, brief: &Brief) -> Result<Option<api::Migration>, Cause> {
        self.living(self.ask_record(brief)).await
    }

    async fn doctor(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        self.living(tokio::time::sleep(self.shared.pace.of(20))).await;
        self.diagnosis(guest)
    }
}

impl PretendWorld {
    fn aborted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.aborted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<GuestId, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cause of one sentence.
pub(crate) fn cause(reason: &str, message: impl Into<String>) -> Cause {
    Cause {
        reason: reason.into(),
        message: message.into(),
        ..Cause::default()
    }
}
