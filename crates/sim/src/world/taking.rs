//! The destination's part in frames of the pause: what a source brings is put into the queue of the guest's tap. What has room, comes twice or
//! is late `godwit_keep` says, as it does for real hosts. A daemon that dies has no more of it than what is in that queue.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use godwit_keep::{Arriving, Counted, Queue, Rate, Told};

use super::{
    Seat, Shared,
    keeping::{ROOM, now},
};
use crate::model::{Frame, GuestId, HostId, Model, Tap};

/// How often it is looked whether there is room in the tap's queue, milliseconds.
const LOOK: u64 = 20;
/// When the source has no more: what waits has found its way by then, or does not count.
const LAST: Duration = Duration::from_millis(2500);
/// No stream is longer.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// One stream.
pub(crate) struct Taking {
    pub(super) stream: u64,
    guest: GuestId,
    host: HostId,
    /// To that tap, as soon as there is one.
    way: Option<(u64, Arriving<Frame>)>,
    rate: Rate,
    /// For these there was no tap.
    refused: u64,
}

impl Taking {
    /// Whoever was at this migration before is sent away.
    pub(super) fn open(
        shared: &Arc<Shared>,
        seat: &Seat,
        (guest, host): (GuestId, HostId),
        migration: &str,
    ) -> u64 {
        let mut takings = seat.takings.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = takings.get(migration).map_or(1, |taking| taking.stream + 1);
        let taking = Taking {
            stream,
            guest,
            host,
            way: None,
            rate: Rate::new(ROOM, now()),
            refused: 0,
        };
        takings.insert(migration.to_owned(), taking);
        drop(takings);
        tokio::spawn(attend(
            Arc::clone(shared),
            seat.clone(),
            migration.to_owned(),
            stream,
        ));
        stream
    }

    pub(super) fn take(&mut self, model: &mut Model, frames: Vec<(Frame, Duration)>) {
        self.look(model);
        let now = now();
        for (frame, held) in frames {
            let Some((_, arriving)) = &mut self.way else {
                self.refused += 1;
                continue;
            };
            let seen = now.checked_sub(held).unwrap_or(now);
            let bytes = frame.as_ref().len();
            if arriving.was_brought(|| frame.number(), seen) {
                continue;
            }
            match self.rate.admits(bytes, arriving.bytes(), now) {
                true => arriving.add(frame, seen, now),
                false => arriving.refuse(),
            }
        }
        self.feed(model);
    }

    /// What the tap has counted, and what the network brought to it.
    fn look(&mut self, model: &mut Model) {
        let Some(tap) = model.tap(self.guest, self.host) else {
            return;
        };
        let new = || (tap.number, Arriving::new(tap.counted.read + 1));
        let (number, arriving) = self.way.get_or_insert_with(new);
        if *number == tap.number {
            arriving.read(tap.counted.read, now());
            for (frame, at) in tap.seen() {
                arriving.own(frame.number(), at.into_std());
            }
        }
    }

    /// As much as has room; whether some waits still.
    fn feed(&mut self, model: &mut Model) -> bool {
        self.look(model);
        let Some((number, arriving)) = &mut self.way else {
            return false;
        };
        let (guest, host, number) = (self.guest, self.host, *number);
        arriving.feed(&mut Way {
            model,
            guest,
            host,
            number,
        });
        arriving.waiting() > 0
    }

    /// The source has no more. What became of it all; none: another stream has taken its place.
    pub(super) async fn end(shared: &Arc<Shared>, seat: &Seat, migration: &str, stream: u64) -> Option<Told> {
        let end = tokio::time::Instant::now() + shared.pace.exactly(LAST);
        loop {
            let over = tokio::time::Instant::now() >= end;
            {
                let mut takings = seat.takings.lock().unwrap_or_else(PoisonError::into_inner);
                let taking = takings
                    .get_mut(migration)
                    .filter(|taking| taking.stream == stream)?;
                if !taking.feed(&mut shared.model()) || over {
                    let told = taking.way.as_ref().map(|(_, arriving)| arriving.told(now()));
                    takings.remove(migration);
                    return Some(told.unwrap_or_default());
                }
            }
            tokio::time::sleep(shared.pace.of(LOOK)).await;
        }
    }
}

/// Until the source has said that it has no more, the guest has been here for a while, or this daemon dies.
async fn attend(shared: Arc<Shared>, seat: Seat, migration: String, stream: u64) {
    let feeds = async {
        loop {
            tokio::time::sleep(shared.pace.of(LOOK)).await;
            let mut takings = seat.takings.lock().unwrap_or_else(PoisonError::into_inner);
            let taking = takings
                .get_mut(&migration)
                .filter(|taking| taking.stream == stream);
            let Some(taking) = taking else { return };
            let had_a_way = taking.way.is_some();
            let mut model = shared.model();
            taking.feed(&mut model);
            if had_a_way && model.tap(taking.guest, taking.host).is_none() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = seat.death() => {}
        () = feeds => {}
        () = tokio::time::sleep(shared.pace.exactly(LONGEST)) => {}
    }
}

/// The tap that a stream goes to.
struct Way<'a> {
    model: &'a mut Model,
    guest: GuestId,
    host: HostId,
    number: u64,
}

impl Way<'_> {
    fn tap(&mut self) -> Option<&mut Tap> {
        let tap = self.model.tap(self.guest, self.host)?;
        Some(tap).filter(|tap| tap.number == self.number)
    }
}

impl Queue<Frame> for Way<'_> {
    fn counted(&mut self) -> Option<Counted> {
        self.tap().map(|tap| tap.counted)
    }

    fn put(&mut self, frame: &Frame) -> bool {
        self.tap().map(|tap| tap.put(frame.clone())).is_some()
    }
}
