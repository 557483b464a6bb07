//! What people keep from everybody: PFs that are worked on, VFs in quarantine.

use super::{Journal, JournalError, disk::Room};

impl Journal {
    /// Keeps the VFs of a PF from everybody, or gives them out again.
    pub(crate) async fn set_pf_aside(&self, pf: &str, aside: bool) -> Result<(), JournalError> {
        let pf = pf.to_owned();
        let sql = match aside {
            true => "INSERT OR IGNORE INTO pfs_set_aside VALUES (?1)",
            false => "DELETE FROM pfs_set_aside WHERE pf = ?1",
        };
        let room = if aside { Room::Kept } else { Room::Last };
        self.write(room, move |tx| tx.execute(sql, [&pf]).map(drop)).await
    }

    /// PFs whose VFs are kept from everybody.
    pub(crate) async fn pfs_set_aside(&self) -> Result<Vec<String>, JournalError> {
        self.run(|connection| {
            let mut select = connection.prepare("SELECT pf FROM pfs_set_aside ORDER BY pf")?;
            select.query_map([], |row| row.get(0))?.collect()
        })
        .await
    }

    /// Keeps a VF from everybody.
    pub(crate) async fn quarantine_vf(&self, vf: &str, why: &str) -> Result<(), JournalError> {
        let (vf, why) = (vf.to_owned(), why.to_owned());
        let sql = "INSERT OR REPLACE INTO vfs_quarantined VALUES (?1, ?2)";
        self.write(Room::Kept, move |tx| tx.execute(sql, [&vf, &why]).map(drop))
            .await
    }

    /// Ends every quarantine of the VF, whoever began it.
    pub(crate) async fn release_vf(&self, vf: &str) -> Result<(), JournalError> {
        let vf = vf.to_owned();
        self.write(Room::Last, move |tx| {
            tx.execute("DELETE FROM vfs_quarantined WHERE vf = ?1", [&vf])?;
            tx.execute(
                "DELETE FROM holds WHERE vf = ?1 AND quarantined IS NOT NULL",
                [&vf],
            )?;
            Ok(())
        })
        .await
    }

    /// VFs that somebody keeps from everybody, and why.
    pub(crate) async fn vfs_quarantined(&self) -> Result<Vec<(String, String)>, JournalError> {
        self.run(|connection| {
            let mut select = connection.prepare("SELECT vf, why FROM vfs_quarantined")?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .await
    }
}
