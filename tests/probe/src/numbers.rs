//! Which numbers arrived, and a steady beat to send them at.

use std::thread;
use std::time::{Duration, Instant};

/// The most numbers one measurement may have: three hours at 1000 per second. The other side is not trusted.
const LIMIT: usize = 11_000_000;

/// How many ticks may be late and still come.
const LATE_TICKS: u32 = 10;

/// How often each number arrived, and in what order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    counts: Vec<u8>,
    reordered: u64,
}

impl Numbers {
    /// Notes one; says how often it has arrived, this time included.
    pub(crate) fn arrived(&mut self, number: u64) -> u8 {
        let Some(index) = usize::try_from(number).ok().filter(|index| *index < LIMIT) else {
            return 0;
        };
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        } else if self.counts[index] == 0 {
            self.reordered += 1;
        }
        self.counts[index] = self.counts[index].saturating_add(1);
        self.counts[index]
    }

    /// How many came for the first time when a greater one had come already.
    pub(crate) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Whether it arrived.
    pub(crate) fn has(&self, number: u64) -> bool {
        usize::try_from(number).is_ok_and(|index| self.counts.get(index).is_some_and(|count| *count > 0))
    }

    /// How many came more than once.
    pub(crate) fn duplicates(&self) -> u64 {
        self.counts.iter().filter(|count| **count > 1).count() as u64
    }

    /// First and last of every run of numbers below `sent` that did not arrive.
    pub(crate) fn missing(&self, sent: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in (0..sent.min(LIMIT as u64)).filter(|number| !self.has(*number)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        ranges
    }
}

/// Ticks at a rate. A few late ticks are made up for, so that a slow machine keeps the rate; more are left out,
/// because a process that was stopped must not send a burst.
#[derive(Debug)]
pub(crate) struct Beat {
    period: Duration,
    next: Instant,
}

impl Beat {
    /// So many ticks a second.
    pub(crate) fn new(rate: u32) -> Beat {
        Beat {
            period: Duration::from_secs(1) / rate.max(1),
            next: Instant::now(),
        }
    }

    /// Waits for the next one.
    pub(crate) fn wait(&mut self) {
        let now = Instant::now();
        if now > self.next + self.period * LATE_TICKS {
            self.next = now;
        }
        thread::sleep(self.next.saturating_duration_since(now));
        self.next += self.period;
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn missing_numbers_are_told_as_ranges() {
        let mut numbers = Numbers::default();
        for number in [1, 2, 2, 5, 7] {
            numbers.arrived(number);
        }
        assert_eq!(numbers.missing(10), [(0, 0), (3, 4), (6, 6), (8, 9)]);
        assert_eq!(numbers.missing(3), [(0, 0)]);
        assert_eq!((numbers.duplicates(), numbers.reordered()), (1, 0));
        for number in [4, 4, 9, 8] {
            numbers.arrived(number);
        }
        assert_eq!((numbers.duplicates(), numbers.reordered()), (2, 2));
    }

    #[test]
    fn a_number_out_of_all_bounds_is_ignored() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.arrived(u64::MAX), 0);
        assert_eq!(numbers.missing(1), [(0, 0)]);
    }
}
