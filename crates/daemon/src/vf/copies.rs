//! Copies of a guest's frames for a PF that the guest's standby hangs on: an entry of the PF's own address list
//! (`bridge fdb add MAC dev PF self`). With it the NIC's switch gives the PF, and so bridge and tap, what is for the guest,
//! whichever VF has its address.
//!
//! An entry is ours if this host has a note of it, in a folder that does not outlive the entries: both are gone after a
//! reboot. An entry that was there before is its owner's, and stays.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use godwit_migration::MacAddress;
use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{Tap, Vfs, netlink::Netlink, turns::whole};

/// Under the machine's root: a file for each entry, named `PF@MAC`.
const NOTES: &str = "run/godwit/copies";

/// A PF does not get, or goes on getting, its copy of a guest's frames.
#[derive(Debug, thiserror::Error)]
#[error("{pf}: its copy of frames for {mac} could not be {what}")]
pub(crate) struct CopyError {
    pf: String,
    mac: MacAddress,
    what: &'static str,
    source: io::Error,
}

impl CopyError {
    fn of(pf: &str, mac: MacAddress, what: &'static str, source: io::Error) -> CopyError {
        let pf = pf.to_owned();
        CopyError {
            pf,
            mac,
            what,
            source,
        }
    }
}

impl Vfs {
    /// The PFs that the guest's standby hangs on get a copy of its frames. Which these are: none where the standby has an
    /// uplink of its own, or no end on this host. Safe to repeat.
    pub(crate) async fn copy_on(&self, mac: MacAddress) -> Result<BTreeSet<String>, CopyError> {
        let uplinks = self.uplinks(mac).await;
        for pf in &uplinks {
            let (notes, name) = (self.notes(), pf.clone());
            let work = async move { add(&notes, &name, mac).await };
            self.in_turn_of(pf, format!("copy frames for {mac} to {pf}"), work)
                .await?;
        }
        Ok(uplinks)
    }

    /// No PF gets a copy any more because of this program. Safe to repeat.
    pub(crate) async fn copy_off(&self, mac: MacAddress) -> Result<(), CopyError> {
        let noted = self.noted().await.into_iter();
        for (pf, _) in noted.filter(|(_, noted)| *noted == mac) {
            let (notes, name) = (self.notes(), pf.clone());
            let work = async move { remove(&notes, &name, mac).await };
            self.in_turn_of(&pf, format!("copy no frames for {mac} to {pf}"), work)
                .await?;
        }
        Ok(())
    }

    /// Copies for guests whose standby is not on this host any more are ended: they moved on, or were shut down.
    pub(crate) async fn end_stale_copies(&self) {
        let macs: BTreeSet<MacAddress> = self.noted().await.into_iter().map(|(_, mac)| mac).collect();
        for mac in macs {
            let here = self.look(move |sysfs| sysfs.has_tap(mac)).await;
            if !here && let Err(error) = self.copy_off(mac).await {
                warn!("{error}: {}", error.source);
            }
        }
    }

    /// The PFs that the guest's standby hangs on.
    pub(crate) async fn uplinks(&self, mac: MacAddress) -> BTreeSet<String> {
        self.look(move |sysfs| sysfs.uplinks(mac)).await
    }

    /// The guest's standby has its end on this host.
    pub(crate) async fn has_tap(&self, mac: MacAddress) -> bool {
        self.look(move |sysfs| sysfs.has_tap(mac)).await
    }

    /// What this host sees of the guest's standby.
    pub(crate) async fn tap(&self, mac: MacAddress) -> Option<Tap> {
        self.look(move |sysfs| sysfs.tap(mac)).await
    }

    /// A PF of this host's pools is a bridge's way out: there may be something to copy.
    pub(crate) async fn is_bridged(&self) -> bool {
        let pfs: Vec<String> = self.pfs().await.into_iter().map(|(pf, _)| pf).collect();
        self.look(move |sysfs| pfs.iter().any(|pf| sysfs.is_bridged(pf)))
            .await
    }

    fn notes(&self) -> PathBuf {
        self.inner.sysfs.root.join(NOTES)
    }

    async fn noted(&self) -> Vec<(String, MacAddress)> {
        let notes = self.notes();
        self.look(move |_| read_notes(&notes)).await
    }
}

fn read_notes(folder: &Path) -> Vec<(String, MacAddress)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let noted = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (pf, mac) = name.rsplit_once('@')?;
        Some((pf.to_owned(), mac.parse().ok()?))
    });
    noted.collect()
}

fn note(folder: &Path, pf: &str, mac: MacAddress) -> PathBuf {
    folder.join(format!("{pf}@{mac}"))
}

/// The note first: an entry without one would stay for ever. One that was there before, and is not noted, is not ours.
async fn add(folder: &Path, pf: &str, mac: MacAddress) -> Result<(), CopyError> {
    let failed = |source| CopyError::of(pf, mac, "switched on", source);
    let file = note(folder, pf, mac);
    let was_noted = write_note(folder.to_owned(), file.clone())
        .await
        .map_err(failed)?;
    let added = match Netlink::open(pf) {
        Ok(netlink) => netlink.copy(pf, mac, true).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = added {
        if !was_noted {
            forget(&file).await.map_err(failed)?;
        }
        return match is(&error, Errno::EXIST) {
            true => Ok(()),
            false => Err(failed(error)),
        };
    }
    info!(pf, %mac, "frames are copied to the PF");
    Ok(())
}

async fn remove(folder: &Path, pf: &str, mac: MacAddress) -> Result<(), CopyError> {
    let failed = |source| CopyError::of(pf, mac, "switched off", source);
    let netlink = Netlink::open(pf).map_err(|error| failed(io::Error::other(error)))?;
    match netlink.copy(pf, mac, false).await {
        Ok(()) => info!(pf, %mac, "frames are not copied to the PF any more"),
        // Somebody took it away, or the PF has gone and everything of it.
        Err(error)
            if [Errno::NOENT, Errno::NODEV]
                .iter()
                .any(|errno| is(&error, *errno)) => {}
        Err(error) => return Err(failed(error)),
    }
    forget(&note(folder, pf, mac)).await.map_err(failed)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// True if it was there already.
async fn write_note(folder: PathBuf, file: PathBuf) -> io::Result<bool> {
    let write = move || {
        fs::create_dir_all(&folder)?;
        match fs::File::create_new(&file) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) => Err(error),
        }
    };
    whole(spawn_blocking(write)).await
}

async fn forget(file: &Path) -> io::Result<()> {
    let file = file.to_owned();
    let removed = whole(spawn_blocking(move || fs::remove_file(file))).await;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sysfs::tests::Machine, *};

    const MAC: &str = "52:54:00:aa:00:10";

    fn mac() -> MacAddress {
        MAC.parse().unwrap()
    }

    fn vfs(machine: &Machine) -> Vfs {
        Vfs::at(machine.root(), Vec::new())
    }

    /// What cannot be switched on leaves no note; who asked hears why. The PF is not there for netlink.
    #[tokio::test]
    async fn a_copy_that_is_refused_is_not_noted() {
        let machine = Machine::new();
        machine.file("sys/class/net/br0/bridge/stp_state", "0\n");
        machine.file("sys/class/net/vnet0/address", "fe:54:00:aa:00:10\n");
        machine.file("sys/class/net/vnet0/tun_flags", "0x5002\n");
        machine.link("sys/class/net/vnet0/master", "../br0");
        assert!(vfs(&machine).copy_on(mac()).await.unwrap().is_empty());
        machine.link("sys/class/net/pf0/master", "../br0");
        let refused = vfs(&machine).copy_on(mac()).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("pf0: its copy of frames for {MAC} could not be switched on")
        );
        assert_eq!(refused.source.raw_os_error(), Some(Errno::NODEV.raw_os_error()));
        assert_eq!(vfs(&machine).noted().await, []);
    }

    /// With the PF its entries are gone; what is no note is left alone.
    #[tokio::test]
    async fn the_notes_of_guests_that_are_gone_are_taken_away() {
        let machine = Machine::new();
        for name in ["pf0@52:54:00:aa:00:10", "a@b@52:54:00:aa:00:11", "README"] {
            machine.file(&format!("{NOTES}/{name}"), "");
        }
        machine.file("sys/class/net/vnet0/address", "fe:54:00:aa:00:11\n");
        machine.file("sys/class/net/vnet0/tun_flags", "0x5002\n");
        vfs(&machine).end_stale_copies().await;
        let here = "52:54:00:aa:00:11".parse().unwrap();
        assert_eq!(vfs(&machine).noted().await, [("a@b".to_owned(), here)]);
        vfs(&machine).copy_off(here).await.unwrap();
        assert_eq!(vfs(&machine).noted().await, []);
        assert_eq!(machine.text(&format!("{NOTES}/README")), "");
    }
}
