//! What is behind each door.

use godwit_api::{
    DESCRIPTORS,
    peer::v1::keep_service_server::{KeepService, KeepServiceServer},
    peer::v1::peer_service_server::{PeerServiceServer, SERVICE_NAME as PEERS},
    v1::{
        guest_service_server::{GuestServiceServer, SERVICE_NAME as GUESTS},
        host_service_server::{HostServiceServer, SERVICE_NAME as HOSTS},
        migration_service_server::{MigrationServiceServer, SERVICE_NAME as MIGRATIONS},
    },
};
use godwit_coordinator::{Coordinator, GuestDesk, HostDesk, MigrationDesk, PeerDesk, World};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::limits::MESSAGE;

/// What health checks are told at every door: whether this host can do what it is asked. It can until something else is told.
#[derive(Clone, Debug)]
pub struct Health(watch::Sender<bool>);

impl Default for Health {
    fn default() -> Health {
        Health(watch::Sender::new(true))
    }
}

impl Health {
    /// From now on it can, or cannot.
    pub fn tell(&self, well: bool) {
        self.0
            .send_if_modified(|told| std::mem::replace(told, well) != well);
    }

    /// What is told, and each change of that.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// The service of one door, which tells it of all that is behind that door.
    async fn service(&self, services: &'static [&'static str]) -> HealthServer<HealthService> {
        let (reporter, mut told) = (HealthReporter::new(), self.watch());
        let well = *told.borrow_and_update();
        tell_all(&reporter, services, well).await;
        let service = HealthService::from_health_reporter(reporter.clone());
        tokio::spawn(async move {
            while told.changed().await.is_ok() {
                let well = *told.borrow_and_update();
                tell_all(&reporter, services, well).await;
            }
        });
        HealthServer::new(service).max_decoding_message_size(MESSAGE)
    }
}

async fn tell_all(reporter: &HealthReporter, services: &[&str], well: bool) {
    let status = match well {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    for name in services {
        reporter.set_service_status(*name, status).await;
    }
}

/// For the users of this host: everything but what is for hosts, health, and reflection.
pub async fn for_this_host<W: World>(coordinator: Coordinator<W>, health: &Health) -> Routes {
    const ALL: [&str; 4] = ["", MIGRATIONS, GUESTS, HOSTS];
    operators(coordinator).add_service(health.service(&ALL).await)
}

/// For hosts and operators elsewhere: the same, and what hosts ask each other.
pub async fn for_network<W: World>(coordinator: Coordinator<W>, health: &Health) -> Routes {
    const ALL: [&str; 5] = ["", MIGRATIONS, GUESTS, HOSTS, PEERS];
    let peers = PeerServiceServer::new(PeerDesk(coordinator.clone())).max_decoding_message_size(MESSAGE);
    let routes = operators(coordinator).add_service(peers);
    routes.add_service(health.service(&ALL).await)
}

/// With who takes frames that another host kept for a guest.
pub fn and_kept_frames(routes: Routes, keep: impl KeepService) -> Routes {
    routes.add_service(KeepServiceServer::new(keep).max_decoding_message_size(MESSAGE))
}

fn operators<W: World>(coordinator: Coordinator<W>) -> Routes {
    let migrations = MigrationServiceServer::new(MigrationDesk(coordinator.clone()));
    let guests = GuestServiceServer::new(GuestDesk(coordinator.clone()));
    let hosts = HostServiceServer::new(HostDesk(coordinator));
    let routes = Routes::new(migrations.max_decoding_message_size(MESSAGE))
        .add_service(guests.max_decoding_message_size(MESSAGE))
        .add_service(hosts.max_decoding_message_size(MESSAGE));
    reflecting(routes)
}

/// Both versions: many clients ask for the older one alone.
fn reflecting(routes: Routes) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The descriptors are part of this program, and a test reads them: what does not is not served.
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(new), Ok(old)) => routes
            .add_service(new.max_decoding_message_size(MESSAGE))
            .add_service(old.max_decoding_message_size(MESSAGE)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!("no reflection: {error}");
            routes
        }
    }
}
