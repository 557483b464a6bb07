//! For tests: two hosts, and a guest of the first that is on its way to the second.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use godwit_api::v1::{
    self as api, CreateMigrationRequest, GetMigrationRequest, migration_service_server::MigrationService,
};
use godwit_coordinator::MigrationDesk;
use godwit_migration::Phase;
use tokio::{sync::mpsc, time::sleep};
use tonic::Request;

use super::{Order, PretendWorld};
use crate::{
    Layout,
    cluster::{Cluster, Journals},
    faults::{Fault, Kind},
    model::{Domain, Fate, GuestId, HostId, Model},
    pace::Pace,
};

pub(super) const ALPHA: HostId = 0;
pub(super) const BETA: HostId = 1;

/// Its transfer has the fate that was ordered.
pub(super) struct Moving {
    pub(super) cluster: Arc<Cluster>,
    pub(super) guest: GuestId,
    pub(super) id: String,
    _orders: mpsc::UnboundedReceiver<Order>,
}

impl Moving {
    pub(super) async fn begin(layout: Layout, guest: GuestId, fate: Fate) -> Moving {
        let mut model = layout.build();
        model.knobs.set(Fault::new(Phase::Transfer, Kind::Fate(fate)));
        let (cluster, orders) = Cluster::new(model, Pace::Speed(1.0), &Journals::InMemory, true).unwrap();
        for host in [ALPHA, BETA] {
            cluster.start(host).await.unwrap();
        }
        let name = cluster.shared.model().guests[guest].id.name.clone();
        let request = CreateMigrationRequest {
            guest: name,
            destination: "beta".into(),
            ..CreateMigrationRequest::default()
        };
        let begun = desk(&cluster).create_migration(Request::new(request)).await;
        Moving {
            id: begun.unwrap().into_inner().migration.unwrap().id,
            cluster,
            guest,
            _orders: orders,
        }
    }

    /// The guest stands still at alpha, and will for four seconds.
    pub(super) async fn paused(layout: Layout, guest: GuestId) -> Moving {
        let moving = Moving::begin(layout, guest, Fate::Slow).await;
        while moving.domain(ALPHA) != Some(Domain::Paused) {
            sleep(Duration::from_millis(20)).await;
        }
        moving
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.cluster.shared.model()
    }

    pub(super) fn domain(&self, at: HostId) -> Option<Domain> {
        self.model().body(self.guest, at).map(|body| body.domain)
    }

    /// That of the source, once it is so.
    pub(super) async fn record(&self, so: impl Fn(&api::Migration) -> bool) -> api::Migration {
        let mut last = api::Migration::default();
        for _ in 0..10_000 {
            let request = Request::new(GetMigrationRequest { id: self.id.clone() });
            let found = desk(&self.cluster).get_migration(request).await.unwrap();
            last = found.into_inner().migration.unwrap();
            if so(&last) {
                return last;
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!("it does not come so far: {last:?}");
    }
}

fn desk(cluster: &Cluster) -> MigrationDesk<PretendWorld> {
    MigrationDesk(cluster.shared.seat(ALPHA).clone().unwrap().coordinator)
}
