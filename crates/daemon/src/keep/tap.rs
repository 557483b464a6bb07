//! What the kernel's sysfs says of a guest's tap.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use godwit_keep::Counted;
use godwit_migration::MacAddress;
use uuid::Uuid;

use crate::vf::Sysfs;

/// A guest's tap on this host.
#[derive(Debug)]
pub(super) struct Tap {
    pub(super) name: String,
    folder: PathBuf,
    read: File,
    dropped: File,
}

impl Tap {
    /// The tap of the guest's interface with that MAC.
    pub(super) fn of(root: &Path, mac: MacAddress) -> io::Result<Tap> {
        let missing = || {
            let what = format!("interface {mac} has no tap on this host");
            io::Error::new(io::ErrorKind::NotFound, what)
        };
        Tap::open(Sysfs::new(root).tap_folder(mac).ok_or_else(missing)?)
    }

    /// The emulator of that guest has it.
    pub(super) fn is_of(&self, root: &Path, guest: Uuid) -> bool {
        Sysfs::new(root).guest_has_tap(guest, &self.name)
    }

    /// The interface of that name is a macvtap: its character device has a folder.
    pub(super) fn is_macvtap(root: &Path, device: &str) -> bool {
        root.join("sys/class/net").join(device).join("macvtap").exists()
    }

    fn open(folder: PathBuf) -> io::Result<Tap> {
        let name = folder.file_name().unwrap_or_default();
        Ok(Tap {
            name: name.to_string_lossy().into_owned(),
            read: File::open(folder.join("statistics/tx_packets"))?,
            dropped: File::open(folder.join("statistics/tx_dropped"))?,
            folder,
        })
    }

    /// What it has counted since it was made.
    pub(super) fn counted(&self) -> io::Result<Counted> {
        Ok(Counted {
            read: number(&self.read)?,
            dropped: number(&self.dropped)?,
        })
    }

    /// How many queues it has.
    pub(super) fn queues(&self) -> usize {
        let entries = fs::read_dir(self.folder.join("queues")).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        let count = names
            .filter(|name| name.to_string_lossy().starts_with("tx-"))
            .count();
        count.max(1)
    }
}

fn number(file: &File) -> io::Result<u64> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a counter that is no number"))
}
