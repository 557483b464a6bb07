//! When the pretend world worked: what is left of a migration's time is the coordinator's own.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// What the time was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A phase's work.
    Phase(godwit_migration::Phase),
    /// A look at a guest that a service asks for.
    Look,
    /// The other host's coordinator, asked within a phase's work.
    PeerAnswers,
}

/// One piece of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) host: usize,
    pub(crate) what: What,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// Writes down nothing until it is started.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(Mutex<Option<Vec<Note>>>);

impl Stopwatch {
    /// Begins anew.
    pub(crate) fn start(&self) {
        *self.notes() = Some(Vec::new());
    }

    /// What was written down since the start, in the order of the ends.
    pub(crate) fn stop(&self) -> Vec<Note> {
        self.notes().take().unwrap_or_default()
    }

    /// Takes the time of the work.
    pub(crate) async fn time<T>(&self, host: usize, what: What, work: impl Future<Output = T>) -> T {
        let from = Instant::now();
        let done = work.await;
        let to = Instant::now();
        if let Some(notes) = self.notes().as_mut() {
            notes.push(Note { host, what, from, to });
        }
        done
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Option<Vec<Note>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
