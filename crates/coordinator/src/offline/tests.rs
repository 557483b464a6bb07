//! Journals of daemons that run, that stopped and that were killed; and journals that are no good.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use godwit_migration::{Brief, Event, Guest, Pair, Policy, Report, Role};
use tempfile::TempDir;

use super::*;
use crate::{Journal, holds::HoldChange};

const OLD: &str = "01a20918-0000-7000-8000-000000000001";
const NEW: &str = "01a20918-0000-7000-8000-000000000002";
const OTHER: &str = "01a20999-0000-7000-8000-000000000003";

fn migration(id: &str, guest: &str, vf: &str, begun_ms: i64) -> Migration {
    let pair = Pair {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        primary_mac: "52:54:00:00:00:01".parse().unwrap(),
        standby: "net0".into(),
        primary: "ua-godwit-0".into(),
        pool: "blue".into(),
        source_vf: Some(vf.parse().unwrap()),
        destination_vf: None,
        profile: None,
    };
    let brief = Brief {
        id: id.into(),
        role: Role::Source,
        guest: Guest {
            name: guest.into(),
            uuid: format!("uuid-of-{guest}"),
        },
        source: "alpha".into(),
        destination: "beta".into(),
        policy: Policy::default(),
        sticky: false,
        teamed: false,
        nodes: Vec::new(),
        probes: 0,
        keep: Default::default(),
        options: Default::default(),
        pairs: vec![pair],
    };
    Migration::begin(brief, begun_ms)
}

/// A daemon's journal with three migrations, each holding a VF; the newest entry is of 5,000 ms.
async fn journal(directory: &Path) -> Journal {
    let journal = Journal::open(directory).unwrap();
    let mut old = migration(OLD, "web-1", "0000:01:10.0", 1_000);
    journal.begin(&old, None).await.unwrap();
    let reserved = Entry {
        at_ms: 5_000,
        event: Event::Done(Report::of("beta holds a VF")),
    };
    old.apply(reserved).unwrap();
    journal.append(&old, HoldChange::Keep).await.unwrap();
    journal
        .begin(&migration(NEW, "web-2", "0000:01:10.2", 2_000), None)
        .await
        .unwrap();
    journal
        .begin(&migration(OTHER, "db-1", "0000:01:10.4", 1_500), None)
        .await
        .unwrap();
    journal
}

/// A journal whose daemon has stopped.
async fn stopped() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    drop(journal(directory.path()).await);
    let begun = Instant::now();
    while log_of(&directory.path().join("godwit.db")).exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the journal's thread does not end"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    directory
}

/// Every file and what is in it; but not SQLite's index of the log, which every reader writes to.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let named = files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path));
    named
        .filter(|(name, _)| !name.ends_with("-shm"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Writes to a journal at rest as no daemon would.
fn spoil(directory: &Path, sql: &str) {
    Connection::open(directory.join("godwit.db"))
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

fn ids(look: &Look<Vec<api::Migration>>) -> Vec<&str> {
    look.found.iter().map(|migration| migration.id.as_str()).collect()
}

fn told(error: &OfflineError) -> String {
    let failure = error.failure();
    format!(
        "{}: {} <- {} ({})",
        failure.reason,
        failure.message,
        failure.causes.join(" <- "),
        failure.hint
    )
}

/// All that can be asked of it is as it should be, and it is as it was.
fn check(directory: &Path) {
    let before = files(directory);
    let all = list(directory, "", Which::All, 10).unwrap();
    assert_eq!(ids(&all), [NEW, OTHER, OLD], "newest first");
    assert_eq!((all.newest_ms, all.damaged.len()), (Some(5_000), 0));
    assert_eq!(all.path, directory.join("godwit.db"));
    assert_eq!(ids(&list(directory, "", Which::All, 2).unwrap()), [NEW, OTHER]);
    assert_eq!(ids(&list(directory, "web-1", Which::All, 10).unwrap()), [OLD]);
    assert_eq!(
        ids(&list(directory, "uuid-of-db-1", Which::All, 10).unwrap()),
        [OTHER]
    );
    assert_eq!(ids(&list(directory, "web-9", Which::All, 10).unwrap()), [""; 0]);
    let of = |which| list(directory, "", which, 10).unwrap();
    let (open, ended) = (of(Which::Open), of(Which::Ended));
    assert_eq!((ids(&open).len(), ids(&ended).len()), (3, 0));
    let one = show(directory, "01a20918-0000-7000-8000-000000000001")
        .unwrap()
        .found;
    assert_eq!((one.guest.as_str(), one.timeline.len()), ("web-1", 2));
    assert_eq!(one.timeline[0].detail, "beta holds a VF");
    let held = holds(directory).unwrap().found;
    let held: Vec<_> = held
        .iter()
        .map(|h| (h.vf.as_str(), h.guest.as_str(), h.since.unwrap().seconds))
        .collect();
    assert_eq!(
        held,
        [
            ("0000:01:10.0", "web-1", 1),
            ("0000:01:10.2", "web-2", 2),
            ("0000:01:10.4", "db-1", 1)
        ]
    );
    assert_eq!(files(directory), before, "something was changed");
}

#[tokio::test]
async fn while_the_daemon_runs() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(directory.path()).await;
    check(directory.path());
    // And it goes on writing.
    journal
        .begin(&migration("01a2aaaa", "web-3", "0000:01:10.6", 9_000), None)
        .await
        .unwrap();
    assert_eq!(
        list(directory.path(), "", Which::All, 1).unwrap().newest_ms,
        Some(9_000)
    );
}

#[tokio::test]
async fn after_a_daemon_that_stopped() {
    let directory = stopped().await;
    let names = |directory: &Path| fs::read_dir(directory).unwrap().count();
    let before = names(directory.path());
    check(directory.path());
    assert_eq!(names(directory.path()), before, "files were left behind");
}

#[tokio::test]
async fn after_a_daemon_that_was_killed() {
    let (running, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _journal = journal(running.path()).await;
    // What kill -9 leaves: the database and its log, which has everything that was written.
    for (name, bytes) in files(running.path()) {
        fs::write(killed.path().join(name), bytes).unwrap();
    }
    check(killed.path());
}

#[tokio::test]
async fn a_directory_may_have_any_name() {
    let (stopped, odd) = (stopped().await, tempfile::tempdir().unwrap());
    let odd = odd.path().join("a b?#%41ü&immutable=0");
    fs::create_dir(&odd).unwrap();
    for (name, bytes) in files(stopped.path()) {
        fs::write(odd.join(name), bytes).unwrap();
    }
    check(&odd);
}

#[tokio::test]
async fn an_id_is_found_by_its_beginning_if_only_one_begins_so() {
    let directory = stopped().await;
    assert_eq!(show(directory.path(), "01a20999").unwrap().found.id, OTHER);
    let refused = |id| show(directory.path(), id).unwrap_err().to_string();
    assert!(refused("01a20918").ends_with("has the id `01a20918` alone: give more of it"));
    assert!(refused("01a").ends_with("(at least 4 characters of it are needed)"));
    assert!(refused("ffff").ends_with("has the id `ffff`"));
}

#[tokio::test]
async fn one_damaged_migration_is_named_and_the_others_are_told() {
    for (spoilt, cause) in [
        ("UPDATE entries SET entry = '{\"at_ms\":1'", "EOF while parsing"),
        (
            "UPDATE entries SET entry = '{\"at_ms\":7,\"event\":{\"kind\":\"closed\"}}'",
            "cannot",
        ),
        (
            "UPDATE entries SET entry = '{\"at_ms\":7,\"event\":{\"kind\":\"flew\"}}'",
            "unknown variant `flew`",
        ),
        (
            "UPDATE migrations SET brief = '{}' WHERE guest = 'web-1'",
            "missing field",
        ),
    ] {
        let directory = stopped().await;
        spoil(directory.path(), spoilt);
        let before = files(directory.path());
        let look = list(directory.path(), "", Which::All, 10).unwrap();
        assert_eq!(ids(&look), [NEW, OTHER], "{spoilt}");
        let [damaged] = &look.damaged[..] else {
            panic!("{:?}", look.damaged)
        };
        let (named, whole) = (told(damaged), told(&show(directory.path(), OLD).unwrap_err()));
        assert_eq!(named, whole);
        assert!(
            named.starts_with("MIGRATION_DAMAGED: journal ") && named.contains(OLD),
            "{named}"
        );
        assert!(named.contains(cause), "{named}");
        assert_eq!(show(directory.path(), NEW).unwrap().found.guest, "web-2");
        let held = holds(directory.path()).unwrap();
        assert_eq!(
            held.found.len(),
            3,
            "a hold is told although its migration is damaged"
        );
        assert!(look.newest_ms.is_some(), "{spoilt}");
        assert_eq!(files(directory.path()), before);
    }
}

#[tokio::test]
async fn a_hold_in_quarantine_says_why() {
    let directory = stopped().await;
    spoil(
        directory.path(),
        "UPDATE holds SET quarantined = 'its MAC stays' WHERE vf = '0000:01:10.2'",
    );
    spoil(
        directory.path(),
        "UPDATE migrations SET brief = 'x' WHERE guest = 'db-1'",
    );
    let look = holds(directory.path()).unwrap();
    assert_eq!(look.found[1].quarantined, "its MAC stays");
    assert_eq!(
        (look.found[2].guest.as_str(), look.found[2].migration.as_str()),
        ("", OTHER)
    );
    assert!(look.damaged[0].to_string().contains(OTHER));
}

#[tokio::test]
async fn a_newer_schema_is_named_and_left_alone() {
    let directory = stopped().await;
    spoil(directory.path(), "PRAGMA user_version = 7; DROP TABLE holds");
    let before = files(directory.path());
    let error = told(&list(directory.path(), "", Which::All, 10).unwrap_err());
    assert!(error.starts_with("JOURNAL_SCHEMA: journal "), "{error}");
    assert!(
        error.contains("has schema version 7; this godwit knows version 3"),
        "{error}"
    );
    assert_eq!(files(directory.path()), before);
}

#[tokio::test]
async fn a_damaged_database_is_named_and_left_alone() {
    let directory = stopped().await;
    let path = directory.path().join("godwit.db");
    let whole = fs::read(&path).unwrap();
    let torn = [&whole[..100], &vec![0x5a; whole.len() - 100][..]].concat();
    for (bytes, reason) in [
        (
            b"this is no database at all, but a text of some length".to_vec(),
            "JOURNAL_DAMAGED",
        ),
        (torn, "JOURNAL_DAMAGED"),
        (whole[..whole.len() / 2].to_vec(), "JOURNAL_DAMAGED"),
        (Vec::new(), "JOURNAL_SCHEMA"),
    ] {
        fs::write(&path, &bytes).unwrap();
        for error in [
            list(directory.path(), "", Which::All, 10).unwrap_err(),
            show(directory.path(), OLD).unwrap_err(),
            holds(directory.path()).unwrap_err(),
        ] {
            assert!(told(&error).starts_with(reason), "{}", told(&error));
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        assert!(fs::read(&path).unwrap() == bytes, "it was changed");
    }
}

#[test]
fn no_journal() {
    let directory = tempfile::tempdir().unwrap();
    let error = list(directory.path(), "", Which::All, 10).unwrap_err();
    assert!(matches!(error, OfflineError::Missing { .. }), "{error:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "one was made");
    let error = list(&directory.path().join("nowhere"), "", Which::All, 10).unwrap_err();
    assert!(matches!(error, OfflineError::Missing { .. }), "{error:?}");
    fs::create_dir(directory.path().join("godwit.db")).unwrap();
    let error = told(&list(directory.path(), "", Which::All, 10).unwrap_err());
    assert!(error.starts_with("JOURNAL_UNREADABLE"), "{error}");
}
