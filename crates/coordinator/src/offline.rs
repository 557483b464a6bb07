//! Reading a journal without its daemon: what an operator looks at when `godwitd` does not answer.
//!
//! It changes nothing, whether the daemon runs, was killed or stopped. A database that cannot be read is named;
//! of one with a damaged migration, that one is named and the others are told.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use godwit_api::v1 as api;
use godwit_migration::{Brief, Entry, Migration};
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, config::DbConfig, params};

use crate::{Which, holds::Hold, host_service, journal, operation::View, words};

/// A daemon that begins to use the journal at this moment has it for itself for so long at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was read.
#[derive(Debug)]
pub struct Look<T> {
    /// The file.
    pub path: PathBuf,
    /// What was looked for.
    pub found: T,
    /// What belongs to it and cannot be read.
    pub damaged: Vec<OfflineError>,
    /// When the newest entry of the whole journal was written, milliseconds since 1970; none if there is no entry.
    pub newest_ms: Option<i64>,
}

/// The journal was not read.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// No such file.
    #[error("there is no journal {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Rights, a broken disk.
    #[error("journal {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words, or SQLite's.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// SQLite finds it damaged, or no database at all.
    #[error("journal {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A newer Godwit wrote it, or another program.
    #[error("journal {} has schema version {found}; this godwit knows version {known}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// One migration in it is damaged.
    #[error("journal {}: migration {id} is damaged", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// The migration.
        id: String,
        /// Why it cannot be read.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No migration, or more than one, has that id.
    #[error("no migration in journal {} has the id `{id}`{more}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// As it was asked for.
        id: String,
        /// Why not.
        more: &'static str,
    },
}

impl OfflineError {
    /// As the services would have it: with a word for programs, causes, and the next command.
    pub fn failure(&self) -> api::Failure {
        let look = |path: &Path, sql: &str| format!("sqlite3 -readonly {} \"{sql}\"", path.display());
        let (reason, hint) = match self {
            OfflineError::Missing { .. } => (
                "JOURNAL_MISSING",
                "grep state /etc/godwit/godwitd.toml (--state DIR names another directory)".into(),
            ),
            OfflineError::Unreadable { path, .. } => (
                "JOURNAL_UNREADABLE",
                format!("ls -l {}; only root may read it", path.display()),
            ),
            OfflineError::Damaged { path, .. } => ("JOURNAL_DAMAGED", look(path, "PRAGMA integrity_check")),
            OfflineError::Schema { .. } => ("JOURNAL_SCHEMA", "godwit --version; godwitd --version".into()),
            OfflineError::Migration { path, id, .. } => (
                "MIGRATION_DAMAGED",
                look(
                    path,
                    &format!("SELECT * FROM entries WHERE migration = '{}'", plain(id)),
                ),
            ),
            OfflineError::Unknown { .. } => ("MIGRATION_UNKNOWN", "godwit list --offline".into()),
        };
        // One cause is enough: SQLite's errors say the same again behind it.
        let causes = std::error::Error::source(self).map(ToString::to_string);
        api::Failure {
            reason: reason.into(),
            message: self.to_string(),
            causes: causes.into_iter().collect(),
            hint,
        }
    }
}

/// The newest migrations, of one guest (name or UUID) or, when it is empty, of all.
///
/// # Errors
/// See [`OfflineError`].
pub fn list(
    directory: &Path,
    guest: &str,
    which: Which,
    limit: u32,
) -> Result<Look<Vec<api::Migration>>, OfflineError> {
    look(directory, |journal| {
        let rows = journal.rows(
            "WHERE (?1 = '' OR guest = ?1 OR guest_uuid = ?1) AND (?2 = '' OR ended = ?2)
             ORDER BY begun_ms DESC, id DESC LIMIT ?3",
            params![guest, which.ended(), limit],
        )?;
        let read = rows.into_iter().map(|row| journal.migration(row));
        let (found, damaged): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
        let damaged = damaged.into_iter().filter_map(Result::err);
        Ok((found.into_iter().flatten().collect(), damaged.collect()))
    })
}

/// The migration of that id, or of that beginning of an id.
///
/// # Errors
/// See [`OfflineError`].
pub fn show(directory: &Path, id: &str) -> Result<Look<api::Migration>, OfflineError> {
    look(directory, |journal| {
        let unknown = |more| OfflineError::Unknown {
            path: journal.path.into(),
            id: plain(id),
            more,
        };
        if id.len() < 4 {
            return Err(unknown(" (at least 4 characters of it are needed)"));
        }
        let mut rows = journal.rows("WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2", params![id])?;
        match (rows.pop(), rows.pop()) {
            (Some(row), None) => Ok((journal.migration(row)?, Vec::new())),
            (Some(_), Some(_)) => Err(unknown(" alone: give more of it")),
            _ => Err(unknown("")),
        }
    })
}

/// The VFs that are set aside.
///
/// # Errors
/// See [`OfflineError`].
pub fn holds(directory: &Path) -> Result<Look<Vec<api::Hold>>, OfflineError> {
    look(directory, |journal| {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for (hold, row) in journal.holds()? {
            let brief = match journal.brief(&row) {
                Ok(brief) => Some(brief),
                Err(error) => {
                    damaged.push(error);
                    None
                }
            };
            found.push(host_service::hold(&hold, brief.as_ref(), Some(row.begun_ms)));
        }
        Ok((found, damaged))
    })
}

/// What was found, and what of it is damaged.
type Found<T> = Result<(T, Vec<OfflineError>), OfflineError>;

/// Opens, looks, closes.
fn look<T>(directory: &Path, read: impl Fn(&Reader<'_>) -> Found<T>) -> Result<Look<T>, OfflineError> {
    let path = directory.join("godwit.db");
    let at_rest = !log_of(&path).exists();
    let looked = Reader::open(&path, at_rest).and_then(|reader| reader.look(&read));
    if at_rest && log_of(&path).exists() {
        // A daemon began to write meanwhile, and what was read may be half of it: once more, together with its log.
        return Reader::open(&path, false)?.look(&read);
    }
    looked
}

/// SQLite's write-ahead log: it is there as long as a daemon has the journal open, and after one that was killed.
fn log_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    name.into()
}

/// A migration before it is read.
struct Row {
    id: String,
    begun_ms: i64,
    brief: String,
}

struct Reader<'a> {
    path: &'a Path,
    connection: Connection,
}

impl<'a> Reader<'a> {
    /// `at_rest`: there is no log, so nobody writes. SQLite would begin a log even to read; told that the file
    /// cannot change, it does not.
    fn open(path: &'a Path, at_rest: bool) -> Result<Reader<'a>, OfflineError> {
        // SQLite's "unable to open database file" does not say why.
        let there = File::open(path).and_then(|_| std::fs::canonicalize(path));
        let there = there.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OfflineError::Missing { path: path.into() },
            _ => OfflineError::Unreadable {
                path: path.into(),
                source: error.into(),
            },
        })?;
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(uri(&there, at_rest), flags);
        let connection = opened.map_err(|error| failed(path, error))?;
        let reader = Reader { path, connection };
        let found = reader.prepared().map_err(|error| failed(path, error))?;
        if journal::knows_schema(found) {
            return Ok(reader);
        }
        Err(OfflineError::Schema {
            path: path.into(),
            found,
            known: journal::SCHEMA_VERSION,
        })
    }

    /// The schema's version. From here on everything that is read is of one moment.
    fn prepared(&self) -> rusqlite::Result<i64> {
        self.connection.busy_timeout(PATIENCE)?;
        // The log of a daemon that was killed is its own to clear up.
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        self.connection.execute_batch("BEGIN")?;
        self.connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
    }

    fn look<T>(&self, read: impl Fn(&Reader<'_>) -> Found<T>) -> Result<Look<T>, OfflineError> {
        let (found, damaged) = read(self)?;
        Ok(Look {
            path: self.path.into(),
            found,
            damaged,
            newest_ms: self.newest_ms(),
        })
    }

    /// None also if damage is in the way: what was looked for is told all the same.
    fn newest_ms(&self) -> Option<i64> {
        let sql = "SELECT max(at_ms) FROM (
            SELECT begun_ms AS at_ms FROM migrations UNION ALL
            SELECT CASE WHEN json_valid(entry) THEN json_extract(entry, '$.at_ms') END FROM entries)";
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .ok()
            .flatten()
    }

    fn rows(&self, which: &str, values: impl Params) -> Result<Vec<Row>, OfflineError> {
        let read = || {
            let sql = format!("SELECT id, begun_ms, brief FROM migrations {which}");
            let mut select = self.connection.prepare(&sql)?;
            let rows = select.query_map(values, |row| row_of(row, 0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| failed(self.path, error))
    }

    fn holds(&self) -> Result<Vec<(Hold, Row)>, OfflineError> {
        let read = || {
            let mut select = self.connection.prepare(
                "SELECT vf, migration, quarantined, id, begun_ms, brief
                 FROM holds JOIN migrations ON id = migration ORDER BY vf",
            )?;
            let rows = select.query_map([], |row| {
                let hold = Hold {
                    vf: row.get(0)?,
                    migration: row.get(1)?,
                    quarantined: row.get(2)?,
                };
                Ok((hold, row_of(row, 3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| failed(self.path, error))
    }

    fn brief(&self, row: &Row) -> Result<Brief, OfflineError> {
        serde_json::from_str(&row.brief).map_err(|error| self.damaged(&row.id, error))
    }

    fn migration(&self, row: Row) -> Result<api::Migration, OfflineError> {
        let entries = self
            .entries(&row.id)
            .map_err(|error| self.damaged(&row.id, error))?;
        let entries = entries.iter().map(|entry| serde_json::from_str::<Entry>(entry));
        let entries = entries
            .collect::<Result<_, _>>()
            .map_err(|error| self.damaged(&row.id, error))?;
        let migration = Migration::replay(self.brief(&row)?, row.begun_ms, entries)
            .map_err(|error| self.damaged(&row.id, error))?;
        Ok(words::migration(&View::of(migration)))
    }

    fn entries(&self, id: &str) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT entry FROM entries WHERE migration = ?1 ORDER BY seq";
        let mut select = self.connection.prepare(sql)?;
        select.query_map([id], |row| row.get(0))?.collect()
    }

    fn damaged(&self, id: &str, why: impl std::error::Error + Send + Sync + 'static) -> OfflineError {
        OfflineError::Migration {
            path: self.path.into(),
            id: id.into(),
            source: why.into(),
        }
    }
}

fn row_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(first)?,
        begun_ms: row.get(first + 1)?,
        brief: row.get(first + 2)?,
    })
}

/// An id as it may stand in a sentence and in a command: it may be anything, until it was found.
fn plain(id: &str) -> String {
    id.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect()
}

fn failed(path: &Path, source: rusqlite::Error) -> OfflineError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OfflineError::Damaged {
            path: path.into(),
            source,
        },
        _ => OfflineError::Unreadable {
            path: path.into(),
            source: source.into(),
        },
    }
}

/// The file as SQLite takes it with options (<https://sqlite.org/uri.html>); whatever is not plain is escaped.
fn uri(path: &Path, at_rest: bool) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    if at_rest {
        uri.push_str("?immutable=1");
    }
    uri
}

#[cfg(test)]
mod tests;
