//! A database that may not grow, as on a full disk.

use godwit_migration::{Entry, Event, Guest, Pair, Report, Role, State};

use super::*;

fn migration(n: u32) -> Migration {
    let pair = Pair {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        primary_mac: "52:54:00:00:00:01".parse().unwrap(),
        standby: "net0".into(),
        primary: "ua-godwit-0".into(),
        pool: "blue".into(),
        source_vf: Some(format!("0000:01:10.{n}").parse().unwrap()),
        destination_vf: None,
        profile: None,
    };
    let brief = Brief {
        id: format!("01a20918-0000-7000-8000-{n:012}"),
        role: Role::Source,
        guest: Guest {
            name: format!("web-{n}"),
            uuid: format!("11111111-2222-3333-4444-{n:012}"),
        },
        source: "alpha".into(),
        destination: "beta".into(),
        pairs: vec![pair],
        policy: Default::default(),
        sticky: false,
        teamed: false,
        nodes: Vec::new(),
        probes: 0,
        keep: Default::default(),
        options: Default::default(),
    };
    Migration::begin(brief, 1_767_323_045_067)
}

fn happens(migration: &mut Migration, event: Event) {
    let at_ms = migration.begun_ms + 1;
    migration.apply(Entry { at_ms, event }).unwrap();
}

/// An entry that needs pages of its own.
fn long() -> Event {
    Event::Done(Report::of("x".repeat(40_000)))
}

async fn may_grow(journal: &Journal, pages: u32) {
    let set = move |connection: &mut Connection| {
        let now: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        connection.query_row(
            &format!("PRAGMA max_page_count = {}", now + pages),
            [],
            |_| Ok(()),
        )
    };
    journal.run(set).await.unwrap();
}

#[tokio::test]
async fn a_full_database_gets_the_space_that_was_set_aside_and_begins_nothing() {
    let place = tempfile::tempdir().unwrap();
    let ballast = place.path().join("godwit.ballast");
    let journal = Journal::open(place.path()).unwrap();
    let mut going = migration(1);
    journal.begin(&going, None).await.unwrap();
    assert_eq!(std::fs::metadata(&ballast).unwrap().len(), 8 << 20);

    may_grow(&journal, 0).await;
    happens(&mut going, long());
    let error = journal.append(&going, HoldChange::Keep).await.unwrap_err();
    assert!(matches!(error, JournalError::Database { .. }), "{error}");
    assert!(error.to_string().contains("full"), "{error}");
    assert!(!ballast.exists(), "it was given up");

    let mut next = migration(2);
    next.brief.guest.name = "x".repeat(40_000);
    let error = journal.begin(&next, None).await.unwrap_err();
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    assert!(journal.by_prefix(&next.brief.id).await.unwrap().is_empty());
    assert_eq!(journal.holds().await.unwrap().len(), 1, "nothing of it was kept");

    may_grow(&journal, 100).await;
    journal.append(&going, HoldChange::Keep).await.unwrap();
    journal.begin(&next, None).await.unwrap();
    assert!(ballast.exists(), "and set aside again");
    let found = journal.by_prefix(&going.brief.id).await.unwrap();
    assert_eq!(found[0].entries().len(), 1);
    assert!(matches!(found[0].state(), State::Work(..)));
}

#[tokio::test]
async fn that_it_cannot_be_written_is_known_before_something_is_to_be() {
    let place = tempfile::tempdir().unwrap();
    let ballast = place.path().join("godwit.ballast");
    let journal = Journal::open(place.path()).unwrap();
    journal.can_be_written().await.unwrap();
    // What is in the way of the space that is set aside.
    std::fs::remove_file(&ballast).unwrap();
    std::fs::create_dir(&ballast).unwrap();
    let error = journal.can_be_written().await.unwrap_err();
    assert!(matches!(error, JournalError::Full { .. }), "{error}");
    std::fs::remove_dir(&ballast).unwrap();
    journal.can_be_written().await.unwrap();
    let read_only = |disk: &mut Disk| disk.connection.execute_batch("PRAGMA query_only = 1");
    journal.ask(read_only).await.unwrap().unwrap();
    let error = journal.can_be_written().await.unwrap_err();
    assert!(matches!(error, JournalError::Database { .. }), "{error}");
}
