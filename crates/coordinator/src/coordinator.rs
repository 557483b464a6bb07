//! All operations of one host: begun, found, resumed after a restart.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use godwit_migration::{
    Brief, Event, Guest, GuestRefusal, HostRefusal, Migration, Phase, Refusal, Role, State, Vf,
    preflight::{self, GuestFacts},
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

use crate::{
    Journal, JournalError, Refused, World,
    clock::now_ms,
    holds,
    operation::{Command, Operation, View},
};

/// How long each phase may take.
#[derive(Clone, Debug)]
pub struct Deadlines(BTreeMap<Phase, Duration>);

impl Deadlines {
    /// The defaults, in seconds, with `changed` on top.
    pub fn new(changed: impl IntoIterator<Item = (Phase, Duration)>) -> Deadlines {
        let seconds = |phase| match phase {
            Phase::Reserve | Phase::Unreserve | Phase::Resume | Phase::Suspend => 15,
            Phase::Locate | Phase::FailOver | Phase::Release => 30,
            Phase::Unplug | Phase::Plug | Phase::FailBack => 60,
            Phase::Follow => 180,
            Phase::Transfer => 3600,
            Phase::Await => u64::MAX / 1000,
        };
        let mut all: BTreeMap<_, _> = Phase::ALL
            .iter()
            .map(|phase| (*phase, Duration::from_secs(seconds(*phase))))
            .collect();
        all.extend(changed);
        Deadlines(all)
    }

    /// The phase's deadline.
    pub fn of(&self, phase: Phase) -> Duration {
        self.0.get(&phase).copied().unwrap_or(Duration::from_secs(60))
    }
}

/// What this host is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub host: String,
    /// Names of the hosts that it exchanges guests with.
    pub peers: Vec<String>,
    /// How long each phase may take.
    pub deadlines: Deadlines,
}

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
        let id = {
            let _alone = self.0.begin.lock().await;
            match self.requested(request_id).await? {
                Some(migration) => migration.brief.id,
                None => self.begin_leaving(guest, destination, request_id).await?,
            }
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
        let facts = self.guest(guest).await?;
        self.check_destination(&facts.guest, destination)?;
        self.check_idle(&facts.guest)?;
        let pairs = preflight::movable(&facts).map_err(Refusal::from)?;
        let brief = Brief {
            id: uuid::Uuid::now_v7().to_string(),
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

    fn run(&self, migration: Migration, taken_up: bool) {
        let (commands, received) = mpsc::channel(16);
        let now = View {
            migration: Arc::new(migration.clone()),
            progress: None,
        };
        let (view, seen) = watch::channel(now);
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

    /// One operation for one guest.
    pub(crate) fn check_idle(&self, guest: &Guest) -> Result<(), Refusal> {
        let operations = self.operations();
        let open = operations
            .values()
            .map(|handle| handle.view.borrow().migration.clone());
        // A source that only watches the destination finish has no more part in the guest.
        let followed = State::Work(godwit_migration::Course::Leave, Phase::Follow);
        let busy = open
            .into_iter()
            .find(|open| open.brief.guest.uuid == guest.uuid && !open.ended() && open.state() != followed);
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
        let open: Vec<Arc<Migration>> = self
            .operations()
            .values()
            .map(|handle| handle.view.borrow().migration.clone())
            .collect();
        let of = |facts: &GuestFacts| {
            open.iter()
                .find(|m| m.brief.guest.uuid == facts.guest.uuid)
                .cloned()
        };
        Ok(facts
            .into_iter()
            .map(|facts| (of(&facts), facts))
            .map(|(open, facts)| (facts, open))
            .collect())
    }

    /// Makes a guest a managed one.
    pub(crate) async fn adopt(&self, named: &str) -> Result<GuestFacts, Refused> {
        let _alone = self.0.begin.lock().await;
        let facts = self.guest(named).await?;
        self.check_idle(&facts.guest)?;
        let pairs = preflight::pairs(&facts).map_err(Refusal::from)?;
        self.0
            .world
            .adopt(&facts.guest, &pairs)
            .await
            .map_err(Refused::Cause)?;
        self.guest(named).await
    }

    /// This host's VFs with their holds.
    pub(crate) async fn vfs(&self) -> Result<Vec<Vf>, Refused> {
        let vfs = self.0.world.vfs().await.map_err(Refused::Cause)?;
        Ok(holds::overlay(vfs, &self.0.journal.holds().await?))
    }

    /// A migration, running or ended, by its id or the beginning of it.
    pub(crate) async fn get(&self, id: &str) -> Result<View, Refused> {
        if let Some(watch) = self.watch(id) {
            return Ok(watch.borrow().clone());
        }
        let unknown = |more| Refused::UnknownMigration {
            id: id.chars().take(64).collect(),
            more,
        };
        if id.len() < 4 {
            return Err(unknown(" (at least 4 characters of it are needed)"));
        }
        let mut found = self.0.journal.by_prefix(id).await?;
        match (found.pop(), found.pop()) {
            (Some(migration), None) => Ok(match self.watch(&migration.brief.id) {
                Some(watch) => watch.borrow().clone(),
                None => View {
                    migration: Arc::new(migration),
                    progress: None,
                },
            }),
            (Some(_), Some(_)) => Err(unknown(" alone: give more of it")),
            _ => Err(unknown("")),
        }
    }

    /// The newest migrations.
    pub(crate) async fn list(&self, guest: &str, limit: u32) -> Result<Vec<View>, Refused> {
        let listed = self.0.journal.newest(guest, limit).await?;
        let now = |migration: Migration| match self.watch(&migration.brief.id) {
            Some(watch) => watch.borrow().clone(),
            None => View {
                migration: Arc::new(migration),
                progress: None,
            },
        };
        Ok(listed.into_iter().map(now).collect())
    }

    /// The changes of a running migration; none when it does not run.
    pub(crate) fn watch(&self, id: &str) -> Option<watch::Receiver<View>> {
        self.operations().get(id).map(|handle| handle.view.clone())
    }

    /// Turns the migration round at its next boundary.
    pub(crate) async fn cancel(&self, id: &str) -> Result<View, Refused> {
        let view = self.get(id).await?;
        let id = view.migration.brief.id.clone();
        if self.tell(&id, Event::CancelAsked).await {
            return self.get(&id).await;
        }
        let phase = match view.migration.ended() {
            true => "its end".into(),
            false => view.migration.phase().name().into(),
        };
        Err(Refused::TooLate { id, phase })
    }

    /// Hands an event to a running operation; whether the table took it.
    pub(crate) async fn tell(&self, id: &str, event: Event) -> bool {
        let Some(handle) = self.operations().get(id).cloned() else {
            return false;
        };
        let (taken, answer) = oneshot::channel();
        if handle.commands.send(Command { event, taken }).await.is_err() {
            return false;
        }
        answer.await.unwrap_or(false)
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
