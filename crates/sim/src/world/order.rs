//! What a world wants of whoever runs it.

use std::time::Duration;

use crate::model::HostId;

/// Asked of whoever runs the world.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// The host's coordinator dies now and comes back after a while.
    Crash(HostId, Duration),
    /// The same, and its journal is lost.
    Forget(HostId, Duration),
    /// Somebody cancels the migration.
    Cancel(HostId, String),
}
