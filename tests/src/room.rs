//! Room on the disks, looked for before anything is made: a disk that is full in the middle of a build or of a running
//! host shows as everything but that.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::statvfs;

use crate::Place;

/// Bytes that a first build of everything takes, measured at 2.7 GB without incremental builds and 4.4 GB with.
const BUILD: u64 = 5 << 30;
/// Bytes that images, tools and the hosts' disks take, measured at 1.2 GB after every story; disks grow.
const RIG: u64 = 3 << 30;
/// What is needed by who has been built before.
const AGAIN: u64 = 1 << 30;

/// There is room for a build, and for the rig if it is wanted.
///
/// # Errors
/// Which directory has too little, how much it needs, and what names another.
pub fn check(place: &Place, rig: bool) -> Result<()> {
    let target = place.target();
    let needed = |made: &Path, bytes| if made.exists() { AGAIN } else { bytes };
    let mut wanted = vec![(
        target.as_path(),
        needed(&target.join("debug/deps"), BUILD),
        "CARGO_TARGET_DIR",
    )];
    if rig {
        wanted.push((&place.dir, needed(&place.images(), RIG), "GODWIT_RIG"));
    }
    let seen = wanted
        .into_iter()
        .map(|(directory, bytes, variable)| Ok((directory, bytes, variable, Disk::under(directory)?)))
        .collect::<Result<Vec<_>>>()?;
    for (directory, _, variable, disk) in &seen {
        // Both may be on one disk.
        let bytes: u64 = seen
            .iter()
            .filter(|(.., other)| other.id == disk.id)
            .map(|(_, bytes, ..)| bytes)
            .sum();
        ensure!(
            disk.free >= bytes,
            "{} is on a disk with {} MiB free, and {} MiB are needed there: make room, or name another directory in {variable}",
            directory.display(),
            disk.free >> 20,
            bytes >> 20
        );
    }
    Ok(())
}

struct Disk {
    id: u64,
    free: u64,
}

impl Disk {
    /// Of the nearest directory that is there.
    fn under(directory: &Path) -> Result<Disk> {
        let found = directory.ancestors().find(|directory| directory.exists());
        let found = found.with_context(|| format!("{} is nowhere", directory.display()))?;
        let disk = statvfs(found).with_context(|| format!("how full is {}?", found.display()))?;
        Ok(Disk {
            id: disk.f_fsid,
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Disk, check};
    use crate::Place;

    #[test]
    fn a_directory_that_is_to_be_made_is_on_a_disk_already() {
        let disk = Disk::under("/nowhere/at/all".as_ref()).unwrap();
        assert_eq!(disk.id, Disk::under("/".as_ref()).unwrap().id);
        assert!(disk.free > 0);
    }

    #[test]
    fn too_little_room_names_the_directory_and_the_variable() {
        // Nothing can ever be written there.
        let place = Place {
            checkout: "/".into(),
            dir: PathBuf::from("/proc/rig"),
        };
        let told = check(&place, true).unwrap_err().to_string();
        assert!(
            told.starts_with("/proc/rig is on a disk with 0 MiB free") && told.contains("GODWIT_RIG"),
            "{told}"
        );
    }
}
