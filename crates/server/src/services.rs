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
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::limits::MESSAGE;

/// For the users of this host: everything but what is for hosts, health, and reflection.
pub async fn for_this_host<W: World>(coordinator: Coordinator<W>) -> Routes {
    let health = HealthReporter::new();
    operators(coordinator, &health).await.add_service(healthy(health))
}

/// For hosts and operators elsewhere: the same, and what hosts ask each other.
pub async fn for_network<W: World>(coordinator: Coordinator<W>) -> Routes {
    let health = HealthReporter::new();
    let peers = PeerServiceServer::new(PeerDesk(coordinator.clone())).max_decoding_message_size(MESSAGE);
    health.set_service_status(PEERS, ServingStatus::Serving).await;
    let routes = operators(coordinator, &health).await.add_service(peers);
    routes.add_service(healthy(health))
}

/// With who takes frames that another host kept for a guest.
pub fn and_kept_frames(routes: Routes, keep: impl KeepService) -> Routes {
    routes.add_service(KeepServiceServer::new(keep).max_decoding_message_size(MESSAGE))
}

async fn operators<W: World>(coordinator: Coordinator<W>, health: &HealthReporter) -> Routes {
    let migrations = MigrationServiceServer::new(MigrationDesk(coordinator.clone()));
    let guests = GuestServiceServer::new(GuestDesk(coordinator.clone()));
    let hosts = HostServiceServer::new(HostDesk(coordinator));
    for name in [MIGRATIONS, GUESTS, HOSTS] {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
    let routes = Routes::new(migrations.max_decoding_message_size(MESSAGE))
        .add_service(guests.max_decoding_message_size(MESSAGE))
        .add_service(hosts.max_decoding_message_size(MESSAGE));
    reflecting(routes)
}

fn healthy(health: HealthReporter) -> HealthServer<HealthService> {
    HealthServer::new(HealthService::from_health_reporter(health)).max_decoding_message_size(MESSAGE)
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
