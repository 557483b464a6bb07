//! Following a migration across restarts of the daemon: the migration goes on without its watcher, so a
//! watcher that lost the daemon looks for it again, for a bounded time.

use std::time::Duration;

use godwit_api::v1::Migration;
use tokio::time::{Instant, sleep};

use crate::client::{Changes, Client};
use crate::failure::Error;

/// How long a daemon that went away is waited for: a restart takes seconds, an upgrade perhaps a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// A daemon that was there for so long is back for good; until then its patience runs on, so that one that comes and
/// goes does not keep its watchers for ever.
const STEADY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a watcher hears.
pub(crate) enum Heard {
    /// The migration as it is now.
    Now(Box<Migration>),
    /// The daemon went away; the next answer comes when it is back.
    Away,
    /// It is back; the migration as it is now.
    Back(Box<Migration>),
}

/// One migration under observation.
pub(crate) struct Watch {
    client: Client,
    id: String,
    state: State,
    /// The last search, and when it found the daemon.
    found: Option<(Retry, Instant)>,
}

enum State {
    New,
    Open(Changes),
    Away(Retry, Error),
}

impl Watch {
    pub(crate) fn new(client: Client, id: String) -> Watch {
        Watch {
            client,
            id,
            state: State::New,
            found: None,
        }
    }

    /// Waits for news. Fails when the daemon refuses, or stays away for longer than [`PATIENCE`].
    pub(crate) async fn next(&mut self) -> Result<Heard, Error> {
        let news = match std::mem::replace(&mut self.state, State::New) {
            State::New => self.open().await,
            State::Open(mut changes) => {
                let migration = changes.next().await;
                self.state = State::Open(changes);
                migration
            }
            State::Away(retry, lost) => return self.find_again(retry, lost).await,
        };
        match news {
            Ok(migration) => Ok(Heard::Now(Box::new(migration))),
            Err(error) if error.is_lost() => {
                let unsteady = self.found.take().filter(|(_, since)| since.elapsed() < STEADY);
                let retry = unsteady.map_or_else(Retry::new, |(retry, _)| retry);
                self.state = State::Away(retry, error);
                Ok(Heard::Away)
            }
            Err(error) => Err(error),
        }
    }

    async fn open(&mut self) -> Result<Migration, Error> {
        let (migration, changes) = self.client.watch(self.id.clone()).await?;
        self.state = State::Open(changes);
        Ok(migration)
    }

    async fn find_again(&mut self, mut retry: Retry, mut lost: Error) -> Result<Heard, Error> {
        while retry.wait().await {
            let found = match self.client.reconnect().await {
                Ok(()) => self.open().await,
                Err(error) => Err(error),
            };
            match found {
                Ok(migration) => {
                    self.found = Some((retry, Instant::now()));
                    return Ok(Heard::Back(Box::new(migration)));
                }
                Err(error) if error.is_lost() => lost = error,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Lost {
            lost: format!("migration {} is out of sight (it goes on by itself)", self.id),
            hint: format!("systemctl status godwitd; then: godwit watch {}", self.id),
            patience: PATIENCE,
            source: Box::new(lost),
        })
    }
}

/// Bounded back-off: longer and longer pauses, [`PATIENCE`] in all.
#[derive(Debug)]
pub(crate) struct Retry {
    since: Instant,
    tries: u32,
}

impl Retry {
    pub(crate) fn new() -> Retry {
        Retry {
            since: Instant::now(),
            tries: 0,
        }
    }

    /// Waits before the next try; false when there is none left.
    pub(crate) async fn wait(&mut self) -> bool {
        let Some(pause) = pause(self.tries, self.since.elapsed()) else {
            return false;
        };
        self.tries += 1;
        sleep(pause).await;
        true
    }
}

/// The pause before the next try, when `tries` were made in `elapsed`.
fn pause(tries: u32, elapsed: Duration) -> Option<Duration> {
    let left = PATIENCE.checked_sub(elapsed).filter(|left| !left.is_zero())?;
    Some(
        (FIRST_PAUSE * 2u32.saturating_pow(tries.min(16)))
            .min(LONGEST_PAUSE)
            .min(left),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_end_with_the_patience() {
        let (mut elapsed, mut tries, mut pauses) = (Duration::ZERO, 0, Vec::new());
        while let Some(next) = pause(tries, elapsed) {
            elapsed += next;
            tries += 1;
            pauses.push(next.as_millis());
        }
        assert_eq!(pauses[..7], [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(elapsed, PATIENCE);
        assert_eq!(pause(0, PATIENCE + FIRST_PAUSE), None);
        assert_eq!(pause(u32::MAX, Duration::ZERO), Some(LONGEST_PAUSE));
    }
}
