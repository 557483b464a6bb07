//! What is asked for when a guest is to move.

use godwit_migration::Policy;

/// A migration that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Name or UUID.
    pub(crate) guest: String,
    /// Name of the host.
    pub(crate) destination: String,
    /// The caller's own id for it; empty: none.
    pub(crate) request: String,
    /// None: the guest's own.
    pub(crate) policy: Option<Policy>,
    /// Probes a second; none: as the configuration has it.
    pub(crate) probes: Option<u32>,
    /// As [`Brief::unkept`].
    pub(crate) unkept: bool,
}
