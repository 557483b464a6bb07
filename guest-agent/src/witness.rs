//! The proof that a port carries inbound traffic: a frame that arrived on it after the switch.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::mac::Mac;
use crate::neighbourhood::Question;
use crate::packet::{Arrival, Arrived, Listener, Sender};
use crate::patience::{Over, Patience};

/// How often everybody is asked.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// How long a broadcast alone is held back for a frame to us, when somebody was asked. Broadcasts reach
/// a port while a switch still sends what is for us elsewhere.
const PREFER_UNICAST: Duration = Duration::from_secs(1);

/// Watches one port from before the switch on.
pub(crate) struct Witness {
    listener: Listener,
    own: Vec<Mac>,
}

/// What was seen on the port after the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) frames: u64,
    /// From the kernel's confirmation to the first frame.
    pub(crate) first: Duration,
    /// Whether one of them was for us alone.
    pub(crate) to_us: bool,
}

/// Nothing was seen.
#[derive(Debug)]
pub(crate) enum Unseen {
    Over(Over),
    Broken(io::Error),
}

impl Witness {
    /// `own` are the addresses of this guest: what carries one as its source has not come from outside.
    pub(crate) fn open(port: u32, own: Vec<Mac>) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::open(port)?,
            own,
        })
    }

    /// Asks until a frame arrives that counts. What arrived before the call does not.
    pub(crate) async fn see(
        &self,
        sender: &Sender,
        questions: &[Question],
        patience: &mut Patience,
    ) -> Result<Seen, Unseen> {
        self.listener.drain();
        let start = Instant::now();
        let mut ask = interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: Option<Seen> = None;
        loop {
            let enough = seen.map_or(start, |seen| start + seen.first + PREFER_UNICAST);
            tokio::select! {
                _ = ask.tick() => sender.send(questions.iter().map(|question| &question.ask)),
                () = sleep_until(enough), if seen.is_some() => break,
                over = patience.over() => return seen.ok_or(Unseen::Over(over)),
                arrived = self.listener.next() => {
                    seen = self.count(seen, arrived.map_err(Unseen::Broken)?, start);
                    if seen.is_some_and(|seen| seen.to_us || questions.is_empty()) {
                        break;
                    }
                }
            }
        }
        // Those that came together with the last one.
        while let Ok(Some(arrived)) = self.listener.take() {
            seen = self.count(seen, arrived, start);
        }
        seen.ok_or(Unseen::Over(Over::Deadline))
    }

    fn count(&self, seen: Option<Seen>, arrived: Arrived, start: Instant) -> Option<Seen> {
        let to_us = match arrived.how {
            Arrival::ToUs => true,
            Arrival::ToMany => false,
            Arrival::Neither => return seen,
        };
        if arrived.from.is_none_or(|from| self.own.contains(&from)) {
            return seen;
        }
        let seen = seen.unwrap_or(Seen {
            frames: 0,
            first: start.elapsed(),
            to_us,
        });
        Some(Seen {
            frames: seen.frames + 1,
            to_us: seen.to_us || to_us,
            ..seen
        })
    }
}
