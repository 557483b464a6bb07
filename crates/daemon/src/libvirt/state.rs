//! A domain's state and reason, and its lifecycle events, as values.

use std::ffi::c_int;

use uuid::Uuid;

/// One domain as libvirt lists it. Read without a job, so it is good evidence also during a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainState {
    /// The domain's UUID.
    pub uuid: Uuid,
    /// Its name on this host.
    pub name: String,
    /// Whether it runs, and why.
    pub run: RunState,
    /// Whether it is also defined, and so outlives its shutdown.
    pub persistent: bool,
}

/// `virDomainState` with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunState {
    /// The guest runs.
    Running(Running),
    /// QEMU is there, the guest does not run.
    Paused(Paused),
    /// Defined only.
    ShutOff(ShutOff),
    /// On its way down, the QEMU is still there.
    ShuttingDown,
    /// Crashed and kept for inspection.
    Crashed,
    /// Suspended to memory by its own power management.
    Asleep,
    /// A state newer than this program, with its reason.
    Other(i32, i32),
}

/// Why a domain runs (`virDomainRunningReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Running {
    /// Started here.
    Booted,
    /// Arrived here: the only sure sign of an arrival.
    Migrated,
    /// Its migration was given up, it went on here.
    MigrationCancelled,
    /// Resumed after a pause.
    Unpaused,
    /// Runs here while its memory is still coming (post-copy).
    PostCopy,
    /// Post-copy broke.
    PostCopyFailed,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

/// Why a domain is paused (`virDomainPausedReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paused {
    /// Somebody paused it.
    User,
    /// For a migration: being copied in, or stopped at the source for the switch-over.
    Migration,
    /// Its QEMU is being started.
    StartingUp,
    /// A disk error.
    IoError,
    /// Its guest panicked.
    Crashed,
    /// Runs elsewhere while its memory is still going there (post-copy).
    PostCopy,
    /// Post-copy broke.
    PostCopyFailed,
    /// A call failed half-way and libvirt could not resume it.
    ApiError,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

/// Why a domain does not run (`virDomainShutoffReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutOff {
    /// The guest shut down.
    Shutdown,
    /// Somebody pulled its plug.
    Destroyed,
    /// Its QEMU died.
    Crashed,
    /// It has left for another host.
    Migrated,
    /// Saved to a file.
    Saved,
    /// It failed to start, or to arrive.
    Failed,
    /// Unknown since this libvirtd started: that is also what a restart makes of every other reason.
    Daemon,
    /// Any other reason, as libvirt's number.
    Other(i32),
}

impl RunState {
    /// A QEMU process for it exists on this host.
    pub(crate) fn is_active(self) -> bool {
        !matches!(self, RunState::ShutOff(_))
    }

    pub(super) fn from_raw(state: c_int, reason: c_int) -> Self {
        match u32::try_from(state).unwrap_or(u32::MAX) {
            virt_sys::VIR_DOMAIN_RUNNING | virt_sys::VIR_DOMAIN_BLOCKED => RunState::Running(running(reason)),
            virt_sys::VIR_DOMAIN_PAUSED => RunState::Paused(paused(reason)),
            virt_sys::VIR_DOMAIN_SHUTOFF => RunState::ShutOff(shut_off(reason)),
            virt_sys::VIR_DOMAIN_SHUTDOWN => RunState::ShuttingDown,
            virt_sys::VIR_DOMAIN_CRASHED => RunState::Crashed,
            virt_sys::VIR_DOMAIN_PMSUSPENDED => RunState::Asleep,
            _ => RunState::Other(state, reason),
        }
    }
}

fn running(reason: c_int) -> Running {
    match u32::try_from(reason).unwrap_or(u32::MAX) {
        virt_sys::VIR_DOMAIN_RUNNING_BOOTED => Running::Booted,
        virt_sys::VIR_DOMAIN_RUNNING_MIGRATED => Running::Migrated,
        virt_sys::VIR_DOMAIN_RUNNING_MIGRATION_CANCELED => Running::MigrationCancelled,
        virt_sys::VIR_DOMAIN_RUNNING_UNPAUSED => Running::Unpaused,
        virt_sys::VIR_DOMAIN_RUNNING_POSTCOPY => Running::PostCopy,
        virt_sys::VIR_DOMAIN_RUNNING_POSTCOPY_FAILED => Running::PostCopyFailed,
        _ => Running::Other(reason),
    }
}

fn paused(reason: c_int) -> Paused {
    match u32::try_from(reason).unwrap_or(u32::MAX) {
        virt_sys::VIR_DOMAIN_PAUSED_USER => Paused::User,
        virt_sys::VIR_DOMAIN_PAUSED_MIGRATION => Paused::Migration,
        virt_sys::VIR_DOMAIN_PAUSED_STARTING_UP => Paused::StartingUp,
        virt_sys::VIR_DOMAIN_PAUSED_IOERROR => Paused::IoError,
        virt_sys::VIR_DOMAIN_PAUSED_CRASHED => Paused::Crashed,
        virt_sys::VIR_DOMAIN_PAUSED_POSTCOPY => Paused::PostCopy,
        virt_sys::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED => Paused::PostCopyFailed,
        virt_sys::VIR_DOMAIN_PAUSED_API_ERROR => Paused::ApiError,
        _ => Paused::Other(reason),
    }
}

fn shut_off(reason: c_int) -> ShutOff {
    match u32::try_from(reason).unwrap_or(u32::MAX) {
        virt_sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => ShutOff::Shutdown,
        virt_sys::VIR_DOMAIN_SHUTOFF_DESTROYED => ShutOff::Destroyed,
        virt_sys::VIR_DOMAIN_SHUTOFF_CRASHED => ShutOff::Crashed,
        virt_sys::VIR_DOMAIN_SHUTOFF_MIGRATED => ShutOff::Migrated,
        virt_sys::VIR_DOMAIN_SHUTOFF_SAVED => ShutOff::Saved,
        virt_sys::VIR_DOMAIN_SHUTOFF_FAILED => ShutOff::Failed,
        virt_sys::VIR_DOMAIN_SHUTOFF_DAEMON => ShutOff::Daemon,
        _ => ShutOff::Other(reason),
    }
}

/// In libvirt's words, as `virsh domstate` has them.
impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RunState::Running(_) => "running",
            RunState::Paused(_) => "paused",
            RunState::ShutOff(_) => "shut off",
            RunState::ShuttingDown => "in shutdown",
            RunState::Crashed => "crashed",
            RunState::Asleep => "pmsuspended",
            RunState::Other(..) => "in a state that this Godwit does not know",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_that_decide_where_a_guest_is() {
        assert_eq!(RunState::from_raw(1, 2), RunState::Running(Running::Migrated));
        assert_eq!(
            RunState::from_raw(1, 6),
            RunState::Running(Running::MigrationCancelled)
        );
        assert_eq!(RunState::from_raw(3, 2), RunState::Paused(Paused::Migration));
        assert_eq!(RunState::from_raw(5, 4), RunState::ShutOff(ShutOff::Migrated));
        assert_eq!(RunState::from_raw(1, 99), RunState::Running(Running::Other(99)));
        assert_eq!(RunState::from_raw(-1, -1), RunState::Other(-1, -1));
        assert!(RunState::from_raw(3, 11).is_active());
        assert!(!RunState::from_raw(5, 8).is_active());
    }
}
