//! Which frames a guest did not get any more. Pure.
//!
//! A tap's frames are read in their order, by the emulator or by the kernel's vhost, and the tap counts those that were read
//! (`tx_packets`: `tun_put_user()` of the kernel's tun.c) and those that found no room (`tx_dropped`). A packet socket sees each
//! of them before it gets to the tap. So no clock is needed: of those that were seen, as many as were counted have been read,
//! and the rest is what the guest did not get.
//!
//! With one exception. An emulator whose guest stands still reads one more frame from each queue, finds that nobody takes it,
//! keeps it, and reads no more (QEMU's `tap_send()` and `qemu_net_queue_send()`). That one was read, and the guest did
//! not get it. And there may be one before it: while the emulator waits for the guest's processors to stop, its main loop goes on and
//! the guest is called stopped already (`do_vm_stop()`, `pause_all_vcpus()`); what it read then it throws away once they have stopped, and
//! reads another (`net_vm_change_state_handler()`). Whether there was such a one nobody can tell: the last of each queue may come twice.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What was read is kept a little: an emulator's last frame may turn out to be the one that nobody took. As is what was seen
/// of frames that are nobody's business, for their number.
const MOST_ENTRIES: usize = 65_536;

/// One that waits for so long after it was seen is not being read.
pub(crate) const STUCK: Duration = Duration::from_millis(5);

/// Of each queue an emulator reads so many at most that the guest does not get.
pub const UNTAKEN: u64 = 2;

/// Where no later frame tells whether the guest got one that was read: it may have come after the guest's stop
/// if it came within this time before that was heard of.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// What the tap has counted since it was made: `tx_packets` and `tx_dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// `tx_packets`.
    pub read: u64,
    /// `tx_dropped`.
    pub dropped: u64,
}

#[derive(Debug)]
struct Entry<F> {
    at: Instant,
    /// None: not for the guest alone, or there was no room.
    frame: Option<F>,
}

/// The newest frames on their way to one tap.
#[derive(Debug)]
pub(crate) struct Window<F> {
    /// The queues of an emulator's tap; 0 for the kernel's.
    queues: u64,
    /// Bytes.
    room: usize,
    held: usize,
    entries: VecDeque<Entry<F>>,
    /// How many were seen before the first entry.
    gone: u64,
    /// Seen less counted, where both are at rest: the least that was found.
    ahead: Option<i128>,
    /// How many of those that were seen have been read.
    read: u64,
    stop: Option<Stop>,
    /// For the guest, and without room.
    no_room: u64,
}

#[derive(Debug)]
struct Stop {
    at: Instant,
    /// What was dropped before; what is dropped later is kept here.
    dropped: Option<u64>,
    /// So many were.
    dropped_later: u64,
    /// From here the guest did not get them.
    floor: Option<u64>,
}

/// What came while a guest stood still that goes on where it was, and was not taken from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    /// How many.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Of all that came meanwhile the tap had no room for so many.
    pub(crate) dropped: u64,
}

impl<F: AsRef<[u8]>> Window<F> {
    /// An emulator reads the tap by so many queues, or the kernel does: 0; so many bytes are kept.
    pub(crate) fn new(queues: u64, room: usize) -> Window<F> {
        Window {
            queues,
            room,
            held: 0,
            entries: VecDeque::new(),
            gone: 0,
            ahead: None,
            read: 0,
            stop: None,
            no_room: 0,
        }
    }

    /// The guest goes on here: whoever reads its tap gives it all that the tap had room for. None: it had not stopped, or it is not known
    /// since when it got nothing.
    pub(crate) fn goes_on(&mut self) -> Option<Returned> {
        let stop = self.stop.take()?;
        let got = usize::try_from(stop.floor?.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        let left = self.entries.iter().skip(got);
        let left: Vec<usize> = left
            .filter_map(|entry| Some(entry.frame.as_ref()?.as_ref().len()))
            .collect();
        Some(Returned {
            frames: left.len() as u64,
            bytes: left.iter().sum::<usize>() as u64,
            dropped: stop.dropped_later,
        })
    }

    /// From where on the guest did not get them is known.
    pub(crate) fn is_settled(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.floor.is_some())
    }

    /// A frame was seen on its way to the tap; `None`: one that is not for the guest alone.
    pub(crate) fn seen(&mut self, frame: Option<F>, at: Instant) {
        let fits = frame
            .as_ref()
            .is_none_or(|frame| self.held + frame.as_ref().len() <= self.room);
        let frame = match fits || self.make_room(frame.as_ref().map_or(0, bytes)) {
            true => frame,
            // The newest has to go, as in any queue that is full: what came before it stays whole.
            false => {
                self.no_room += 1;
                None
            }
        };
        // Behind the floor none is counted any more.
        let settled = self.is_settled();
        if frame.is_some() || !settled {
            self.held += frame.as_ref().map_or(0, bytes);
            self.entries.push_back(Entry { at, frame });
        }
    }

    /// What the tap has counted. Read before the last of the frames that were seen were.
    pub(crate) fn counted(&mut self, counted: Counted, at: Instant) {
        let dropped = match &mut self.stop {
            None => counted.dropped,
            Some(stop) => {
                let before = *stop.dropped.get_or_insert(counted.dropped);
                stop.dropped_later = counted.dropped.saturating_sub(before);
                before
            }
        };
        let counted = i128::from(counted.read) + i128::from(dropped);
        let seen = self.gone + self.entries.len() as u64;
        let ahead = (i128::from(seen) - counted).min(self.ahead.unwrap_or(i128::MAX));
        self.ahead = Some(ahead);
        self.read = u64::try_from(counted + ahead).unwrap_or_default().min(seen);
        self.settle(at);
        self.forget();
    }

    /// The guest has stopped: this was heard then. Whether it is new.
    pub(crate) fn stopped(&mut self, at: Instant) -> bool {
        let new = self.stop.is_none();
        self.stop.get_or_insert(Stop {
            at,
            dropped: None,
            dropped_later: 0,
            floor: None,
        });
        new
    }

    /// Nothing more is counted: the tap is gone, or nobody waits any longer.
    pub(crate) fn close(&mut self) {
        let waits = self.gone + self.entries.len() as u64 > self.read;
        self.stand(waits);
    }

    /// The next frame that the guest did not get, and when it was seen.
    pub(crate) fn next(&mut self) -> Option<(F, Instant)> {
        let floor = self.stop.as_ref()?.floor?;
        loop {
            let entry = self.entries.pop_front()?;
            self.gone += 1;
            if let Some(frame) = entry.frame {
                self.held -= frame.as_ref().len();
                if self.gone > floor {
                    return Some((frame, entry.at));
                }
            }
        }
    }

    /// There was no room for so many.
    pub(crate) fn no_room(&self) -> u64 {
        self.no_room
    }

    /// What waits is not being read: then the last that was read is one that nobody took. After the guest's stop nothing is
    /// read but those.
    fn settle(&mut self, at: Instant) {
        let waiting = self
            .read
            .checked_sub(self.gone)
            .and_then(|read| usize::try_from(read).ok());
        let oldest = waiting.and_then(|waiting| self.entries.get(waiting));
        let stuck = oldest.is_some_and(|entry| entry.at + STUCK <= at);
        if stuck || self.queues == 0 {
            self.stand(stuck);
        }
    }

    /// From here on the guest did not get them. Where one waits, an emulator has read one of each queue for nobody.
    fn stand(&mut self, waits: bool) {
        let Some(Stop {
            at: heard,
            floor: None,
            ..
        }) = self.stop
        else {
            return;
        };
        let sure = if waits { self.queues } else { 0 };
        let may = |back: &u64| {
            let at = self.read_at(*back);
            *back <= sure || at.is_some_and(|at| at + HEARD_WITHIN >= heard)
        };
        let back = (1..=UNTAKEN * self.queues).take_while(may).count() as u64;
        let floor = self.read.saturating_sub(back);
        if let Some(stop) = &mut self.stop {
            stop.floor = Some(floor);
        }
    }

    /// When the last was seen that was read, for 1; the one before it, for 2.
    fn read_at(&self, back: u64) -> Option<Instant> {
        let index = usize::try_from(self.read.checked_sub(self.gone + back)?).ok()?;
        Some(self.entries.get(index)?.at)
    }

    /// The guest has them.
    fn forget(&mut self) {
        let keep = match self.stop {
            None => self.read.saturating_sub(UNTAKEN * self.queues),
            Some(_) => return,
        };
        while self.gone < keep || self.entries.len() > MOST_ENTRIES {
            self.drop_oldest();
        }
    }

    /// Of what was read already.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.stop.is_none() && self.gone < self.read && self.held + bytes > self.room {
            self.drop_oldest();
        }
        self.held + bytes <= self.room
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.gone += 1;
            self.held -= entry.frame.as_ref().map_or(0, bytes);
        }
    }
}

fn bytes<F: AsRef<[u8]>>(frame: &F) -> usize {
    frame.as_ref().len()
}

#[cfg(test)]
mod tests;
