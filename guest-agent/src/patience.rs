//! How long a request may be worked on: until its deadline, or until nobody wants the answer.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Held by the work.
pub(crate) struct Patience {
    pub(crate) deadline: Instant,
    wanted: watch::Receiver<()>,
}

/// Held by whoever wants the answer; dropping it abandons the work.
pub(crate) struct Wanted {
    _alive: watch::Sender<()>,
}

/// Why the work has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Deadline,
    /// Another session was opened, or the agent is to end.
    Abandoned,
}

impl Patience {
    pub(crate) fn until(deadline: Instant) -> (Self, Wanted) {
        let (alive, wanted) = watch::channel(());
        (Self { deadline, wanted }, Wanted { _alive: alive })
    }

    /// Waits until it is over. May be dropped and called again.
    pub(crate) async fn over(&mut self) -> Over {
        let abandoned = async {
            // Nothing is ever sent: the only change is that the sender is dropped.
            while self.wanted.changed().await.is_ok() {}
        };
        tokio::select! {
            () = sleep_until(self.deadline) => Over::Deadline,
            () = abandoned => Over::Abandoned,
        }
    }
}
