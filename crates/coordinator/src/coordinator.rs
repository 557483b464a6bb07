//! All operations of one host: begun, found, resumed after a restart.

mod lookup;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use godwit_migration::{
    Brief, Cause, Course, Entry, Event, Guest, GuestRefusal, HostRefusal, Migration, Phase, Refusal, Role,
    State, Vf,
    preflight::{self, GuestFacts},
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

pub(crate) use self::lookup::Found;
use crate::{
    Journal, JournalError, Refused, Settings, World,
    clock::{new_id, now_ms},
    holds,
    operation::{Command, Operation, View},
};

/// The coordinator of one host. Cheap to clone.
pub struct Coordinator<W>(Arc<Inner<W>>);

struct Inner<W> {
    settings: Settings,
    world: Arc<W>,
    journal: Journal,
    operations: Mutex<HashMap<String, Handle>>,
    /// Held while something new is begun: two requests at once see each other.
    begin: tokio::sync::Mutex<()>,
}

/// How long a caller waits for an operation to take what it is told. Longer than a write of the journal.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
}

impl<W> Clone for Coordinator<W> {
    fn clone(&self) -> Self {
        Coordinator(Arc::clone(&self.0))
    }
}

impl<W: World> Coordinator<W> {
    /// Takes up every migration that had not ended when the journal was last closed.
    ///
    /// # Errors
    /// A journal that cannot be read, named; nothing was changed then.
    pub async fn start(settings: Settings, world: Arc<W>, journal: Journal) -> Result<Self, JournalError> {
        let open = journal.open_migrations().await?;
        let inner = Inner {
            settings,
            world,
            journal,
            operations: Mutex::default(),
            begin: Default::default(),
        };
        let coordinator = Coordinator(Arc::new(inner));
        for migration in open {
            info!(migration = %migration.brief.id, guest = %migration.brief.guest.name,
                state = %migration.state(), "taken up again");
            coordinator.run(migration, true);
        }
        Ok(coordinator)
    }

    /// This host's name.
    pub fn host(&self) -> &str {
        &self.0.settings.host
    }

    /// Begins a migration, or refuses before the guest was touched: answers when the destination holds its VFs.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(crate) async fn create(
        &self,
        guest: &str,
        destination: &str,
        request_id: &str,
    ) -> Result<View, Refused> {
        let id = match self.requested(request_id).await? {
            Some(migration) => migration.brief.id,
            None => self.begin_leaving(guest, destination, request_id).await?,
        };
        self.reserved(&id).await
    }

    async fn requested(&self, request_id: &str) -> Result<Option<Migration>, JournalError> {
        if request_id.is_empty() {
            return Ok(None);
        }
        self.0.journal.by_request(request_id).await
    }

    async fn begin_leaving(&self, guest: &str, destination: &str, request: &str) -> Result<String, Refused> {
        // libvirt and the agent may take their time: nobody waits for them behind the lock.
        let facts = self.guest(guest).await?;
        self.check_destination(&facts.guest, destination)?;
        let _alone = self.alone().await;
        if let Some(migration) = self.requested(request).await? {
            return Ok(migration.brief.id);
        }
        self.check_idle(&facts.guest, Some(destination))?;
        let pairs = preflight::movable(&facts).map_err(Refusal::from)?;
        let brief = Brief {
            id: new_id(),
            role: Role::Source,
            guest: facts.guest,
            source: self.host().into(),
            destination: destination.into(),
            pairs,
        };
        let id = brief.id.clone();
        let request = (!request.is_empty()).then(|| request.to_owned());
        self.begin(brief, request).await?;
        Ok(id)
    }

    /// Begins this host's part: durable first, then at work.
    pub(crate) async fn begin(&self, brief: Brief, request: Option<String>) -> Result<(), JournalError> {
        let migration = Migration::begin(brief, now_ms());
        self.0.journal.begin(&migration, request).await?;
        self.run(migration, false);
        Ok(())
    }

    /// Writes down that a migration this host has not heard of is closed here, in one step.
    pub(crate) async fn begin_closed(&self, brief: Brief) -> Result<(), JournalError> {
        let mut migration = Migration::begin(brief, now_ms());
        let entry = Entry {
            at_ms: now_ms(),
            event: Event::Closed,
        };
        // The table takes it at the start of an arrival.
        let _ = migration.apply(entry);
        self.0.journal.begin(&migration, None).await
    }

    fn run(&self, migration: Migration, taken_up: bool) {
        let (commands, received) = mpsc::channel(16);
        let (view, seen) = watch::channel(View::of(migration.clone()));
        let id = migration.brief.id.clone();
        self.operations()
            .insert(id.clone(), Handle { commands, view: seen });
        let operation = Operation {
            world: Arc::clone(&self.0.world),
            journal: self.0.journal.clone(),
            deadlines: self.0.settings.deadlines.clone(),
            migration,
            taken_up,
            commands: received,
            view,
        };
        let coordinator = self.clone();
        tokio::spawn(async move {
            operation.run().await;
            coordinator.operations().remove(&id);
        });
    }

    /// Waits for the end of Reserve; a migration that it ended is a refusal.
    async fn reserved(&self, id: &str) -> Result<View, Refused> {
        let refused = |migration: &Migration| match migration.entries().first().map(|entry| &entry.event) {
            Some(Event::Failed(cause)) => Some(Refused::Cause(cause.clone())),
            _ => None,
        };
        let Some(mut watch) = self.watch(id) else {
            let view = self.get(id).await?;
            return refused(&view.migration).map_or(Ok(view), Err);
        };
        let reserving = |view: &View| view.migration.state().phase() == Some(Phase::Reserve);
        let failed = |view: &View| refused(&view.migration).is_some();
        // The watch ends with the operation; the last view is still there.
        let _ = watch
            .wait_for(|view| !reserving(view) && (!failed(view) || view.migration.settled()))
            .await;
        let view = watch.borrow().clone();
        refused(&view.migration).map_or(Ok(view), Err)
    }

    fn check_destination(&self, guest: &Guest, destination: &str) -> Result<(), Refusal> {
        let settings = &self.0.settings;
        if destination == settings.host {
            return Err(HostRefusal::Itself {
                guest: guest.name.clone(),
                host: destination.into(),
            }
            .into());
        }
        if settings.peers.iter().any(|peer| peer == destination) {
            return Ok(());
        }
        let known = if settings.peers.is_empty() {
            "none".into()
        } else {
            settings.peers.join(", ")
        };
        let here = settings.host.clone();
        Err(HostRefusal::Unknown {
            host: destination.into(),
            here,
            known,
        }
        .into())
    }

    /// One operation for one guest. A debt to one host stands in the way of none but the next migration there.
    pub(crate) fn check_idle(&self, guest: &Guest, destination: Option<&str>) -> Result<(), Refusal> {
        let busy = |open: &Migration| match open.state() {
            State::Done(_) => false,
            // A source that only watches the destination finish has no more part in the guest.
            State::Work(Course::Leave, Phase::Follow) => false,
            State::Rest(Course::Return | Course::Quit, Phase::Unreserve) => {
                destination == Some(open.brief.destination.as_str())
            }
            _ => true,
        };
        let busy = self.open_of(&guest.uuid).into_iter().find(|open| busy(open));
        busy.map_or(Ok(()), |open| {
            Err(GuestRefusal::Busy {
                guest: guest.name.clone(),
                migration: open.brief.id.clone(),
                phase: open.phase().name().into(),
            }
            .into())
        })
    }

    /// The guest of that name or UUID.
    pub(crate) async fn guest(&self, named: &str) -> Result<GuestFacts, Refused> {
        let found = self.0.world.guests(Some(named)).await.map_err(Refused::Cause)?;
        let unknown = || GuestRefusal::Unknown {
            guest: named.into(),
            host: self.host().into(),
        };
        found
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::from(unknown()).into())
    }

    /// All guests, each with the migration that is under way.
    pub(crate) async fn guests(&self) -> Result<Vec<(GuestFacts, Option<Arc<Migration>>)>, Refused> {
        let facts = self.0.world.guests(None).await.map_err(Refused::Cause)?;
        let newest = |facts: GuestFacts| {
            let open = self.open_of(&facts.guest.uuid);
            let newest = open
                .into_iter()
                .max_by_key(|open| (open.begun_ms, open.brief.id.clone()));
            (facts, newest)
        };
        Ok(facts.into_iter().map(newest).collect())
    }

    /// The operations of a guest.
    fn open_of(&self, uuid: &str) -> Vec<Arc<Migration>> {
        let operations = self.operations();
        let all = operations
            .values()
            .map(|handle| handle.view.borrow().migration.clone());
        all.filter(|open| open.brief.guest.uuid == uuid).collect()
    }

    /// Makes a guest a managed one.
    pub(crate) async fn adopt(&self, named: &str) -> Result<GuestFacts, Refused> {
        let facts = self.guest(named).await?;
        {
            let _alone = self.alone().await;
            self.check_idle(&facts.guest, None)?;
            let pairs = preflight::pairs(&facts).map_err(Refusal::from)?;
            let adopted = self.0.world.adopt(&facts.guest, &pairs).await;
            adopted.map_err(Refused::Cause)?;
        }
        self.guest(named).await
    }

    /// This host's VFs with their holds.
    ///
    /// # Errors
    /// [`Refused::Cause`] or [`Refused::Journal`].
    pub async fn vfs(&self) -> Result<Vec<Vf>, Refused> {
        // In this order: a hold that ends between the two looks has given its VF to a guest, and a list of VFs
        // from before that would show it free.
        let holds = self.0.journal.holds().await?;
        let vfs = self.0.world.vfs().await.map_err(Refused::Cause)?;
        Ok(holds::overlay(vfs, &holds))
    }

    /// What is set aside here.
    pub(crate) async fn holds(&self) -> Result<Vec<holds::Hold>, Refused> {
        Ok(self.0.journal.holds().await?)
    }

    /// Names of the hosts that this one exchanges guests with.
    pub(crate) fn peers(&self) -> &[String] {
        &self.0.settings.peers
    }

    /// A peer as it describes itself.
    pub(crate) async fn greet(&self, peer: &str) -> Result<godwit_api::v1::Host, Cause> {
        self.0.world.greet(peer).await
    }

    /// Turns the migration round at its next boundary.
    pub(crate) async fn cancel(&self, id: &str) -> Result<View, Refused> {
        let id = self.get(id).await?.migration.brief.id.clone();
        let taken = self.tell(&id, Event::CancelAsked).await?;
        let view = self.get(&id).await?;
        if taken {
            return Ok(view);
        }
        let phase = match view.migration.ended() {
            true => "its end".into(),
            false => view.migration.phase().name().into(),
        };
        Err(Refused::TooLate { id, phase })
    }

    /// Hands an event to a running operation; whether the table took it.
    ///
    /// # Errors
    /// It does not listen: it waits for its journal. What was told may still be taken.
    pub(crate) async fn tell(&self, id: &str, event: Event) -> Result<bool, Refused> {
        let Some(handle) = self.operations().get(id).cloned() else {
            return Ok(false);
        };
        let (taken, answer) = oneshot::channel();
        let told = async {
            let sent = handle.commands.send(Command { event, taken }).await;
            sent.is_ok() && answer.await.unwrap_or(false)
        };
        let deaf = || Cause {
            reason: "JOURNAL".into(),
            message: format!(
                "migration {id} waits for its journal; it may still take this when it can write"
            ),
            hint: "journalctl -u godwitd".into(),
            ..Cause::default()
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        told.map_err(|_| Refused::Cause(deaf()))
    }

    pub(crate) fn world(&self) -> &W {
        &self.0.world
    }

    pub(crate) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.begin.lock().await
    }

    fn operations(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        // Nothing that holds this lock can panic half way through a change.
        self.0.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: World> Coordinator<W> {
    /// This host as others see it.
    pub(crate) async fn myself(&self) -> godwit_api::v1::Host {
        let (vfs, problem) = match self.vfs().await {
            Ok(vfs) => (vfs, String::new()),
            Err(refused) => (Vec::new(), refused.to_string()),
        };
        godwit_api::v1::Host {
            name: self.host().into(),
            here: true,
            reachable: true,
            version: env!("CARGO_PKG_VERSION").into(),
            vfs: vfs.len() as u32,
            free_vfs: vfs
                .iter()
                .filter(|vf| vf.usage == godwit_migration::VfUse::Free)
                .count() as u32,
            migrations: self.operations().len() as u32,
            problem,
        }
    }
}
