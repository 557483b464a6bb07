//! What ends a wait before its time: ctrl-C, and `--timeout`. What is waited for goes on in either case.

use std::io::BufRead;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// One who waits.
pub(super) struct Waiter {
    /// None if ctrl-C cannot be heard: it then ends the process as usual.
    interrupts: Option<Signal>,
    until: Option<(Instant, Duration)>,
    answers: Option<mpsc::Receiver<String>>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended<T> {
    Done(T),
    Interrupted,
    /// After that long.
    TimedOut(Duration),
}

impl Waiter {
    /// From now on ctrl-C is heard here, also while nobody waits.
    pub(super) fn new(timeout: Option<Duration>) -> Waiter {
        Waiter {
            interrupts: signal(SignalKind::interrupt()).ok(),
            until: timeout.map(|after| (Instant::now() + after, after)),
            answers: None,
        }
    }

    /// The work, or what came first. Work that is through at the same moment counts.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Ended<T> {
        let until = self.until;
        let over = async {
            match until {
                Some((at, after)) => {
                    sleep_until(at).await;
                    after
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ended::Done(done),
            () = interrupted(&mut self.interrupts) => Ended::Interrupted,
            after = over => Ended::TimedOut(after),
        }
    }

    /// The next line that is typed; none after ctrl-C, at the end of the input, or at `end`.
    pub(super) async fn answer(&mut self, end: Instant) -> Option<String> {
        let answers = self.answers.get_or_insert_with(typed);
        tokio::select! {
            biased;
            () = interrupted(&mut self.interrupts) => None,
            answer = answers.recv() => answer,
            () = sleep_until(end) => None,
        }
    }
}

async fn interrupted(interrupts: &mut Option<Signal>) {
    let heard = match interrupts {
        Some(interrupts) => interrupts.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Lines as they are typed. A thread of its own, which the process does not wait for: nobody can be kept from reading on.
fn typed() -> mpsc::Receiver<String> {
    let (told, answers) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if told.blocking_send(line).is_err() {
                return;
            }
        }
    });
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_time_and_not_before() {
        let mut waiter = Waiter::new(Some(Duration::from_secs(5)));
        let short = tokio::time::sleep(Duration::from_secs(4));
        assert_eq!(waiter.during(short).await, Ended::Done(()));
        let begun = Instant::now();
        let long = tokio::time::sleep(Duration::from_secs(4));
        assert_eq!(waiter.during(long).await, Ended::TimedOut(Duration::from_secs(5)));
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        // What is through already counts, however late it is.
        assert_eq!(waiter.during(std::future::ready(7)).await, Ended::Done(7));
    }
}
