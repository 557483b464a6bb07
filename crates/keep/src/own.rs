//! What the destination's own network brings for a guest that comes: where a frame reaches both hosts, the guest gets it once.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A frame that reaches both hosts comes here within this of the time that the source says, in which are the daemons' turns and the way
/// of the kept frame. One of the same content at another time is another.
const ABOUT: Duration = Duration::from_millis(200);

/// It is remembered for so long, and no more of them.
const REMEMBERED: Duration = Duration::from_secs(30);
const MOST: usize = 65_536;

/// What it has brought, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Own(VecDeque<(Instant, u64)>);

impl Own {
    /// It has brought nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It brought one of that content.
    pub(crate) fn brought(&mut self, content: u64, at: Instant) {
        while self.0.len() >= MOST || self.0.front().is_some_and(|(was, _)| *was + REMEMBERED < at) {
            self.0.pop_front();
        }
        self.0.push_back((at, content));
    }

    /// It brought one after that time.
    pub(crate) fn is_ahead_of(&self, seen: Instant) -> bool {
        self.0.back().is_some_and(|(at, _)| *at > seen)
    }

    /// Whether it brought this one, which the source saw then. Each that was brought stands for one alone.
    pub(crate) fn has(&mut self, content: u64, seen: Instant) -> bool {
        let same = |(at, has): &(Instant, u64)| *has == content && *at <= seen + ABOUT && seen <= *at + ABOUT;
        let found = self.0.iter().position(same);
        found.and_then(|at| self.0.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_was_brought_stands_for_one_that_came_when_it_did() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut own = Own::default();
        assert!(!own.has(1, now));
        own.brought(1, now + ms(1000));
        own.brought(2, now + ms(1001));
        assert!(own.is_ahead_of(now + ms(1000)) && !own.is_ahead_of(now + ms(1001)));
        // Of the same content, and another time.
        assert!(!own.has(1, now + ms(799)) && !own.has(1, now + ms(1201)));
        assert!(own.has(1, now + ms(1100)));
        assert!(!own.has(1, now + ms(1100)), "once");
        assert!(own.has(2, now + ms(802)));
    }

    #[test]
    fn it_has_bounds() {
        let now = Instant::now();
        let mut own = Own::default();
        for _ in 0..MOST + 10 {
            own.brought(1, now);
        }
        assert_eq!(own.0.len(), MOST);
        own.brought(2, now + REMEMBERED + ABOUT);
        assert_eq!(own.0.len(), 1);
    }
}
