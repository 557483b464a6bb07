//! The one place that knows how to wait between attempts.
//!
//! Built on the crate `backoff`, which its author no longer maintains: nothing else may name it, so that
//! a swap is this file.

use std::{future::Future, time::Duration};

use backoff::{ExponentialBackoff, backoff::Backoff};
use tokio::time::Instant;

use crate::clock;

/// How long to wait between attempts: from `first`, growing by half or so each time, up to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Before the second attempt.
    pub first: Duration,
    /// Never more than this.
    pub most: Duration,
}

impl Policy {
    /// For a peer or a local service that should be there: 100 ms to 2 s.
    pub const NEAR: Policy = Policy {
        first: Duration::from_millis(100),
        most: Duration::from_secs(2),
    };
    /// For what needs the world to change: 1 s to 5 min.
    pub const FAR: Policy = Policy {
        first: Duration::from_secs(1),
        most: Duration::from_secs(300),
    };
    /// For a debt to a peer, which may have something to say that cannot wait: 1 s to 30 s.
    pub const DEBT: Policy = Policy {
        first: Duration::from_secs(1),
        most: Duration::from_secs(30),
    };
    /// For a question whether what is waited for will come: 2 min to 5 min.
    pub const DOUBT: Policy = Policy {
        first: Duration::from_secs(120),
        most: Duration::from_secs(300),
    };

    /// A fresh sequence of pauses.
    pub fn pauses(self) -> Pauses {
        Pauses(ExponentialBackoff {
            current_interval: self.first,
            initial_interval: self.first,
            max_interval: self.most,
            max_elapsed_time: None,
            randomization_factor: if clock::is_repeatable() {
                0.0
            } else {
                backoff::default::RANDOMIZATION_FACTOR
            },
            ..ExponentialBackoff::default()
        })
    }

    /// Runs `attempt` until it succeeds, its error says that repeating is no use, or the time is over.
    ///
    /// Only for what is harmless to repeat: connects, reads, idempotent writes.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn retry<T, E, F>(
        self,
        deadline: Duration,
        worth_it: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let end = Instant::now() + deadline;
        let mut pauses = self.pauses();
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    let pause = pauses.next();
                    if !worth_it(&error) || Instant::now() + pause >= end {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// A sequence of pauses that never ends.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Pauses {
    /// The next pause.
    #[allow(clippy::should_implement_trait)] // An iterator that never ends needs no Option.
    pub fn next(&mut self) -> Duration {
        // What the crate adds by chance it adds on top of its limit.
        let pause = clock::spread(self.0.next_backoff().unwrap_or(self.0.max_interval));
        pause.min(self.0.max_interval)
    }

    /// The next pause, slept.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_never_end() {
        let policy = Policy {
            first: Duration::from_millis(100),
            most: Duration::from_secs(2),
        };
        let mut pauses = policy.pauses();
        let taken: Vec<Duration> = (0..60).map(|_| pauses.next()).collect();
        assert!(taken[0] <= Duration::from_millis(150), "{:?}", taken[0]);
        assert!(taken[59] >= Duration::from_secs(1), "{:?}", taken[59]);
        assert!(taken.iter().all(|pause| *pause <= policy.most));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_ends_at_its_deadline_and_at_errors_that_stay() {
        let policy = Policy::NEAR;
        let mut tries = 0;
        let begun = Instant::now();
        let result: Result<(), u8> = policy
            .retry(
                Duration::from_secs(10),
                |_| true,
                || {
                    tries += 1;
                    async { Err(1) }
                },
            )
            .await;
        assert_eq!(result, Err(1));
        assert!(tries > 5 && begun.elapsed() <= Duration::from_secs(10), "{tries}");
        let mut tries = 0;
        let _: Result<(), u8> = policy
            .retry(
                Duration::from_secs(10),
                |_| false,
                || {
                    tries += 1;
                    async { Err(1) }
                },
            )
            .await;
        assert_eq!(tries, 1);
    }
}
