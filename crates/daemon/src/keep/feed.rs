//! Frames go into the queue of a guest's tap, as far as it has room, and the rest when it has.

use std::{collections::VecDeque, io, time::Instant};

use super::{frame::Frame, tap::Tap};

/// What has no room in a tap's queue yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Feed {
    frames: VecDeque<Waits>,
    bytes: usize,
}

#[derive(Debug)]
struct Waits {
    frame: Frame,
    /// When the source saw it.
    seen: Instant,
}

impl Feed {
    pub(super) fn add(&mut self, frame: Frame, seen: Instant) {
        self.bytes += frame.data.len();
        self.frames.push_back(Waits { frame, seen });
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As many as find room, one by one through `send`; when the source saw those that did.
    ///
    /// The tap counts what finds no room in its queue: such a one is tried again. Its queue is not made longer for it: the
    /// kernel loses what comes while it changes that (`dev_qdisc_change_tx_queue_len()` deactivates the interface).
    pub(super) fn go(&mut self, tap: &Tap, send: impl Fn(&Frame) -> io::Result<()>) -> Vec<Instant> {
        let mut fed = Vec::new();
        while let Some(Waits { frame, seen }) = self.frames.front() {
            let before = tap.counted();
            if send(frame).is_err() {
                break;
            }
            let dropped = match (before, tap.counted()) {
                (Ok(before), Ok(after)) => after.dropped > before.dropped,
                // The tap is gone, and the guest with it.
                _ => break,
            };
            if dropped {
                break;
            }
            self.bytes -= frame.data.len();
            fed.push(*seen);
            self.frames.pop_front();
        }
        fed
    }
}
