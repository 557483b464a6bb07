//! Migrations that have ended: which are listed, and when they are forgotten.

use tracing::{info, warn};

use crate::{Coordinator, World, clock::now_ms};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// "Closed" is a promise never to take the guest, made to a source whose request may still be on its way.
const PROMISES_KEPT_MS: i64 = 7 * DAY_MS;

/// How much is kept of what has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// At most this many migrations, the newest, 1 or more.
    pub keep: usize,
    /// None that ended more than this many days ago, 1 or more.
    pub days: u32,
}

impl Default for History {
    /// A thousand, of the last 90 days.
    fn default() -> History {
        History { keep: 1000, days: 90 }
    }
}

/// Which migrations are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// All.
    #[default]
    All,
    /// Those that have not ended.
    Open,
    /// Those that have ended.
    Ended,
}

impl Which {
    /// The journal's column `ended`, as SQL compares it; empty: whatever it is.
    pub(crate) fn ended(self) -> &'static str {
        match self {
            Which::All => "",
            Which::Open => "0",
            Which::Ended => "1",
        }
    }
}

/// A migration that has ended, as far as forgetting it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Milliseconds since 1970.
    pub(crate) ended_ms: i64,
    /// It ended with a promise to another host.
    pub(crate) promised: bool,
    /// It still holds a VF, or keeps one in quarantine.
    pub(crate) holds: bool,
}

impl History {
    /// Whether it is to be forgotten, when so many newer ones are kept.
    ///
    /// What ended within the hour is kept in any case: the source follows the destination's record to its end, and a
    /// request that is repeated must find the migration that it made.
    pub(crate) fn forgets(self, finished: Finished, newer: usize, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(finished.ended_ms);
        if finished.holds || age_ms < HOUR_MS {
            return false;
        }
        let surplus = newer >= self.keep || age_ms > i64::from(self.days) * DAY_MS;
        surplus && (!finished.promised || age_ms > PROMISES_KEPT_MS)
    }
}

impl<W: World> Coordinator<W> {
    /// Forgets what need not be kept any longer.
    pub(crate) async fn forget(&self) {
        match self.forget_as_of(now_ms()).await {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "migrations of long ago are forgotten"),
            // The next end tries again.
            Err(error) => warn!("history: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_323_045_067;

    fn ended(ago_ms: i64) -> Finished {
        Finished {
            ended_ms: NOW - ago_ms,
            promised: false,
            holds: false,
        }
    }

    #[test]
    fn number_and_age_are_bounds_of_their_own() {
        let history = History { keep: 3, days: 2 };
        let forgets = |finished, newer| history.forgets(finished, newer, NOW);
        assert!(!forgets(ended(DAY_MS), 2));
        assert!(forgets(ended(DAY_MS), 3));
        assert!(!forgets(ended(2 * DAY_MS), 0));
        assert!(forgets(ended(2 * DAY_MS + 1), 0));
    }

    #[test]
    fn what_is_still_asked_for_is_kept() {
        let forgets = |finished| History { keep: 1, days: 1 }.forgets(finished, 100, NOW);
        assert!(!forgets(ended(HOUR_MS - 1)) && forgets(ended(HOUR_MS)));
        assert!(!forgets(ended(-DAY_MS)), "the clock went back");
        let holds = Finished {
            holds: true,
            ..ended(100 * DAY_MS)
        };
        assert!(!forgets(holds));
        let promised = |days| Finished {
            promised: true,
            ..ended(days * DAY_MS)
        };
        assert!(!forgets(promised(7)) && forgets(promised(8)));
    }
}
