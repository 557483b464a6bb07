//! Space on the disk that is set aside while there is room, and given up when there is none: what is running can then
//! still be written to its end, its undo included.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

/// A log of SQLite's, which grows to 4 MiB before it is used again, and the tables' growth beside it. An entry of a
/// migration takes about 20 KiB of it, and a migration has some 30.
const BYTES: u64 = 8 << 20;

/// With less free space than this an error of writing is one of a full disk.
const NOTHING: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn of(directory: &Path) -> Ballast {
        Ballast {
            path: directory.join("godwit.ballast"),
        }
    }

    /// Sets the space aside, if it is not.
    pub(super) fn make(&self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() == BYTES) {
            return Ok(());
        }
        let made = File::create(&self.path).and_then(|file| allocate(&file));
        if made.is_err() {
            // Part of it is of no use.
            self.give_up();
        }
        made
    }

    /// Gives the space back. False if there was none.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Nothing more can be written there.
    pub(super) fn disk_is_full(&self) -> bool {
        let directory = self.path.parent().unwrap_or(&self.path);
        statvfs(directory).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < NOTHING)
    }
}

/// Really allocated: a file of mere length takes its space when it is written.
fn allocate(mut file: &File) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, BYTES) {
        // A file system that cannot.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let block = vec![0; 1 << 16];
            for _ in 0..BYTES / block.len() as u64 {
                file.write_all(&block)?;
            }
            file.sync_all()
        }
        other => Ok(other?),
    }
}
