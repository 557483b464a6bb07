//! What others see of an operation.

use std::sync::Arc;

use godwit_migration::{Cause, Figures, Migration};

/// A migration as it is now.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) migration: Arc<Migration>,
    /// Of a running transfer.
    pub(crate) progress: Option<Figures>,
    /// In a queue, from 1; 0: it does not wait there.
    pub(crate) place: u32,
    /// Of a rest: why its last attempt failed, if for another reason than the journal has. Of a wait: why its source cannot be asked.
    pub(crate) failed: Option<Arc<Cause>>,
}

impl View {
    /// One with no transfer running.
    pub(crate) fn of(migration: Migration) -> View {
        View {
            migration: Arc::new(migration),
            progress: None,
            place: 0,
            failed: None,
        }
    }
}
