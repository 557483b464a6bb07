//! The database and the space beside it, as their one owner has them.

use std::io;

use rusqlite::{Connection, ErrorCode, Transaction};
use tracing::{info, warn};

use super::ballast::Ballast;

/// Whether a write may take from the space that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It begins something, so the space is set aside first and stays so.
    Kept,
    /// It brings something to its end.
    Last,
}

/// Why something was not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// There is no space for what may follow.
    Ballast(io::Error),
    /// SQLite's words.
    Database(rusqlite::Error),
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) connection: Connection,
    /// None where there is no disk.
    ballast: Option<Ballast>,
    /// So that a disk that stays full is in the log once.
    given_up: bool,
}

impl Disk {
    pub(super) fn new(connection: Connection, ballast: Option<Ballast>) -> Disk {
        Disk {
            connection,
            ballast,
            given_up: false,
        }
    }

    /// Sets the space aside again, if it can be had.
    pub(super) fn make_ballast(&mut self) -> io::Result<()> {
        let made = self.ballast.as_ref().map_or(Ok(()), Ballast::make);
        match &made {
            Ok(()) if self.given_up => {
                info!("there is space for the journal again");
                self.given_up = false;
            }
            Err(error) if !self.given_up => {
                warn!(%error, "no space can be set aside for the journal: no migration is begun until it can");
                self.given_up = true;
            }
            _ => {}
        }
        made
    }

    /// One transaction. A full disk is given the space that was set aside, and asked once more.
    pub(super) fn write<T>(
        &mut self,
        room: Room,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Unwritten> {
        if room == Room::Kept {
            self.make_ballast().map_err(Unwritten::Ballast)?;
        }
        let error = match transact(&mut self.connection, &work) {
            Ok(value) => return Ok(value),
            Err(error) if !self.is_full(&error) => return Err(Unwritten::Database(error)),
            Err(error) => error,
        };
        if room == Room::Kept {
            return Err(Unwritten::Ballast(io::ErrorKind::StorageFull.into()));
        }
        if !self.give_up() {
            return Err(Unwritten::Database(error));
        }
        transact(&mut self.connection, &work).map_err(Unwritten::Database)
    }

    fn give_up(&mut self) -> bool {
        let given = self.ballast.as_ref().is_some_and(Ballast::give_up);
        if given {
            warn!(
                "the disk is full: the space that was set aside for the journal is used now, and no migration is begun"
            );
            self.given_up = true;
        }
        given
    }

    /// SQLite says "full" itself when a write finds no space, and a general error when something else does.
    fn is_full(&self, error: &rusqlite::Error) -> bool {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => true,
            Some(ErrorCode::SystemIoFailure) => self.ballast.as_ref().is_some_and(Ballast::disk_is_full),
            _ => false,
        }
    }
}

fn transact<T>(
    connection: &mut Connection,
    work: &impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let tx = connection.transaction()?;
    let value = work(&tx)?;
    tx.commit()?;
    Ok(value)
}
