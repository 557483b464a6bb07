//! The source's half, of one NIC of a guest that leaves.

use std::time::Instant;

use godwit_migration::Kept;

use crate::{
    arriving::Told,
    window::{Counted, Window},
};

/// How it stands with the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It runs here.
    Runs,
    /// It stands still, to go on at the destination; since when this is known.
    Stopped(Instant),
    /// It runs at the destination.
    Left(Instant),
    /// The transfer failed.
    Stays,
}

/// What is heard of a guest in its transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stands still, for the switch-over.
    Stopped,
    /// It goes on here.
    GoesOn,
}

/// One NIC of a guest that leaves.
#[derive(Debug)]
pub struct Leaving<F> {
    window: Window<F>,
    /// Nothing more is seen: the tap has gone, or cannot be watched.
    gone: bool,
    /// The guest was to leave, and did not: its tap had no room for so many meanwhile.
    stays: Option<u64>,
    kept: Kept,
}

impl Stage {
    /// What it is after that change; none: the same.
    pub fn after(self, change: Change, at: Instant) -> Option<Stage> {
        match (change, self) {
            (Change::Stopped, Stage::Runs) => Some(Stage::Stopped(at)),
            // The migration was cancelled in the pause: the tap's own queue has what came meanwhile.
            (Change::GoesOn, Stage::Stopped(_)) => Some(Stage::Runs),
            _ => None,
        }
    }

    /// What it is when libvirt calls the transfer ended.
    pub fn ended(well: bool, at: Instant) -> Stage {
        match well {
            true => Stage::Left(at),
            false => Stage::Stays,
        }
    }

    /// It does not run here.
    pub fn stands(self) -> bool {
        matches!(self, Stage::Stopped(_) | Stage::Left(_))
    }
}

impl<F: AsRef<[u8]>> Leaving<F> {
    /// An emulator reads its tap by so many queues, or the kernel does: 0 (see `window.rs`); so many bytes are kept.
    pub fn new(queues: u64, room: usize) -> Leaving<F> {
        Leaving {
            window: Window::new(queues, room),
            gone: false,
            stays: None,
            kept: Kept::default(),
        }
    }

    /// A frame was seen on its way to the tap; `None`: one that is not for the guest alone.
    pub fn seen(&mut self, frame: Option<F>, at: Instant) {
        self.window.seen(frame, at);
    }

    /// What the tap has counted: read before the last of the frames that were seen were.
    pub fn counted(&mut self, counted: Counted, at: Instant) {
        self.window.counted(counted, at);
    }

    /// Nothing more is seen.
    pub fn tap_has_gone(&mut self) {
        self.gone = true;
    }

    /// Whether the tap has gone.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// It stands so with the guest. Whether it is new that it has stopped.
    pub fn attend(&mut self, stage: Stage) -> bool {
        match stage {
            // It may have stopped and gone on: what it did not get it gets from the tap.
            Stage::Runs | Stage::Stays if !self.gone => {
                self.goes_on();
                false
            }
            // Without a tap it does not go on here, whatever libvirt says.
            Stage::Runs | Stage::Stays => false,
            Stage::Stopped(at) | Stage::Left(at) => self.window.stopped(at),
        }
    }

    /// Nothing more is counted, or nobody waits for it any longer.
    pub fn close(&mut self) {
        self.window.close();
    }

    /// The next frame that the guest did not get, and when it was seen; behind all that came to its tap, those of `stragglers`.
    pub fn next(&mut self, stragglers: impl FnOnce() -> Option<(F, Instant)>) -> Option<(F, Instant)> {
        let next = self.window.next().or_else(|| {
            let next = self.window.is_settled().then(stragglers).flatten()?;
            self.kept.stragglers += 1;
            Some(next)
        })?;
        self.kept.frames += 1;
        self.kept.bytes += next.0.as_ref().len() as u64;
        Some(next)
    }

    /// What was kept, when no more is sent; of `unkept` nothing more is known than that there were so many.
    pub fn ended(mut self, unkept: u64) -> Kept {
        // For what is left there was no way.
        while self.next(|| None).is_some() {}
        let unkept = self.window.no_room() + unkept;
        let mut kept = self.kept;
        kept.frames += unkept;
        kept.no_room += unkept;
        // What its tap dropped may have been for others.
        kept.returned = self
            .stays
            .map_or(0, |dropped| kept.frames.saturating_sub(dropped));
        kept
    }

    fn goes_on(&mut self) {
        if let Some(returned) = self.window.goes_on() {
            self.kept.frames += returned.frames;
            self.kept.bytes += returned.bytes;
            *self.stays.get_or_insert_default() += returned.dropped;
        }
    }
}

/// With what the destination says of what was sent to it, or why it does not.
pub fn answered(mut kept: Kept, told: Result<Told, String>) -> Kept {
    match told {
        Ok(told) => {
            kept.delivered = told.delivered.min(kept.frames);
            kept.no_room += told.no_room;
            kept.brought = told.brought.min(kept.frames - kept.delivered);
            kept.late = told.late.min(kept.delivered);
            kept.longest_ms = told.longest_ms;
        }
        // With the guest's copy the destination has lost what is here.
        Err(_) if kept.returned > 0 => {}
        Err(why) => {
            let why = format!("the destination did not say what became of them: {why}");
            kept.not_kept.get_or_insert(why);
        }
    }
    let told = kept.delivered + kept.brought + kept.no_room;
    kept.lost = kept.frames.saturating_sub(told.max(kept.returned));
    kept
}
