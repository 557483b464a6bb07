//! Moves of a guest that stands still for seconds, and what goes wrong meanwhile.

use godwit_api::v1::{self as api, Moved};
use tokio::time::sleep;

use super::*;
use crate::{
    Layout,
    cluster::cancel,
    model::Fate,
    world::moving::{ALPHA, BETA, Moving},
};

/// The guest whose taps the emulator reads, and the one of the kernel's.
const GUESTS: [GuestId; 2] = [0, 2];

struct Story(Moving);

/// What became of it: the record's word, and the world's.
#[derive(Debug)]
struct End {
    moved: Moved,
    kept: api::Kept,
    lost: u64,
    behind: u64,
}

impl Story {
    async fn begin(guest: GuestId) -> Story {
        let layout = Layout {
            extras: false,
            ..Layout::new(2, 3)
        };
        Story(Moving::paused(layout, guest).await)
    }

    async fn end(self) -> End {
        let record = self.record(|record| record.ended).await;
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

impl std::ops::Deref for Story {
    type Target = Moving;

    fn deref(&self) -> &Moving {
        &self.0
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
