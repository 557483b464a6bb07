//! All hosts of one sim: coordinators that start, die and start again over one world.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use godwit_api::v1::{CancelMigrationRequest, migration_service_server::MigrationService};
use godwit_coordinator::{
    Coordinator, Deadlines, Expiry, History, Journal, Limits, MigrationDesk, Settings, Unasked,
};
use godwit_migration::{Phase, profile::MustMatch};
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::{
    layout,
    model::{HostId, Model},
    pace::Pace,
    world::{Order, PretendWorld, Seat, Shared},
};

/// How often a daemon looks after its guests.
pub(crate) const LOOKS_AFTER: Duration = Duration::from_secs(30);

const DAY_MS: i64 = 86_400_000;

/// How every host is made.
pub(crate) struct Cluster {
    pub(crate) shared: Arc<Shared>,
    names: Vec<String>,
    journals: Vec<Mutex<Journal>>,
    deadlines: Deadlines,
    /// One host starts at a time.
    starting: tokio::sync::Mutex<()>,
}

/// Where the journals are.
pub(crate) enum Journals {
    /// In a directory for each host.
    Under(PathBuf),
    /// Nowhere: they end with the process.
    InMemory,
}

impl Cluster {
    /// The world is there, no coordinator runs yet. Its orders come out of the receiver.
    pub(crate) fn new(
        model: Model,
        pace: Pace,
        journals: &Journals,
        strict: bool,
    ) -> anyhow::Result<(Arc<Cluster>, mpsc::UnboundedReceiver<Order>)> {
        let names: Vec<String> = model.hosts.iter().map(|host| host.name.clone()).collect();
        let journals = names
            .iter()
            .map(|name| Ok(Mutex::new(journals.open(name)?)))
            .collect::<anyhow::Result<_>>()?;
        let deadlines = Deadlines::new([]);
        let compressed = |phase: &Phase| (*phase, pace.deadline(deadlines.of(*phase)));
        let deadlines = Deadlines::new(
            Phase::ALL
                .iter()
                .filter(|phase| !matches!(phase, Phase::Await | Phase::Queue))
                .map(compressed),
        );
        let (orders, ordered) = mpsc::unbounded_channel();
        let cluster = Cluster {
            shared: Arc::new(Shared::new(model, pace, orders, strict)),
            names,
            journals,
            deadlines,
            starting: tokio::sync::Mutex::default(),
        };
        Ok((Arc::new(cluster), ordered))
    }

    pub(crate) fn hosts(&self) -> usize {
        self.names.len()
    }

    /// The host's daemon starts; it takes up what its journal says.
    pub(crate) async fn start(&self, host: HostId) -> anyhow::Result<()> {
        if self.shared.seat(host).is_some() {
            return Ok(());
        }
        let others = self.names.iter().enumerate().filter(|(index, _)| *index != host);
        let (pools, days) = {
            let host = &self.shared.model().hosts[host];
            (layout::pools(host), layout::certificate_days(host))
        };
        let ends_ms = now_ms() + days * DAY_MS;
        let settings = Settings {
            host: self.names[host].clone(),
            peers: others.map(|(_, name)| name.clone()).collect(),
            deadlines: self.deadlines.clone(),
            limits: Limits::default(),
            history: History::default(),
            must_match: MustMatch::default(),
            pools,
            certificate: Expiry::new(move || Some(ends_ms)),
            unasked: Unasked {
                probes: 100,
                ..Unasked::default()
            },
        };
        let (life, dead) = watch::channel(false);
        let world = Arc::new(PretendWorld::new(Arc::clone(&self.shared), host, dead.clone()));
        let journal = self.journal(host).until(dead);
        let coordinator = Coordinator::start(settings, world, journal).await?;
        let life = Arc::new(life);
        let seat = Seat {
            coordinator,
            life,
            takings: Arc::default(),
        };
        tokio::spawn(look_after(seat.clone(), self.shared.pace.exactly(LOOKS_AFTER)));
        *self.shared.seat(host) = Some(seat);
        Ok(())
    }

    /// The host's daemon dies, wherever it is.
    pub(crate) fn crash(&self, host: HostId) {
        let seat = self.shared.seat(host).take();
        if let Some(seat) = seat {
            info!("{}: the coordinator dies", self.names[host]);
            self.shared.model().hosts[host].deaths += 1;
            seat.life.send_replace(true);
        }
    }

    /// Does what the world orders, until the world ends.
    pub(crate) async fn obey(self: Arc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Crash(host, down) => self.fall(host, down),
                Order::Forget(host, down) => {
                    self.fall(host, down);
                    self.forget(host);
                }
                Order::Cancel(host, id) => {
                    let seat = self.shared.seat(host).clone();
                    if let Some(seat) = seat {
                        tokio::spawn(cancel(seat.coordinator, id));
                    }
                }
            }
        }
    }

    /// The host's daemon dies, and is back after a while.
    fn fall(self: &Arc<Self>, host: HostId, down: Duration) {
        self.crash(host);
        let cluster = Arc::clone(self);
        let down = cluster.shared.pace.exactly(down);
        tokio::spawn(async move { cluster.start_after(host, down).await });
    }

    /// What the host's journal said is lost; the next daemon there begins with an empty one.
    fn forget(&self, host: HostId) {
        match Journal::in_memory() {
            Ok(journal) => *self.journal(host) = journal,
            Err(error) => self.shared.model().note(None, format!("no new journal: {error}")),
        }
        self.shared.model().hosts[host].forgot = true;
    }

    fn journal(&self, host: HostId) -> MutexGuard<'_, Journal> {
        self.journals[host].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn start_after(&self, host: HostId, down: Duration) {
        tokio::time::sleep(down).await;
        let _alone = self.starting.lock().await;
        // It fell twice, and was started once: the journal's lock lets in one daemon alone.
        if self.shared.seat(host).is_some() {
            return;
        }
        info!("{}: the coordinator starts again", self.names[host]);
        if let Err(error) = self.start(host).await {
            let wrong = format!("{}: it does not start again: {error:#}", self.names[host]);
            self.shared.model().note(None, wrong);
        }
    }

    /// Ends all of it: nobody holds anybody any more.
    pub(crate) fn stop(&self) {
        (0..self.hosts()).for_each(|host| self.crash(host));
    }
}

/// The clock of the wall, milliseconds since 1970, for what is compared with it.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}

/// As long as the daemon lives it looks after its guests now and then.
async fn look_after(seat: Seat, often: Duration) {
    let looks = async {
        loop {
            tokio::time::sleep(often).await;
            seat.coordinator.look_after_guests().await;
        }
    };
    tokio::select! {
        biased;
        () = seat.death() => {}
        () = looks => {}
    }
}

pub(crate) async fn cancel(coordinator: Coordinator<PretendWorld>, id: String) {
    let request = tonic::Request::new(CancelMigrationRequest { id });
    // Refused when it comes too late.
    let _ = MigrationDesk(coordinator).cancel_migration(request).await;
}

impl Journals {
    fn open(&self, host: &str) -> anyhow::Result<Journal> {
        match self {
            Journals::InMemory => Ok(Journal::in_memory()?),
            Journals::Under(directory) => {
                let directory = directory.join(host);
                std::fs::create_dir_all(&directory)
                    .with_context(|| format!("journal directory {}", directory.display()))?;
                Ok(Journal::open(&directory)?)
            }
        }
    }
}
