//! Opening the database: one daemon, the right schema, and nothing changed if it is not ours.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use rusqlite::Connection;

use super::JournalError;

pub(crate) const SCHEMA_VERSION: i64 = 3;
/// The oldest that is brought up to it.
const OLDEST_SCHEMA: i64 = 2;
/// What version 3 has and version 2 has not.
const SINCE_3: &str = "CREATE TABLE vfs_quarantined (vf TEXT PRIMARY KEY, why TEXT NOT NULL) STRICT;";
const SCHEMA: &str = "
    CREATE TABLE migrations (
        id TEXT PRIMARY KEY, request_id TEXT UNIQUE, begun_ms INTEGER NOT NULL,
        guest TEXT NOT NULL, guest_uuid TEXT NOT NULL, ended INTEGER NOT NULL, brief TEXT NOT NULL
    ) STRICT;
    CREATE INDEX open_migrations ON migrations (ended) WHERE ended = 0;
    CREATE INDEX migrations_by_age ON migrations (ended, begun_ms, id);
    CREATE TABLE entries (
        migration TEXT NOT NULL REFERENCES migrations (id), seq INTEGER NOT NULL, entry TEXT NOT NULL,
        PRIMARY KEY (migration, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE holds (
        vf TEXT PRIMARY KEY, migration TEXT NOT NULL REFERENCES migrations (id), quarantined TEXT
    ) STRICT;
    CREATE TABLE pfs_set_aside (pf TEXT PRIMARY KEY) STRICT;
";

/// Whether a database of this version can be read, and brought up to ours.
pub(crate) fn knows_schema(found: i64) -> bool {
    (OLDEST_SCHEMA..=SCHEMA_VERSION).contains(&found)
}

pub(super) fn lock(directory: &Path, path: &Path) -> Result<File, JournalError> {
    let failed = |error| JournalError::Database {
        path: path.into(),
        source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
    };
    let file = File::create(directory.join("godwitd.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

pub(super) fn connect(path: &Path) -> Result<Connection, JournalError> {
    let failed = |source| JournalError::Database {
        path: path.to_path_buf(),
        source,
    };
    let connection = Connection::open(path).map_err(failed)?;
    // Read before anything is set: a database that is not ours stays as it is.
    let (found, tables) = version(&connection).map_err(failed)?;
    let new = found == 0 && tables == 0;
    if !knows_schema(found) && !new {
        return Err(JournalError::Schema {
            path: path.into(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    prepare(&connection).map_err(failed)?;
    match found {
        _ if new => set_up(&connection, &format!("{SCHEMA} {SINCE_3}")).map_err(failed)?,
        SCHEMA_VERSION => {}
        _ => set_up(&connection, SINCE_3).map_err(failed)?,
    }
    Ok(connection)
}

/// The schema's version, and how many tables there are.
fn version(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    connection.busy_timeout(Duration::from_secs(2))?;
    let number = |sql| connection.query_row(sql, [], |row| row.get(0));
    Ok((
        number("PRAGMA user_version")?,
        number("SELECT count(*) FROM sqlite_schema")?,
    ))
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn set_up(connection: &Connection, tables: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; {tables} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    ))
}
