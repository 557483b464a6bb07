//! The transfer: libvirt's migration proper, attended to its end.

use std::time::Duration;

use godwit_coordinator::Job;
use godwit_migration::{Cause, Course, Event, Figures, Kept, Report, State};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{RealWorld, Work, failed, leaving::is_wished, reachable, urge::Urge, uuid};
use crate::{
    cause::{CauseExt, cause},
    libvirt::{
        self, JobKind, JobStats, LibvirtError, MigrateRequest, RunState, XmlOf,
        edit::{with_metadata, without_hostdevs},
    },
};

/// How often a transfer's figures are read.
const FIGURES: Duration = Duration::from_millis(500);
/// They are not read for so long when the rest takes less at the rate of now: QEMU's main loop answers, and libvirt's own requests
/// at the switch-over wait behind ours, while the guest stands still.
const NEARLY: Duration = Duration::from_secs(2);
/// If the guest wrote faster than was thought, they are read again after this.
const QUIET: Duration = Duration::from_secs(6);

/// Of a transfer that an earlier process began.
const BEGUN_LATER: &str = "godwitd was started during the transfer, and knows nothing of what came before";

impl RealWorld {
    /// Whatever came of it: the next phase looks where the guest is.
    pub(super) async fn transfer(&self, job: &Job) -> Work<Report> {
        let id = uuid(&job.brief)?;
        let told =
            |error: &LibvirtError| failed("TRANSFER", "libvirt could not be asked for the transfer", error);
        reachable(&self.libvirt, Duration::from_secs(60))
            .await
            .map_err(|error| told(&error))?;
        let state = self.libvirt.state(id).await.map_err(|error| told(&error))?;
        let run = state.as_ref().map(|state| state.run);
        let runs = matches!(run, Some(RunState::Running(_)));
        let persistent = state.is_some_and(|state| state.persistent);
        let going = self.libvirt.job(id).await.unwrap_or(JobKind::None) == JobKind::OutgoingMigration;
        let turned = matches!(job.state, State::Work(Course::Turn, _));
        if !going && (!runs || turned || self.sent_before(job).await) {
            return Ok(Report::of("no transfer is running"));
        }
        let keeper = self.keep_from(job).await;
        let mut urge = Urge::of(run);
        let ended = if going {
            self.attend(job, async { Ok(()) }, (turned, &mut urge)).await
        } else {
            let request = self.migrate_request(job, id, persistent).await?;
            self.evidence.begin(id);
            self.attend(job, self.libvirt.migrate(request), (turned, &mut urge))
                .await
        };
        self.aborted().remove(&job.brief.id);
        let mut kept = match keeper {
            Ok(keeper) => keeper.end(ended.is_ok()).await,
            Err(kept) => kept,
        };
        if going {
            // The pause may have begun before.
            kept.not_kept.get_or_insert(BEGUN_LATER.into());
        }
        let figures = self.evidence.of(id).figures.as_ref().map(figures);
        match ended {
            Ok(()) => Ok(Report {
                figures,
                detail: format!("libvirt says the transfer went well{}; {kept}", urge.told()),
                kept: Some(Box::new(kept)),
                ..Report::default()
            }),
            Err(error) => Err(failed("TRANSFER", "libvirt ended the transfer", &error)
                .with_hint(format!("virsh domjobinfo {} --completed", job.brief.guest.name))
                .with_kept(kept)),
        }
    }

    /// The destination's persistent definition has the standby and the metadata, and no VF of this host.
    async fn migrate_request(&self, job: &Job, id: uuid::Uuid, persistent: bool) -> Work<MigrateRequest> {
        let peer = self.peers.peer(&job.brief.destination).map_err(Event::Failed)?;
        let persistent_xml = match persistent {
            true => Some(
                self.persistent_xml(id, &job.brief.guest.name)
                    .await
                    .map_err(Event::Failed)?,
            ),
            false => None,
        };
        Ok(MigrateRequest {
            uuid: id,
            destination: peer.migrate_uri.clone(),
            migration_uri: peer.memory_uri.clone(),
            persistent,
            live_xml: None,
            persistent_xml,
            options: job.brief.options.clone(),
        })
    }

    /// The persistent XML as it should be on any host: metadata in, VFs out.
    pub(super) async fn persistent_xml(
        &self,
        id: uuid::Uuid,
        guest: &str,
    ) -> Result<String, godwit_migration::Cause> {
        let told = || {
            cause(
                "PERSISTENT_XML",
                format!("the persistent XML of `{guest}` cannot be made right"),
            )
        };
        let text = self
            .libvirt
            .xml(id, XmlOf::Persistent)
            .await
            .map_err(|error| told().because(&error))?;
        let wish = self.wish(id).await.map_err(|why| told().because(&*why))?;
        let Some(wish) = wish else { return Ok(text) };
        let ours = |hostdev: &libvirt::xml::HostDev| is_wished(&wish, hostdev);
        let text = without_hostdevs(&text, ours).map_err(|error| told().because(&error))?;
        with_metadata(&text, &wish.to_namespaced()).map_err(|error| told().because(&error))
    }

    /// Waits for the end of the job, tells its figures, and ends it early when that is asked for.
    async fn attend(
        &self,
        job: &Job,
        call: impl Future<Output = Result<(), LibvirtError>>,
        (turned, urge): (bool, &mut Urge),
    ) -> Result<(), LibvirtError> {
        let id = job.brief.guest.uuid.parse().unwrap_or_default();
        let end = Instant::now() + job.deadline;
        let mut tick = tokio::time::interval(FIGURES);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(call);
        let mut returned = None;
        let mut hush = Hush::default();
        loop {
            tokio::select! {
                result = &mut call, if returned.is_none() => {
                    returned = Some(result);
                    hush = Hush::default();
                }
                _ = tick.tick() => {
                    let mut asked = turned || Instant::now() >= end || self.aborted().contains(&job.brief.id);
                    if hush.holds(Instant::now()) && !asked {
                        continue;
                    }
                    let stats = self.libvirt.job_stats(id).await;
                    if let Ok(Some(stats)) = &stats {
                        let figures = figures(stats);
                        if returned.is_none() {
                            hush.hear(&figures, Instant::now());
                            asked |= self.urge(id, urge, &job.brief.options, &figures).await;
                        }
                        job.progress.send_replace(Some(figures));
                    }
                    // The call may return (or have been made by a process that died) while the job goes on.
                    let going = matches!(stats, Ok(Some(_)) | Err(LibvirtError::ConnectionLost { .. } | LibvirtError::Timeout { .. }));
                    let over = !going || (returned.is_some() && self.post_copy_broke(id).await);
                    if let Some(result) = returned.take_if(|_| over) {
                        return result;
                    }
                    if asked && urge.can_be_ended() {
                        self.abort_now(id).await;
                    }
                }
            }
        }
    }

    async fn abort_now(&self, id: uuid::Uuid) {
        match self.libvirt.abort_job(id).await {
            Ok(()) => info!(guest = %id, "transfer: abort asked"),
            Err(error) => warn!(guest = %id, "transfer: abort: {error}"),
        }
    }

    pub(super) fn aborted(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<String>> {
        self.remembered
            .aborted
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// While the emulator is asked for nothing.
#[derive(Default)]
struct Hush(Option<Instant>);

impl Hush {
    /// It begins when what is left takes less than [`NEARLY`] at the rate of now.
    fn hear(&mut self, figures: &Figures, now: Instant) {
        let nearly_over = figures.memory_processed > 0
            && figures.rate > 0
            && figures.memory_remaining / figures.rate < NEARLY.as_secs();
        self.0 = nearly_over.then_some(now + QUIET);
    }

    fn holds(&self, now: Instant) -> bool {
        self.0.is_some_and(|until| now < until)
    }
}

pub(super) fn figures(stats: &JobStats) -> Figures {
    Figures {
        memory_total: stats.memory.total.unwrap_or_default(),
        memory_processed: stats.memory.processed.unwrap_or_default(),
        memory_remaining: stats.memory.remaining.unwrap_or_default(),
        rate: stats.memory_bps.unwrap_or_default(),
        elapsed_ms: stats.elapsed_ms.unwrap_or_default(),
        iteration: stats.iteration.unwrap_or_default().try_into().unwrap_or(u32::MAX),
        // While the job runs it is QEMU's guess; it is a measurement only of one that has ended.
        downtime_ms: stats
            .downtime_ms
            .filter(|_| stats.phase != libvirt::JobPhase::Active),
    }
}

/// What else is known with an event's cause.
trait With {
    fn with_hint(self, hint: String) -> Self;
    /// What became of the frames of the pause, if there were any.
    fn with_kept(self, kept: Kept) -> Self;
}

impl With for Event {
    fn with_kept(self, kept: Kept) -> Event {
        match self {
            Event::Failed(cause) if kept.frames > 0 => Event::Failed(Cause {
                kept: Some(Box::new(kept)),
                ..cause
            }),
            other => other,
        }
    }

    fn with_hint(self, hint: String) -> Event {
        match self {
            Event::Failed(cause) => Event::Failed(cause.hint(hint)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_when_little_is_left_and_asked_again_if_that_was_wrong() {
        let now = Instant::now();
        let hush = |memory_processed, memory_remaining, rate| {
            let mut hush = Hush::default();
            let figures = Figures {
                memory_processed,
                memory_remaining,
                rate,
                ..Figures::default()
            };
            hush.hear(&figures, now);
            hush
        };
        let soon = now + Duration::from_millis(1);
        assert!(hush(100, 19, 10).holds(soon));
        assert!(!hush(100, 19, 10).holds(now + QUIET));
        assert!(!hush(100, 20, 10).holds(soon));
        // Before anything was sent, or when nothing is known of the rate.
        assert!(!hush(0, 0, 10).holds(soon) && !hush(100, 0, 0).holds(soon));
        assert!(!Hush::default().holds(soon));
    }
}
