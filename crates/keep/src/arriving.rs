//! The destination's half, of one NIC of a guest that comes: what was kept for it goes into the queue of its tap, as far as that has room,
//! and the rest when it has.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{own::Own, window::Counted};

/// One NIC of a guest that comes.
#[derive(Debug)]
pub struct Arriving<F> {
    own: Own,
    /// What has no room in the tap's queue yet, oldest first.
    waiting: VecDeque<Waits<F>>,
    bytes: usize,
    /// While the guest does not run yet the tap counts no more than so many as read: an emulator reads one from each queue.
    idle: u64,
    told: Told,
    /// When the first came, and how long the source had had it.
    first: Option<(Instant, Duration)>,
    /// When it was seen that somebody reads the tap.
    ran: Option<Instant>,
}

/// The queue of a guest's tap, where frames wait until the guest reads them.
pub trait Queue<F> {
    /// What the tap has counted; none: it has gone.
    fn counted(&mut self) -> Option<Counted>;

    /// Puts a frame into it. Whether that could be tried: what finds no room is counted as dropped.
    fn put(&mut self, frame: &F) -> bool;
}

#[derive(Debug)]
struct Waits<F> {
    frame: F,
    /// When the source saw it.
    seen: Instant,
}

/// What became of the frames that were brought for a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// In the queue of its tap.
    pub delivered: u64,
    /// Of those: after the guest ran, or behind newer ones that its network here had brought.
    pub late: u64,
    /// There was no room for them.
    pub no_room: u64,
    /// Its network here had brought them as well.
    pub brought: u64,
    /// The longest time that one was kept by both hosts, milliseconds.
    pub longest_ms: u32,
}

impl<F: AsRef<[u8]>> Arriving<F> {
    /// Of a tap that counts no more than so many as read before its guest runs.
    pub fn new(idle: u64) -> Arriving<F> {
        Arriving {
            own: Own::default(),
            waiting: VecDeque::new(),
            bytes: 0,
            idle,
            told: Told::default(),
            first: None,
            ran: None,
        }
    }

    /// The tap has counted so many as read.
    pub fn read(&mut self, read: u64, at: Instant) {
        if read > self.idle {
            self.ran.get_or_insert(at);
        }
    }

    /// Somebody was seen to read the tap.
    pub fn runs(&self) -> bool {
        self.ran.is_some()
    }

    /// The host's own network brought a frame of that content.
    pub fn own(&mut self, content: u64, at: Instant) {
        self.own.brought(content, at);
    }

    /// The host's own network has brought it as well, so it is not needed; the source saw it then.
    pub fn was_brought(&mut self, content: impl FnOnce() -> u64, seen: Instant) -> bool {
        let brought = !self.own.is_empty() && self.own.has(content(), seen);
        self.told.brought += u64::from(brought);
        brought
    }

    /// It waits for room; the source saw it then.
    pub fn add(&mut self, frame: F, seen: Instant, now: Instant) {
        self.first
            .get_or_insert((now, now.saturating_duration_since(seen)));
        self.bytes += frame.as_ref().len();
        self.waiting.push_back(Waits { frame, seen });
    }

    /// How many wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// As many as find room, one by one.
    ///
    /// The tap counts what finds no room in its queue: such a one is tried again. Its queue is not made longer for it: the
    /// kernel loses what comes while it changes that (`dev_qdisc_change_tx_queue_len()` deactivates the interface).
    ///
    /// The network moves when the emulator here announces its guest, which is before the guest runs: what was on its way between the hosts
    /// then stands behind newer ones.
    pub fn feed(&mut self, tap: &mut impl Queue<F>) {
        while let Some(Waits { frame, seen }) = self.waiting.front() {
            let before = tap.counted();
            if !tap.put(frame) {
                return;
            }
            // Without counts the tap is gone, and the guest with it.
            let (Some(before), Some(after)) = (before, tap.counted()) else {
                return;
            };
            if after.dropped > before.dropped {
                return;
            }
            self.told.delivered += 1;
            self.told.late += u64::from(self.ran.is_some() || self.own.is_ahead_of(*seen));
            self.bytes -= frame.as_ref().len();
            self.waiting.pop_front();
        }
    }

    /// What became of all; what still waits has had no room.
    pub fn told(&self, now: Instant) -> Told {
        let longest = self.first.map(|(first, held)| {
            let waited = self.ran.unwrap_or(now).saturating_duration_since(first);
            u32::try_from((waited + held).as_millis()).unwrap_or(u32::MAX)
        });
        Told {
            no_room: self.told.no_room + self.waiting(),
            longest_ms: longest.unwrap_or_default(),
            ..self.told
        }
    }

    /// There was no room for one on this host.
    pub fn refuse(&mut self) {
        self.told.no_room += 1;
    }
}

impl Told {
    /// With those of another NIC of the guest.
    pub fn and(self, other: Told) -> Told {
        Told {
            delivered: self.delivered + other.delivered,
            late: self.late + other.late,
            no_room: self.no_room + other.no_room,
            brought: self.brought + other.brought,
            longest_ms: self.longest_ms.max(other.longest_ms),
        }
    }
}
