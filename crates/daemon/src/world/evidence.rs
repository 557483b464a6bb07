//! What was seen of a guest while it moved: the events that say whether it paused for the switch-over and
//! whether libvirt ended it because it moved. Events can be missed; what was missed counts as having happened
//! where that is the careful reading.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use godwit_migration::Sighting;
use tokio::sync::broadcast::{self, error::RecvError};
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
        Evidence::of_events(libvirt.events())
    }

    fn of_events(mut events: broadcast::Receiver<Event>) -> Evidence {
        let seen: Arc<Mutex<HashMap<Uuid, Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
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

    const WEB: Uuid = Uuid::from_u128(0x60d0_1700_0000_4000_8000_0000_0000_0010);

    fn change(change: Lifecycle) -> Event {
        Event::Lifecycle {
            uuid: WEB,
            name: "web-1".into(),
            change,
        }
    }

    /// What is known of a transfer that began in this process, after these events.
    async fn after(events: Vec<Event>) -> Seen {
        // As many as there is room for: with more, one is missed.
        let (told, heard) = broadcast::channel(2);
        let evidence = Evidence::of_events(heard);
        evidence.begin(WEB);
        events
            .into_iter()
            .for_each(|event| assert!(told.send(event).is_ok()));
        drop(told);
        // The watcher ends when it has heard all.
        while Arc::strong_count(&evidence.seen) > 1 {
            tokio::task::yield_now().await;
        }
        evidence.of(WEB)
    }

    #[tokio::test]
    async fn a_pause_for_the_switch_over_is_seen_by_its_reason() {
        assert!(!after(Vec::new()).await.switched_over);
        let paused = change(Lifecycle::Suspended(Suspended::Paused));
        assert!(!after(vec![paused]).await.switched_over);
        let switched = change(Lifecycle::Suspended(Suspended::Migrated));
        assert!(after(vec![switched]).await.switched_over);
        let other = Event::Lifecycle {
            uuid: Uuid::from_u128(7),
            name: "web-2".into(),
            change: Lifecycle::Suspended(Suspended::Migrated),
        };
        assert!(!after(vec![other]).await.switched_over, "another guest's");
    }

    #[tokio::test]
    async fn only_an_end_as_migrated_says_that_it_moved() {
        let ended = change(Lifecycle::Stopped(Stopped::Migrated));
        assert!(after(vec![ended]).await.ended_as_migrated);
        let shut_down = change(Lifecycle::Stopped(Stopped::Shutdown));
        assert!(!after(vec![shut_down]).await.ended_as_migrated);
    }

    #[tokio::test]
    async fn what_may_have_been_missed_may_have_been_the_switch_over() {
        let lost = Event::Lost {
            why: "end of file".into(),
        };
        assert!(after(vec![lost]).await.switched_over, "the connection was lost");
        let many = vec![Event::Connected; 3];
        assert!(after(many).await.switched_over, "more events than were heard");
        assert!(!after(vec![Event::Connected; 2]).await.switched_over);
    }

    #[tokio::test]
    async fn of_a_transfer_that_did_not_begin_here_nothing_is_excluded() {
        let (_told, heard) = broadcast::channel(2);
        let evidence = Evidence::of_events(heard);
        let seen = evidence.of(WEB);
        assert!(seen.switched_over && !seen.ended_as_migrated);
        evidence.begin(WEB);
        assert!(!evidence.of(WEB).switched_over);
        evidence.forget(WEB);
        assert!(evidence.of(WEB).switched_over, "the next transfer is another one");
    }

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
