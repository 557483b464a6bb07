//! What libvirt tells on its own, as values.

use std::ffi::c_int;

use uuid::Uuid;

use super::job::JobStats;

/// Something libvirt said. Events are hints to look, not evidence: they can be lost with the connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// libvirt can be reached, for the first time or again. Whatever was known is stale: read everything again.
    Connected,
    /// The connection broke; it is being opened again. Sent once per loss.
    Lost {
        /// Why, as far as libvirt says.
        why: String,
    },
    /// A domain came, went, paused or resumed.
    Lifecycle {
        /// The domain.
        uuid: Uuid,
        /// Its name on this host.
        name: String,
        /// What happened.
        change: Lifecycle,
    },
    /// The guest was reset or rebooted (an unplug that was pending completes with it).
    Rebooted {
        /// The domain.
        uuid: Uuid,
    },
    /// A device was plugged.
    DeviceAdded {
        /// The domain.
        uuid: Uuid,
        /// The device's alias.
        alias: String,
    },
    /// A device is gone from the guest. The host side may be released a little later.
    DeviceRemoved {
        /// The domain.
        uuid: Uuid,
        /// The device's alias.
        alias: String,
    },
    /// The guest refused an unplug. On x86 a PCI device never says so: there refusal is silence.
    DeviceRemovalFailed {
        /// The domain.
        uuid: Uuid,
        /// The device's alias.
        alias: String,
    },
    /// A migration began another pass over the guest's memory.
    Iteration {
        /// The domain.
        uuid: Uuid,
        /// Number of the pass, from 1.
        iteration: u32,
    },
    /// A job ended; for a migration also at the destination.
    JobCompleted {
        /// The domain.
        uuid: Uuid,
        /// Its last figures.
        stats: Box<JobStats>,
    },
}

/// `virDomainEventType` with its detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// Its persistent definition was made or changed.
    Defined,
    /// Its persistent definition was taken away.
    Undefined,
    /// Its QEMU started.
    Started(Started),
    /// The guest stopped running.
    Suspended(Suspended),
    /// The guest runs again, or for the first time here.
    Resumed(Resumed),
    /// It is on its way down; what it was comes with `Stopped`.
    ShuttingDown,
    /// Its QEMU is gone.
    Stopped(Stopped),
    /// The guest panicked.
    Crashed,
    /// Anything else, as libvirt's numbers (type, detail).
    Other(i32, i32),
}

/// Why a domain started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// From nothing.
    Booted,
    /// To receive a migration.
    Migrated,
    /// From a saved state.
    Restored,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

/// Why a domain paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspended {
    /// Somebody paused it.
    Paused,
    /// For the switch-over of a migration: from here the destination may run it.
    Migrated,
    /// A disk error.
    IoError,
    /// A post-copy phase began, or broke.
    PostCopy,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

/// Why a domain runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Somebody resumed it.
    Unpaused,
    /// After a migration: arrived here, *or* resumed at the source because the migration was cancelled.
    Migrated,
    /// Arrived here while its memory is still coming.
    PostCopy,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

/// Why a domain stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The guest shut down.
    Shutdown,
    /// Somebody pulled its plug.
    Destroyed,
    /// Its QEMU died.
    Crashed,
    /// It runs on another host now.
    Migrated,
    /// Saved to a file.
    Saved,
    /// It failed to start, or to arrive.
    Failed,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

impl Lifecycle {
    pub(super) fn from_raw(event: c_int, detail: c_int) -> Self {
        let reason = u32::try_from(detail).unwrap_or(u32::MAX);
        match u32::try_from(event).unwrap_or(u32::MAX) {
            virt_sys::VIR_DOMAIN_EVENT_DEFINED => Lifecycle::Defined,
            virt_sys::VIR_DOMAIN_EVENT_UNDEFINED => Lifecycle::Undefined,
            virt_sys::VIR_DOMAIN_EVENT_STARTED => Lifecycle::Started(match reason {
                virt_sys::VIR_DOMAIN_EVENT_STARTED_BOOTED => Started::Booted,
                virt_sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED => Started::Migrated,
                virt_sys::VIR_DOMAIN_EVENT_STARTED_RESTORED => Started::Restored,
                _ => Started::Other(detail),
            }),
            virt_sys::VIR_DOMAIN_EVENT_SUSPENDED => Lifecycle::Suspended(match reason {
                virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED => Suspended::Paused,
                virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED => Suspended::Migrated,
                virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_IOERROR => Suspended::IoError,
                virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY
                | virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED => Suspended::PostCopy,
                _ => Suspended::Other(detail),
            }),
            virt_sys::VIR_DOMAIN_EVENT_RESUMED => Lifecycle::Resumed(match reason {
                virt_sys::VIR_DOMAIN_EVENT_RESUMED_UNPAUSED => Resumed::Unpaused,
                virt_sys::VIR_DOMAIN_EVENT_RESUMED_MIGRATED => Resumed::Migrated,
                virt_sys::VIR_DOMAIN_EVENT_RESUMED_POSTCOPY => Resumed::PostCopy,
                _ => Resumed::Other(detail),
            }),
            virt_sys::VIR_DOMAIN_EVENT_STOPPED => Lifecycle::Stopped(match reason {
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => Stopped::Shutdown,
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => Stopped::Destroyed,
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => Stopped::Crashed,
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => Stopped::Migrated,
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => Stopped::Saved,
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => Stopped::Failed,
                _ => Stopped::Other(detail),
            }),
            virt_sys::VIR_DOMAIN_EVENT_SHUTDOWN => Lifecycle::ShuttingDown,
            virt_sys::VIR_DOMAIN_EVENT_CRASHED => Lifecycle::Crashed,
            _ => Lifecycle::Other(event, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_migration() {
        assert_eq!(
            Lifecycle::from_raw(3, 1),
            Lifecycle::Suspended(Suspended::Migrated)
        );
        assert_eq!(Lifecycle::from_raw(4, 1), Lifecycle::Resumed(Resumed::Migrated));
        assert_eq!(Lifecycle::from_raw(5, 3), Lifecycle::Stopped(Stopped::Migrated));
        assert_eq!(Lifecycle::from_raw(2, 1), Lifecycle::Started(Started::Migrated));
        assert_eq!(Lifecycle::from_raw(6, 2), Lifecycle::ShuttingDown);
        assert_eq!(Lifecycle::from_raw(8, 0), Lifecycle::Crashed);
        assert_eq!(Lifecycle::from_raw(7, 1), Lifecycle::Other(7, 1));
        assert_eq!(Lifecycle::from_raw(-1, 0), Lifecycle::Other(-1, 0));
    }
}
