//! How many requests a caller may make: a bucket of permits for each, filled again at a steady rate.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Buckets that are full again are forgotten when there are more than this.
const MOST: usize = 1024;

/// The buckets of all callers.
#[derive(Debug)]
pub(crate) struct Rates {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    permits: f64,
    at: Instant,
}

impl Rates {
    pub(crate) fn new(burst: u32, per_second: u32) -> Rates {
        Rates {
            burst: f64::from(burst.max(1)),
            per_second: f64::from(per_second.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Takes a permit; without one, when there will be one.
    pub(crate) fn take(&self, caller: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| self.filled(*bucket, now).permits < self.burst);
        }
        let full = Bucket {
            permits: self.burst,
            at: now,
        };
        let bucket = buckets.entry(caller.to_owned()).or_insert(full);
        *bucket = self.filled(*bucket, now);
        if bucket.permits < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.permits) / self.per_second));
        }
        bucket.permits -= 1.0;
        Ok(())
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        Bucket {
            permits: (bucket.permits + since * self.per_second).min(self.burst),
            at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_has_its_burst_then_its_rate_and_takes_nobody_elses() {
        let rates = Rates::new(3, 2);
        let taken = |who: &str| (0..10).take_while(|_| rates.take(who).is_ok()).count();
        assert_eq!(taken("alpha"), 3);
        assert_eq!(taken("beta"), 3);
        assert_eq!(rates.take("alpha"), Err(Duration::from_millis(500)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken("alpha"), 2);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(taken("alpha"), 3, "no more than a burst is saved");
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_take_little_memory() {
        let rates = Rates::new(2, 1000);
        for number in 0..5 * MOST {
            rates.take(&number.to_string()).unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(rates.buckets.lock().unwrap().len() <= MOST);
    }
}
