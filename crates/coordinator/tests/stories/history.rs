//! What has ended is kept for a while, bounded by number and age; what is still asked for is kept whatever the bounds.

use std::time::Duration;

use godwit_api::v1::{Migration, MigrationFilter, Moved};
use godwit_migration::{Cause, Event, Kept, Phase, Verdict};
use rusqlite::{Connection, params};

use crate::{
    facts,
    host::{Desk, Host},
    peek::Peek,
    world::cause,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The migration began, and everything in it happened, so much earlier.
fn ages(host: &Host, id: &str, by_ms: i64) {
    let database = Connection::open(host.database()).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let sql = "UPDATE migrations SET begun_ms = begun_ms - ?2 WHERE id = ?1";
    database.execute(sql, params![id, by_ms]).unwrap();
    let sql = "UPDATE entries SET entry = json_set(entry, '$.at_ms', json_extract(entry, '$.at_ms') - ?2)
        WHERE migration = ?1";
    database.execute(sql, params![id, by_ms]).unwrap();
}

async fn moved(alpha: &Desk) -> String {
    let id = alpha.migrate("web-1", "beta").await.unwrap().id;
    assert_eq!(alpha.ended(&id).await.moved(), Moved::Yes);
    id
}

/// Waits until these are left, the oldest first.
async fn left(peek: Peek, ids: &[&str]) {
    let mut now = peek.migrations();
    let mut wanted: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    wanted.sort();
    for _ in 0..1000 {
        now.sort();
        if now == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        now = peek.migrations();
    }
    panic!("{now:?} are left, not {wanted:?}");
}

fn ids(migrations: &[Migration]) -> Vec<&str> {
    migrations.iter().map(|migration| migration.id.as_str()).collect()
}

#[test]
fn more_than_is_kept_is_forgotten_at_start_and_after_each_end() {
    let host = Host::source();
    let all = host.live(async |alpha| {
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(moved(&alpha).await);
        }
        all
    });
    for (id, age) in all.iter().zip([5, 4, 3, 2, 1]) {
        ages(&host, id, age * DAY_MS);
    }
    host.keeps(3, 90);
    host.live(async |alpha| {
        left(alpha.peek(), &[&all[2], &all[3], &all[4]]).await;
        let fresh = moved(&alpha).await;
        left(alpha.peek(), &[&all[3], &all[4], &fresh]).await;
        let no = alpha.get(&all[2]).await.unwrap_err();
        assert_eq!(no.failure.reason, "MIGRATION_UNKNOWN");
        assert_eq!(
            alpha.get(&all[3]).await.unwrap().timeline.len(),
            8,
            "the others are whole"
        );
    });
    let entries = "SELECT count(*) FROM entries WHERE migration NOT IN (SELECT id FROM migrations)";
    let database = Connection::open(host.database()).unwrap();
    let orphans: i64 = database.query_row(entries, [], |row| row.get(0)).unwrap();
    assert_eq!(orphans, 0);
}

#[test]
fn what_is_too_old_is_forgotten_and_the_last_hour_is_kept() {
    let host = Host::source();
    let (old, late, fresh) =
        host.live(async |alpha| (moved(&alpha).await, moved(&alpha).await, moved(&alpha).await));
    ages(&host, &old, 8 * DAY_MS);
    ages(&host, &late, 6 * DAY_MS);
    host.keeps(1000, 7);
    host.live(async |alpha| left(alpha.peek(), &[&late, &fresh]).await);
    host.keeps(1, 7);
    host.live(async |alpha| {
        left(alpha.peek(), &[&fresh]).await;
        let second = moved(&alpha).await;
        let third = moved(&alpha).await;
        left(alpha.peek(), &[&fresh, &second, &third]).await;
    });
}

#[test]
fn what_is_open_and_what_keeps_a_vf_is_never_forgotten() {
    let host = Host::source();
    host.world.once(Phase::Release, Event::Failed(cause("RELEASE")));
    let (dirty, open, plain) = host.live(async |alpha| {
        let dirty = moved(&alpha).await;
        alpha.world.set(|knobs| {
            knobs.guests.push(facts::guest(2));
            knobs.guests.push(facts::guest(3));
        });
        let plain = alpha.migrate("web-3", "beta").await.unwrap().id;
        alpha.ended(&plain).await;
        alpha.world.hold(Phase::Transfer);
        let open = alpha.migrate("web-2", "beta").await.unwrap().id;
        (dirty, open, plain)
    });
    for id in [&dirty, &open, &plain] {
        ages(&host, id, 400 * DAY_MS);
    }
    host.keeps(1, 1);
    host.live(async |alpha| {
        left(alpha.peek(), &[&dirty, &open]).await;
        alpha.world.free(Phase::Transfer);
        assert_eq!(alpha.ended(&open).await.moved(), Moved::Yes, "it goes on");
        assert_eq!(
            alpha.peek().quarantined().len(),
            1,
            "and that is still in quarantine"
        );
    });
}

#[test]
fn a_promise_is_kept_for_seven_days() {
    let host = Host::destination();
    host.live(async |beta| {
        assert!(beta.look("alpha", facts::close(1, 1)).await.unwrap().1);
        assert!(beta.look("alpha", facts::close(2, 2)).await.unwrap().1);
    });
    ages(&host, &facts::migration(1), 8 * DAY_MS);
    ages(&host, &facts::migration(2), 6 * DAY_MS);
    host.keeps(1, 1);
    host.live(async |beta| {
        left(beta.peek(), &[&facts::migration(2)]).await;
        let no = beta.reserve("alpha", facts::reserve(2, 2)).await.unwrap_err();
        assert_eq!(no.failure.reason, "HOST_REFUSED");
    });
}

#[test]
fn a_standby_that_lasts_is_not_forgotten_until_something_else_is_asked_for() {
    let host = Host::source();
    let [moved, down] = host.live(async |alpha| {
        alpha.world.set(|knobs| knobs.guests.push(facts::guest(2)));
        let moved = alpha.migrate("web-2", "beta").await.unwrap().id;
        alpha.ended(&moved).await;
        let down = alpha.standby("web-1").await.unwrap().id;
        alpha.ended(&down).await;
        [moved, down]
    });
    ages(&host, &moved, 400 * DAY_MS);
    ages(&host, &down, 400 * DAY_MS);
    host.keeps(1, 1);
    host.live(async |alpha| {
        left(alpha.peek(), &[&down]).await;
        alpha.coordinator.look_after_guests().await;
        let all = alpha.peek().migrations();
        assert!(
            all.len() == 1 && all[0] == down,
            "it is left on its standby: {all:?}"
        );
        let up = alpha.accelerate("web-1").await.unwrap().id;
        alpha.settled(&up).await;
        left(alpha.peek(), &[&up]).await;
    });
}

#[test]
fn a_long_history_is_walked_in_pages() {
    let host = Host::source();
    let first = host.live(async |alpha| moved(&alpha).await);
    let database = Connection::open(host.database()).unwrap();
    for n in 0..300 {
        let id = format!("copy-{n:04}");
        let sql = "INSERT INTO migrations SELECT ?1, NULL, begun_ms - ?2, guest, guest_uuid, ended, brief
            FROM migrations WHERE id = ?3";
        database
            .execute(sql, params![id, n * 1000 + DAY_MS, first])
            .unwrap();
        let sql = "INSERT INTO entries SELECT ?1, seq, json_set(entry, '$.at_ms', 1) FROM entries WHERE migration = ?2";
        database.execute(sql, params![id, first]).unwrap();
    }
    drop(database);
    host.keeps(1000, 1);
    host.live(async |alpha| left(alpha.peek(), &[&first]).await);
}

#[test]
fn the_timeline_tells_why_each_phase_failed_with_its_causes() {
    let host = Host::source();
    host.world.once(Phase::Transfer, Event::Failed(cause("TRANSFER")));
    host.world.once(Phase::Locate, facts::located(Verdict::Here));
    host.world.once(Phase::Plug, Event::Failed(cause("PLUG")));
    let end = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.ended(&id).await
    });
    let failed = end.timeline.iter().filter(|span| span.failed);
    let details: Vec<&str> = failed.map(|span| span.detail.as_str()).collect();
    assert_eq!(
        details,
        ["transfer went wrong: the world", "plug went wrong: the world"]
    );
}

/// Over a restart, too: it is in the journal with the failure.
#[test]
fn a_transfer_that_failed_tells_what_became_of_the_frames_of_the_pause() {
    let host = Host::source();
    let kept = Kept {
        frames: 61,
        delivered: 40,
        returned: 60,
        lost: 1,
        ..Kept::default()
    };
    let failed = Cause {
        kept: Some(Box::new(kept)),
        ..cause("TRANSFER")
    };
    host.world.once(Phase::Transfer, Event::Failed(failed));
    host.world
        .once(Phase::Locate, facts::located(Verdict::PausedHere));
    let id = host.live_fast(async |alpha| {
        let id = alpha.migrate("web-1", "beta").await.unwrap().id;
        alpha.ended(&id).await.id
    });
    let again = host.live(async |alpha| alpha.ended(&id).await);
    let told = again.kept.clone().unwrap();
    assert_eq!((told.frames, told.delivered), (61, 40));
    assert_eq!((told.returned, told.lost), (60, 1));
    assert_eq!(again.moved(), Moved::No);
}

/// The copy at the source reads what comes for the guest, and looks to its host like the guest.
#[test]
fn of_a_guest_that_ran_on_both_hosts_it_is_said_that_nobody_knows_what_it_got() {
    let kept = Kept {
        frames: 3,
        delivered: 3,
        ..Kept::default()
    };
    for told in [None, Some(kept)] {
        let host = Host::source();
        let failed = Cause {
            kept: told.clone().map(Box::new),
            ..cause("TRANSFER")
        };
        host.world.once(Phase::Transfer, Event::Failed(failed));
        host.world.once(Phase::Locate, facts::located(Verdict::OnBoth));
        let id = host.live_fast(async |alpha| {
            let id = alpha.migrate("web-1", "beta").await.unwrap().id;
            alpha.ended(&id).await.id
        });
        let again = host.live(async |alpha| alpha.ended(&id).await);
        assert_eq!(again.moved(), Moved::Yes);
        let said = again.kept.unwrap();
        assert_eq!(said.frames, told.unwrap_or_default().frames);
        assert!(said.not_kept.contains("ran on both hosts"), "{said:?}");
    }
}

#[test]
fn the_list_has_the_open_or_the_ended_ones() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.set(|knobs| knobs.guests.push(facts::guest(2)));
        let ended = moved(&alpha).await;
        alpha.world.hold(Phase::Transfer);
        let open = alpha.migrate("web-2", "beta").await.unwrap().id;
        let listed = async |guest, filter| alpha.filtered(guest, 10, filter).await;
        assert_eq!(ids(&listed("", MigrationFilter::Ended).await), [&ended]);
        assert_eq!(ids(&listed("", MigrationFilter::Open).await), [&open]);
        assert_eq!(
            ids(&listed("", MigrationFilter::Unspecified).await),
            [&open, &ended]
        );
        assert_eq!(ids(&listed("web-2", MigrationFilter::Ended).await), [""; 0]);
    });
}
