//! How long things take in the pretend world.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::chance::Chance;

/// Turns the pretend durations into real ones.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Divided by this.
    Speed(f64),
    /// The same, but deadlines stay as they are: what is measured may take its time.
    Bench(f64),
    /// Each by chance shorter or longer, so that what happens at once differs from storm to storm.
    Uneven(Mutex<Chance>),
}

impl Pace {
    /// A pretend duration of so many milliseconds.
    pub(crate) fn of(&self, ms: u64) -> Duration {
        match self {
            Pace::Speed(speed) | Pace::Bench(speed) => Duration::from_secs_f64(ms as f64 / 1000.0 / speed),
            Pace::Uneven(chance) => {
                let mut chance = chance.lock().unwrap_or_else(PoisonError::into_inner);
                Duration::from_millis(1 + ms * chance.between(20, 250) / 100)
            }
        }
    }

    /// A duration that somebody chose: compressed, and otherwise as it is.
    pub(crate) fn exactly(&self, duration: Duration) -> Duration {
        match self {
            Pace::Speed(speed) | Pace::Bench(speed) => duration.div_f64(*speed),
            Pace::Uneven(_) => duration,
        }
    }

    /// A phase's deadline.
    pub(crate) fn deadline(&self, deadline: Duration) -> Duration {
        match self {
            Pace::Bench(_) => deadline,
            Pace::Speed(_) | Pace::Uneven(_) => self.exactly(deadline),
        }
    }
}
