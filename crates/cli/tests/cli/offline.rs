//! `--offline`: a journal as a daemon wrote it, and no daemon to ask.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use godwit_coordinator::Journal;
use godwit_migration::{Brief, Cause, Entry, Event, Guest, Migration, Pair, Report, Role};
use rusqlite::{Connection, params};

use crate::story::{ID, Run, place, run};

const OTHER: &str = "0197aaaa-1111-7222-8333-444455556666";
/// 2026-01-02 03:04:05.067Z.
const BEGUN: i64 = 1_767_323_045_067;

fn migration(id: &str, guest: &str, vf: &str) -> Migration {
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
            uuid: "11111111-2222-3333-4444-555555555555".into(),
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
    Migration::begin(brief, BEGUN)
}

/// A migration that is at Unplug, and one that was refused; with their holds.
fn fill(directory: &Path) {
    let mut going = migration(ID, "web-1", "0000:01:10.0");
    for (ms, detail) in [
        (400, "beta holds 0000:01:10.2"),
        (500, "beta has room"),
        (1_500, "1 pair on its standby"),
    ] {
        let event = Event::Done(Report::of(detail));
        going
            .apply(Entry {
                at_ms: BEGUN + ms,
                event,
            })
            .unwrap();
    }
    let mut refused = migration(OTHER, "db-1", "0000:01:10.4");
    let cause = Cause {
        reason: "NO_FREE_VF".into(),
        message: "beta has no free VF in pool blue".into(),
        ..Cause::default()
    };
    refused
        .apply(Entry {
            at_ms: BEGUN + 300,
            event: Event::Failed(cause),
        })
        .unwrap();
    write(directory, &going, "NULL");
    write(directory, &refused, "'its MAC could not be set'");
}

fn write(directory: &Path, migration: &Migration, quarantined: &str) {
    let database = Connection::open(directory.join("godwit.db")).unwrap();
    let brief = &migration.brief;
    let row = params![
        brief.id,
        migration.begun_ms,
        brief.guest.name,
        brief.guest.uuid,
        migration.ended(),
        serde_json::to_string(brief).unwrap()
    ];
    database
        .execute(
            "INSERT INTO migrations VALUES (?1, NULL, ?2, ?3, ?4, ?5, ?6)",
            row,
        )
        .unwrap();
    for (seq, entry) in migration.entries().iter().enumerate() {
        let row = params![brief.id, seq as i64 + 1, serde_json::to_string(entry).unwrap()];
        database
            .execute("INSERT INTO entries VALUES (?1, ?2, ?3)", row)
            .unwrap();
    }
    let vf = brief.pairs[0].source_vf.unwrap().to_string();
    let sql = format!("INSERT INTO holds VALUES (?1, ?2, {quarantined})");
    database.execute(&sql, params![vf, brief.id]).unwrap();
}

/// There is no daemon at that socket; the journal's directory stands for DIR.
fn offline(directory: &Path, args: &[&str]) -> Run {
    let state = directory.to_str().unwrap();
    let mut run = run(
        Path::new("/nowhere"),
        &[args, &["--offline", "--state", state]].concat(),
    );
    run.out = run.out.replace(state, "DIR");
    run.err = run.err.replace(state, "DIR");
    run
}

/// How old the newest entry is, is another number in every run.
fn ageless(text: &str) -> String {
    let Some((before, rest)) = text.split_once("its newest entry is ") else {
        return text.into();
    };
    let (_age, after) = rest.split_once(" old").unwrap();
    format!("{before}its newest entry is AGE old{after}")
}

#[test]
fn every_view_as_text() {
    let (dir, _) = place();
    let daemon = Journal::open(dir.path()).unwrap();
    fill(dir.path());
    let tell = || {
        let mut told = String::new();
        for args in [&["list"][..], &["show", "0198"], &["holds"]] {
            let run = offline(dir.path(), args);
            assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
            told.push_str(&format!(
                "$ godwit {} --offline\n{}\n",
                args.join(" "),
                ageless(&squeezed(&run.out))
            ));
        }
        told
    };
    let running = tell();
    insta::assert_snapshot!(running, @"
    $ godwit list --offline
    Read offline from DIR/godwit.db; its newest entry is AGE old (2026-01-02 03:04:06Z).
    ID  GUEST  FROM -> TO  STATE  SINCE
    0198c0de  web-1  alpha -> beta  unplug  2026-01-02 03:04:06Z
    0197aaaa  db-1  alpha -> beta  undo: unreserve  2026-01-02 03:04:05Z

    $ godwit show 0198 --offline
    Read offline from DIR/godwit.db; its newest entry is AGE old (2026-01-02 03:04:06Z).
    Migration  0198c0de-1111-7222-8333-444455556666
    guest  web-1 (11111111-2222-3333-4444-555555555555)
    way  alpha -> beta (this host is the source)
    policy  require
    created  2026-01-02 03:04:05Z
    state  at work on unplug

    It is not decided yet whether web-1 moves from alpha to beta.
    Its traffic is on standby since 2026-01-02 03:04:06Z, because migration 0198c0de-1111-7222-8333-444455556666 is at unplug.

    HOST  PHASE  STARTED  TOOK  RESULT
    alpha  reserve  03:04:05.067Z  400 ms  done: beta holds 0000:01:10.2
    alpha  queue  03:04:05.467Z  100 ms  done: beta has room
    alpha  fail-over  03:04:05.567Z  1.0 s  done: 1 pair on its standby
    alpha  unplug  03:04:06.567Z  AGE so far  at work

    PAIR  POOL  VF ON alpha  VF ON beta
    52:54:00:00:00:01  blue  0000:01:10.0  -

    $ godwit holds --offline
    Read offline from DIR/godwit.db; its newest entry is AGE old (2026-01-02 03:04:06Z).
    VF  GUEST  FROM  MIGRATION  SINCE  QUARANTINED
    0000:01:10.0  web-1  alpha  0198c0de  2026-01-02 03:04:05Z
    0000:01:10.4  db-1  alpha  0197aaaa  2026-01-02 03:04:05Z  its MAC could not be set
    ");
    drop(daemon);
    assert_eq!(tell(), running, "the same when the daemon is gone");
}

/// The phase at work gets older from run to run, as far as its record tells, and its column wider.
fn squeezed(text: &str) -> String {
    let line = |line: &str| {
        let words = line.split("  ").map(str::trim).filter(|word| !word.is_empty());
        let ageless = words.map(|word| {
            if word.ends_with(" so far") {
                "AGE so far"
            } else {
                word
            }
        });
        ageless.collect::<Vec<_>>().join("  ") + "\n"
    };
    text.lines().map(line).collect()
}

#[test]
fn json_is_the_same_as_online_and_says_aside_where_it_is_from() {
    let (dir, _) = place();
    drop(Journal::open(dir.path()).unwrap());
    fill(dir.path());
    let json = |args: &[&str]| {
        let run = offline(dir.path(), &[args, &["--json"]].concat());
        assert_eq!(run.code, 0, "{run:?}");
        let aside = ageless(&run.err);
        assert_eq!(
            aside,
            "Read offline from DIR/godwit.db; its newest entry is AGE old (2026-01-02 03:04:06Z).\n"
        );
        assert_eq!(run.json().len(), 1);
        run.json().remove(0)
    };
    let all = json(&["list", "--limit", "1", "--guest", "web-1"]);
    assert_eq!(all["migrations"].as_array().unwrap().len(), 1);
    assert_eq!(all["migrations"][0]["id"], ID);
    let one = json(&["show", ID]);
    assert_eq!(
        (&one["phase"], &one["created"]),
        (&"unplug".into(), &"2026-01-02T03:04:05.067Z".into())
    );
    let holds = json(&["holds"]);
    assert_eq!(holds["holds"][0]["guest"], "web-1");
    assert_eq!(holds["holds"][1]["quarantined"], "its MAC could not be set");
}

#[test]
fn history_is_what_has_ended() {
    let (dir, _) = place();
    drop(Journal::open(dir.path()).unwrap());
    fill(dir.path());
    let empty = offline(dir.path(), &["history"]);
    assert!(
        empty.out.ends_with("\nNo migration has ended yet.\n"),
        "{}",
        empty.out
    );
    let mut aborted = migration("0196aaaa-1111-7222-8333-444455556666", "web-2", "0000:01:10.6");
    let cause = Cause {
        reason: "NO_FREE_VF".into(),
        message: "beta has no free VF in pool blue".into(),
        ..Cause::default()
    };
    for (ms, event) in [
        (300, Event::Failed(cause)),
        (700, Event::Done(Report::of("beta holds nothing"))),
    ] {
        let at_ms = BEGUN + ms;
        aborted.apply(Entry { at_ms, event }).unwrap();
    }
    write(dir.path(), &aborted, "NULL");
    let run = offline(dir.path(), &["history", "--limit", "5"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(ageless(&run.out), @"
    Read offline from DIR/godwit.db; its newest entry is AGE old (2026-01-02 03:04:06Z).
    ID        GUEST  FROM -> TO     OUTCOME      ENDED                 TOOK    WHY
    0196aaaa  web-2  alpha -> beta  rolled back  2026-01-02 03:04:05Z  700 ms  beta has no free VF in pool blue
    ");
}

#[test]
fn the_age_is_that_of_the_newest_entry() {
    let (dir, _) = place();
    drop(Journal::open(dir.path()).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut fresh = migration(ID, "web-1", "0000:01:10.0");
    let entry = Entry {
        at_ms: now - 125_000,
        event: Event::Done(Report::of("")),
    };
    fresh.apply(entry).unwrap();
    write(dir.path(), &fresh, "NULL");
    let run = offline(dir.path(), &["list"]);
    assert!(run.out.contains("; its newest entry is 2 min "), "{}", run.out);
}

#[test]
fn an_empty_journal() {
    let (dir, _) = place();
    drop(Journal::open(dir.path()).unwrap());
    let run = offline(dir.path(), &["list"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert_eq!(
        run.out,
        "Read offline from DIR/godwit.db; it has no entry.\nThere are no migrations.\n"
    );
}

#[test]
fn a_damaged_migration_is_named_while_the_others_are_told() {
    let (dir, _) = place();
    drop(Journal::open(dir.path()).unwrap());
    fill(dir.path());
    let database = Connection::open(dir.path().join("godwit.db")).unwrap();
    let spoil = "UPDATE entries SET entry = '{\"at_ms\"' WHERE migration = ?1";
    database.execute(spoil, [OTHER]).unwrap();
    let run = offline(dir.path(), &["list"]);
    assert_eq!(run.code, 1);
    assert!(
        run.out.contains("0198c0de  web-1") && !run.out.contains("db-1"),
        "{}",
        run.out
    );
    insta::assert_snapshot!(run.err, @r#"
    Error: journal DIR/godwit.db: migration 0197aaaa-1111-7222-8333-444455556666 is damaged
    Caused by: EOF while parsing an object at line 1 column 8
    Hint: sqlite3 -readonly DIR/godwit.db "SELECT * FROM entries WHERE migration = '0197aaaa-1111-7222-8333-444455556666'"
    "#);
    let run = offline(dir.path(), &["list", "--json"]);
    let objects = run.json();
    assert_eq!((run.code, objects.len()), (1, 2));
    assert_eq!(objects[0]["migrations"][0]["id"], ID);
    assert_eq!(objects[1]["error"]["reason"], "MIGRATION_DAMAGED");
}

#[test]
fn what_cannot_be_read_is_named() {
    let (dir, _) = place();
    let mut told = String::new();
    let mut tell = |what: &str, args: &[&str]| {
        let run = offline(dir.path(), args);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{what}");
        told.push_str(&format!("{what}:\n{}\n", run.err));
    };
    tell("no journal", &["list"]);
    drop(Journal::open(dir.path()).unwrap());
    tell("no such migration", &["show", "0198"]);
    let database = Connection::open(dir.path().join("godwit.db")).unwrap();
    database.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(database);
    tell("a newer schema", &["holds"]);
    std::fs::write(
        dir.path().join("godwit.db"),
        "a text where the database was, and long enough",
    )
    .unwrap();
    tell("no database", &["list"]);
    insta::assert_snapshot!(told, @r#"
    no journal:
    Error: there is no journal DIR/godwit.db
    Hint: grep state /etc/godwit/godwitd.toml (--state DIR names another directory)

    no such migration:
    Error: no migration in journal DIR/godwit.db has the id `0198`
    Hint: godwit list --offline

    a newer schema:
    Error: journal DIR/godwit.db has schema version 9; this godwit knows version 3
    Hint: godwit --version; godwitd --version

    no database:
    Error: journal DIR/godwit.db is damaged
    Caused by: file is not a database
    Hint: sqlite3 -readonly DIR/godwit.db "PRAGMA integrity_check"
    "#);
}
