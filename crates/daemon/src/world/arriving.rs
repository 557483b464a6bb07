//! The destination's wait for its guest.

use std::time::Duration;

use godwit_coordinator::Job;
use godwit_migration::Report;
use tokio::sync::broadcast::error::RecvError;
use tracing::debug;

use super::{RealWorld, Work, transfer::figures, uuid};
use crate::libvirt::{Event, RunState, Running};

/// An arrival is told by an event; this often the domain's state is read all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl RealWorld {
    /// Until the guest runs here. The event wakes, the state decides: a source whose migration is cancelled sends the
    /// same event.
    pub(super) async fn arrival(&self, job: &Job) -> Work<Report> {
        let id = uuid(&job.brief)?;
        let mut events = self.libvirt.events();
        loop {
            match self.libvirt.state(id).await {
                Ok(Some(state)) if has_arrived(state.run) => break,
                Ok(_) => {}
                Err(error) => debug!(migration = %job.brief.id, "waiting for the guest: {error}"),
            }
            let told = async {
                loop {
                    match events.recv().await {
                        Ok(Event::Lifecycle { uuid, .. }) if uuid == id => return,
                        Ok(Event::Connected) | Err(RecvError::Lagged(_)) => return,
                        Ok(_) => {}
                        Err(RecvError::Closed) => std::future::pending::<()>().await,
                    }
                }
            };
            let _ = tokio::time::timeout(LOOK_AGAIN, told).await;
        }
        self.correct_persistent(job).await;
        let completed = self.libvirt.completed_job_stats(id).await.ok().flatten();
        let figures = completed.as_ref().map(figures);
        Ok(Report {
            figures,
            ..Report::of(format!("the guest runs on {}", self.host))
        })
    }
}

/// A guest whose memory is still coming (post-copy) runs here but cannot be plugged yet.
fn has_arrived(run: RunState) -> bool {
    matches!(run, RunState::Running(reason) if !matches!(reason, Running::PostCopy | Running::PostCopyFailed))
}
