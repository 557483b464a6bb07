//! How much a peer may bring, or have done: so many bytes, or questions, at once, and as many again in each second.

use std::time::Instant;

/// A bound on what comes over time, and on what waits.
#[derive(Debug)]
pub struct Rate {
    /// Bytes, or what else it counts.
    most: usize,
    left: usize,
    /// When that was so.
    at: Instant,
}

impl Rate {
    /// Of so many, a second too.
    pub fn new(most: usize, now: Instant) -> Rate {
        Rate {
            most,
            left: most,
            at: now,
        }
    }

    /// Whether so many more may come, while so many wait.
    pub fn admits(&mut self, bytes: usize, waiting: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_micros();
        let grown = usize::try_from(self.most as u128 * passed / 1_000_000).unwrap_or(usize::MAX);
        // A time too short for a byte is not lost.
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(self.most);
            self.at = now;
        }
        let admitted = bytes <= self.left && waiting + bytes <= self.most;
        if admitted {
            self.left -= bytes;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_much_comes_at_once_and_as_much_again_in_a_second() {
        let begin = Instant::now();
        let mut rate = Rate::new(1000, begin);
        assert!(rate.admits(1000, 0, begin) && !rate.admits(1, 0, begin));
        let at = |ms| begin + Duration::from_millis(ms);
        assert!(!rate.admits(101, 0, at(100)) && rate.admits(100, 0, at(100)));
        assert!(!rate.admits(1, 0, at(100)));
        // However long nothing comes, no more than that at once.
        assert!(!rate.admits(1001, 0, at(60_000)) && rate.admits(1000, 0, at(60_000)));
    }

    #[test]
    fn what_waits_takes_its_room() {
        let begin = Instant::now();
        let mut rate = Rate::new(1000, begin);
        assert!(!rate.admits(100, 901, begin) && rate.admits(100, 900, begin));
    }

    #[test]
    fn times_too_short_for_a_byte_add_up() {
        let begin = Instant::now();
        let mut rate = Rate::new(1000, begin);
        assert!(rate.admits(1000, 0, begin));
        let admitted = (1..=2000).filter(|us| rate.admits(1, 0, begin + Duration::from_micros(*us)));
        assert_eq!(admitted.count(), 2);
    }
}
