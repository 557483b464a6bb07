//! The destination's wait for its guest. What of the plug needs no guest is done meanwhile.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use godwit_coordinator::Job;
use godwit_migration::{Event as Outcome, Pair, PciAddress, Report};
use tokio::sync::broadcast::error::RecvError;
use tracing::{debug, warn};

use super::{RealWorld, Work, profile::profile_of, transfer::figures, uuid};
use crate::libvirt::{Event, RunState, Running};

/// An arrival is told by an event; this often the domain's state is read all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl RealWorld {
    /// Until the guest runs here.
    pub(super) async fn arrival(&self, job: &Job) -> Work<Report> {
        let mut prepared = String::new();
        {
            let ready = async {
                let (told, ()) = tokio::join!(self.make_ready(job), self.copies_on_arrival(&job.brief));
                told
            };
            let arrived = self.arrived(job);
            tokio::pin!(arrived, ready);
            // Nobody waits for the rest: the plug makes good what is missing.
            tokio::select! {
                biased;
                came = &mut arrived => came?,
                told = &mut ready => {
                    prepared = told;
                    arrived.await?;
                }
            }
        }
        self.correct_persistent(job).await;
        let completed = self.libvirt.completed_job_stats(uuid(&job.brief)?).await;
        let figures = completed.ok().flatten().as_ref().map(figures);
        Ok(Report {
            figures,
            ..Report::of(format!("the guest runs on {}{prepared}", self.host))
        })
    }

    /// The event wakes, the state decides: a source whose migration is cancelled sends the same event.
    pub(super) async fn arrived(&self, job: &Job) -> Work<()> {
        let id = uuid(&job.brief)?;
        let mut events = self.libvirt.events();
        loop {
            match self.libvirt.state(id).await {
                Ok(Some(state)) if has_arrived(state.run) => return Ok(()),
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
    }

    /// The VFs that are held for the guest are made ready while its memory is copied: reset, with vfio-pci, and all settings
    /// but the MAC, so that the guest waits on its standby for the plug alone. What came of it, for the phase's sentence.
    async fn make_ready(&self, job: &Job) -> String {
        let held = job.brief.pairs.iter();
        let held = held.filter_map(|pair| Some((pair, job.brief.vf_here(pair)?)));
        let told = join_all(held.map(|(pair, vf)| self.make_one_ready(job, pair, vf))).await;
        told.into_iter()
            .flatten()
            .map(|told| format!("; {told}"))
            .collect()
    }

    /// One that cannot be made ready is told again, and dealt with, when it is to be plugged.
    async fn make_one_ready(&self, job: &Job, pair: &Pair, vf: PciAddress) -> Option<String> {
        let begun = Instant::now();
        match self.prepare_like(vf, &profile_of(None, pair), true).await {
            Ok(_) => Some(format!(
                "{vf} was made ready before, in {} ms",
                begun.elapsed().as_millis()
            )),
            Err(Outcome::Failed(cause)) => {
                let causes = cause.causes.join(": ");
                warn!(migration = %job.brief.id, causes, "{} while the guest is on its way", cause.message);
                None
            }
            Err(_) => None,
        }
    }
}

/// A guest whose memory is still coming (post-copy) runs here but cannot be plugged yet.
fn has_arrived(run: RunState) -> bool {
    matches!(run, RunState::Running(reason) if !matches!(reason, Running::PostCopy | Running::PostCopyFailed))
}
