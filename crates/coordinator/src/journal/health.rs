//! Whether the journal can do what it is for.

use super::{Journal, JournalError, Room, SCHEMA_VERSION};

impl Journal {
    /// Writes what is there already, to the disk, and sets aside the space that a migration may need: what begins one would be written.
    pub(crate) async fn can_be_written(&self) -> Result<(), JournalError> {
        let again = |tx: &rusqlite::Transaction<'_>| tx.pragma_update(None, "user_version", SCHEMA_VERSION);
        self.write(Room::Kept, again).await
    }
}
