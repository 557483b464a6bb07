//! A VF that is another guest's when its migration comes to give it back.

use godwit_api::v1::{
    self as api, CreateMigrationRequest, GetMigrationRequest, Moved,
    migration_service_server::MigrationService,
};
use godwit_coordinator::{MigrationDesk, World as _};
use godwit_migration::Phase;
use tokio::sync::watch;
use tonic::Request;

use super::*;
use crate::{
    Layout,
    cluster::{Cluster, Journals},
    faults::{Fault, Kind},
    model::Fate,
    pace::Pace,
    world::PretendWorld,
};

const ALPHA: HostId = 0;
const BETA: HostId = 1;
/// Both begin on alpha.
const MOVED: GuestId = 0;
const OTHER: GuestId = 2;

#[tokio::test(start_paused = true)]
async fn it_is_left_to_the_guest_that_has_it_and_kept_from_everybody() {
    let layout = Layout {
        extras: false,
        ..Layout::new(2, 3)
    };
    let mut model = layout.build();
    model
        .knobs
        .set(Fault::new(Phase::Transfer, Kind::Fate(Fate::Slow)));
    let taken = model.body(MOVED, ALPHA).unwrap().ports[0].vf.unwrap();
    let others = model.body(OTHER, ALPHA).unwrap().ports[0].vf.unwrap();
    let (cluster, _orders) = Cluster::new(model, Pace::Speed(1.0), &Journals::InMemory, true).unwrap();
    for host in [ALPHA, BETA] {
        cluster.start(host).await.unwrap();
    }
    let desk = MigrationDesk(cluster.shared.seat(ALPHA).clone().unwrap().coordinator);
    let request = CreateMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        ..CreateMigrationRequest::default()
    };
    let begun = desk.create_migration(Request::new(request)).await.unwrap();
    let id = begun.into_inner().migration.unwrap().id;
    while cluster.shared.model().body(MOVED, ALPHA).map(|body| body.domain) != Some(Domain::Paused) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // By another hand.
    let profile = {
        let mut model = cluster.shared.model();
        let profile = model.hosts[ALPHA].vfs[&others].profile;
        model.set_profile(ALPHA, taken, profile);
        model.hosts[ALPHA].vfs.get_mut(&taken).unwrap().owner = Some(OTHER);
        assert!(!model.hosts[ALPHA].is_neutral(taken));
        profile
    };
    let record = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let request = GetMigrationRequest { id: id.clone() };
        let found = desk.get_migration(Request::new(request)).await.unwrap();
        let record = found.into_inner().migration.unwrap();
        if record.ended {
            break record;
        }
    };
    assert_eq!(record.moved(), Moved::Yes);
    let release = record
        .timeline
        .iter()
        .find(|step| step.phase() == api::Phase::Release);
    let release = release.unwrap();
    assert!(release.failed, "{release:?}");
    assert!(release.detail.contains("is quarantined"), "{release:?}");
    assert_eq!(cluster.shared.model().hosts[ALPHA].vfs[&taken].profile, profile);
    // Nor does a person get it cleaned, until the other guest has gone.
    let (_alive, dead) = watch::channel(false);
    let world = PretendWorld::new(Arc::clone(&cluster.shared), ALPHA, dead);
    let refused = world.clean(taken).await.unwrap_err();
    assert_eq!(refused.reason, "VF_NOT_CLEAN");
    assert!(refused.causes[0].contains("still in use"), "{refused:?}");
    cluster.shared.model().hosts[ALPHA]
        .vfs
        .get_mut(&taken)
        .unwrap()
        .owner = None;
    world.clean(taken).await.unwrap();
    assert!(cluster.shared.model().hosts[ALPHA].is_neutral(taken));
    assert_eq!(cluster.shared.model().wrong, [""; 0]);
    cluster.stop();
}
