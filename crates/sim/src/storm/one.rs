//! One storm: a world of its own, with a clock of its own that runs as fast as there is something to do.

use std::{collections::BTreeMap, sync::Arc, sync::Mutex, sync::PoisonError, time::Duration};

use godwit_api::v1::{
    self as api, CreateMigrationRequest, ListMigrationsRequest, migration_service_server::MigrationService,
};
use godwit_coordinator::MigrationDesk;
use tokio::time::Instant;
use tonic::Request;
use tracing::info;

use super::{
    Tally, person,
    plan::{Act, Ask, Plan, STORMY, To},
    verdict,
};
use crate::{
    Layout,
    chance::Chance,
    cluster::{Cluster, Journals, LOOKS_AFTER, cancel},
    model::{GuestId, HostId},
    pace::Pace,
    world::PretendWorld,
};

/// After the storm everything must settle in this time; most of it is back-off.
const SETTLES: Duration = Duration::from_secs(4 * 3600);

/// What the storm has seen so far.
pub(super) struct Storm {
    pub(super) cluster: Arc<Cluster>,
    pub(super) plan: Plan,
    requests: Mutex<BTreeMap<String, Asked>>,
    tally: Mutex<Tally>,
}

/// What was first asked under a request's name.
struct Asked {
    of: HostId,
    to: HostId,
    /// The migration that it made.
    made: Option<String>,
}

/// No answer: what became of the request is not known.
const LOST: [&str; 2] = ["nobody listens", "the connection broke"];

/// Runs the plan; why it failed, if it did.
pub(super) fn run(plan: Plan) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    godwit_coordinator::repeatable(plan.seed);
    runtime.block_on(async {
        super::set_clock(Some(Instant::now()));
        let ended = weather(plan).await;
        super::set_clock(None);
        ended
    })
}

async fn weather(plan: Plan) -> Result<Tally, String> {
    let mut model = plan.layout.build();
    for fault in &plan.faults {
        info!("planned: {fault}");
        model.knobs.set(fault.clone());
    }
    let pace = Pace::Uneven(Mutex::new(Chance::new(plan.seed ^ 0x5eed)));
    let (cluster, orders) =
        Cluster::new(model, pace, &Journals::InMemory, true).map_err(|error| error.to_string())?;
    tokio::spawn(Arc::clone(&cluster).obey(orders));
    let storm = Arc::new(Storm {
        cluster,
        plan,
        requests: Mutex::default(),
        tally: Mutex::default(),
    });
    let ended = storm.blow().await;
    storm.cluster.stop();
    ended?;
    let struck = std::mem::take(&mut storm.cluster.shared.model().knobs.struck);
    let mut tally = std::mem::take(&mut *storm.tally());
    tally.struck = struck;
    Ok(tally)
}

impl Storm {
    async fn blow(self: &Arc<Self>) -> Result<(), String> {
        for host in 0..self.cluster.hosts() {
            self.cluster
                .start(host)
                .await
                .map_err(|error| format!("{error:#}"))?;
        }
        let begun = Instant::now();
        for (at, act) in self.plan.acts.clone() {
            tokio::time::sleep_until(begun + Duration::from_millis(at)).await;
            self.unbroken()?;
            tokio::spawn(Arc::clone(self).act(act));
        }
        tokio::time::sleep_until(begun + STORMY).await;
        self.calm().await?;
        self.settle().await?;
        // Who was put on standby stays there until somebody asks otherwise.
        for guest in 0..self.plan.layout.guests {
            self.accelerate(guest).await;
        }
        self.settle().await?;
        verdict::check(self).await?;
        verdict::count(self).await?;
        self.once_more().await
    }

    pub(super) fn unbroken(&self) -> Result<(), String> {
        let model = self.cluster.shared.model();
        model.wrong.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    async fn act(self: Arc<Self>, act: Act) {
        info!("act: {act:?}");
        let shared = &self.cluster.shared;
        match act {
            Act::Migrate(ask, times) => {
                for _ in 0..times {
                    tokio::spawn(Arc::clone(&self).migrate(ask.clone()));
                }
            }
            Act::Cancel(guest) => self.cancel(guest).await,
            Act::Standby(guest) => self.standby(guest).await,
            Act::Accelerate(guest) => self.accelerate(guest).await,
            Act::Crash(host, down) => {
                self.tally().crashes += 1;
                self.cluster.crash(host);
                self.cluster.start_after(host, down).await;
            }
            Act::Cut(host, time) => shared.model().hosts[host].cut_until = Some(Instant::now() + time),
            Act::Stop(guest) => shared.deed(guest, "shut down", |model| _ = model.stop_guest(guest)),
            Act::Reboot(guest) => shared.deed(guest, "reboot", |model| _ = model.reboot_guest(guest)),
        }
    }

    /// Asks as an operator would, and checks that one request makes one migration.
    async fn migrate(self: Arc<Self>, ask: Ask) {
        self.tally().requests += 1;
        let answer = self.request(&ask).await;
        info!("{} for guest {}: {answer:?}", ask.request, ask.guest);
        let asked_of = self.requests().get(&ask.request).map(|asked| asked.of);
        // A host that has lost its journal knows no request of before.
        let forgot = asked_of.is_some_and(|of| self.cluster.shared.model().hosts[of].forgot);
        let made = self
            .requests()
            .get(&ask.request)
            .and_then(|asked| asked.made.clone())
            .filter(|_| !forgot);
        let wrong = match (answer, made) {
            (Ok(id), Some(made)) if id != made => format!("it made two migrations, {made} and {id}"),
            (Ok(id), _) => {
                if let Some(asked) = self.requests().get_mut(&ask.request) {
                    asked.made = Some(id);
                }
                return;
            }
            (Err(why), Some(made)) if !LOST.contains(&&*why) => {
                format!("it made {made} and is refused: {why}")
            }
            (Err(why), _) => return *self.tally().refused.entry(why).or_default() += 1,
        };
        self.cluster
            .shared
            .model()
            .note(Some(ask.guest), format!("{}: {wrong}", ask.request));
    }

    /// The migration's id, or the word of the refusal.
    async fn request(&self, ask: &Ask) -> Result<String, String> {
        let shared = &self.cluster.shared;
        let (guest, here, hosts) = {
            let model = shared.model();
            let here = model.running_on(ask.guest).first().copied().unwrap_or(0);
            (model.guests[ask.guest].id.name.clone(), here, model.hosts.len())
        };
        // The same request is asked of the same host, for the same destination, wherever the guest is by then.
        let (of, to) = {
            let mut requests = self.requests();
            let asked = requests.entry(ask.request.clone()).or_insert_with(|| Asked {
                of: ask.of.unwrap_or(here),
                to: match ask.to {
                    To::Host(host) => host,
                    To::On(further) => (here + further) % hosts,
                },
                made: None,
            });
            (asked.of, asked.to)
        };
        let seat = shared.seat(of).clone().ok_or(LOST[0])?;
        let request = CreateMigrationRequest {
            guest,
            destination: Layout::host_name(to),
            request_id: ask.request.clone(),
            policy: ask.policy.into(),
            probes_per_second: None,
            keep: 0,
            transfer: None,
            ignore: Vec::new(),
        };
        let desk = MigrationDesk(seat.coordinator.clone());
        tokio::select! {
            biased;
            () = seat.death() => Err(LOST[1].into()),
            answer = desk.create_migration(Request::new(request)) => match answer {
                Ok(answer) => Ok(answer.into_inner().migration.unwrap_or_default().id),
                Err(status) => Err(reason(&status)),
            },
        }
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Asked>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn cancel(&self, guest: GuestId) {
        let uuid = self.cluster.shared.model().guests[guest].id.uuid.clone();
        for host in 0..self.cluster.hosts() {
            let Ok(migrations) = self.migrations(host, &uuid).await else {
                continue;
            };
            // At the destination a person gives up what is certain not to come: that is not for chance to say.
            let open = migrations
                .iter()
                .find(|migration| !migration.ended && migration.role() != api::Role::Destination);
            let seat = self.cluster.shared.seat(host).clone();
            if let (Some(migration), Some(seat)) = (open, seat) {
                self.tally().cancels += 1;
                cancel(seat.coordinator, migration.id.clone()).await;
            }
        }
    }

    /// What a host knows of a guest's migrations, or of all.
    pub(super) async fn migrations(&self, host: HostId, guest: &str) -> Result<Vec<api::Migration>, String> {
        let seat = self.cluster.shared.seat(host).clone();
        let desk = MigrationDesk(seat.ok_or("nobody listens")?.coordinator);
        let request = ListMigrationsRequest {
            limit: 1000,
            guest: guest.into(),
            filter: api::MigrationFilter::Unspecified.into(),
            page_token: String::new(),
        };
        let answer = desk.list_migrations(Request::new(request)).await;
        answer
            .map(|answer| answer.into_inner().migrations)
            .map_err(|status| status.to_string())
    }

    /// Nothing more goes wrong: faults are off, hosts hear each other, guests answer, coordinators run.
    async fn calm(&self) -> Result<(), String> {
        info!("calm");
        {
            let mut model = self.cluster.shared.model();
            model.knobs.clear();
            model
                .hosts
                .iter_mut()
                .for_each(|host| (host.cut_until, host.parted_until) = (None, None));
            for guest in &mut model.guests {
                guest.silent_until = None;
                if let Some(transfer) = guest.transfer.as_mut().filter(|transfer| transfer.active()) {
                    transfer.abort |= transfer.fate == crate::model::Fate::Hangs;
                }
            }
        }
        for host in 0..self.cluster.hosts() {
            self.cluster
                .start(host)
                .await
                .map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    /// Until every migration has ended, on every host.
    async fn settle(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut pause = Duration::from_secs(10);
        loop {
            tokio::time::sleep(pause).await;
            self.unbroken()?;
            person::acts(self);
            let mut open = Vec::new();
            for host in 0..self.cluster.hosts() {
                let all = self.migrations(host, "").await?;
                let of = |migration: &api::Migration| format!("host {host}: {}", told(migration));
                let short = verdict::is_short(self, host).await;
                let waits = |record: &api::Migration| !(record.ended || short && verdict::waits(record));
                open.extend(all.iter().filter(|record| waits(record)).map(of));
            }
            if open.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > SETTLES {
                return Err(format!("it never settles: {}", open.join("; ")));
            }
            pause = (pause * 2).min(Duration::from_secs(300));
        }
    }

    /// Nothing is left that stands in the way of the next migration: each guest moves once more, undisturbed.
    async fn once_more(self: &Arc<Self>) -> Result<(), String> {
        let guests = self.plan.layout.guests;
        for guest in 0..guests {
            let Some(here) = self.cluster.shared.model().running_on(guest).first().copied() else {
                continue;
            };
            let to = (here + 1) % self.cluster.hosts();
            let ask = Ask {
                guest,
                of: Some(here),
                to: To::Host(to),
                request: format!("once more {guest}"),
                policy: api::Policy::Unspecified,
            };
            match self.request(&ask).await {
                Ok(_) => {}
                Err(why) if why == "NO_FREE_VF" && !verdict::has_room(self, guest, to).await => continue,
                Err(why) => {
                    return Err(format!(
                        "after all, guest {guest} may not move to host {to}: {why}"
                    ));
                }
            }
            self.settle().await?;
            let ran = self.cluster.shared.model().running_on(guest);
            if ran != [to] {
                return Err(format!(
                    "after all, guest {guest} does not move to host {to}: it is on {ran:?}"
                ));
            }
        }
        // Who was left on its standby meanwhile is looked after by its host.
        tokio::time::sleep(2 * LOOKS_AFTER).await;
        self.settle().await?;
        verdict::check(self).await
    }

    pub(super) fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn vfs(&self, host: HostId) -> Result<Vec<godwit_migration::Vf>, String> {
        let seat = self.cluster.shared.seat(host).clone();
        let coordinator: godwit_coordinator::Coordinator<PretendWorld> =
            seat.ok_or("nobody listens")?.coordinator;
        coordinator.vfs().await.map_err(|refused| refused.to_string())
    }
}

fn reason(status: &tonic::Status) -> String {
    match godwit_api::status::failure(status) {
        Some(failure) if !failure.reason.is_empty() => failure.reason,
        _ => status.to_string(),
    }
}

fn told(migration: &api::Migration) -> String {
    let (guest, phase, moved) = (&migration.guest, migration.phase(), migration.moved());
    let why = migration
        .failure
        .as_ref()
        .map(|failure| failure.message.clone())
        .unwrap_or_default();
    let (role, id) = (migration.role(), &migration.id);
    format!(
        "{guest} at {phase:?} ({role:?}, {moved:?}, {id}): {} {why}",
        migration.because
    )
}
