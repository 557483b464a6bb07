//! What can be asked of the daemon, over its Unix socket or the network. Every question has a deadline.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use godwit_api::v1::guest_service_client::GuestServiceClient;
use godwit_api::v1::host_service_client::HostServiceClient;
use godwit_api::v1::migration_service_client::MigrationServiceClient;
use godwit_api::v1::{
    AccelerateGuestRequest, AcceleratePfRequest, AdoptGuestRequest, CancelMigrationRequest, CheckVfsRequest,
    CleanVfRequest, CreateMigrationRequest, CreateMigrationResponse, DoctorRequest, DoctorResponse, Failure,
    GetMigrationRequest, Guest, Hold, Host, ListGuestsRequest, ListHoldsRequest, ListHostsRequest,
    ListMigrationsRequest, ListMigrationsResponse, ListPoolsRequest, ListVfsRequest, Migration,
    PlanMigrationRequest, PlanMigrationResponse, Pool, QuarantineVfRequest, ReleaseVfRequest,
    ResolveMigrationRequest, RetryMigrationRequest, StandbyGuestRequest, StandbyPfRequest, Vf, VfCheck,
    WatchMigrationRequest, WatchMigrationResponse,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use crate::failure::Error;
use crate::place::network::{self, ConnectError};
use crate::place::{Place, Remote, keys};

/// Most questions are answered from memory.
const DEADLINE: Duration = Duration::from_secs(30);
/// The guest's agent is asked too, and may have to be waited for.
const AGENT_DEADLINE: Duration = Duration::from_secs(60);
/// Each of its looks has a deadline of its own, and all are made at once.
const DOCTOR_DEADLINE: Duration = Duration::from_secs(60);
/// One guest after the other, each with its agent.
const PF_DEADLINE: Duration = Duration::from_secs(600);
/// A daemon that hangs while nothing is asked of it is noticed by a ping of HTTP/2 that stays unanswered.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_DEADLINE: Duration = Duration::from_secs(20);
/// 1,000 migrations (the daemon's own limit) with long timelines.
const LARGEST_ANSWER: usize = 32 << 20;

/// A connection to a daemon.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    place: Place,
    migrations: MigrationServiceClient<Channel>,
    guests: GuestServiceClient<Channel>,
    hosts: HostServiceClient<Channel>,
}

impl Client {
    pub(crate) async fn connect(place: &Place) -> Result<Client, Error> {
        let channel = match place {
            Place::Socket(path) => local(path).await?,
            Place::Network(remote) => distant(remote).await?,
        };
        Ok(Client {
            place: place.clone(),
            migrations: MigrationServiceClient::new(channel.clone())
                .max_decoding_message_size(LARGEST_ANSWER),
            guests: GuestServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            hosts: HostServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER),
        })
    }

    /// The same daemon again, after a connection broke.
    pub(crate) async fn reconnect(&mut self) -> Result<(), Error> {
        *self = Client::connect(&self.place).await?;
        Ok(())
    }

    /// The migration, with what was found that does not keep it from beginning, and what could not be looked at.
    pub(crate) async fn create(
        &mut self,
        request: CreateMigrationRequest,
    ) -> Result<CreateMigrationResponse, Error> {
        within(AGENT_DEADLINE, request, |r| self.migrations.create_migration(r)).await
    }

    pub(crate) async fn plan(
        &mut self,
        request: PlanMigrationRequest,
    ) -> Result<PlanMigrationResponse, Error> {
        within(AGENT_DEADLINE, request, |r| self.migrations.plan_migration(r)).await
    }

    pub(crate) async fn get(&mut self, id: String) -> Result<Migration, Error> {
        let request = GetMigrationRequest { id };
        let answer = within(DEADLINE, request, |r| self.migrations.get_migration(r)).await?;
        answer.migration.ok_or(Error::Ended("it named the migration"))
    }

    /// The newest migrations, or those of the next page.
    pub(crate) async fn list(
        &mut self,
        request: ListMigrationsRequest,
    ) -> Result<ListMigrationsResponse, Error> {
        within(DEADLINE, request, |r| self.migrations.list_migrations(r)).await
    }

    pub(crate) async fn cancel(&mut self, id: String) -> Result<Migration, Error> {
        let request = CancelMigrationRequest { id };
        let answer = within(DEADLINE, request, |r| self.migrations.cancel_migration(r)).await?;
        answer.migration.ok_or(Error::Ended("it named the migration"))
    }

    pub(crate) async fn guests(&mut self) -> Result<Vec<Guest>, Error> {
        Ok(
            within(DEADLINE, ListGuestsRequest {}, |r| self.guests.list_guests(r))
                .await?
                .guests,
        )
    }

    pub(crate) async fn hosts(&mut self) -> Result<Vec<Host>, Error> {
        Ok(
            within(DEADLINE, ListHostsRequest {}, |r| self.hosts.list_hosts(r))
                .await?
                .hosts,
        )
    }

    pub(crate) async fn vfs(&mut self) -> Result<Vec<Vf>, Error> {
        Ok(within(DEADLINE, ListVfsRequest {}, |r| self.hosts.list_vfs(r))
            .await?
            .vfs)
    }

    pub(crate) async fn pools(&mut self) -> Result<Vec<Pool>, Error> {
        Ok(
            within(DEADLINE, ListPoolsRequest {}, |r| self.hosts.list_pools(r))
                .await?
                .pools,
        )
    }

    pub(crate) async fn quarantine_vf(&mut self, vf: String, because: String) -> Result<Vf, Error> {
        let request = QuarantineVfRequest { vf, because };
        let answer = within(AGENT_DEADLINE, request, |r| self.hosts.quarantine_vf(r)).await?;
        answer.vf.ok_or(Error::Ended("it named the VF"))
    }

    pub(crate) async fn release_vf(&mut self, vf: String) -> Result<Vf, Error> {
        let request = ReleaseVfRequest { vf };
        let answer = within(AGENT_DEADLINE, request, |r| self.hosts.release_vf(r)).await?;
        answer.vf.ok_or(Error::Ended("it named the VF"))
    }

    /// What is not as it should be with one VF or, where `vf` is empty, with each.
    pub(crate) async fn check_vfs(&mut self, vf: String) -> Result<Vec<VfCheck>, Error> {
        let request = CheckVfsRequest { vf };
        let answer = within(AGENT_DEADLINE, request, |r| self.hosts.check_vfs(r)).await?;
        Ok(answer.checks)
    }

    pub(crate) async fn clean_vf(&mut self, vf: String) -> Result<VfCheck, Error> {
        let request = CleanVfRequest { vf };
        let answer = within(AGENT_DEADLINE, request, |r| self.hosts.clean_vf(r)).await?;
        answer.check.ok_or(Error::Ended("it named the VF"))
    }

    pub(crate) async fn holds(&mut self) -> Result<Vec<Hold>, Error> {
        Ok(
            within(DEADLINE, ListHoldsRequest {}, |r| self.hosts.list_holds(r))
                .await?
                .holds,
        )
    }

    /// What the daemon finds on its host, or, where it is not empty, of a guest.
    pub(crate) async fn doctor(&mut self, guest: String) -> Result<DoctorResponse, Error> {
        within(DOCTOR_DEADLINE, DoctorRequest { guest }, |r| self.hosts.doctor(r)).await
    }

    pub(crate) async fn retry(&mut self, id: String) -> Result<Migration, Error> {
        let request = RetryMigrationRequest { id };
        let answer = within(DEADLINE, request, |r| self.migrations.retry_migration(r)).await?;
        answer.migration.ok_or(Error::Ended("it named the migration"))
    }

    pub(crate) async fn resolve(&mut self, request: ResolveMigrationRequest) -> Result<Migration, Error> {
        let answer = within(DEADLINE, request, |r| self.migrations.resolve_migration(r)).await?;
        answer.migration.ok_or(Error::Ended("it named the migration"))
    }

    /// `lasts_seconds`: for something that is done meanwhile; 0: until asked otherwise.
    pub(crate) async fn standby(&mut self, guest: String, lasts_seconds: u32) -> Result<Migration, Error> {
        let request = StandbyGuestRequest { guest, lasts_seconds };
        let answer = within(AGENT_DEADLINE, request, |r| self.guests.standby_guest(r)).await?;
        answer.operation.ok_or(Error::Ended("it named the operation"))
    }

    pub(crate) async fn accelerate(&mut self, guest: String) -> Result<Migration, Error> {
        let request = AccelerateGuestRequest { guest };
        let answer = within(AGENT_DEADLINE, request, |r| self.guests.accelerate_guest(r)).await?;
        answer.operation.ok_or(Error::Ended("it named the operation"))
    }

    pub(crate) async fn standby_pf(&mut self, pf: String) -> Result<Begun, Error> {
        let request = StandbyPfRequest { pf };
        let answer = within(PF_DEADLINE, request, |r| self.hosts.standby_pf(r)).await?;
        Ok(Begun {
            operations: answer.operations,
            refused: answer.refused,
        })
    }

    pub(crate) async fn accelerate_pf(&mut self, pf: String) -> Result<Begun, Error> {
        let request = AcceleratePfRequest { pf };
        let answer = within(PF_DEADLINE, request, |r| self.hosts.accelerate_pf(r)).await?;
        Ok(Begun {
            operations: answer.operations,
            refused: answer.refused,
        })
    }

    pub(crate) async fn adopt(&mut self, request: AdoptGuestRequest) -> Result<Guest, Error> {
        let answer = within(AGENT_DEADLINE, request, |r| self.guests.adopt_guest(r)).await?;
        answer.guest.ok_or(Error::Ended("it named the guest"))
    }

    /// The migration as it is now, and the stream of its changes. Only the first answer has a deadline: it comes
    /// at once or not at all.
    pub(crate) async fn watch(&mut self, id: String) -> Result<(Migration, Changes), Error> {
        let opened = timeout(DEADLINE, async {
            let stream = self
                .migrations
                .watch_migration(WatchMigrationRequest {
                    id,
                    after_revision: 0,
                })
                .await?
                .into_inner();
            let mut changes = Changes(stream);
            Ok((changes.next().await?, changes))
        });
        opened.await.unwrap_or(Err(Error::Silent { deadline: DEADLINE }))
    }
}

/// What came of a request about several guests.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) operations: Vec<Migration>,
    /// Why the others were not begun.
    pub(crate) refused: Vec<Failure>,
}

/// What the daemon tells about a migration, change by change.
#[derive(Debug)]
pub(crate) struct Changes(Streaming<WatchMigrationResponse>);

impl Changes {
    /// Waits for the next change, as long as it takes.
    pub(crate) async fn next(&mut self) -> Result<Migration, Error> {
        let answer = self.0.message().await?.and_then(|answer| answer.migration);
        answer.ok_or(Error::Ended("the migration was settled"))
    }
}

async fn within<Q, A, F>(
    deadline: Duration,
    question: Q,
    ask: impl FnOnce(Request<Q>) -> F,
) -> Result<A, Error>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut request = Request::new(question);
    // The daemon is told as well; a little longer, so that the verdict is ours.
    request.set_timeout(deadline + Duration::from_secs(1));
    match timeout(deadline, ask(request)).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Error::Silent { deadline }),
    }
}

/// Over this host's socket.
async fn local(socket: &Path) -> Result<Channel, Error> {
    let path = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let connection = timeout(DEADLINE, endpoint().connect_with_connector(connector)).await;
    let connected = connection.map_err(|_| Error::Silent { deadline: DEADLINE })?;
    connected.map_err(|error| Error::Away {
        place: socket.display().to_string(),
        network: false,
        source: io_error_in(&error),
    })
}

/// Over the network. Its keys' files are looked at again for each connection.
async fn distant(remote: &Remote) -> Result<Channel, Error> {
    let keys = keys::read(&remote.files, &remote.context).map_err(Error::from)?;
    let (keys, to) = (Arc::new(keys), Arc::new(remote.clone()));
    let connector = service_fn(move |_| {
        let (keys, to) = (Arc::clone(&keys), Arc::clone(&to));
        async move { network::connect(&to, &keys).await.map(TokioIo::new) }
    });
    // It has a deadline of its own.
    let connected = endpoint().connect_with_connector(connector).await;
    connected.map_err(|error| match found::<ConnectError>(&error) {
        Some(error) => Error::from(error),
        None => Error::Away {
            place: remote.address.to_string(),
            network: true,
            source: io_error_in(&error),
        },
    })
}

fn endpoint() -> Endpoint {
    // The address goes nowhere: the connector has its own.
    Endpoint::from_static("http://godwitd.local")
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_DEADLINE)
}

/// The error of that type, out of tonic's wrappers.
fn found<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// The operating system's reason why the socket could not be reached.
fn io_error_in(error: &tonic::transport::Error) -> io::Error {
    match found::<io::Error>(error) {
        Some(found) => copied(found),
        None => io::Error::other(error.to_string()),
    }
}

/// The same error again: none of them can be cloned.
pub(crate) fn copied(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
