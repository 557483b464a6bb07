//! A pretend host. What its phases come to is set by knobs; a phase that is held waits for the test.
//! Every attempt first opens the database as a second reader and asserts that the phase is durable.

mod outcomes;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use godwit_api::peer::v1::{ArrivalRequest, ListMacsResponse, peer_service_server::PeerService};
use godwit_coordinator::{Caller, Job, PeerDesk, Planned, Planning, World, faults::Faulty, words};
use godwit_migration::{
    Brief, Cause, Event, Figures, Guest, Options, Pair, PciAddress, Phase, Policy, Sighting, State, Vf,
    doctor::Diagnosis,
    plan::{Carried, Needs},
    preflight::GuestFacts,
};
use tokio::{sync::watch, time::Instant};
use tonic::Request;

use crate::peek::Peek;

/// One attempt that was made.
#[derive(Clone, Debug)]
pub struct Worked {
    pub state: State,
    pub taken_up: bool,
    pub at: Instant,
}

/// What a test can hold besides phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Guests,
    Vfs,
    Clean,
    Abort,
}

#[derive(Default)]
pub struct Knobs {
    pub guests: Vec<GuestFacts>,
    pub vfs: Vec<Vf>,
    pub sightings: HashMap<String, Sighting>,
    /// libvirt does not answer.
    pub silent: Option<Cause>,
    pub works: Vec<Worked>,
    pub aborts: Vec<String>,
    /// Attempts that were not durable before they began.
    pub wrong: Vec<String>,
    pub figures: Option<Figures>,
    pub asked_guests: usize,
    pub asked_vfs: usize,
    /// The other host was asked what it knows of a migration.
    pub asked_record: usize,
    /// VFs that were to be cleaned.
    pub cleaned: Vec<PciAddress>,
    /// Why none can be.
    pub dirty: Option<Cause>,
    /// Cleaning takes the MAC off.
    pub scrubs: bool,
    /// What a look before a move finds here.
    pub found: Vec<godwit_api::v1::Finding>,
    /// How far every other host's clock is ahead, ms; none: nobody says how he is.
    pub ahead_ms: Option<u64>,
    /// The destination does not answer when it is asked before a move.
    pub cut: bool,
    /// Nor when it is greeted, so often; with that the cut is over. None: it answers, or `ahead_ms` says that it does not.
    pub away: Option<u32>,
    pub greetings: u32,
    /// What the doctor finds of any guest's domain.
    pub domain: Diagnosis,
    /// What the transfer was to be like, the last time that one was tried.
    pub options: Options,
    /// What a guest that is to come needs, as it was told.
    pub needs: Option<Needs>,
    /// How fast the newest transfer was, as a look before a move was told.
    pub carried: Option<Carried>,
    /// What beta says of its MACs; none: no peer answers.
    pub macs: Option<ListMacsResponse>,
    once: BTreeMap<Phase, VecDeque<Event>>,
    broken: BTreeMap<Phase, Event>,
    held: BTreeSet<Phase>,
    held_calls: BTreeSet<Call>,
}

/// The other host, as this one asks it.
struct Link {
    desk: PeerDesk<Faulty<Pretend>>,
    world: Arc<Pretend>,
}

pub struct Pretend {
    pub name: String,
    database: PathBuf,
    knobs: Mutex<Knobs>,
    changed: watch::Sender<()>,
    link: Mutex<Option<Arc<Link>>>,
}

pub fn cause(reason: &str) -> Cause {
    Cause {
        reason: reason.into(),
        message: format!("{} went wrong", reason.to_lowercase()),
        causes: vec!["the world".into()],
        hint: "look at the world".into(),
        vf: None,
        kept: None,
    }
}

pub fn failed(reason: &str) -> Event {
    Event::Failed(cause(reason))
}

impl Pretend {
    pub fn new(name: &str, database: PathBuf) -> Pretend {
        Pretend {
            name: name.into(),
            database,
            knobs: Mutex::default(),
            changed: watch::Sender::new(()),
            link: Mutex::default(),
        }
    }

    pub fn knobs(&self) -> MutexGuard<'_, Knobs> {
        self.knobs.lock().unwrap()
    }

    /// Turns knobs, and wakes what waits for them.
    pub fn set<T>(&self, turn: impl FnOnce(&mut Knobs) -> T) -> T {
        let value = turn(&mut self.knobs());
        self.changed.send_replace(());
        value
    }

    /// Attempts at the phase wait from now on.
    pub fn hold(&self, phase: Phase) {
        self.set(|knobs| knobs.held.insert(phase));
    }

    pub fn free(&self, phase: Phase) {
        self.set(|knobs| knobs.held.remove(&phase));
    }

    pub fn hold_call(&self, call: Call) {
        self.set(|knobs| knobs.held_calls.insert(call));
    }

    pub fn free_call(&self, call: Call) {
        self.set(|knobs| knobs.held_calls.remove(&call));
    }

    /// One attempt at the phase ends so: the one that waits, or the next.
    pub fn once(&self, phase: Phase, event: Event) {
        self.set(|knobs| knobs.once.entry(phase).or_default().push_back(event));
    }

    /// Every attempt at the phase ends so.
    pub fn breaks(&self, phase: Phase, event: Event) {
        self.set(|knobs| knobs.broken.insert(phase, event));
    }

    pub fn heals(&self, phase: Phase) {
        self.set(|knobs| knobs.broken.remove(&phase));
    }

    pub fn sees(&self, uuid: &str, sighting: Sighting) {
        self.set(|knobs| knobs.sightings.insert(uuid.into(), sighting));
    }

    pub fn tried(&self, phase: Phase) -> usize {
        let tried = |worked: &&Worked| worked.state.phase() == Some(phase);
        self.knobs().works.iter().filter(tried).count()
    }

    pub fn works(&self) -> Vec<State> {
        self.knobs().works.iter().map(|worked| worked.state).collect()
    }

    pub fn phases(&self) -> Vec<Phase> {
        self.works().into_iter().filter_map(State::phase).collect()
    }

    /// Waits until the phase was tried so often.
    pub async fn attempts(&self, phase: Phase, count: usize) {
        self.until(|_| self.tried(phase) >= count).await;
    }

    pub async fn until(&self, fits: impl Fn(&Pretend) -> bool) {
        let mut changed = self.changed.subscribe();
        while !fits(self) {
            changed.changed().await.unwrap();
        }
    }

    pub fn link(&self, world: &Arc<Pretend>, desk: PeerDesk<Faulty<Pretend>>) {
        let world = Arc::clone(world);
        *self.link.lock().unwrap() = Some(Arc::new(Link { desk, world }));
    }

    pub fn unlink(&self) {
        *self.link.lock().unwrap() = None;
    }

    fn linked(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap().clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(Caller(self.name.clone()));
        request
    }

    fn check_durable(&self, job: &Job) {
        let peek = Peek::open(&self.database);
        let written = peek.value(&job.brief.id);
        let holds = peek.holds_of(&job.brief.id);
        let mut wrong = Vec::new();
        if written.as_ref().map(|value| value.state()) != Some(job.state) {
            wrong.push(format!("{} begins, but {written:?} is written", job.state));
        }
        let protected = matches!(
            job.state.phase(),
            Some(
                Phase::Reserve
                    | Phase::FailOver
                    | Phase::Unplug
                    | Phase::Transfer
                    | Phase::Locate
                    | Phase::Await
                    | Phase::Plug
                    | Phase::FailBack
            )
        );
        let here: Vec<String> = job
            .brief
            .pairs
            .iter()
            .filter_map(|pair| Some(job.brief.vf_here(pair)?.to_string()))
            .collect();
        if protected && holds != here {
            wrong.push(format!("{} begins with holds {holds:?}, not {here:?}", job.state));
        }
        self.knobs().wrong.extend(wrong);
    }

    async fn open(&self, call: Call) {
        self.until(|world| !world.knobs().held_calls.contains(&call))
            .await;
    }

    /// What a knob says that the attempt comes to, as soon as one does; none: it goes well.
    async fn scripted(&self, job: &Job, phase: Phase) -> Option<Event> {
        let mut changed = self.changed.subscribe();
        self.set(|knobs| {
            knobs.works.push(Worked {
                state: job.state,
                taken_up: job.taken_up,
                at: Instant::now(),
            });
        });
        loop {
            {
                let mut knobs = self.knobs();
                if phase == Phase::Transfer && knobs.figures.is_some() {
                    job.progress.send_replace(knobs.figures);
                }
                if let Some(event) = knobs.once.get_mut(&phase).and_then(VecDeque::pop_front) {
                    return Some(event);
                }
                if let Some(event) = knobs.broken.get(&phase) {
                    return Some(event.clone());
                }
                if !knobs.held.contains(&phase) {
                    return None;
                }
            }
            changed.changed().await.unwrap();
        }
    }
}

impl World for Pretend {
    async fn work(&self, job: Job) -> Event {
        let phase = job.state.phase().expect("no work after the end");
        self.check_durable(&job);
        if phase == Phase::Transfer {
            self.set(|knobs| knobs.options = job.brief.options.clone());
        }
        if let Some(event) = self.scripted(&job, phase).await {
            return event;
        }
        let well = self.goes_well(&job, phase).await;
        well.unwrap_or_else(|status| {
            Event::Failed(words::cause_of(godwit_api::status::failure(&status).unwrap()))
        })
    }

    async fn abort(&self, brief: &Brief) -> Result<(), Cause> {
        self.set(|knobs| knobs.aborts.push(brief.id.clone()));
        self.open(Call::Abort).await;
        Ok(())
    }

    async fn guests(&self, named: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        let is = |facts: &&GuestFacts| named.is_none_or(|n| n == facts.guest.name || n == facts.guest.uuid);
        // An answer is as old as its question.
        let answer = self.set(|knobs| {
            knobs.asked_guests += 1;
            match &knobs.silent {
                Some(cause) => Err(cause.clone()),
                None => Ok(knobs.guests.iter().filter(is).cloned().collect()),
            }
        });
        self.open(Call::Guests).await;
        answer
    }

    async fn adopt(&self, guest: &Guest, _: &[Pair], policy: Policy) -> Result<(), Cause> {
        let mut knobs = self.knobs();
        let facts = knobs.guests.iter_mut().find(|facts| facts.guest == *guest);
        let facts = facts.unwrap();
        (facts.managed, facts.policy) = (true, policy);
        Ok(())
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        let seen = self.set(|knobs| {
            knobs.asked_vfs += 1;
            knobs.vfs.clone()
        });
        self.open(Call::Vfs).await;
        Ok(seen)
    }

    async fn clean(&self, vf: PciAddress) -> Result<(), Cause> {
        self.set(|knobs| knobs.cleaned.push(vf));
        self.open(Call::Clean).await;
        self.set(|knobs| {
            let scrubs = knobs.scrubs && knobs.dirty.is_none();
            for cleaned in knobs.vfs.iter_mut().filter(|seen| scrubs && seen.address == vf) {
                cleaned.mac = None;
            }
            knobs.dirty.clone().map_or(Ok(()), Err)
        })
    }

    async fn sight(&self, uuid: &str) -> Sighting {
        let knobs = self.knobs();
        knobs.sightings.get(uuid).copied().unwrap_or(Sighting::Absent)
    }

    async fn plan(&self, what: Planning<'_>) -> Result<Planned, Cause> {
        let own = self.knobs().found.clone();
        let brief = match what {
            Planning::Leaving { brief, carried, .. } => {
                self.set(|knobs| knobs.carried = carried.cloned());
                brief
            }
            Planning::Arriving(needs, _) => {
                self.set(|knobs| knobs.needs = Some(needs.clone()));
                return Ok(Planned {
                    findings: own,
                    ..Planned::default()
                });
            }
        };
        if self.knobs().cut {
            return Ok(words::planned(Err(cause("HOST_UNREACHABLE")), own, Vec::new()));
        }
        let Some(link) = self.linked() else {
            return Ok(Planned::default());
        };
        let needs = Needs {
            guest: brief.guest.name.clone(),
            ..Needs::default()
        };
        let asked = words::plan_request(brief, &needs);
        let answer = link.desk.plan(self.request(asked)).await;
        let answer = answer.map(tonic::Response::into_inner).map_err(|_| cause("PEER"));
        Ok(words::planned(answer, own, Vec::new()))
    }

    async fn greet(&self, _: &str) -> Result<godwit_api::v1::Host, Cause> {
        let away = self.set(|knobs| {
            knobs.greetings += 1;
            let left = knobs.away?;
            knobs.away = left.checked_sub(1);
            knobs.cut = left > 0;
            (left > 0).then_some(())
        });
        if away.is_some() {
            return Err(cause("HOST_UNREACHABLE"));
        }
        let ahead = self.knobs().ahead_ms.ok_or_else(Cause::default)?;
        let now = std::time::SystemTime::now() + std::time::Duration::from_millis(ahead);
        Ok(godwit_api::v1::Host {
            clock: Some(now.into()),
            ..Default::default()
        })
    }

    async fn macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        let knobs = self.knobs();
        let macs = knobs.macs.clone().ok_or_else(|| cause("HOST_UNREACHABLE"))?;
        // The others have none.
        Ok(if peer == "beta" {
            macs
        } else {
            ListMacsResponse::default()
        })
    }

    async fn record(&self, brief: &Brief) -> Result<Option<godwit_api::v1::Migration>, Cause> {
        self.set(|knobs| knobs.asked_record += 1);
        let Some(link) = self.linked() else {
            return Err(cause("HOST_UNREACHABLE"));
        };
        let asked = ArrivalRequest {
            migration_id: brief.id.clone(),
        };
        match link.desk.arrival(self.request(asked)).await {
            Ok(answer) => Ok(answer.into_inner().migration),
            Err(status) => {
                let cause = words::cause_of(godwit_api::status::failure(&status).unwrap());
                match cause.reason.as_str() {
                    "MIGRATION_UNKNOWN" => Ok(None),
                    _ => Err(cause),
                }
            }
        }
    }

    async fn doctor(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        let domain = guest.map(|_| self.knobs().domain.clone());
        domain.unwrap_or_default()
    }
}
