//! A daemon that says what the test tells it to, on a real Unix socket, and can be killed and started again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use godwit_api::v1::guest_service_server::{GuestService, GuestServiceServer};
use godwit_api::v1::host_service_server::{HostService, HostServiceServer};
use godwit_api::v1::migration_service_server::{MigrationService, MigrationServiceServer};
use godwit_api::v1::*;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Code, Request, Response, Status};

/// One thing that a watch does.
#[derive(Clone)]
pub(crate) enum Step {
    /// Tells a change.
    Say(Box<Migration>),
    /// Waits, in milliseconds.
    Pause(u64),
    /// Ends the stream with this.
    Fail(Code),
    /// Says nothing more, for ever.
    Hang,
}

/// What the daemon answers: the next answer of each list, the last one again and again.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) create: Vec<Answer<Migration>>,
    /// Told with what was created.
    pub(crate) warnings: Vec<Finding>,
    pub(crate) not_checked: Vec<NotChecked>,
    pub(crate) plan: Vec<Answer<PlanMigrationResponse>>,
    pub(crate) get: Vec<Answer<Migration>>,
    pub(crate) list: Vec<Migration>,
    pub(crate) cancel: Vec<Answer<Migration>>,
    pub(crate) retry: Vec<Answer<Migration>>,
    pub(crate) resolve: Vec<Answer<Migration>>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) adopt: Vec<Answer<Guest>>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) pools: Vec<Answer<Vec<Pool>>>,
    pub(crate) vfs: Vec<Vf>,
    /// Of both that can be done with one.
    pub(crate) vf: Vec<Answer<Vf>>,
    /// Of the look at all, or one; and, of a cleaning, the first of them.
    pub(crate) checks: Vec<Answer<Vec<VfCheck>>>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) doctor: Vec<Answer<DoctorResponse>>,
    pub(crate) stay: Stay,
    /// A list of steps for each watch; a watch whose steps are over ends.
    pub(crate) watch: Vec<Vec<Step>>,
}

/// Of guests that stay.
#[derive(Clone, Default)]
pub(crate) struct Stay {
    pub(crate) standby: Vec<Answer<Migration>>,
    pub(crate) accelerate: Vec<Answer<Migration>>,
    /// Of both: what was begun, and what was refused.
    pub(crate) pf: Vec<Answer<(Vec<Migration>, Vec<Failure>)>>,
}

/// One answer.
#[derive(Clone)]
pub(crate) enum Answer<T> {
    Yes(T),
    No(Code, Failure),
    Never,
}

/// What was asked of the daemon, in order.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

struct Fake {
    script: Script,
    asked: Asked,
    watches: Mutex<VecDeque<Vec<Step>>>,
}

/// A running fake daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) asked: Asked,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts it; when this returns the socket accepts connections.
    pub(crate) fn start(socket: &Path, script: Script) -> Daemon {
        let _ = std::fs::remove_file(socket);
        let asked = Asked::default();
        let watches = Mutex::new(script.watch.clone().into());
        let fake = Arc::new(Fake {
            script,
            asked: asked.clone(),
            watches,
        });
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let socket = PathBuf::from(socket);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let server = tonic::transport::Server::builder()
                    .add_service(MigrationServiceServer::from_arc(fake.clone()))
                    .add_service(GuestServiceServer::from_arc(fake.clone()))
                    .add_service(HostServiceServer::from_arc(fake))
                    .serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! { ended = server => ended.unwrap(), _ = stopped => {} }
            });
            // The runtime goes, and every connection with it: this is what kill -9 looks like from outside.
        });
        is_ready.recv().unwrap();
        Daemon {
            asked,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Waits until something was asked (for 20 s).
    pub(crate) fn wait_for(&self, question: &str) {
        for _ in 0..2000 {
            if self
                .asked
                .lock()
                .unwrap()
                .iter()
                .any(|asked| asked.starts_with(question))
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody asked {question:?}, only {:?}", self.asked.lock().unwrap());
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// As kill -9 does.
    pub(crate) fn kill(self) {}
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            // It may have ended by itself, in a panic that was printed already.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Fake {
    /// Notes the question; gives its answer.
    async fn answer<T: Clone>(&self, question: String, answers: &[Answer<T>]) -> Result<T, Status> {
        let verb = question.split(' ').next().unwrap().to_owned();
        let before = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(question);
            asked
                .iter()
                .filter(|asked| asked.split(' ').next() == Some(&verb))
                .count()
                - 1
        };
        match answers.get(before).or(answers.last()) {
            Some(Answer::Yes(answer)) => Ok(answer.clone()),
            Some(Answer::No(code, failure)) => {
                Err(godwit_api::status::status(*code, failure, Vec::new(), None))
            }
            Some(Answer::Never) => std::future::pending().await,
            None => Err(Status::unimplemented(verb)),
        }
    }
}

/// As the end of a question; empty where it was left open.
fn policy(policy: Policy) -> String {
    match policy {
        Policy::Unspecified => String::new(),
        policy => format!(" {}", policy.as_str_name()),
    }
}

/// The same of a transfer's options, as far as a test wants to see them.
fn transfer(options: Option<&TransferOptions>) -> String {
    let Some(options) = options else {
        return String::new();
    };
    let bandwidth = options.bandwidth_mib_per_second.unwrap_or_default();
    let parallel = options.parallel_connections.unwrap_or_default();
    format!(" at {bandwidth} MiB/s by {parallel}")
}

fn keep(asked: Keep) -> String {
    match asked {
        Keep::Unspecified => String::new(),
        asked => format!(" {}", asked.as_str_name()),
    }
}

#[tonic::async_trait]
impl MigrationService for Fake {
    async fn create_migration(
        &self,
        request: Request<CreateMigrationRequest>,
    ) -> Result<Response<CreateMigrationResponse>, Status> {
        let CreateMigrationRequest {
            guest,
            destination,
            request_id,
            ..
        } = request.get_ref().clone();
        let policy = policy(request.get_ref().policy());
        let probes = request.get_ref().probes_per_second;
        let probes = probes
            .map(|probes| format!(" probes {probes}"))
            .unwrap_or_default();
        let keep = keep(request.get_ref().keep());
        let transfer = transfer(request.get_ref().transfer.as_ref());
        let question = format!("create {guest} {destination} {request_id}{policy}{probes}{keep}{transfer}");
        let migration = Some(self.answer(question, &self.script.create).await?);
        Ok(Response::new(CreateMigrationResponse {
            migration,
            warnings: self.script.warnings.clone(),
            not_checked: self.script.not_checked.clone(),
        }))
    }

    async fn plan_migration(
        &self,
        request: Request<PlanMigrationRequest>,
    ) -> Result<Response<PlanMigrationResponse>, Status> {
        let policy = policy(request.get_ref().policy());
        let keep = keep(request.get_ref().keep());
        let transfer = transfer(request.get_ref().transfer.as_ref());
        let PlanMigrationRequest {
            guest,
            destination,
            ignore,
            ..
        } = request.into_inner();
        let ignore: String = ignore.iter().map(|reason| format!(" ignore {reason}")).collect();
        let question = format!("plan {guest} {destination}{policy}{keep}{transfer}{ignore}");
        Ok(Response::new(self.answer(question, &self.script.plan).await?))
    }

    async fn get_migration(
        &self,
        request: Request<GetMigrationRequest>,
    ) -> Result<Response<GetMigrationResponse>, Status> {
        let question = format!("get {}", request.into_inner().id);
        let migration = Some(self.answer(question, &self.script.get).await?);
        Ok(Response::new(GetMigrationResponse { migration }))
    }

    async fn list_migrations(
        &self,
        request: Request<ListMigrationsRequest>,
    ) -> Result<Response<ListMigrationsResponse>, Status> {
        let asked = request.into_inner();
        let verb = match asked.filter() {
            MigrationFilter::Unspecified => "list",
            MigrationFilter::Open => "open",
            MigrationFilter::Ended => "history",
        };
        let from = match &asked.page_token[..] {
            "" => String::new(),
            token => format!(" from {token}"),
        };
        let question = format!("{verb} {} {}", asked.limit, asked.guest);
        let question = format!("{}{from}", question.trim_end());
        let all = self
            .answer(question, &[Answer::Yes(self.script.list.clone())])
            .await?;
        let begin: usize = asked.page_token.parse().unwrap_or(0);
        let end = all.len().min(begin + asked.limit as usize);
        Ok(Response::new(ListMigrationsResponse {
            migrations: all[begin..end].to_vec(),
            next_page_token: match end == all.len() {
                true => String::new(),
                false => end.to_string(),
            },
        }))
    }

    type WatchMigrationStream = ReceiverStream<Result<WatchMigrationResponse, Status>>;

    async fn watch_migration(
        &self,
        request: Request<WatchMigrationRequest>,
    ) -> Result<Response<Self::WatchMigrationStream>, Status> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("watch {}", request.into_inner().id));
        let steps = self.watches.lock().unwrap().pop_front();
        let steps = steps.ok_or_else(|| Status::not_found("no such migration"))?;
        let (say, said) = mpsc::channel(1);
        tokio::spawn(async move {
            for step in steps {
                let change = match step {
                    Step::Say(migration) => Ok(WatchMigrationResponse {
                        migration: Some(*migration),
                    }),
                    Step::Fail(code) => Err(Status::new(code, "the test wants it so")),
                    Step::Hang => std::future::pending().await,
                    Step::Pause(ms) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        continue;
                    }
                };
                if say.send(change).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(said)))
    }

    async fn cancel_migration(
        &self,
        request: Request<CancelMigrationRequest>,
    ) -> Result<Response<CancelMigrationResponse>, Status> {
        let question = format!("cancel {}", request.into_inner().id);
        let migration = Some(self.answer(question, &self.script.cancel).await?);
        Ok(Response::new(CancelMigrationResponse { migration }))
    }

    async fn retry_migration(
        &self,
        request: Request<RetryMigrationRequest>,
    ) -> Result<Response<RetryMigrationResponse>, Status> {
        let question = format!("retry {}", request.into_inner().id);
        let migration = Some(self.answer(question, &self.script.retry).await?);
        Ok(Response::new(RetryMigrationResponse { migration }))
    }

    async fn resolve_migration(
        &self,
        request: Request<ResolveMigrationRequest>,
    ) -> Result<Response<ResolveMigrationResponse>, Status> {
        let ResolveMigrationRequest { id, runs_on, force } = request.into_inner();
        let force = if force { " by force" } else { "" };
        let question = format!("resolve {id} {runs_on}{force}");
        let migration = Some(self.answer(question, &self.script.resolve).await?);
        Ok(Response::new(ResolveMigrationResponse { migration }))
    }
}

#[tonic::async_trait]
impl GuestService for Fake {
    async fn list_guests(
        &self,
        _: Request<ListGuestsRequest>,
    ) -> Result<Response<ListGuestsResponse>, Status> {
        let guests = self
            .answer("guests".into(), &[Answer::Yes(self.script.guests.clone())])
            .await?;
        Ok(Response::new(ListGuestsResponse { guests }))
    }

    async fn adopt_guest(
        &self,
        request: Request<AdoptGuestRequest>,
    ) -> Result<Response<AdoptGuestResponse>, Status> {
        let policy = policy(request.get_ref().policy());
        let question = format!("adopt {}{policy}", request.into_inner().guest);
        let guest = Some(self.answer(question, &self.script.adopt).await?);
        Ok(Response::new(AdoptGuestResponse { guest }))
    }

    async fn standby_guest(
        &self,
        request: Request<StandbyGuestRequest>,
    ) -> Result<Response<StandbyGuestResponse>, Status> {
        let StandbyGuestRequest { guest, lasts_seconds } = request.into_inner();
        let lasts = match lasts_seconds {
            0 => String::new(),
            seconds => format!(" for {seconds} s"),
        };
        let question = format!("standby {guest}{lasts}");
        let operation = Some(self.answer(question, &self.script.stay.standby).await?);
        Ok(Response::new(StandbyGuestResponse { operation }))
    }

    async fn accelerate_guest(
        &self,
        request: Request<AccelerateGuestRequest>,
    ) -> Result<Response<AccelerateGuestResponse>, Status> {
        let question = format!("accelerate {}", request.into_inner().guest);
        let operation = Some(self.answer(question, &self.script.stay.accelerate).await?);
        Ok(Response::new(AccelerateGuestResponse { operation }))
    }
}

#[tonic::async_trait]
impl HostService for Fake {
    async fn list_hosts(&self, _: Request<ListHostsRequest>) -> Result<Response<ListHostsResponse>, Status> {
        let answer = [Answer::Yes(self.script.hosts.clone())];
        let hosts = self.answer("hosts".into(), &answer).await?;
        Ok(Response::new(ListHostsResponse { hosts }))
    }

    async fn list_vfs(&self, _: Request<ListVfsRequest>) -> Result<Response<ListVfsResponse>, Status> {
        let answer = [Answer::Yes(self.script.vfs.clone())];
        let vfs = self.answer("vfs".into(), &answer).await?;
        Ok(Response::new(ListVfsResponse { vfs }))
    }

    async fn list_pools(&self, _: Request<ListPoolsRequest>) -> Result<Response<ListPoolsResponse>, Status> {
        let pools = self.answer("pools".into(), &self.script.pools).await?;
        Ok(Response::new(ListPoolsResponse { pools }))
    }

    async fn list_holds(&self, _: Request<ListHoldsRequest>) -> Result<Response<ListHoldsResponse>, Status> {
        let answer = [Answer::Yes(self.script.holds.clone())];
        let holds = self.answer("holds".into(), &answer).await?;
        Ok(Response::new(ListHoldsResponse { holds }))
    }

    async fn quarantine_vf(
        &self,
        request: Request<QuarantineVfRequest>,
    ) -> Result<Response<QuarantineVfResponse>, Status> {
        let QuarantineVfRequest { vf, because } = request.into_inner();
        let question = format!("quarantine {vf} {because}").trim_end().to_owned();
        let vf = Some(self.answer(question, &self.script.vf).await?);
        Ok(Response::new(QuarantineVfResponse { vf }))
    }

    async fn check_vfs(
        &self,
        request: Request<CheckVfsRequest>,
    ) -> Result<Response<CheckVfsResponse>, Status> {
        let question = format!("check {}", request.into_inner().vf);
        let checks = self.answer(question, &self.script.checks).await?;
        Ok(Response::new(CheckVfsResponse { checks }))
    }

    async fn clean_vf(&self, request: Request<CleanVfRequest>) -> Result<Response<CleanVfResponse>, Status> {
        let question = format!("clean {}", request.into_inner().vf);
        let checks = self.answer(question, &self.script.checks).await?;
        let check = checks.into_iter().next();
        Ok(Response::new(CleanVfResponse { check }))
    }

    async fn release_vf(
        &self,
        request: Request<ReleaseVfRequest>,
    ) -> Result<Response<ReleaseVfResponse>, Status> {
        let question = format!("release {}", request.into_inner().vf);
        let vf = Some(self.answer(question, &self.script.vf).await?);
        Ok(Response::new(ReleaseVfResponse { vf }))
    }

    async fn standby_pf(
        &self,
        request: Request<StandbyPfRequest>,
    ) -> Result<Response<StandbyPfResponse>, Status> {
        let question = format!("standby-pf {}", request.into_inner().pf);
        let (operations, refused) = self.answer(question, &self.script.stay.pf).await?;
        Ok(Response::new(StandbyPfResponse { operations, refused }))
    }

    async fn accelerate_pf(
        &self,
        request: Request<AcceleratePfRequest>,
    ) -> Result<Response<AcceleratePfResponse>, Status> {
        let question = format!("accelerate-pf {}", request.into_inner().pf);
        let (operations, refused) = self.answer(question, &self.script.stay.pf).await?;
        Ok(Response::new(AcceleratePfResponse { operations, refused }))
    }

    async fn doctor(&self, request: Request<DoctorRequest>) -> Result<Response<DoctorResponse>, Status> {
        let question = format!("doctor {}", request.into_inner().guest);
        Ok(Response::new(self.answer(question, &self.script.doctor).await?))
    }
}
