//! What is done with a transfer that takes too long, or may go on in post-copy. Decided by libvirt's own figures of the job, so that a
//! daemon that starts again decides the same.

use std::time::Duration;

use godwit_migration::{
    Figures, Options,
    options::{Timeout, TimeoutAction},
};
use tracing::{info, warn};
use uuid::Uuid;

use super::RealWorld;
use crate::libvirt::{Paused, RunState};

/// How far a transfer was urged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Urge {
    /// The guest was paused for it.
    suspended: bool,
    /// The guest has gone on at the destination: nobody can end the transfer any more.
    switched: bool,
}

impl Urge {
    /// Of a transfer whose guest is found like that.
    pub(super) fn of(run: Option<RunState>) -> Urge {
        Urge {
            suspended: false,
            switched: is_post_copied(run),
        }
    }

    /// libvirt may be asked to end the transfer.
    pub(super) fn can_be_ended(self) -> bool {
        !self.switched
    }

    /// For the phase's sentence.
    pub(super) fn told(self) -> &'static str {
        match (self.switched, self.suspended) {
            (true, _) => "; it went on in post-copy",
            (false, true) => "; the guest was paused for it",
            (false, false) => "",
        }
    }

    /// What is to be done now.
    fn next(self, options: &Options, figures: &Figures) -> Option<TimeoutAction> {
        if self.switched {
            return None;
        }
        let late = |timeout: &Timeout| Duration::from_millis(figures.elapsed_ms).as_secs() >= timeout.seconds;
        let action = options.timeout.filter(late).map(|timeout| timeout.action);
        let action = action.filter(|action| !(self.suspended && *action == TimeoutAction::Suspend));
        // The second pass begins when all of the memory was sent once.
        let passed = options.switches_after_first_pass() && figures.iteration > 1;
        action.or(passed.then_some(TimeoutAction::PostCopy))
    }
}

impl RealWorld {
    /// Does what is to be done by now. Whether the transfer is to be ended.
    pub(super) async fn urge(&self, id: Uuid, urge: &mut Urge, options: &Options, figures: &Figures) -> bool {
        let Some(action) = urge.next(options, figures) else {
            return false;
        };
        let done = match action {
            TimeoutAction::Cancel => return true,
            TimeoutAction::Suspend => {
                let done = self.libvirt.suspend(id).await;
                urge.suspended = done.is_ok();
                done
            }
            TimeoutAction::PostCopy => {
                let done = self.libvirt.start_post_copy(id).await;
                urge.switched = done.is_ok();
                done
            }
        };
        // It may just have ended. If not, it is tried again with the next figures.
        match done {
            Ok(()) => info!(guest = %id, ?action, "transfer: urged"),
            Err(error) => warn!(guest = %id, ?action, "transfer: not urged: {error}"),
        }
        false
    }

    /// The connection broke after the switch to post-copy: libvirt keeps the job, and nothing happens in it.
    pub(super) async fn post_copy_broke(&self, id: Uuid) -> bool {
        let state = self.libvirt.state(id).await.ok().flatten();
        state.is_some_and(|state| state.run == RunState::Paused(Paused::PostCopyFailed))
    }
}

fn is_post_copied(run: Option<RunState>) -> bool {
    matches!(
        run,
        Some(RunState::Paused(Paused::PostCopy | Paused::PostCopyFailed))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(elapsed_ms: u64, iteration: u32) -> Figures {
        Figures {
            elapsed_ms,
            iteration,
            ..Figures::default()
        }
    }

    fn after(seconds: u64, action: TimeoutAction) -> Options {
        Options {
            post_copy: Some(action == TimeoutAction::PostCopy),
            timeout: Some(Timeout { seconds, action }),
            ..Options::default()
        }
    }

    #[test]
    fn post_copy_begins_after_the_first_pass_or_when_the_timeout_says_so() {
        let (fresh, first) = (Urge::default(), Some(TimeoutAction::PostCopy));
        let plain = Options {
            post_copy: Some(true),
            ..Options::default()
        };
        assert_eq!(fresh.next(&plain, &figures(60_000, 1)), None);
        assert_eq!(fresh.next(&plain, &figures(10, 2)), first);
        let later = after(30, TimeoutAction::PostCopy);
        assert_eq!(fresh.next(&later, &figures(29_999, 7)), None);
        assert_eq!(fresh.next(&later, &figures(30_000, 1)), first);
        assert_eq!(fresh.next(&Options::default(), &figures(86_400_000, 99)), None);
    }

    #[test]
    fn a_guest_is_paused_once_and_a_transfer_that_has_switched_is_left_alone() {
        let suspend = after(5, TimeoutAction::Suspend);
        assert_eq!(
            Urge::default().next(&suspend, &figures(5_000, 3)),
            Some(TimeoutAction::Suspend)
        );
        let suspended = Urge {
            suspended: true,
            ..Urge::default()
        };
        assert_eq!(suspended.next(&suspend, &figures(9_000, 3)), None);
        assert!(suspended.can_be_ended());
        let cancel = after(5, TimeoutAction::Cancel);
        assert_eq!(
            Urge::default().next(&cancel, &figures(9_000, 3)),
            Some(TimeoutAction::Cancel)
        );
        // As a daemon finds it that starts again.
        for paused in [Paused::PostCopy, Paused::PostCopyFailed] {
            let switched = Urge::of(Some(RunState::Paused(paused)));
            assert!(!switched.can_be_ended());
            assert_eq!(switched.next(&cancel, &figures(9_000, 3)), None);
        }
        assert!(Urge::of(Some(RunState::Paused(Paused::Migration))).can_be_ended());
    }
}
