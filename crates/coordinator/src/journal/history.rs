//! Forgetting what has ended, a page at a time: between two pages the database is anybody's.

use godwit_migration::{Entry, Event, Migration, Outcome, State};
use rusqlite::{Connection, params};

use super::{Journal, JournalError, read, value};
use crate::history::{Finished, History};

/// Migrations looked at in one go; with some ten entries each that is a matter of milliseconds.
const PAGE: usize = 64;

/// How far it has come, from the newest to the oldest.
#[derive(Clone, Debug)]
struct Walk {
    /// Beginning and id of the last one that was seen.
    seen: (i64, String),
    /// So many of those that were seen are kept and count.
    kept: usize,
    forgotten: usize,
    over: bool,
}

impl Journal {
    /// Forgets what the rule says; how many that were.
    pub(crate) async fn forget(&self, history: History, now_ms: i64) -> Result<usize, JournalError> {
        let mut walk = Walk {
            seen: (i64::MAX, String::new()),
            kept: 0,
            forgotten: 0,
            over: false,
        };
        while !walk.over {
            // Not with the space that was set aside: it is for what is running.
            walk = self
                .run(move |connection| {
                    page(connection, walk, |finished, kept| {
                        history.forgets(finished, kept, now_ms)
                    })
                })
                .await?;
        }
        Ok(walk.forgotten)
    }
}

fn page(
    connection: &mut Connection,
    mut walk: Walk,
    forgets: impl Fn(Finished, usize) -> bool,
) -> rusqlite::Result<Walk> {
    let tx = connection.transaction()?;
    let rows = ended(&tx, &walk)?;
    walk.over = rows.len() < PAGE;
    for (id, begun_ms, finished) in rows {
        if forgets(finished, walk.kept) && !keeps_standby(&tx, &id)? {
            tx.execute("DELETE FROM entries WHERE migration = ?1", [&id])?;
            tx.execute("DELETE FROM migrations WHERE id = ?1", [&id])?;
            walk.forgotten += 1;
        } else if !finished.promised && !finished.holds {
            walk.kept += 1;
        }
        walk.seen = (begun_ms, id);
    }
    tx.commit()?;
    Ok(walk)
}

/// It is why its guest is left on standby here: what somebody asked for does not end with the history.
fn keeps_standby(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let by_id = "SELECT id, begun_ms, brief FROM migrations WHERE id = ?1";
    let rows = read(connection, by_id, &[id.to_owned()])?;
    let mut values = rows.iter().filter_map(|row| value(row).ok());
    if !values.any(|migration: Migration| migration.keeps_standby()) {
        return Ok(false);
    }
    let newer = "SELECT newer.id, newer.begun_ms, newer.brief FROM migrations AS newer, migrations AS this
            WHERE this.id = ?1 AND newer.guest_uuid = this.guest_uuid
            AND (newer.begun_ms, newer.id) > (this.begun_ms, this.id)";
    let newer = read(connection, newer, &[id.to_owned()])?;
    let undone = State::Done(Outcome::Aborted);
    Ok(newer
        .iter()
        .all(|row| value(row).is_ok_and(|migration| migration.state() == undone)))
}

type Row = (String, i64, Finished);

fn ended(connection: &Connection, walk: &Walk) -> rusqlite::Result<Vec<Row>> {
    let mut select = connection.prepare(
        "SELECT id, begun_ms,
            (SELECT entry FROM entries WHERE migration = id ORDER BY seq DESC LIMIT 1),
            EXISTS (SELECT 1 FROM holds WHERE migration = id)
         FROM migrations WHERE ended = 1 AND (begun_ms, id) < (?1, ?2)
         ORDER BY begun_ms DESC, id DESC LIMIT ?3",
    )?;
    let (begun_ms, id) = &walk.seen;
    let rows = select.query_map(params![begun_ms, id, PAGE as i64], |row| {
        let begun_ms = row.get(1)?;
        let last: Option<String> = row.get(2)?;
        // One that is damaged is as old as its beginning.
        let last = last.and_then(|text| serde_json::from_str::<Entry>(&text).ok());
        let finished = Finished {
            ended_ms: last.as_ref().map_or(begun_ms, |entry| entry.at_ms),
            promised: last.is_some_and(|entry| entry.event == Event::Closed),
            holds: row.get(3)?,
        };
        Ok((row.get(0)?, begun_ms, finished))
    })?;
    rows.collect()
}
