//! What the destination's own network brings for a guest that comes: where a frame reaches both hosts, the guest gets it once.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{frame::Frame, likeness::Likeness};

/// A frame that reaches both hosts comes here within this of the time that the source says, in which are the daemons' turns and the way
/// of the kept frame. One of the same content at another time is another.
const ABOUT: Duration = Duration::from_millis(200);

/// It is remembered for so long, and no more of them.
const REMEMBERED: Duration = Duration::from_secs(30);
const MOST: usize = 65_536;

/// What it has brought, oldest first.
#[derive(Debug, Default)]
pub(super) struct Own(VecDeque<(Instant, u64)>);

impl Own {
    /// It brought this one.
    pub(super) fn brought(&mut self, frame: &Frame, at: Instant) {
        while self.0.len() >= MOST || self.0.front().is_some_and(|(was, _)| *was + REMEMBERED < at) {
            self.0.pop_front();
        }
        self.0.push_back((at, Likeness::of(frame).content));
    }

    /// It brought one after that time.
    pub(super) fn is_ahead_of(&self, seen: Instant) -> bool {
        self.0.back().is_some_and(|(at, _)| *at > seen)
    }

    /// Whether it brought this one, which the source saw then. Each that was brought stands for one alone.
    pub(super) fn has(&mut self, frame: &Frame, seen: Instant) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let content = Likeness::of(frame).content;
        let same = |(at, has): &(Instant, u64)| *has == content && *at <= seen + ABOUT && seen <= *at + ABOUT;
        let found = self.0.iter().position(same);
        found.and_then(|at| self.0.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: u8) -> Frame {
        let data = [vec![0; 10], vec![content; 60]].concat();
        Frame::read(&data, None).unwrap()
    }

    #[test]
    fn each_that_was_brought_stands_for_one_that_came_when_it_did() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut own = Own::default();
        assert!(!own.has(&frame(1), now));
        own.brought(&frame(1), now + ms(1000));
        own.brought(&frame(2), now + ms(1001));
        assert!(own.is_ahead_of(now + ms(1000)) && !own.is_ahead_of(now + ms(1001)));
        // Of the same content, and another time.
        assert!(!own.has(&frame(1), now + ms(799)) && !own.has(&frame(1), now + ms(1201)));
        assert!(own.has(&frame(1), now + ms(1100)));
        assert!(!own.has(&frame(1), now + ms(1100)), "once");
        assert!(own.has(&frame(2), now + ms(802)));
    }

    #[test]
    fn it_has_bounds() {
        let now = Instant::now();
        let mut own = Own::default();
        for _ in 0..MOST + 10 {
            own.brought(&frame(1), now);
        }
        assert_eq!(own.0.len(), MOST);
        own.brought(&frame(2), now + REMEMBERED + ABOUT);
        assert_eq!(own.0.len(), 1);
    }
}
