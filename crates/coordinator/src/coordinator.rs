//! All operations of one host: begun, found, resumed after a restart.

mod awaited;
mod doubted;
mod expected;
mod guests;
mod holding;
mod host;
mod left;
pub(crate) mod looking;
mod lookup;
mod passing;
mod persons;
mod plan;
mod running;
mod stays;
mod wanted;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use godwit_migration::{
    Brief, Cause, Entry, Event, Guest, GuestRefusal, HostRefusal, Migration, Phase, Refusal,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};
use tracing::info;

pub use self::{awaited::Awaited, expected::Expected, left::Had, running::Running};
pub(crate) use self::{lookup::Found, plan::Ahead, wanted::Wanted};
use crate::{
    Journal, JournalError, NotNow, Refused, Settings, World,
    clock::{new_id, now_ms},
    operation::{Command, Operation, View},
    slots::Slots,
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
    /// A VF may have become free: who waits for one looks again.
    freed: Notify,
    /// Says when PFs or VFs are not as they were.
    hardware: watch::Sender<()>,
    /// Room for transfers from here, and to here.
    outgoing: Slots,
    incoming: Slots,
    /// What ends with the process.
    passing: passing::Passing,
    /// Says when an operation began or ended, and whether new ones may begin.
    door: running::Door,
}

/// How long a caller waits for an operation to take what it is told. Longer than a write of the journal.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of a guest longer ago is looked at again before its move begins: meanwhile it may have stopped, and its VF may be
/// another guest's.
const FRESH: Duration = Duration::from_secs(1);

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
            freed: Notify::new(),
            hardware: watch::Sender::new(()),
            outgoing: Slots::new(settings.limits.outgoing),
            incoming: Slots::new(settings.limits.incoming),
            settings,
            world,
            journal,
            operations: Mutex::default(),
            begin: Default::default(),
            passing: passing::Passing::default(),
            door: running::Door::default(),
        };
        let coordinator = Coordinator(Arc::new(inner));
        for migration in open {
            info!(migration = %migration.brief.id, guest = %migration.brief.guest.name,
                state = %migration.state(), "taken up again");
            coordinator.run(migration, true);
        }
        let forgetful = coordinator.clone();
        tokio::spawn(async move { forgetful.forget().await });
        Ok(coordinator)
    }

    /// This host's name.
    pub fn host(&self) -> &str {
        &self.0.settings.host
    }

    /// Begins a migration, or refuses before the guest was touched: answers when the destination holds its VFs, with what was
    /// found that does not keep it from beginning, and what could not be looked at.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(crate) async fn create(&self, wanted: &Wanted) -> Result<(View, Ahead), Refused> {
        let (id, found) = match self.requested(&wanted.request).await? {
            Some(migration) => (migration.brief.id, Ahead::default()),
            None => self.begin_leaving(wanted).await?,
        };
        Ok((self.reserved(&id).await?, found))
    }

    async fn begin_leaving(&self, wanted: &Wanted) -> Result<(String, Ahead), Refused> {
        let (destination, request) = (wanted.destination.as_str(), wanted.request.as_str());
        self.open()?;
        let options = self.options(wanted)?;
        // libvirt and the agent may take their time: nobody waits for them behind the lock.
        let looked = Instant::now();
        let mut known = self.known(&wanted.guest).await?;
        self.check_destination(&known.facts.guest, destination)?;
        let found = match self.look_ahead(wanted, &known.facts, &options).await {
            Ok(found) => found,
            // The same request may have come in the meantime, and be at work.
            Err(refused) => {
                let made = self.requested(request).await?;
                return made.map_or(Err(refused), |made| Ok((made.brief.id, Ahead::default())));
            }
        };
        let taken_over = self.take_over(&known.facts.guest.uuid).await?;
        if taken_over || looked.elapsed() > FRESH {
            known = self.known(&wanted.guest).await?;
        }
        let begun = self.alone_with(known, Some(destination)).await;
        // The same request may have come in the meantime, and be what keeps the guest busy.
        if let Some(migration) = self.requested(request).await? {
            return Ok((migration.brief.id, found));
        }
        let (_alone, facts) = begun?;
        let mut brief = self.brief_of(wanted, facts, options).map_err(Refusal::from)?;
        brief.id = new_id();
        let id = brief.id.clone();
        let request = (!request.is_empty()).then(|| request.to_owned());
        self.begin(brief, request).await?;
        Ok((id, found))
    }

    /// Begins this host's part: durable first, then at work.
    pub(crate) async fn begin(&self, brief: Brief, request: Option<String>) -> Result<(), Refused> {
        self.open()?;
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
        let waits = migration.state().phase() == Some(Phase::Await);
        let expected = migration.brief.teamed;
        self.operations()
            .insert(id.clone(), Handle { commands, view: seen });
        self.0.door.turned();
        let operation = Operation::new(self.clone(), migration, taken_up, (received, view));
        match (waits, expected) {
            (true, true) => self.give_up_in_time(&id),
            (true, false) => self.doubt(&id),
            (false, _) => {}
        }
        let coordinator = self.clone();
        tokio::spawn(async move {
            operation.run().await;
            coordinator.operations().remove(&id);
            coordinator.0.door.turned();
            coordinator.forget().await;
        });
    }

    /// Waits for the end of Reserve; a migration that it ended is a refusal.
    async fn reserved(&self, id: &str) -> Result<View, Refused> {
        let refused =
            |migration: &Migration| wanted::refused_by(migration).map(|cause| Refused::Cause(cause.clone()));
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
        let mut all = self.open_of(&guest.uuid).into_iter();
        let busy = all.find(|open| guests::occupies(open, destination));
        busy.map_or(Ok(()), |open| Err(self.busy(&open).into()))
    }

    fn busy(&self, open: &Migration) -> GuestRefusal {
        GuestRefusal::Busy {
            guest: open.brief.guest.name.clone(),
            migration: open.brief.id.clone(),
            phase: open.phase().name().into(),
        }
    }

    /// Turns the migration round at its next boundary; at the destination, gives up the guest that has not come.
    pub(crate) async fn cancel(&self, id: &str) -> Result<View, Refused> {
        let open = self.get(id).await?.migration;
        if expected::is_awaited(&open) {
            return self.give_up_by_hand(&open).await;
        }
        let id = open.brief.id.clone();
        let taken = self.tell(&id, Event::CancelAsked).await?;
        let view = self.get(&id).await?;
        if taken {
            return Ok(view);
        }
        let phase = match view.migration.ended() {
            true => "its end".into(),
            false => view.migration.phase().name().into(),
        };
        Err(NotNow::TooLate { id, phase }.into())
    }

    /// Hands an event to a running operation; whether the table took it.
    ///
    /// # Errors
    /// It does not listen: it waits for its journal. What was told may still be taken.
    pub(crate) async fn tell(&self, id: &str, event: Event) -> Result<bool, Refused> {
        self.command(id, |taken| Command::Tell { event, taken }).await
    }

    async fn command(
        &self,
        id: &str,
        command: impl FnOnce(oneshot::Sender<bool>) -> Command,
    ) -> Result<bool, Refused> {
        let Some(handle) = self.operations().get(id).cloned() else {
            return Ok(false);
        };
        let (taken, answer) = oneshot::channel();
        let told = async {
            let sent = handle.commands.send(command(taken)).await;
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

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn world(&self) -> &Arc<W> {
        &self.0.world
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    pub(crate) fn deadline(&self, phase: Phase) -> Duration {
        self.0.settings.deadlines.of(phase)
    }

    /// Room for transfers from this host.
    pub(crate) fn outgoing(&self) -> &Slots {
        &self.0.outgoing
    }

    /// Room for transfers to this host.
    pub(crate) fn incoming(&self) -> &Slots {
        &self.0.incoming
    }

    /// Whoever waits for a VF looks again.
    pub(crate) fn vf_was_freed(&self) {
        self.0.freed.notify_waiters();
    }

    /// PFs or VFs of this host are not as they were: what rests for them is tried at once, and guests are looked after.
    pub async fn hardware_changed(&self) {
        self.devices_begin_anew();
        self.look_after_guests().await;
    }

    /// Devices of this host or of a guest are not as they were: what rests for them is tried at once.
    pub fn devices_begin_anew(&self) {
        self.0.hardware.send_replace(());
    }

    pub(crate) fn hardware(&self) -> watch::Receiver<()> {
        self.0.hardware.subscribe()
    }

    /// Until a VF may have become free.
    pub(crate) async fn vf_freed(&self) {
        self.0.freed.notified().await;
    }

    pub(crate) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.begin.lock().await
    }

    fn operations(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        // Nothing that holds this lock can panic half way through a change.
        self.0.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
