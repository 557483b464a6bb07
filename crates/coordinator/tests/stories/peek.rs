//! The database as another program reads it: read-only, on a connection of its own.

use std::path::Path;

use godwit_migration::{Brief, Entry, Migration};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

pub struct Peek(Connection);

impl Peek {
    pub fn open(database: &Path) -> Peek {
        Peek(Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap())
    }

    /// The migration as its entries tell it.
    pub fn value(&self, id: &str) -> Option<Migration> {
        let sql = "SELECT brief, begun_ms FROM migrations WHERE id = ?1";
        let row = self
            .0
            .query_row(sql, [id], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
        let (brief, begun_ms) = row.optional().unwrap()?;
        let brief: Brief = serde_json::from_str(&brief).unwrap();
        Some(Migration::replay(brief, begun_ms, self.entries(id)).unwrap())
    }

    pub fn entries(&self, id: &str) -> Vec<Entry> {
        let sql = "SELECT entry FROM entries WHERE migration = ?1 ORDER BY seq";
        let texts: Vec<String> = self.column(sql, &[id]);
        texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    pub fn holds_of(&self, id: &str) -> Vec<String> {
        self.column(
            "SELECT vf FROM holds WHERE migration = ?1 AND quarantined IS NULL ORDER BY vf",
            &[id],
        )
    }

    /// VFs that are held, by whomever.
    pub fn holds(&self) -> Vec<String> {
        self.column("SELECT vf FROM holds ORDER BY vf", &[])
    }

    pub fn quarantined(&self) -> Vec<String> {
        self.column("SELECT quarantined FROM holds WHERE quarantined IS NOT NULL", &[])
    }

    /// Every migration's id, oldest first.
    pub fn migrations(&self) -> Vec<String> {
        self.column("SELECT id FROM migrations ORDER BY begun_ms, id", &[])
    }

    fn column(&self, sql: &str, values: &[&str]) -> Vec<String> {
        let mut select = self.0.prepare(sql).unwrap();
        let rows = select.query_map(rusqlite::params_from_iter(values), |row| row.get(0));
        rows.unwrap().map(Result::unwrap).collect()
    }
}
