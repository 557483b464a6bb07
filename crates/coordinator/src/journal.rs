//! What must survive: migrations, their entries, and holds, in one SQLite database per host.
//!
//! One thread owns the connection; callers send it closures. `synchronous=FULL` and WAL: when a call returns,
//! it is on disk. An entry and what it does to the holds are one transaction. Damage is named,
//! never repaired in silence.

mod ballast;
mod disk;
mod error;
mod health;
mod history;
mod kept;
mod open;
mod owner;

use std::path::{Path, PathBuf};

use godwit_migration::{Brief, Entry, Migration};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::error::JournalError;
pub(crate) use self::open::{SCHEMA_VERSION, knows_schema};
use self::{
    ballast::Ballast,
    disk::{Disk, Room, Unwritten},
    open::{connect, lock},
    owner::Owner,
};
use crate::{
    history::Which,
    holds::{self, Hold, HoldChange},
    page::Page,
};

/// At most this many calls wait for the journal's thread.
const QUEUE: usize = 256;

type Task = Box<dyn FnOnce(&mut Disk) + Send>;

/// The journal of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
    owner: Owner,
}

impl Journal {
    /// Opens or creates `directory/godwit.db`.
    ///
    /// # Errors
    /// [`JournalError::Database`], [`JournalError::InUse`] and [`JournalError::Schema`]; nothing is changed then.
    pub fn open(directory: &Path) -> Result<Journal, JournalError> {
        let path = directory.join("godwit.db");
        let lock = lock(directory, &path)?;
        let mut disk = Disk::new(connect(&path)?, Some(Ballast::of(directory)));
        let (tasks, mut queue) = mpsc::channel::<Task>(QUEUE);
        let spawned = std::thread::Builder::new().name("journal".into()).spawn(move || {
            // Without it nothing new is begun; what is open goes on.
            let _ = disk.make_ballast();
            let _held_as_long_as_the_database_is_open = lock;
            while let Some(task) = queue.blocking_recv() {
                task(&mut disk);
            }
        });
        spawned.map_err(|_| JournalError::Closed)?;
        Ok(Journal {
            path,
            owner: Owner::thread(tasks),
        })
    }

    /// A journal that ends with its last handle: for simulators.
    ///
    /// # Errors
    /// [`JournalError::Database`], if SQLite has no memory.
    pub fn in_memory() -> Result<Journal, JournalError> {
        let path = PathBuf::from(":memory:");
        let owner = Owner::caller(Disk::new(connect(&path)?, None));
        Ok(Journal { path, owner })
    }

    /// The same journal for a process that is pretended: once that has died, nothing more is written for it, and
    /// nothing answered.
    pub fn until(&self, dead: watch::Receiver<bool>) -> Journal {
        Journal {
            path: self.path.clone(),
            owner: self.owner.until(dead),
        }
    }

    /// Begins a migration with its holds, and what happened to it already, in one transaction. Not without the space
    /// that its end may need; one that has ended already is a promise to another host, and may take from that space.
    pub(crate) async fn begin(
        &self,
        migration: &Migration,
        request_id: Option<String>,
    ) -> Result<(), JournalError> {
        let (brief, begun_ms, ended) = (migration.brief.clone(), migration.begun_ms, migration.ended());
        let entries = migration.entries().iter().map(serde_json::to_string);
        let entries = entries
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.damaged(&brief.id, &error))?;
        let holds = holds::of(&brief);
        let text = self.text(&brief)?;
        let room = if ended { Room::Last } else { Room::Kept };
        let taken = self
            .write(room, move |tx| {
                for vf in &holds {
                    let by = "SELECT migration FROM holds WHERE vf = ?1";
                    if let Some(by) = tx.query_row(by, [vf], |row| row.get(0)).optional()? {
                        return Ok(Some((vf.clone(), by)));
                    }
                }
                // Who begins has seen that the request made nothing that lasts: it goes over to this one.
                tx.execute(
                    "UPDATE migrations SET request_id = NULL WHERE request_id = ?1 AND ended = 1",
                    [&request_id],
                )?;
                tx.execute(
                    "INSERT INTO migrations VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        brief.id,
                        request_id,
                        begun_ms,
                        brief.guest.name,
                        brief.guest.uuid,
                        ended,
                        text
                    ],
                )?;
                for (index, entry) in entries.iter().enumerate() {
                    let seq = index as i64 + 1;
                    tx.execute(
                        "INSERT INTO entries VALUES (?1, ?2, ?3)",
                        params![brief.id, seq, entry],
                    )?;
                }
                for vf in &holds {
                    tx.execute("INSERT INTO holds VALUES (?1, ?2, NULL)", [vf, &brief.id])?;
                }
                Ok(None)
            })
            .await?;
        taken.map_or(Ok(()), |(vf, by)| Err(JournalError::Held { vf, by }))
    }

    /// Makes the migration's last entry durable, with what it does to the holds.
    pub(crate) async fn append(&self, migration: &Migration, change: HoldChange) -> Result<(), JournalError> {
        let id = migration.brief.id.clone();
        let ended = migration.ended();
        let seq = migration.entries().len();
        let Some(entry) = migration.entries().last() else {
            return Ok(());
        };
        let entry = serde_json::to_string(entry).map_err(|error| self.damaged(&id, &error))?;
        self.write(Room::Last, move |tx| {
            tx.execute(
                "INSERT INTO entries VALUES (?1, ?2, ?3)",
                params![id, seq as i64, entry],
            )?;
            tx.execute(
                "UPDATE migrations SET ended = ?2 WHERE id = ?1",
                params![id, ended],
            )?;
            match &change {
                HoldChange::Keep => {}
                HoldChange::Free => free(tx, &id)?,
                HoldChange::FreeBut(unclean) => {
                    for (vf, why) in unclean {
                        quarantine(tx, &id, vf, why)?;
                    }
                    free(tx, &id)?;
                }
                HoldChange::Quarantine(why) => {
                    tx.execute(
                        "UPDATE holds SET quarantined = ?2 WHERE migration = ?1",
                        [&id, why],
                    )?;
                }
                HoldChange::Take(vfs) => take(tx, &id, vfs)?,
                HoldChange::Swap { bad, taken, because } => {
                    for vf in bad {
                        quarantine(tx, &id, vf, because)?;
                    }
                    take(tx, &id, taken)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Every migration that has not ended.
    pub(crate) async fn open_migrations(&self) -> Result<Vec<Migration>, JournalError> {
        self.select(
            "SELECT id, begun_ms, brief FROM migrations WHERE ended = 0 ORDER BY begun_ms",
            vec![],
        )
        .await
    }

    /// The newest migrations, of one guest (name or UUID) or of all.
    pub(crate) async fn newest(
        &self,
        guest: &str,
        which: Which,
        limit: u32,
        after: Option<Page>,
    ) -> Result<Vec<Migration>, JournalError> {
        let sql = "SELECT id, begun_ms, brief FROM migrations
            WHERE (?1 = '' OR guest = ?1 OR guest_uuid = ?1) AND (?2 = '' OR ended = ?2)
            AND (?5 = '' OR (begun_ms, id) < (CAST(?4 AS INTEGER), ?5))
            ORDER BY begun_ms DESC, id DESC LIMIT ?3";
        let Page { begun_ms, id } = after.unwrap_or_default();
        let which = which.ended().to_owned();
        let values = vec![
            guest.to_owned(),
            which,
            limit.to_string(),
            begun_ms.to_string(),
            id,
        ];
        self.select(sql, values).await
    }

    /// A guest's migrations (name or UUID) that have not ended, and the one that was written down last, also where they cannot be read:
    /// their ids, and whether they have ended.
    pub(crate) async fn ids_of(&self, guest: &str) -> Result<Vec<(String, bool)>, JournalError> {
        let guest = guest.to_owned();
        self.run(move |connection| {
            let mut select = connection.prepare(
                "WITH mine AS (SELECT rowid AS row, * FROM migrations WHERE guest = ?1 OR guest_uuid = ?1)
                SELECT id, ended FROM mine WHERE ended = 0 OR row = (SELECT max(row) FROM mine) ORDER BY row",
            )?;
            let ids = select.query_map([guest], |row| Ok((row.get(0)?, row.get(1)?)))?;
            ids.collect()
        })
        .await
    }

    /// The migrations whose id begins so; at most two, enough to see whether it is one.
    pub(crate) async fn by_prefix(&self, prefix: &str) -> Result<Vec<Migration>, JournalError> {
        let sql = "SELECT id, begun_ms, brief FROM migrations WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2";
        self.select(sql, vec![prefix.to_owned()]).await
    }

    /// The migration that a request made.
    pub(crate) async fn by_request(&self, request_id: &str) -> Result<Option<Migration>, JournalError> {
        let sql = "SELECT id, begun_ms, brief FROM migrations WHERE request_id = ?1";
        Ok(self.select(sql, vec![request_id.to_owned()]).await?.pop())
    }

    /// All holds.
    pub(crate) async fn holds(&self) -> Result<Vec<Hold>, JournalError> {
        self.run(|connection| {
            let mut select =
                connection.prepare("SELECT vf, migration, quarantined FROM holds ORDER BY vf")?;
            let rows = select.query_map([], |row| {
                Ok(Hold {
                    vf: row.get(0)?,
                    migration: row.get(1)?,
                    quarantined: row.get(2)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    async fn select(&self, sql: &'static str, values: Vec<String>) -> Result<Vec<Migration>, JournalError> {
        let rows = self.run(move |connection| read(connection, sql, &values)).await?;
        rows.into_iter().map(|row| self.replay(row)).collect()
    }

    fn replay(&self, row: Row) -> Result<Migration, JournalError> {
        value(&row).map_err(|error| self.damaged(&row.id, &*error))
    }

    fn text(&self, brief: &Brief) -> Result<String, JournalError> {
        serde_json::to_string(brief).map_err(|error| self.damaged(&brief.id, &error))
    }

    fn damaged(&self, id: &str, why: &dyn std::error::Error) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            id: id.into(),
            detail: why.to_string(),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        room: Room,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        match self.ask(move |disk| disk.write(room, work)).await? {
            Ok(value) => Ok(value),
            Err(Unwritten::Ballast(source)) => Err(JournalError::Full {
                path: self.path.clone(),
                source,
            }),
            Err(Unwritten::Database(source)) => Err(self.database(source)),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let result = self.ask(|disk| work(&mut disk.connection)).await?;
        result.map_err(|source| self.database(source))
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk) -> T + Send + 'static,
    ) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        let task: Task = Box::new(move |disk| {
            // A caller that went away does not want the answer.
            let _ = answer.send(work(disk));
        });
        let answered = async { answered.await.map_err(|_| JournalError::Closed) };
        self.owner.run(task, answered).await
    }

    fn database(&self, source: rusqlite::Error) -> JournalError {
        JournalError::Database {
            path: self.path.clone(),
            source,
        }
    }
}

/// What the migration holds is free, but for what is in quarantine.
fn free(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    let delete = "DELETE FROM holds WHERE migration = ?1 AND quarantined IS NULL";
    tx.execute(delete, [id]).map(drop)
}

/// A VF that the migration holds is kept from everybody.
fn quarantine(tx: &Transaction<'_>, id: &str, vf: &str, because: &str) -> rusqlite::Result<()> {
    let set = "UPDATE holds SET quarantined = ?3 WHERE migration = ?1 AND vf = ?2";
    tx.execute(set, [id, vf, because]).map(drop)
}

/// Sets VFs aside for a migration; those that it holds already stay its own. Who calls holds the lock of those who
/// choose, so nobody else has them.
fn take(tx: &Transaction<'_>, id: &str, vfs: &[String]) -> rusqlite::Result<()> {
    for vf in vfs {
        tx.execute(
            "INSERT OR IGNORE INTO holds VALUES (?1, ?2, NULL)",
            [vf.as_str(), id],
        )?;
    }
    Ok(())
}

struct Row {
    id: String,
    begun_ms: i64,
    brief: String,
    entries: Vec<String>,
}

/// What the row says, if it can be read.
fn value(row: &Row) -> Result<Migration, Box<dyn std::error::Error>> {
    let brief: Brief = serde_json::from_str(&row.brief)?;
    let entries = row.entries.iter().map(|text| serde_json::from_str::<Entry>(text));
    let entries = entries.collect::<Result<_, _>>()?;
    Ok(Migration::replay(brief, row.begun_ms, entries)?)
}

fn read(connection: &Connection, sql: &str, values: &[String]) -> rusqlite::Result<Vec<Row>> {
    let mut select = connection.prepare(sql)?;
    let rows = select.query_map(rusqlite::params_from_iter(values), |row| {
        Ok(Row {
            id: row.get(0)?,
            begun_ms: row.get(1)?,
            brief: row.get(2)?,
            entries: Vec::new(),
        })
    })?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
    let mut entries = connection.prepare("SELECT entry FROM entries WHERE migration = ?1 ORDER BY seq")?;
    for row in &mut rows {
        row.entries = entries
            .query_map([&row.id], |entry| entry.get(0))?
            .collect::<rusqlite::Result<_>>()?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
