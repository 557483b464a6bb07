//! The database: one owner, damage named, nothing repaired or changed in silence, writes that fail waited out.

use std::{path::Path, time::Duration};

use godwit_api::v1::{Moved, Phase as Wire};
use godwit_coordinator::{Journal, JournalError};
use godwit_migration::Phase;
use rusqlite::Connection;

use crate::{
    facts,
    host::{Host, run},
};

/// A host whose one migration was killed in the unplug.
fn begun() -> (Host, String) {
    let host = Host::source();
    host.world.hold(Phase::Unplug);
    let id = host.live(async |alpha| alpha.reach(Phase::Unplug).await);
    (host, id)
}

fn sql(host: &Host, text: &str) {
    // The daemon before is not quite dead: its last words are waited for.
    let connection = Connection::open(host.database()).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.execute_batch(text).unwrap();
}

/// Every row of the database, as text.
fn dump(host: &Host) -> Vec<String> {
    let connection = Connection::open(host.database()).unwrap();
    let all = "SELECT 'm' || id || ended || brief FROM migrations UNION ALL
        SELECT 'e' || migration || seq || entry FROM entries UNION ALL
        SELECT 'h' || vf || migration || ifnull(quarantined, '') FROM holds ORDER BY 1";
    let mut rows = connection.prepare(all).unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn refuses(host: &Host) -> String {
    run(false, async || host.try_start().await.err().unwrap().to_string())
}

#[test]
fn a_second_daemon_is_told_that_it_is_in_use() {
    let host = Host::source();
    host.live(async |_alpha| {
        let error = Journal::open(host.directory()).unwrap_err();
        assert!(matches!(error, JournalError::InUse { .. }), "{error:?}");
        let path = host.database();
        assert_eq!(
            error.to_string(),
            format!("journal {} is in use by another godwitd", path.display())
        );
    });
    host.live(async |alpha| assert!(alpha.migrate("web-1", "beta").await.is_ok()));
}

#[test]
fn a_damaged_entry_is_named_and_nothing_is_changed() {
    let damages = [
        "UPDATE entries SET entry = '{\"at_ms\":1' WHERE seq = 2",
        "UPDATE entries SET entry = '{\"at_ms\":1,\"event\":{\"kind\":\"danced\"}}' WHERE seq = 2",
        "DELETE FROM entries WHERE seq < 3; UPDATE entries SET seq = 1,
            entry = replace(entry, '\"kind\":\"done\"', '\"kind\":\"closed\"')",
        "UPDATE migrations SET brief = '{}'",
    ];
    for damage in damages {
        let (host, id) = begun();
        sql(&host, damage);
        let before = dump(&host);
        let works = host.world.works().len();
        let words = refuses(&host);
        assert!(
            words.contains(&id) && words.contains("cannot be read"),
            "{damage}: {words}"
        );
        assert!(words.contains(host.database().to_str().unwrap()), "{words}");
        assert_eq!(dump(&host), before);
        assert_eq!(host.world.works().len(), works, "and nothing was worked on");
    }
}

#[test]
fn what_ended_and_is_damaged_stands_in_nobodys_way() {
    let (host, id) = begun();
    host.world.free(Phase::Unplug);
    host.live(async |alpha| alpha.ended(&id).await);
    sql(&host, "UPDATE entries SET entry = 'x' WHERE seq = 2");
    host.live(async |alpha| {
        let no = alpha.get(&id).await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (tonic::Code::Internal, "JOURNAL")
        );
        assert!(no.failure.message.contains(&id), "{}", no.failure.message);
        assert_eq!(no.failure.hint, "journalctl -u godwitd");
        assert!(alpha.migrate("web-1", "beta").await.is_ok());
    });
}

#[test]
fn a_newer_schema_is_named_and_left_alone() {
    let (host, _) = begun();
    sql(
        &host,
        "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE; PRAGMA user_version = 7",
    );
    let before = std::fs::read(host.database()).unwrap();
    let words = refuses(&host);
    assert!(
        words.ends_with("has schema version 7; this godwitd knows version 3"),
        "{words}"
    );
    assert_eq!(std::fs::read(host.database()).unwrap(), before);
}

#[test]
fn an_older_schema_is_brought_up_with_all_that_is_in_it() {
    let (host, id) = begun();
    sql(&host, "DROP TABLE vfs_quarantined; PRAGMA user_version = 2");
    let old = godwit_coordinator::offline::show(host.directory(), &id).unwrap();
    assert_eq!(old.found.id, id, "read offline as it is");
    host.world.free(Phase::Unplug);
    host.live(async |alpha| {
        assert!(alpha.ended(&id).await.ended);
        let usage = alpha.quarantine("0000:01:10.1", "broken").await.unwrap();
        assert_eq!(usage, "quarantined: broken");
    });
}

#[test]
fn another_programs_database_is_named_and_left_alone() {
    let host = Host::source();
    sql(
        &host,
        "CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')",
    );
    let before = std::fs::read(host.database()).unwrap();
    assert!(refuses(&host).contains("schema version 0"));
    assert_eq!(std::fs::read(host.database()).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_named_and_left_alone() {
    let host = Host::source();
    let text = "this is not a database, it only has the name of one. ".repeat(100);
    std::fs::write(host.database(), &text).unwrap();
    let words = refuses(&host);
    assert!(
        words.contains("godwit.db") && words.contains("not a database"),
        "{words}"
    );
    assert_eq!(std::fs::read_to_string(host.database()).unwrap(), text);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Not even root may write there.
    for directory in ["/proc", "/nowhere/at/all"] {
        let words = Journal::open(Path::new(directory)).unwrap_err().to_string();
        assert!(
            words.starts_with(&format!("journal {directory}/godwit.db: ")),
            "{words}"
        );
    }
}

#[test]
fn an_empty_file_is_a_new_journal() {
    let host = Host::source();
    std::fs::write(host.database(), "").unwrap();
    host.live(async |alpha| assert!(alpha.migrate("web-1", "beta").await.is_ok()));
}

/// The journal refuses writes from here on, as a full disk would.
fn full(host: &Host) {
    sql(
        host,
        "CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(FAIL, 'disk is full'); END;
         CREATE TRIGGER full_too BEFORE INSERT ON migrations BEGIN SELECT RAISE(FAIL, 'disk is full'); END;",
    );
}

fn writable(host: &Host) {
    sql(host, "DROP TRIGGER full; DROP TRIGGER full_too");
}

#[test]
fn a_journal_that_does_not_write_stops_the_guest_where_it_is_until_it_does() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::FailOver);
        let id = alpha.reach(Phase::FailOver).await;
        full(&host);
        alpha.world.free(Phase::FailOver);
        // Two attempts to write at least; the next phase is not begun, since it would not be durable.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(
            alpha.world.phases(),
            [Phase::Reserve, Phase::Queue, Phase::FailOver]
        );
        assert_eq!(alpha.get(&id).await.unwrap().phase(), Wire::FailOver);
        writable(&host);
        assert_eq!(alpha.settled(&id).await.moved(), Moved::Yes);
        assert_eq!(
            alpha.world.tried(Phase::FailOver),
            1,
            "the work itself is not repeated"
        );
    });
}

#[test]
fn nothing_is_begun_that_cannot_be_written() {
    let host = Host::source();
    host.live(async |alpha| {
        full(&host);
        let no = alpha.migrate("web-1", "beta").await.unwrap_err();
        assert_eq!(
            (no.code, no.failure.reason.as_str()),
            (tonic::Code::Internal, "JOURNAL")
        );
        assert!(
            no.failure.message.contains("disk is full"),
            "{}",
            no.failure.message
        );
        assert_eq!(alpha.world.works(), []);
        let no = alpha.look("beta", facts::close(1, 2)).await.unwrap_err();
        assert_eq!(no.failure.reason, "JOURNAL", "no promise that is not durable");
        writable(&host);
        assert!(alpha.migrate("web-1", "beta").await.is_ok());
        assert!(alpha.look("beta", facts::close(1, 2)).await.unwrap().1);
    });
}

#[test]
fn a_command_that_the_journal_keeps_waiting_is_answered() {
    let host = Host::source();
    let id = host.live_fast(async |alpha| {
        alpha.world.hold(Phase::Transfer);
        let id = alpha.reach(Phase::Transfer).await;
        full(&host);
        // One is being written, the others queue behind it, more than the queue takes.
        let asks: Vec<_> = (0..30)
            .map(|_| {
                let (alpha, id) = (alpha.clone(), id.clone());
                tokio::spawn(async move { alpha.cancel(&id).await.unwrap_err() })
            })
            .collect();
        let begun = tokio::time::Instant::now();
        for ask in asks {
            let no = ask.await.unwrap();
            assert_eq!(no.failure.reason, "JOURNAL");
            assert!(
                no.failure.message.contains("waits for its journal"),
                "{}",
                no.failure.message
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(alpha.get(&id).await.unwrap().phase(), Wire::Transfer);
        // The first one is taken when there is room again.
        writable(&host);
        alpha.world.until(|world| !world.knobs().aborts.is_empty()).await;
        assert!(alpha.get(&id).await.unwrap().cancelled);
        id
    });
    host.world.free(Phase::Transfer);
    host.live(async |alpha| assert_eq!(alpha.settled(&id).await.moved(), Moved::Yes));
}

#[test]
fn another_writer_is_waited_for() {
    let host = Host::source();
    host.live(async |alpha| {
        alpha.world.hold(Phase::Unplug);
        let id = alpha.reach(Phase::Unplug).await;
        // Somebody with sqlite3 in a shell.
        let other = Connection::open(host.database()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        alpha.world.free(Phase::Unplug);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(alpha.world.tried(Phase::Transfer), 0);
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(alpha.settled(&id).await.moved(), Moved::Yes);
    });
}
