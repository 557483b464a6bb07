//! Moves of a guest that stands still for seconds, and what goes wrong meanwhile.

use godwit_api::v1::{
    self as api, CreateMigrationRequest, GetMigrationRequest, Moved,
    migration_service_server::MigrationService,
};
use godwit_coordinator::MigrationDesk;
use tokio::{sync::mpsc, time::sleep};
use tonic::Request;

use super::*;
use crate::{
    Layout,
    cluster::{Cluster, Journals, cancel},
    faults::{Fault, Kind},
    model::{Fate, Model},
    pace::Pace,
    world::Order,
};

const ALPHA: HostId = 0;
const BETA: HostId = 1;
/// The guest whose taps the emulator reads, and the one of the kernel's.
const GUESTS: [GuestId; 2] = [0, 2];

struct Story {
    cluster: Arc<Cluster>,
    guest: GuestId,
    id: String,
    _orders: mpsc::UnboundedReceiver<Order>,
}

/// What became of it: the record's word, and the world's.
#[derive(Debug)]
struct End {
    moved: Moved,
    kept: api::Kept,
    lost: u64,
    behind: u64,
}

impl Story {
    /// A guest of alpha stands still, on its way to beta, and will for four seconds.
    async fn begin(guest: GuestId) -> Story {
        let layout = Layout {
            extras: false,
            ..Layout::new(2, 3)
        };
        let mut model = layout.build();
        model
            .knobs
            .set(Fault::new(Phase::Transfer, Kind::Fate(Fate::Slow)));
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
        let alpha = cluster.shared.seat(ALPHA).clone().unwrap();
        let answer = MigrationDesk(alpha.coordinator)
            .create_migration(Request::new(request))
            .await;
        let story = Story {
            id: answer.unwrap().into_inner().migration.unwrap().id,
            cluster,
            guest,
            _orders: orders,
        };
        while story.domain(ALPHA) != Some(Domain::Paused) {
            sleep(Duration::from_millis(20)).await;
        }
        story
    }

    fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.cluster.shared.model()
    }

    fn domain(&self, at: HostId) -> Option<Domain> {
        self.model().body(self.guest, at).map(|body| body.domain)
    }

    async fn end(self) -> End {
        let alpha = self.cluster.shared.seat(ALPHA).clone().unwrap();
        let desk = MigrationDesk(alpha.coordinator);
        let record = loop {
            sleep(Duration::from_secs(1)).await;
            let request = GetMigrationRequest { id: self.id.clone() };
            let answer = desk.get_migration(Request::new(request)).await.unwrap();
            let record = answer.into_inner().migration.unwrap();
            if record.ended {
                break record;
            }
        };
        let mut model = self.model();
        model.flow(self.guest);
        assert_eq!(model.wrong, [""; 0]);
        let sent = model.sent_of(self.guest, &self.id).unwrap();
        let end = End {
            moved: record.moved(),
            kept: record.kept.unwrap_or_default(),
            lost: sent.lost(),
            behind: sent.behind,
        };
        drop(model);
        self.cluster.stop();
        end
    }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_came_in_the_pause_is_delivered_and_none_is_lost() {
    for guest in GUESTS {
        let story = Story::begin(guest).await;
        seconds(2).await;
        story.model().guests[guest].transfer.as_mut().unwrap().stands = 0;
        let end = story.end().await;
        let kept = &end.kept;
        assert_eq!((end.moved, end.lost), (Moved::Yes, 0), "{end:?}");
        assert!(kept.frames >= 40 && kept.delivered == kept.frames, "{end:?}");
        assert!(end.behind <= kept.late && kept.longest_ms >= 2000, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_that_have_no_room_are_lost_and_counted() {
    for guest in GUESTS {
        let end = Story::begin(guest).await.end().await;
        let kept = &end.kept;
        assert!(kept.no_room > 0 && kept.delivered >= 60, "{end:?}");
        assert_eq!((end.lost, kept.lost), (kept.no_room, 0), "{end:?}");
        assert_eq!(kept.frames, kept.delivered + kept.no_room, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn daemons_that_lose_each_other_say_so() {
    for guest in GUESTS {
        let story = Story::begin(guest).await;
        seconds(1).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(12);
        story.model().hosts[BETA].parted_until = Some(until);
        let end = story.end().await;
        let kept = &end.kept;
        assert_eq!(end.moved, Moved::Yes, "{end:?}");
        assert!(kept.not_kept.contains("did not say"), "{end:?}");
        // What was there before came.
        assert!(end.lost > 0 && end.lost + 10 < kept.frames, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_dies_has_left_what_was_in_the_taps_queue() {
    for guest in GUESTS {
        let story = Story::begin(guest).await;
        seconds(1).await;
        story.cluster.crash(BETA);
        seconds(1).await;
        story.cluster.start(BETA).await.unwrap();
        let end = story.end().await;
        let kept = &end.kept;
        assert_eq!(end.moved, Moved::Yes, "{end:?}");
        assert!(end.lost <= kept.frames - kept.delivered, "{end:?}");
        assert!(end.lost < kept.frames, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_in_the_pause_it_finds_them_where_it_was() {
    for guest in GUESTS {
        let story = Story::begin(guest).await;
        sleep(Duration::from_millis(500)).await;
        let alpha = story.cluster.shared.seat(ALPHA).clone().unwrap();
        cancel(alpha.coordinator, story.id.clone()).await;
        stays_whole(story.end().await, true);
    }
}

/// Its copy at the destination dies before it ever ran; the source's is resumed by its daemon.
#[tokio::test(start_paused = true)]
async fn a_guest_that_never_resumes_over_there_finds_them_where_it_was() {
    for guest in GUESTS {
        let story = Story::begin(guest).await;
        seconds(3).await;
        story.model().guests[guest].transfer.as_mut().unwrap().fate = Fate::FailsPaused;
        stays_whole(story.end().await, false);
    }
}

/// What its own tap had no room for is lost, and told.
fn stays_whole(end: End, whole: bool) {
    let kept = &end.kept;
    assert_eq!(end.moved, Moved::No, "{end:?}");
    assert!(kept.frames > 8 && kept.returned > 0, "{end:?}");
    assert_eq!(
        (end.lost, end.behind),
        (kept.frames - kept.returned, 0),
        "{end:?}"
    );
    assert_eq!(end.lost == 0, whole, "{end:?}");
}
