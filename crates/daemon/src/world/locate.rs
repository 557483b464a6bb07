//! Settling where the guest is, from what both hosts see; and the two things that only then may be done to it.

use std::time::Duration;

use godwit_coordinator::Job;
use godwit_migration::{
    Cause, Contradiction, DestinationView, Event, PciAddress, Report, Sighting, SourceView, Verdict,
    Whereabouts,
};
use tracing::warn;

use super::{RealWorld, Work, evidence, failed, uuid};
use crate::libvirt::{
    DomainState, JobKind, LibvirtError, Paused, RunState, Running, ShutOff, xml::DomainDevices,
};

/// How long the destination is asked before a transfer that may not be the first.
const LOOK: Duration = Duration::from_secs(15);

impl RealWorld {
    /// Reads the evidence; an unclear view of an absent guest asks the destination for its promise.
    pub(super) async fn locate(&self, job: &Job) -> Event {
        let source = match self.source_view(job).await {
            Ok(source) => source,
            Err(event) => return event,
        };
        let (mut destination, mut silent) = self.peers.look(&job.brief, false, job.deadline / 3).await;
        let mut found = Whereabouts::read(source, destination);
        let here = matches!(source.sighting, Sighting::Running | Sighting::Paused);
        let not_there = matches!(destination.sighting, Sighting::Absent | Sighting::ShutOff);
        if found == Whereabouts::Unknown && source.job_over && here && not_there {
            (destination, silent) = self.peers.look(&job.brief, true, job.deadline / 3).await;
            found = Whereabouts::read(source, destination);
        }
        let mut detail = evidence_sentence(job, source, destination);
        if let Some(cause) = silent {
            detail = format!("{detail} ({})", cause.message);
        }
        if found == Whereabouts::Unknown && self.may_run_twice(job, source, destination).await {
            detail = match self.suspend_here(job).await {
                Ok(()) => format!("{detail}; the copy here is paused until it is"),
                Err(_) => format!("{detail}; the copy here could not be paused"),
            };
        }
        Event::Located {
            verdict: found.verdict(),
            detail,
        }
    }

    async fn suspend_here(&self, job: &Job) -> Work<()> {
        let suspended = self.libvirt.suspend(uuid(&job.brief)?).await;
        suspended.map_err(|error| failed("SUSPEND", "the copy here could not be paused", &error))
    }

    /// It runs here, the destination may have run it, cannot be asked, and both copies could spoil something.
    async fn may_run_twice(&self, job: &Job, source: SourceView, destination: DestinationView) -> bool {
        let doubtful = source.job_over && source.switched_over && source.sighting == Sighting::Running;
        if !doubtful || destination.sighting != Sighting::Unreadable {
            return false;
        }
        match self.devices(&job.brief).await {
            Ok(devices) => self.doubt.pauses(&devices.disks),
            // What cannot be read is looked at again by the next attempt.
            Err(_) => false,
        }
    }

    async fn source_view(&self, job: &Job) -> Work<SourceView> {
        let id = uuid(&job.brief)?;
        let seen = self.evidence.of(id);
        let mut view = SourceView {
            sighting: Sighting::Unreadable,
            job_over: true,
            switched_over: seen.switched_over,
            ended_as_migrated: seen.ended_as_migrated,
        };
        let state = self.libvirt.state(id).await;
        match &state {
            Ok(state) => {
                let run = state.as_ref().map(|state| state.run);
                view.sighting = evidence::sighting(run, evidence::Side::Source);
                // libvirt says so of a source that it had paused for the switch-over; the event may be on its way.
                view.switched_over |= run == Some(RunState::Running(Running::MigrationCancelled));
                view.ended_as_migrated |= run == Some(RunState::ShutOff(ShutOff::Migrated));
            }
            Err(_) => return Ok(view),
        }
        // libvirt keeps the job of a post-copy that broke, so that it can be taken up again; nothing happens in it meanwhile.
        let broke = matches!(run_of(&state), Some(RunState::Paused(Paused::PostCopyFailed)));
        if !broke && !matches!(view.sighting, Sighting::Absent | Sighting::ShutOff) {
            view.job_over = match self.libvirt.job(id).await {
                Ok(kind) => kind != JobKind::OutgoingMigration,
                Err(LibvirtError::NoDomain { .. }) => true,
                Err(error) if error.is_retryable() => false,
                Err(error) => return Err(failed("LIBVIRT", "whether a job runs cannot be read", &error)),
            };
        }
        Ok(view)
    }

    /// An earlier process may have begun a transfer that is over by now, and the destination does not say that it still
    /// waits for the guest: what runs here may be the stale copy that such a transfer left, and is not sent again.
    pub(super) async fn sent_before(&self, job: &Job) -> bool {
        if !job.taken_up {
            return false;
        }
        let (there, _) = self.peers.look(&job.brief, false, job.deadline.min(LOOK)).await;
        let waits = matches!(there.sighting, Sighting::Absent | Sighting::ShutOff);
        !waits || there.ran || there.closed
    }

    /// The guest that the transfer left paused here runs again; the destination has promised not to run it.
    pub(super) async fn resume(&self, job: &Job) -> Work<Report> {
        let id = uuid(&job.brief)?;
        let resumed = self.libvirt.resume(id).await;
        match self.libvirt.state(id).await {
            Ok(Some(state)) if matches!(state.run, RunState::Running(_)) => {
                Ok(Report::of("the guest runs again"))
            }
            _ => Err(resumed.err().map_or_else(
                || {
                    Event::Failed(crate::cause::cause(
                        "RESUME",
                        "the guest does not run although libvirt resumed it",
                    ))
                },
                |error| failed("RESUME", "the guest could not be resumed", &error),
            )),
        }
    }

    /// The destination gives back what it held. One that has the guest contradicts what this host was told (a person's word, at
    /// last): then what is here is looked at again.
    pub(super) async fn unreserve(&self, job: &Job) -> Work<Report> {
        let brief = &job.brief;
        match self.peers.unreserve(brief, job.deadline).await {
            Ok(()) => Ok(Report::of(format!("{} holds nothing", brief.destination))),
            Err(cause) if cause.reason == "HOST_HAS_GUEST" => self.contradicted(job, cause).await,
            Err(cause) => Err(Event::Failed(cause)),
        }
    }

    async fn contradicted(&self, job: &Job, cause: Cause) -> Work<Report> {
        let (brief, guest) = (&job.brief, &job.brief.guest.name);
        let source = self.source_view(job).await?;
        let arrived = self.peers.has_arrived(brief, job.deadline / 3).await;
        match Contradiction::read(source, arrived) {
            Contradiction::NotHere => Ok(Report::of(format!(
                "`{guest}` is on {} and not here any more",
                brief.destination
            ))),
            Contradiction::OnBoth => Err(Event::Located {
                verdict: Verdict::OnBoth,
                detail: format!(
                    "it stayed on {}, and {}: the copy here is stale",
                    brief.source, cause.message
                ),
            }),
            Contradiction::Unclear => Err(Event::Failed(cause)),
        }
    }

    /// The guest runs on both hosts: the copy here stops. A VF that it has again cannot leave a guest that stands still, but it
    /// draws no frames any more.
    pub(super) async fn suspend(&self, job: &Job) -> Work<Report> {
        let suspended = self.libvirt.suspend(uuid(&job.brief)?).await;
        suspended.map_err(|error| {
            failed(
                "SUSPEND",
                "the guest runs on both hosts and the copy here could not be paused",
                &error,
            )
        })?;
        self.quieten(job).await;
        let name = &job.brief.guest.name;
        Ok(Report::of(format!(
            "the copy of `{name}` here is paused; end it with: virsh destroy {name}"
        )))
    }

    async fn quieten(&self, job: &Job) {
        let Ok(devices) = self.devices(&job.brief).await else {
            return;
        };
        for pair in &job.brief.pairs {
            let Some(vf) = job.brief.vf_here(pair).filter(|vf| has(&devices, *vf)) else {
                continue;
            };
            if let Err(error) = self.vfs.set_mac(vf, None).await {
                warn!(migration = %job.brief.id, %vf, "keeps the MAC of a stale copy: {error}");
            }
        }
    }
}

fn has(devices: &DomainDevices, vf: PciAddress) -> bool {
    devices.hostdevs.iter().any(|hostdev| hostdev.host_address == vf)
}

fn run_of(state: &Result<Option<DomainState>, LibvirtError>) -> Option<RunState> {
    state.as_ref().ok()?.as_ref().map(|state| state.run)
}

fn evidence_sentence(job: &Job, source: SourceView, destination: DestinationView) -> String {
    let word = |sighting: Sighting| match sighting {
        Sighting::Split => "with a part of its memory".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    let verdict = match Whereabouts::read(source, destination).verdict() {
        Verdict::Here => "so it stayed",
        Verdict::There => "so it moved",
        Verdict::PausedHere => "so it is to be resumed here",
        Verdict::OnBoth => "so it runs on both",
        Verdict::Gone => "so it runs on neither",
        Verdict::Unknown => "which does not settle where it is",
    };
    let job_word = if source.job_over { "" } else { " in a job" };
    let closed = if destination.closed { ", closed" } else { "" };
    let (here, there) = (&job.brief.source, &job.brief.destination);
    let split = match source.sighting == Sighting::Split && source.job_over {
        true => format!("; post-copy broke, and what {here} and {there} have is a guest only together"),
        false => String::new(),
    };
    format!(
        "{} on {here}{job_word}, {}{closed} on {there}, {verdict}{split}",
        word(source.sighting),
        word(destination.sighting),
    )
}
