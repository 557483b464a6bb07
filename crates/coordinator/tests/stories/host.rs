//! Hosts of the stories: a world that stays, a database that stays, and daemons that live and are killed.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use crate::{facts, peek::Peek, world::Pretend};
use futures_util::{Stream, StreamExt};
use godwit_api::{
    peer::v1::{self as peer, peer_service_server::PeerService},
    v1::{
        self as api, Failure, guest_service_server::GuestService, migration_service_server::MigrationService,
    },
};
use godwit_coordinator::{
    Caller, Coordinator, Deadlines, GuestDesk, History, Journal, JournalError, Limits, MigrationDesk,
    PeerDesk, Settings,
    faults::{Fault, Faults, Faulty, Kind},
};
use godwit_migration::{Options, Phase, Sighting, VfUse, profile::MustMatch};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

/// A story that takes longer than this hangs.
const HANGS: Duration = Duration::from_secs(60);

pub struct Host {
    pub world: Arc<Pretend>,
    peers: Vec<String>,
    directory: TempDir,
    pub limits: Limits,
    faults: Mutex<Vec<Fault>>,
    deaths: watch::Sender<u32>,
    history: Mutex<History>,
    /// What the configuration of the lives to come says.
    pub transfer: Mutex<Options>,
}

/// A living daemon, as its callers see it.
#[derive(Clone)]
pub struct Desk {
    pub world: Arc<Pretend>,
    pub coordinator: Coordinator<Faulty<Pretend>>,
    database: PathBuf,
}

/// A refusal as it came over the wire.
#[derive(Debug)]
pub struct No {
    pub code: Code,
    pub failure: Failure,
}

pub type Views = Pin<Box<dyn Stream<Item = Result<api::WatchMigrationResponse, Status>> + Send>>;

impl Host {
    /// `alpha`: `web-1` runs on its VF.
    pub fn source() -> Host {
        let host = Host::new("alpha", &["beta", "gamma"]);
        host.world.sees(facts::WEB, Sighting::Running);
        host.world.set(|knobs| {
            knobs.guests = vec![facts::guest(1)];
            knobs.vfs = vec![facts::vf(1, VfUse::Guest("web-1".into()))];
        });
        host
    }

    /// `beta`: no guest, two free VFs.
    pub fn destination() -> Host {
        let host = Host::new("beta", &["alpha", "gamma"]);
        host.world
            .set(|knobs| knobs.vfs = vec![facts::vf(4, VfUse::Free), facts::vf(5, VfUse::Free)]);
        host
    }

    pub fn new(name: &str, peers: &[&str]) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let world = Arc::new(Pretend::new(name, directory.path().join("godwit.db")));
        let peers = peers.iter().map(|peer| (*peer).into()).collect();
        Host {
            world,
            peers,
            directory,
            limits: Limits::default(),
            faults: Mutex::default(),
            deaths: watch::Sender::new(0),
            history: Mutex::default(),
            transfer: Mutex::default(),
        }
    }

    /// The configuration of the lives to come has this fault too.
    pub fn fault(&self, kind: Kind, times: u32) {
        self.faults.lock().unwrap().push(Fault { kind, times });
    }
    pub fn without_faults(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// How much is kept of what ended, in the lives to come.
    pub fn keeps(&self, keep: usize, days: u32) {
        *self.history.lock().unwrap() = History { keep, days };
    }

    /// Waits until daemons of this host died of a fault so often.
    pub async fn died(&self, times: u32) {
        let reached = |deaths: &u32| *deaths >= times;
        self.deaths.subscribe().wait_for(reached).await.unwrap();
    }
    pub fn deaths(&self) -> u32 {
        *self.deaths.borrow()
    }

    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
    pub fn database(&self) -> PathBuf {
        self.directory.path().join("godwit.db")
    }
    pub fn peek(&self) -> Peek {
        Peek::open(&self.database())
    }

    /// One life of the daemon; it ends as by kill -9, wherever it is.
    pub fn live<T>(&self, story: impl AsyncFnOnce(Desk) -> T) -> T {
        run(false, async || story(self.start().await).await)
    }

    /// A life in which time passes as soon as everybody waits.
    pub fn live_fast<T>(&self, story: impl AsyncFnOnce(Desk) -> T) -> T {
        run(true, async || story(self.start().await).await)
    }

    /// A daemon on this host; within [`run`].
    pub async fn start(&self) -> Desk {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&self) -> Result<Desk, JournalError> {
        let journal = loop {
            match Journal::open(self.directory.path()) {
                // The daemon before this one is not quite dead.
                Err(JournalError::InUse { .. }) => std::thread::sleep(Duration::from_millis(1)),
                other => break other?,
            }
        };
        let settings = Settings {
            host: self.world.name.clone(),
            peers: self.peers.clone(),
            deadlines: Deadlines::new([]),
            limits: self.limits,
            history: *self.history.lock().unwrap(),
            must_match: MustMatch::default(),
            pools: vec!["blue".into()],
            certificate: Default::default(),
            unasked: facts::unasked(self.transfer.lock().unwrap().clone()),
        };
        let (deaths, faults) = (self.deaths.clone(), self.faults.lock().unwrap().clone());
        let die = move || deaths.send_modify(|deaths| *deaths += 1);
        let faults = Faults::open(self.directory.path(), faults, die).unwrap();
        let world = Arc::new(Faulty::new(Arc::clone(&self.world), Arc::new(faults)));
        let coordinator = Coordinator::start(settings, world, journal).await?;
        Ok(Desk {
            world: Arc::clone(&self.world),
            coordinator,
            database: self.database(),
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.world.knobs().wrong, Vec::<String>::new());
        }
    }
}

/// Runs a story in a runtime of its own, which then is dropped with all that runs in it.
pub fn run<T>(fast: bool, story: impl AsyncFnOnce() -> T) -> T {
    let (over, watched) = mpsc::channel::<()>();
    let name = std::thread::current().name().unwrap_or("a story").to_owned();
    std::thread::spawn(move || {
        if watched.recv_timeout(HANGS) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::exit(101);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(fast)
        .build()
        .unwrap();
    let value = runtime.block_on(story());
    drop(runtime);
    drop(over);
    value
}

/// Two hosts that can ask each other, both alive.
pub struct Two {
    pub alpha: Host,
    pub beta: Host,
}

impl Two {
    pub fn new() -> Two {
        Two {
            alpha: Host::source(),
            beta: Host::destination(),
        }
    }

    pub fn live<T>(&self, story: impl AsyncFnOnce(Desk, Desk) -> T) -> T {
        let value = run(false, async || {
            let (alpha, beta) = (self.alpha.start().await, self.beta.start().await);
            alpha.world.link(&beta.world, PeerDesk(beta.coordinator.clone()));
            beta.world.link(&alpha.world, PeerDesk(alpha.coordinator.clone()));
            story(alpha, beta).await
        });
        self.alpha.world.unlink();
        self.beta.world.unlink();
        value
    }
}

pub fn no(status: Status) -> No {
    let failure = godwit_api::status::failure(&status).expect("a refusal has details");
    assert_eq!(failure.message, status.message());
    No {
        code: status.code(),
        failure,
    }
}

pub fn from<T>(caller: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller(caller.into()));
    request
}

impl Desk {
    pub fn peek(&self) -> Peek {
        Peek::open(&self.database)
    }

    pub async fn migrate(&self, guest: &str, destination: &str) -> Result<api::Migration, No> {
        self.migrate_as(guest, destination, "").await
    }

    pub async fn migrate_as(&self, guest: &str, to: &str, request: &str) -> Result<api::Migration, No> {
        let asked = api::CreateMigrationRequest {
            guest: guest.into(),
            destination: to.into(),
            request_id: request.into(),
            ..Default::default()
        };
        let desk = MigrationDesk(self.coordinator.clone());
        let answer = desk.create_migration(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().migration.unwrap())
    }

    /// Begins to migrate `web-1` to `beta`, and waits until the phase is at work.
    pub async fn reach(&self, phase: Phase) -> String {
        let begun = {
            let desk = self.clone();
            tokio::spawn(async move { desk.migrate("web-1", "beta").await })
        };
        self.world.attempts(phase, 1).await;
        // The migration goes on although this caller goes away.
        begun.abort();
        self.peek().migrations().pop().unwrap()
    }

    pub async fn get(&self, id: &str) -> Result<api::Migration, No> {
        let desk = MigrationDesk(self.coordinator.clone());
        let answer = desk
            .get_migration(Request::new(api::GetMigrationRequest { id: id.into() }))
            .await;
        Ok(answer.map_err(no)?.into_inner().migration.unwrap())
    }

    pub async fn list(&self, guest: &str, limit: u32) -> Vec<api::Migration> {
        self.filtered(guest, limit, api::MigrationFilter::Unspecified)
            .await
    }

    pub async fn filtered(
        &self,
        guest: &str,
        limit: u32,
        filter: api::MigrationFilter,
    ) -> Vec<api::Migration> {
        let desk = MigrationDesk(self.coordinator.clone());
        let asked = api::ListMigrationsRequest {
            limit,
            guest: guest.into(),
            filter: filter.into(),
            page_token: String::new(),
        };
        desk.list_migrations(Request::new(asked))
            .await
            .unwrap()
            .into_inner()
            .migrations
    }

    /// A page, and where the next one is.
    pub async fn page(&self, limit: u32, token: &str) -> Result<(Vec<api::Migration>, String), No> {
        let desk = MigrationDesk(self.coordinator.clone());
        let asked = api::ListMigrationsRequest {
            limit,
            page_token: token.into(),
            ..Default::default()
        };
        let answer = desk.list_migrations(Request::new(asked)).await;
        let answer = answer.map_err(no)?.into_inner();
        Ok((answer.migrations, answer.next_page_token))
    }

    pub async fn cancel(&self, id: &str) -> Result<api::Migration, No> {
        let desk = MigrationDesk(self.coordinator.clone());
        let asked = api::CancelMigrationRequest { id: id.into() };
        let answer = desk.cancel_migration(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().migration.unwrap())
    }

    pub async fn watch(&self, id: &str) -> Result<Views, No> {
        self.watch_after(id, 0).await
    }

    pub async fn watch_after(&self, id: &str, after_revision: u64) -> Result<Views, No> {
        let desk = MigrationDesk(self.coordinator.clone());
        let asked = api::WatchMigrationRequest {
            id: id.into(),
            after_revision,
        };
        let views = desk.watch_migration(Request::new(asked)).await;
        Ok(views.map_err(no)?.into_inner())
    }

    /// Every view up to the end of the watch.
    pub async fn views(&self, id: &str) -> Vec<api::Migration> {
        let views = self.watch(id).await.unwrap();
        views.map(|view| view.unwrap().migration.unwrap()).collect().await
    }

    pub async fn settled(&self, id: &str) -> api::Migration {
        self.views(id).await.pop().unwrap()
    }

    /// Waits through rests.
    pub async fn ended(&self, id: &str) -> api::Migration {
        loop {
            let view = self.settled(id).await;
            if view.ended {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn guests(&self) -> Result<Vec<api::Guest>, No> {
        let desk = GuestDesk(self.coordinator.clone());
        let answer = desk.list_guests(Request::new(api::ListGuestsRequest {})).await;
        Ok(answer.map_err(no)?.into_inner().guests)
    }

    pub async fn adopt(&self, guest: &str) -> Result<api::Guest, No> {
        let desk = GuestDesk(self.coordinator.clone());
        let asked = api::AdoptGuestRequest {
            guest: guest.into(),
            ..Default::default()
        };
        let answer = desk.adopt_guest(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().guest.unwrap())
    }

    pub async fn standby(&self, guest: &str) -> Result<api::Migration, No> {
        crate::stays::standby_for(self, guest, 0).await
    }

    pub async fn accelerate(&self, guest: &str) -> Result<api::Migration, No> {
        let desk = GuestDesk(self.coordinator.clone());
        let asked = api::AccelerateGuestRequest { guest: guest.into() };
        let answer = desk.accelerate_guest(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().operation.unwrap())
    }

    pub async fn retry(&self, id: &str) -> Result<api::Migration, No> {
        let desk = MigrationDesk(self.coordinator.clone());
        let asked = api::RetryMigrationRequest { id: id.into() };
        let answer = desk.retry_migration(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().migration.unwrap())
    }

    pub async fn resolve(&self, id: &str, runs_on: &str, force: bool) -> Result<api::Migration, No> {
        let desk = MigrationDesk(self.coordinator.clone());
        let asked = api::ResolveMigrationRequest {
            id: id.into(),
            runs_on: runs_on.into(),
            force,
        };
        let answer = desk.resolve_migration(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().migration.unwrap())
    }

    /// A migration with a policy of its own.
    pub async fn migrate_by(&self, policy: api::Policy) -> Result<api::Migration, No> {
        let asked = api::CreateMigrationRequest {
            guest: "web-1".into(),
            destination: "beta".into(),
            policy: policy.into(),
            ..Default::default()
        };
        let desk = MigrationDesk(self.coordinator.clone());
        let answer = desk.create_migration(Request::new(asked)).await.map_err(no)?;
        Ok(answer.into_inner().migration.unwrap())
    }

    /// Rests until the pauses are minutes long, and a bit of one has passed; from then on time is real again, so that only
    /// what does not wait for a pause comes in time.
    pub async fn rests_long(&self, attempts: impl Fn(&Pretend) -> usize) {
        tokio::time::sleep(Duration::from_secs(4000)).await;
        let before = attempts(&self.world);
        self.world.until(|world| attempts(world) > before).await;
        tokio::time::resume();
    }

    /// Waits until the migration's view fits.
    pub async fn view(&self, id: &str, fits: impl Fn(&api::Migration) -> bool) -> api::Migration {
        loop {
            let view = self.get(id).await.unwrap();
            if fits(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn peer_desk(&self) -> PeerDesk<Faulty<Pretend>> {
        PeerDesk(self.coordinator.clone())
    }

    /// The VFs that are held for the migration, as `caller` hears it.
    pub async fn reserve(&self, caller: &str, asked: peer::ReserveRequest) -> Result<Vec<String>, No> {
        let answer = self.peer_desk().reserve(from(caller, asked)).await.map_err(no)?;
        Ok(answer.into_inner().held.into_iter().map(|held| held.vf).collect())
    }

    /// The migration's place in the queue.
    pub async fn admit(&self, caller: &str, id: &str) -> Result<u32, No> {
        let asked = peer::AdmitRequest {
            migration_id: id.into(),
        };
        let answer = self
            .peer_desk()
            .admit(from(caller, asked))
            .await
            .map_err(no)?
            .into_inner();
        assert_eq!(answer.admitted, answer.place == 0);
        Ok(answer.place)
    }

    pub async fn unreserve(&self, caller: &str, asked: peer::UnreserveRequest) -> Result<(), No> {
        self.peer_desk()
            .unreserve(from(caller, asked))
            .await
            .map(drop)
            .map_err(no)
    }

    pub async fn look(&self, caller: &str, asked: peer::LookRequest) -> Result<(peer::Sighting, bool), No> {
        let answer = self
            .peer_desk()
            .look(from(caller, asked))
            .await
            .map(Response::into_inner);
        answer
            .map(|answer| (answer.sighting(), answer.closed))
            .map_err(no)
    }

    pub async fn arrival(&self, caller: &str, id: &str) -> Result<api::Migration, No> {
        let asked = peer::ArrivalRequest {
            migration_id: id.into(),
        };
        let answer = self.peer_desk().arrival(from(caller, asked)).await.map_err(no)?;
        Ok(answer.into_inner().migration.unwrap())
    }
}
