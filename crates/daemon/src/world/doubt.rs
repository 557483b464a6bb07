//! A guest that runs here and may run at the destination as well.
//!
//! libvirt's source runs its copy again when the link dies inside the last step of a migration, half a minute later, by its
//! keepalive. If the destination had started its copy, two of one guest write to one disk, and nobody can be asked. Godwit
//! waits for evidence; whether the copy here may go on meanwhile is the operator's choice.

use serde::Deserialize;

use crate::libvirt::xml::Disk;

/// What becomes of the copy here while the destination cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnUnknown {
    /// It is paused if it could write to a disk that the other copy writes to, and no lock keeps it from that.
    #[default]
    Auto,
    /// It runs on: the guest has its path, if it is the only copy.
    Keep,
    /// It is paused.
    Suspend,
}

/// How this host deals with a guest that may run twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// `auto`, `keep` or `suspend`.
    pub(crate) policy: OnUnknown,
    /// libvirt's lock manager (virtlockd, sanlock) keeps two copies from one disk.
    pub(crate) disk_locks: bool,
}

impl Doubt {
    /// Whether the copy here is paused until it is known that it is the only one.
    pub(super) fn pauses(self, disks: &[Disk]) -> bool {
        match self.policy {
            OnUnknown::Keep => false,
            OnUnknown::Suspend => true,
            // A guest that was migrated without its storage shares every disk that it has.
            OnUnknown::Auto => !self.disk_locks && disks.iter().any(|disk| !disk.readonly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_could_spoil_a_disk_is_paused() {
        let disk = |readonly| Disk {
            target: "vda".into(),
            shareable: false,
            readonly,
        };
        let auto = Doubt::default();
        assert!(auto.pauses(&[disk(true), disk(false)]));
        assert!(!auto.pauses(&[disk(true)]) && !auto.pauses(&[]));
        let locked = Doubt {
            disk_locks: true,
            ..auto
        };
        assert!(!locked.pauses(&[disk(false)]));
        let doubt = |policy| Doubt { policy, ..auto };
        assert!(doubt(OnUnknown::Suspend).pauses(&[]));
        assert!(!doubt(OnUnknown::Keep).pauses(&[disk(false)]));
    }
}
