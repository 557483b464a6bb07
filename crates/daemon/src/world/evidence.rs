//! What was seen of a guest while it moved: the events that say whether it paused for the switch-over and
//! whether libvirt ended it because it moved. Events can be missed; what was missed counts as having happened
//! where that is the careful reading.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use godwit_migration::Sighting;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use crate::libvirt::{Event, JobStats, Libvirt, Lifecycle, Paused, RunState, Running, Stopped, Suspended};

/// Which host is asking: the same libvirt state means other things at the two ends.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Source,
    Destination,
}

/// libvirt's state of a domain as a sighting.
pub(super) fn sighting(run: Option<RunState>, side: Side) -> Sighting {
    match (run, side) {
        (None, _) => Sighting::Absent,
        (Some(RunState::Paused(Paused::Migration | Paused::StartingUp)), Side::Destination) => {
            Sighting::Incoming
        }
        (Some(RunState::Paused(Paused::PostCopy | Paused::PostCopyFailed)), _)
        | (Some(RunState::Running(Running::PostCopyFailed)), _) => Sighting::Split,
        (Some(RunState::Paused(_)), _) => Sighting::Paused,
        (Some(RunState::ShutOff(_) | RunState::Crashed), _) => Sighting::ShutOff,
        // Shutting down, asleep, or newer than this program: its QEMU is there and has the guest.
        (Some(_), _) => Sighting::Running,
    }
}

/// What was seen of one guest since its transfer began.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// It paused for the switch-over, or that cannot be excluded.
    pub(super) switched_over: bool,
    /// libvirt ended it here because it moved.
    pub(super) ended_as_migrated: bool,
    /// Figures of its last migration job.
    pub(super) figures: Option<JobStats>,
}

/// Sees every guest's events.
pub(super) struct Evidence {
    seen: Arc<Mutex<HashMap<Uuid, Seen>>>,
}

impl Evidence {
    /// Watches libvirt's events from now on.
    pub(super) fn watch(libvirt: &Libvirt) -> Evidence {
        let seen: Arc<Mutex<HashMap<Uuid, Seen>>> = Arc::default();
        let (kept, mut events) = (Arc::clone(&seen), libvirt.events());
        tokio::spawn(async move {
            loop {
                let event = events.recv().await;
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(event) => note(&mut kept, event),
                    // Whatever was missed may have been a switch-over.
                    Err(RecvError::Lagged(_)) => kept.values_mut().for_each(|seen| seen.switched_over = true),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Evidence { seen }
    }

    /// The guest's transfer begins now, in this process, with the guest running: nothing was missed.
    pub(super) fn begin(&self, uuid: Uuid) {
        self.all().insert(uuid, Seen::default());
    }

    /// What was seen; of a guest whose transfer did not begin in this process nothing can be excluded.
    pub(super) fn of(&self, uuid: Uuid) -> Seen {
        let unknown = || Seen {
            switched_over: true,
            ..Seen::default()
        };
        self.all().get(&uuid).cloned().unwrap_or_else(unknown)
    }

    /// The guest's migration is over.
    pub(super) fn forget(&self, uuid: Uuid) {
        self.all().remove(&uuid);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(kept: &mut HashMap<Uuid, Seen>, event: Event) {
    match event {
        Event::Lost { .. } => kept.values_mut().for_each(|seen| seen.switched_over = true),
        Event::Lifecycle { uuid, change, .. } => {
            let Some(seen) = kept.get_mut(&uuid) else { return };
            match change {
                Lifecycle::Suspended(Suspended::Migrated) => seen.switched_over = true,
                Lifecycle::Stopped(Stopped::Migrated) => seen.ended_as_migrated = true,
                _ => {}
            }
        }
        Event::JobCompleted { uuid, stats } => {
            if let Some(seen) = kept.get_mut(&uuid) {
                seen.figures = Some(*stats);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_post_copy_left_is_on_neither_side_a_guest_that_is_paused() {
        for side in [Side::Source, Side::Destination] {
            for run in [
                RunState::Paused(Paused::PostCopyFailed),
                RunState::Running(Running::PostCopyFailed),
                RunState::Paused(Paused::PostCopy),
            ] {
                assert_eq!(sighting(Some(run), side), Sighting::Split, "{run:?}");
            }
            // It runs there while its memory follows.
            assert_eq!(
                sighting(Some(RunState::Running(Running::PostCopy)), side),
                Sighting::Running
            );
            assert_eq!(
                sighting(Some(RunState::Paused(Paused::User)), side),
                Sighting::Paused
            );
        }
    }
}
