//! What the journal says when it does not take or give something.

use std::path::PathBuf;

/// The journal did not take or give something.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database cannot be opened or written: full disk, damage, rights.
    #[error("journal {path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// There is no space for what ending a migration may need, so none is begun.
    #[error("journal {path}: there is no space for a new migration to end in")]
    Full {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Another program wrote it, or a newer Godwit.
    #[error("journal {path} has schema version {found}; this godwitd knows version {known}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// A migration in it cannot be read.
    #[error("journal {path}: migration {id} cannot be read: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The migration.
        id: String,
        /// Why.
        detail: String,
    },
    /// Another daemon has it open.
    #[error("journal {path} is in use by another godwitd")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A VF is held twice.
    #[error("VF {vf} is held by migration {by} already")]
    Held {
        /// The VF.
        vf: String,
        /// Who has it.
        by: String,
    },
    /// The journal's thread has ended.
    #[error("the journal is closed")]
    Closed,
}
