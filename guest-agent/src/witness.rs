//! The proof that a port carries inbound traffic: a frame that arrived on it after the switch.

use std::io;
use std::time::Duration;

use godwit_wire::Mac;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

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
                    seen = count(seen, arrived.map_err(Unseen::Broken)?, start.elapsed(), &self.own);
                    if seen.is_some_and(|seen| seen.to_us || questions.is_empty()) {
                        break;
                    }
                }
            }
        }
        // Those that came together with the last one.
        while let Ok(Some(arrived)) = self.listener.take() {
            seen = count(seen, arrived, start.elapsed(), &self.own);
        }
        seen.ok_or(Unseen::Over(Over::Deadline))
    }
}

/// Counts a frame, if it counts: for us or for many, and from outside.
fn count(seen: Option<Seen>, arrived: Arrived, after: Duration, own: &[Mac]) -> Option<Seen> {
    let to_us = match arrived.how {
        Arrival::ToUs => true,
        Arrival::ToMany => false,
        Arrival::Neither => return seen,
    };
    if arrived.from.is_none_or(|from| own.contains(&from)) {
        return seen;
    }
    let before = seen.unwrap_or(Seen {
        frames: 0,
        first: after,
        to_us,
    });
    Some(Seen {
        frames: before.frames + 1,
        to_us: before.to_us || to_us,
        ..before
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn frame(how: Arrival, from: Mac) -> Arrived {
        Arrived {
            how,
            from: Some(from),
            answers: None,
        }
    }

    #[test]
    fn what_counts() {
        let once = |arrived| count(None, arrived, Duration::from_millis(7), &[OURS]);
        let seen = |to_us| {
            Some(Seen {
                frames: 1,
                first: Duration::from_millis(7),
                to_us,
            })
        };
        assert_eq!(once(frame(Arrival::ToUs, THEIRS)), seen(true));
        assert_eq!(once(frame(Arrival::ToMany, THEIRS)), seen(false));
        // To another host, or sent by this one.
        assert_eq!(once(frame(Arrival::Neither, THEIRS)), None);
        // Our own announcement, come back through the other port.
        assert_eq!(once(frame(Arrival::ToMany, OURS)), None);
        assert_eq!(
            once(Arrived {
                how: Arrival::ToUs,
                from: None,
                answers: None
            }),
            None
        );
    }

    #[test]
    fn the_first_frame_gives_the_time_and_any_may_be_for_us() {
        let first = count(
            None,
            frame(Arrival::ToMany, THEIRS),
            Duration::from_millis(3),
            &[],
        );
        let second = count(first, frame(Arrival::ToUs, THEIRS), Duration::from_millis(9), &[]);
        assert_eq!(
            second,
            Some(Seen {
                frames: 2,
                first: Duration::from_millis(3),
                to_us: true
            })
        );
        let third = count(
            second,
            frame(Arrival::ToMany, OURS),
            Duration::from_millis(12),
            &[OURS],
        );
        assert_eq!(third, second);
    }
}
