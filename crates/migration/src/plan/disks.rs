//! Disks of a guest at the host that it comes to: there already, or copied to where they can be made.

use super::{NeededDisk, finding};
use crate::doctor::{Finding, Severity};

/// A disk's place by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceSeen {
    /// It is not there.
    Missing {
        /// Bytes that are free where it would be; none: not known.
        free: Option<u64>,
        /// libvirt has an active storage pool of its directory; none: not known.
        pool: Option<bool>,
    },
    /// It is not there, and its directory is not either.
    Nowhere,
    /// It is there.
    There,
}

/// What is wrong with one, at that host.
pub(super) fn of_disk(guest: &str, host: &str, disk: &NeededDisk, seen: PlaceSeen) -> Vec<Finding> {
    let NeededDisk { target, path, .. } = disk;
    let copies = disk.copied && !disk.incremental;
    let (free, pool) = match seen {
        PlaceSeen::There => return Vec::new(),
        PlaceSeen::Missing { free, pool } if copies => (free, pool),
        PlaceSeen::Missing { .. } | PlaceSeen::Nowhere => return vec![missing(guest, host, disk)],
    };
    let short = free.filter(|free| *free < disk.bytes).map(|free| {
        let what = format!(
            "{host} has {} MiB free where {path} would be, and disk {target} of guest `{guest}` may have {}",
            free >> 20,
            disk.bytes >> 20
        );
        let why = "the copy would fail when the place is full";
        let fix = format!("on {host}: make room, or give the guest's disk another place");
        finding(Severity::Error, "DISK_SPACE", host, [what, why.into(), fix])
    });
    let unmade = (pool == Some(false)).then(|| unmade(guest, host, disk));
    short.into_iter().chain(unmade).collect()
}

fn missing(guest: &str, host: &str, disk: &NeededDisk) -> Finding {
    let NeededDisk { target, path, .. } = disk;
    let (why, fix) = match (disk.copied, disk.incremental) {
        (true, false) => (
            "the directory that it would be in is not there, and libvirt makes none",
            format!("on {host}: mkdir -p {}", folder(path)),
        ),
        (_, true) => (
            "an incremental copy needs an image there to begin with",
            format!("on {host}: make the image, or copy all of it (--copy-storage all)"),
        ),
        (false, false) => (
            "QEMU there opens it under the same name, and would not start",
            format!("mount its storage on {host} too, or have it copied (--copy-storage all)"),
        ),
    };
    let what = format!("{host} has no {path}, which is disk {target} of guest `{guest}`");
    finding(Severity::Error, "DISK_MISSING", host, [what, why.into(), fix])
}

/// libvirt makes the file itself in an active pool alone that has the directory for its target (`qemuMigrationDstPrecreateDisk`).
fn unmade(guest: &str, host: &str, disk: &NeededDisk) -> Finding {
    let NeededDisk { target, path, .. } = disk;
    let folder = folder(path);
    let words = [
        format!(
            "{host} has no {path}, to which disk {target} of guest `{guest}` is copied, and libvirt there no storage pool of {folder}"
        ),
        "libvirt makes the file in such a pool alone: it would refuse the transfer, with the VF already taken".into(),
        format!(
            "on {host}: virsh pool-define-as NAME dir --target {folder}, and virsh pool-start NAME; or make it (qemu-img create, of the \
             same format and size)"
        ),
    ];
    finding(Severity::Warning, "DISK_NOT_MADE", host, words)
}

/// What a path is in.
fn folder(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}
