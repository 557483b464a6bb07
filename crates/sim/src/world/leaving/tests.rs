//! A VF that is another guest's when its migration comes to give it back.

use godwit_api::v1::{self as api, Moved};
use godwit_coordinator::World as _;
use tokio::sync::watch;

use super::*;
use crate::{
    Layout,
    world::{
        PretendWorld,
        moving::{ALPHA, Moving},
    },
};

/// Both begin on alpha.
const MOVED: GuestId = 0;
const OTHER: GuestId = 2;

#[tokio::test(start_paused = true)]
async fn it_is_left_to_the_guest_that_has_it_and_kept_from_everybody() {
    let layout = Layout {
        extras: false,
        ..Layout::new(2, 3)
    };
    let moving = Moving::paused(layout, MOVED).await;
    let taken = moving.record(|_| true).await.pairs[0].source_vf.parse().unwrap();
    let others = moving.model().body(OTHER, ALPHA).unwrap().ports[0].vf.unwrap();
    // By another hand.
    let profile = {
        let mut model = moving.model();
        let profile = model.hosts[ALPHA].vfs[&others].profile;
        model.set_profile(ALPHA, taken, profile);
        model.hosts[ALPHA].vfs.get_mut(&taken).unwrap().owner = Some(OTHER);
        assert!(!model.hosts[ALPHA].is_neutral(taken));
        profile
    };
    let record = moving.record(|record| record.ended).await;
    assert_eq!(record.moved(), Moved::Yes);
    let release = record
        .timeline
        .iter()
        .find(|step| step.phase() == api::Phase::Release);
    let release = release.unwrap();
    assert!(release.failed, "{release:?}");
    assert!(release.detail.contains("is quarantined"), "{release:?}");
    assert_eq!(moving.model().hosts[ALPHA].vfs[&taken].profile, profile);
    // Nor does a person get it cleaned, until the other guest has gone.
    let (_alive, dead) = watch::channel(false);
    let world = PretendWorld::new(Arc::clone(&moving.cluster.shared), ALPHA, dead);
    let refused = world.clean(taken).await.unwrap_err();
    assert_eq!(refused.reason, "VF_NOT_CLEAN");
    assert!(refused.causes[0].contains("still in use"), "{refused:?}");
    moving.model().hosts[ALPHA].vfs.get_mut(&taken).unwrap().owner = None;
    world.clean(taken).await.unwrap();
    assert!(moving.model().hosts[ALPHA].is_neutral(taken));
    assert_eq!(moving.model().wrong, [""; 0]);
    moving.cluster.stop();
}
