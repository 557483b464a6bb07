//! What is remembered for a while, and forgotten with the process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use godwit_migration::Guest;
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Passing {
    /// When libvirt told last of each guest that is expected; by the id of its operation.
    pub(super) told: Mutex<HashMap<String, Instant>>,
    /// Guests on their standby for something that is done with them meanwhile; by UUID.
    lowered: Mutex<HashMap<String, Lowered>>,
}

struct Lowered {
    name: String,
    until: Instant,
}

impl Passing {
    /// It is on its standby for something, and that is over by then.
    pub(super) fn lower(&self, guest: &Guest, lasts: Duration) {
        let lowered = Lowered {
            name: guest.name.clone(),
            until: Instant::now() + lasts,
        };
        self.lowered().insert(guest.uuid.clone(), lowered);
    }

    /// It is over, of a guest of this name or UUID.
    pub(super) fn over(&self, named: &str) {
        self.lowered()
            .retain(|uuid, lowered| uuid != named && lowered.name != named);
    }

    /// It is over for all that do not run any more: a guest that is started or restored is another one.
    pub(super) fn only(&self, runs: impl Fn(&str) -> bool) {
        let now = Instant::now();
        self.lowered()
            .retain(|uuid, lowered| lowered.until > now && runs(uuid));
    }

    pub(super) fn is_lowered(&self, uuid: &str) -> bool {
        self.lowered().contains_key(uuid)
    }

    fn lowered(&self) -> MutexGuard<'_, HashMap<String, Lowered>> {
        self.lowered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
