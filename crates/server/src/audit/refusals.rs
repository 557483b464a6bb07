//! Refusals that are written down: of one caller so many, or anybody who may ask at all could fill the disk with what it may not do.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::rate::Rates;

/// So many at once, and so many a second after them.
const BURST: u32 = 100;
const PER_SECOND: u32 = 5;

/// So long what is left out of one caller's is counted, and then said in one line.
pub(super) const COUNTED: Duration = Duration::from_secs(10);

/// What is left out of each caller's.
#[derive(Debug)]
pub(super) struct Refusals {
    rates: Rates,
    left_out: Mutex<HashMap<String, u64>>,
}

/// What becomes of a refusal's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    /// Only counted; somebody has to say that when [`COUNTED`] is over.
    FirstLeftOut,
    /// Only counted.
    LeftOut,
}

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals {
            rates: Rates::new(BURST, PER_SECOND),
            left_out: Mutex::default(),
        }
    }
}

impl Refusals {
    pub(super) fn fate(&self, who: &str) -> Fate {
        if self.rates.take(who).is_ok() {
            return Fate::Written;
        }
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let count = left_out.entry(who.to_owned()).or_default();
        *count += 1;
        match count {
            1 => Fate::FirstLeftOut,
            _ => Fate::LeftOut,
        }
    }

    /// How many were left out; they are counted anew from here.
    pub(super) fn take(&self, who: &str) -> u64 {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.remove(who).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_out_of_one_is_counted_and_costs_nobody_else_a_line() {
        let refusals = Refusals::default();
        let fates =
            |who: &str, number: usize| -> Vec<Fate> { (0..number).map(|_| refusals.fate(who)).collect() };
        let eve = fates("uid 1000", 103);
        assert!(eve[..100].iter().all(|fate| *fate == Fate::Written));
        assert_eq!(eve[100..], [Fate::FirstLeftOut, Fate::LeftOut, Fate::LeftOut]);
        assert_eq!(fates("uid 1001", 1), [Fate::Written]);
        assert_eq!((refusals.take("uid 1000"), refusals.take("uid 1000")), (3, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = fates("uid 1000", 6);
        assert!(later[..5].iter().all(|fate| *fate == Fate::Written));
        assert_eq!(later[5], Fate::FirstLeftOut);
    }
}
