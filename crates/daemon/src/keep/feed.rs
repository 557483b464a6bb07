//! Frames go into the queue of a guest's tap, as far as it has room, and the rest when it has.

use std::{collections::VecDeque, io};

use super::{frame::Frame, tap::Tap};

/// What has no room in a tap's queue yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Feed {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Feed {
    pub(super) fn add(&mut self, frame: Frame) {
        self.bytes += frame.data.len();
        self.frames.push_back(frame);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As many as find room, one by one through `send`; how many did.
    ///
    /// The tap counts what finds no room in its queue: such a one is tried again. Its queue is not made longer for it: the
    /// kernel loses what comes while it changes that (`dev_qdisc_change_tx_queue_len()` deactivates the interface).
    pub(super) fn go(&mut self, tap: &Tap, send: impl Fn(&Frame) -> io::Result<()>) -> u64 {
        let mut fed = 0;
        while let Some(frame) = self.frames.front() {
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
            self.frames.pop_front();
            fed += 1;
        }
        fed
    }
}
