//! Keeps the host from shutting down or sleeping in the middle of an operation, as far as logind lets it.
//!
//! For each operation at work two locks of logind: one that blocks, with the reason in words, and one that delays, because
//! before systemd 257 root's shutdown passes the blocking ones. No guest's safety rests on either: a host that ends all the
//! same is a daemon that was killed, and goes on from its journal.

use std::{collections::BTreeMap, os::fd::OwnedFd, time::Duration};

use futures_util::{StreamExt, future::join_all};
use godwit_api::v1::{self as api, migration_service_server::MigrationService};
use godwit_coordinator::{Coordinator, MigrationDesk, World};
use tokio::time::Instant;
use tracing::{info, warn};
use zbus::{Connection, proxy, proxy::CacheProperties};

use super::{
    ANSWER,
    authority::is_nobody,
    follow::{Follow, Sight},
};

/// What is not to happen.
const WHAT: &str = "shutdown:sleep";

/// logind's own default of InhibitDelayMaxSec, where it does not tell.
const DELAY: Duration = Duration::from_secs(5);

/// More operations do not get locks of their own: the host is kept awake by these.
const MOST: usize = 64;

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Logind {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<zbus::OwnedFd>;
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
    #[zbus(signal)]
    fn prepare_for_sleep(&self, start: bool) -> zbus::Result<()>;
    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> zbus::Result<bool>;
    #[zbus(property)]
    fn preparing_for_sleep(&self) -> zbus::Result<bool>;
    #[zbus(property, name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max_usec(&self) -> zbus::Result<u64>;
}

/// The locks of one operation. logind lets go when they are closed.
struct Locks {
    why: String,
    block: Option<OwnedFd>,
    delay: Option<OwnedFd>,
}

/// What the host is about to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Closing {
    shutdown: bool,
    sleep: bool,
}

impl Closing {
    /// After the host's name.
    fn words(self) -> Option<&'static str> {
        match self {
            Closing { shutdown: true, .. } => Some("is shutting down"),
            Closing { sleep: true, .. } => Some("is going to sleep"),
            _ => None,
        }
    }
}

/// Holds the locks, and hears of what they could not prevent.
pub(super) struct Inhibitor<W> {
    coordinator: Coordinator<W>,
    locks: BTreeMap<String, Locks>,
    closing: Closing,
    /// Until then logind waits for what delays it.
    waits_until: Option<Instant>,
    /// That there is no logind has been said.
    told: bool,
}

impl<W: World> Inhibitor<W> {
    pub(super) fn new(coordinator: Coordinator<W>) -> Inhibitor<W> {
        Inhibitor {
            coordinator,
            locks: BTreeMap::new(),
            closing: Closing::default(),
            waits_until: None,
            told: false,
        }
    }

    /// Until the bus goes away; the locks stay.
    pub(super) async fn run(&mut self, bus: &Connection) {
        if let Err(error) = self.watch(bus).await {
            warn!("logind is not watched, and a shutdown of the host not held up: {error}");
        }
        std::future::pending().await
    }

    async fn watch(&mut self, bus: &Connection) -> zbus::Result<()> {
        let builder = LogindProxy::builder(bus).cache_properties(CacheProperties::No);
        let logind = builder.build().await?;
        // First the signals, then the state: no change is between them.
        let mut shutdowns = logind.receive_prepare_for_shutdown().await?;
        let mut sleeps = logind.receive_prepare_for_sleep().await?;
        let mut owners = logind.inner().receive_owner_changed().await?;
        let mut follow = Follow::new(self.coordinator.clone());
        self.take_up(&logind).await;
        while let Some(sight) = follow.fresh() {
            self.see(&logind, sight).await;
        }
        loop {
            let waits_until = self.waits_until;
            let over = async {
                match waits_until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(signal) = shutdowns.next() => {
                    let shutdown = signal.args()?.start;
                    self.closes(&logind, Closing { shutdown, ..self.closing }).await;
                }
                Some(signal) = sleeps.next() => {
                    let sleep = signal.args()?.start;
                    self.closes(&logind, Closing { sleep, ..self.closing }).await;
                }
                Some(owner) = owners.next() => if owner.is_some() {
                    self.take_up(&logind).await;
                },
                sight = follow.next() => self.see(&logind, sight).await,
                () = over => self.delay_no_more(),
            }
        }
    }

    /// Another logind, or the first: the host may be about to end, and it may know none of the locks.
    async fn take_up(&mut self, logind: &LogindProxy<'_>) {
        let running = self.coordinator.running();
        self.locks
            .retain(|id, _| running.iter().any(|one| one.id() == id));
        let (shutdown, sleep) = (logind.preparing_for_shutdown(), logind.preparing_for_sleep());
        let both = async { (shutdown.await, sleep.await) };
        if let Ok((Ok(shutdown), Ok(sleep))) = tokio::time::timeout(ANSWER, both).await {
            self.closes(logind, Closing { shutdown, sleep }).await;
        }
        let mut locks = std::mem::take(&mut self.locks);
        for lock in locks.values_mut() {
            let new = self.lock(logind, std::mem::take(&mut lock.why)).await;
            // Whoever gave the old ones may still count them.
            lock.why = new.why;
            lock.block = new.block.or(lock.block.take());
            lock.delay = new.delay.or(lock.delay.take());
        }
        self.locks = locks;
    }

    async fn see(&mut self, logind: &LogindProxy<'_>, Sight { migration, last }: Sight) {
        let locked = self.locks.contains_key(&migration.id);
        match (!last && keeps_awake(&migration), locked) {
            (true, false) if self.locks.len() < MOST => {
                let locks = self.lock(logind, why(&migration)).await;
                self.locks.insert(migration.id, locks);
            }
            (false, true) => drop(self.locks.remove(&migration.id)),
            _ => {}
        }
    }

    async fn lock(&mut self, logind: &LogindProxy<'_>, why: String) -> Locks {
        let delays = self.closing.words().is_none() || self.waits_until.is_some();
        Locks {
            block: self.inhibit(logind, &why, "block").await,
            delay: match delays {
                true => self.inhibit(logind, &why, "delay").await,
                false => None,
            },
            why,
        }
    }

    async fn inhibit(&mut self, logind: &LogindProxy<'_>, why: &str, mode: &str) -> Option<OwnedFd> {
        let lock = tokio::time::timeout(ANSWER, logind.inhibit(WHAT, "Godwit", why, mode)).await;
        let error = match lock {
            Ok(Ok(lock)) => {
                self.told = false;
                return Some(lock.into());
            }
            Ok(Err(error)) if is_nobody(&error) => "nobody answers to its name".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        if !std::mem::replace(&mut self.told, true) {
            info!("logind ({error}) does not keep this host awake for operations");
        }
        None
    }

    /// The host is about to end or to sleep, or is not any more.
    async fn closes(&mut self, logind: &LogindProxy<'_>, closing: Closing) {
        let before = std::mem::replace(&mut self.closing, closing);
        self.coordinator.going_down(closing.words());
        let Some(words) = closing.words() else {
            if before != closing {
                info!("the host goes on: operations may begin again");
                self.waits_until = None;
                self.delay_again(logind).await;
            }
            return;
        };
        let running: Vec<api::Migration> = self
            .coordinator
            .running()
            .iter_mut()
            .map(|one| one.now())
            .collect();
        let reasons: Vec<String> = running.iter().filter(|one| keeps_awake(one)).map(why).collect();
        warn!(at_work = %reasons.join(", "), "the host {words}: nothing new is begun");
        let delay = tokio::time::timeout(ANSWER, logind.inhibit_delay_max_usec()).await;
        let delay = delay
            .ok()
            .and_then(Result::ok)
            .map_or(DELAY, Duration::from_micros);
        self.waits_until = Some(Instant::now() + delay.min(Duration::from_secs(3600)));
        if closing.shutdown {
            self.turn_round(running).await;
        }
    }

    /// What the guest has not left its host for yet is not begun at the last moment.
    async fn turn_round(&self, running: Vec<api::Migration>) {
        let turned = running.into_iter().filter(can_be_undone).map(|one| {
            let desk = MigrationDesk(self.coordinator.clone());
            async move {
                let request = tonic::Request::new(api::CancelMigrationRequest { id: one.id.clone() });
                match tokio::time::timeout(ANSWER, desk.cancel_migration(request)).await {
                    Ok(Ok(_)) => info!(migration = %one.id, "cancelled: the host is shutting down"),
                    // It went on meanwhile.
                    Ok(Err(_)) | Err(_) => info!(migration = %one.id, "not cancelled"),
                }
            }
        });
        join_all(turned).await;
    }

    /// logind goes on now in any case.
    fn delay_no_more(&mut self) {
        self.waits_until = None;
        self.locks.values_mut().for_each(|locks| locks.delay = None);
    }

    async fn delay_again(&mut self, logind: &LogindProxy<'_>) {
        let mut locks = std::mem::take(&mut self.locks);
        for lock in locks.values_mut().filter(|lock| lock.delay.is_none()) {
            lock.delay = self.inhibit(logind, &lock.why, "delay").await;
        }
        self.locks = locks;
    }
}

/// It is at work, or rests where only a person can say what its guest does.
fn keeps_awake(migration: &api::Migration) -> bool {
    !migration.ended && (!migration.settled || migration.needs_person)
}

/// Of a migration from here: its transfer has not begun.
fn can_be_undone(migration: &api::Migration) -> bool {
    let before = matches!(
        migration.phase(),
        api::Phase::Reserve | api::Phase::Queue | api::Phase::FailOver | api::Phase::Unplug
    );
    migration.role() == api::Role::Source && before && !migration.settled && !migration.cancelled
}

/// For whoever wants to shut the host down.
fn why(migration: &api::Migration) -> String {
    let api::Migration {
        guest,
        source,
        destination,
        ..
    } = migration;
    match migration.role() {
        api::Role::Source => format!("{guest} is moving to {destination}"),
        api::Role::Destination => format!("{guest} is moving here from {source}"),
        api::Role::Decelerate => format!("{guest} is put on its standby"),
        api::Role::Accelerate | api::Role::Unspecified => format!("{guest} gets its VF"),
    }
}
