//! The real world behind the coordinator's one trait: libvirt, VFs, the guest's agent, the other hosts.
//!
//! One exhaustive `match` from phase to work; each phase's work is in the file of its course.

// The error is the loop's own event, made once in a phase; a box would only hide it.
#![allow(clippy::result_large_err)]

mod accelerate;
mod ahead;
mod arriving;
mod coming;
mod counting;
pub(crate) mod doctor;
pub(crate) mod doubt;
mod evidence;
mod facts;
mod hooked;
mod kept;
mod leaving;
mod let_go;
mod locate;
pub(crate) mod measure;
mod networks;
pub(crate) mod places;
mod profile;
mod reach;
mod steering;
mod strays;
mod teamed;
mod transfer;
mod urge;

use std::{path::PathBuf, time::Duration};

use godwit_api::{peer::v1::ListMacsResponse, v1 as api};
use godwit_coordinator::{Job, Planned, Planning, World, retry};
use godwit_migration::{
    Brief, Cause, Event, Guest, GuestRefusal, Pair, PciAddress, Phase, Policy, Sighting, Vf,
    doctor::Diagnosis, preflight::GuestFacts, profile::MustMatch,
};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use self::{doctor::Practice, doubt::Doubt, evidence::Evidence, hooked::Remembered, reach::Asking};
use crate::{
    agent::{self, Agents},
    cause::{CauseExt, cause, refused},
    keep,
    libvirt::{self, Libvirt, LibvirtError, RunState, XmlOf, xml::DomainDevices},
    peers::Peers,
    vf::Vfs,
};

/// How long libvirtd may be away while it is asked for what a guest has.
const RESTART: Duration = Duration::from_secs(30);

/// What a phase's work ends with when it does not end well.
type Work<T> = Result<T, Event>;

/// This host, for real.
pub(crate) struct RealWorld {
    host: String,
    libvirt: Libvirt,
    vfs: Vfs,
    agents: Agents,
    peers: Peers,
    evidence: Evidence,
    remembered: Remembered,
    doubt: Doubt,
    must_match: MustMatch,
    practice: Practice,
    keep: keep::Settings,
    asking: Asking,
}

impl RealWorld {
    pub(crate) fn new(host: String, libvirt: Libvirt, vfs: Vfs, peers: Peers, agents: Agents) -> RealWorld {
        let evidence = Evidence::watch(&libvirt);
        RealWorld {
            host,
            libvirt,
            vfs,
            agents,
            peers,
            evidence,
            remembered: Remembered::default(),
            doubt: Doubt::default(),
            must_match: MustMatch::default(),
            practice: Practice::default(),
            keep: keep::Settings::default(),
            asking: Asking::default(),
        }
    }

    /// With another way to deal with a guest that may run twice.
    pub(crate) fn doubting(self, doubt: Doubt) -> RealWorld {
        RealWorld { doubt, ..self }
    }

    /// With other settings in which a guest's VF must be as it was.
    pub(crate) fn matching(self, must_match: MustMatch) -> RealWorld {
        RealWorld { must_match, ..self }
    }

    /// With other settings for frames that arrive in a guest's pause.
    pub(crate) fn keeping(self, keep: keep::Settings) -> RealWorld {
        RealWorld { keep, ..self }
    }

    /// Asking no network of this host for those whom guests know, if so.
    pub(crate) fn asking(self, allowed: bool) -> RealWorld {
        RealWorld {
            asking: Asking::new(allowed),
            ..self
        }
    }

    /// With what the doctor knows of this daemon.
    pub(crate) fn examined(self, practice: Practice) -> RealWorld {
        RealWorld { practice, ..self }
    }

    /// Whether libvirt's connection is open, and each change of that.
    pub(crate) fn libvirt_open(&self) -> watch::Receiver<bool> {
        self.libvirt.open()
    }

    /// What libvirt tells on its own.
    pub(crate) fn events(&self) -> broadcast::Receiver<libvirt::Event> {
        self.libvirt.events()
    }

    /// The guest's live devices; [`Event::Left`] when it does not run here. While libvirtd is being restarted it waits.
    async fn devices(&self, brief: &Brief) -> Work<DomainDevices> {
        let uuid = uuid(brief)?;
        let read = || async {
            let run = self.libvirt.state(uuid).await?.map(|state| state.run);
            match run {
                Some(run) if run.is_active() => self.libvirt.xml(uuid, XmlOf::Live).await.map(Ok),
                other => Ok(Err(other)),
            }
        };
        let lost = |error: &LibvirtError| matches!(error, LibvirtError::ConnectionLost { .. });
        let text = retry::Policy::NEAR
            .retry(RESTART, lost, read)
            .await
            .map_err(|error| failed("LIBVIRT", "the domain's XML cannot be read", &error))?;
        let text = text.map_err(|run| Event::Left(self.gone(brief, run)))?;
        DomainDevices::parse(&text).map_err(|error| failed("DOMAIN_XML", "the domain's XML is odd", &error))
    }

    /// Before a phase's first question: a daemon that has just started is not yet connected, and libvirtd may be starting.
    async fn await_libvirt(&self, job: &Job) -> Work<()> {
        let told = |error| failed("LIBVIRT", "libvirt does not answer", &error);
        reachable(&self.libvirt, job.deadline / 2).await.map_err(told)
    }

    fn gone(&self, brief: &Brief, run: Option<RunState>) -> Cause {
        let state = run.map_or("not here".into(), |run| run.to_string());
        let (guest, host) = (&brief.guest.name, &self.host);
        cause(
            "GUEST_LEFT",
            format!("guest `{guest}` is {state} on {host}, and not by this migration"),
        )
        .hint(format!("virsh domstate {guest} --reason"))
    }
}

impl World for RealWorld {
    async fn work(&self, job: Job) -> Event {
        let Some(phase) = job.state.phase() else {
            return Event::Failed(cause("DEFECT", "work was asked for after the end"));
        };
        if job.brief.teamed
            && let Some(worked) = self.work_teamed(&job, phase).await
        {
            return worked.map_or_else(|event| event, Event::Done);
        }
        let before = self.measure_from(&job, phase).await;
        let worked = match phase {
            Phase::Reserve => self.reserve(&job).await,
            Phase::Queue => self.queue(&job).await,
            Phase::Hold => Err(Event::Failed(cause(
                "DEFECT",
                "the coordinator holds VFs by itself",
            ))),
            Phase::FailOver => self.fail_over(&job).await,
            Phase::Unplug => self.unplug(&job).await,
            Phase::Transfer => self.transfer(&job).await,
            Phase::Locate => Err(self.locate(&job).await),
            Phase::Resume => self.resume(&job).await,
            Phase::Suspend => self.suspend(&job).await,
            Phase::Release => self.release(&job).await,
            Phase::Follow => self.follow(&job).await,
            Phase::Await => self.arrival(&job).await,
            Phase::Plug => self.plug(&job).await,
            Phase::FailBack => self.fail_back(&job).await,
            Phase::Unreserve => self.unreserve(&job).await,
        };
        let mut event = worked.map_or_else(|event| event, Event::Done);
        let after = self.measure_until(&job, phase, &event).await;
        if let Event::Done(report) = &mut event {
            // What the other host tells of its phases is in the report already.
            let here = after.or(before).map(Box::new);
            report.measured = here.or(report.measured.take());
        }
        event
    }

    async fn abort(&self, brief: &Brief) -> Result<(), Cause> {
        // The transfer's own loop does it: there may be no job yet, or one that is too young to be aborted.
        self.aborted().insert(brief.id.clone());
        Ok(())
    }

    async fn guests(&self, named: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        self.guest_facts(named).await
    }

    async fn adopt(&self, guest: &Guest, pairs: &[Pair], policy: Policy) -> Result<(), Cause> {
        self.write_wish(guest, pairs, policy).await
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        self.vf_facts().await
    }

    async fn clean(&self, vf: PciAddress) -> Result<(), Cause> {
        self.vfs.clean(vf).await.map_err(|error| {
            cause(
                "VF_NOT_CLEAN",
                format!("VF {vf} could not be cleaned: it is in quarantine"),
            )
            .because(&error)
            .hint(format!(
                "mend what the cause names; then again: `godwit vfs release {vf}`"
            ))
        })
    }

    async fn sight(&self, uuid: &str) -> Sighting {
        let Ok(uuid) = uuid.parse() else {
            return Sighting::Absent;
        };
        match self.libvirt.state(uuid).await {
            Ok(state) => evidence::sighting(state.map(|state| state.run), evidence::Side::Destination),
            Err(_) => Sighting::Unreadable,
        }
    }

    async fn plan(&self, what: Planning<'_>) -> Result<Planned, Cause> {
        match what {
            Planning::Leaving { brief, seen, carried } => Ok(self.plan_leaving(brief, seen, carried).await),
            Planning::Arriving(needs, peer) => Ok(self.plan_arriving(needs, peer).await),
        }
    }

    async fn greet(&self, peer: &str) -> Result<api::Host, Cause> {
        self.peers.greet(peer).await
    }

    async fn macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        self.peers.macs(peer).await
    }

    async fn record(&self, brief: &Brief) -> Result<Option<api::Migration>, Cause> {
        self.peers.record(brief).await
    }

    async fn doctor(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        self.diagnosis(guest).await
    }
}

/// The host's end of the agent's channel, in what was read already.
fn channel_in(devices: &DomainDevices, brief: &Brief) -> Work<PathBuf> {
    channel_of(devices).ok_or_else(|| {
        let detail = format!("its domain has no channel {}", agent::CHANNEL);
        Event::Failed(refused(GuestRefusal::NoAgent {
            guest: brief.guest.name.clone(),
            detail,
        }))
    })
}

fn channel_of(devices: &DomainDevices) -> Option<PathBuf> {
    let channel = devices
        .channels
        .iter()
        .find(|channel| channel.name == agent::CHANNEL)?;
    channel.path.as_ref().map(PathBuf::from)
}

/// The same, of an agent that has it open by libvirt's word.
fn open_channel_of(devices: &DomainDevices) -> Option<PathBuf> {
    let channel = devices
        .channels
        .iter()
        .find(|channel| channel.name == agent::CHANNEL && channel.connected)?;
    channel.path.as_ref().map(PathBuf::from)
}

fn uuid(brief: &Brief) -> Work<Uuid> {
    brief
        .guest
        .uuid
        .parse()
        .map_err(|_| Event::Failed(cause("DEFECT", "the journal has a guest without a UUID")))
}

fn failed(reason: &str, message: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Event {
    Event::Failed(cause(reason, message).because(error))
}

/// Another VF may work where this one did not.
fn bad(vf: PciAddress, event: Event) -> Event {
    match event {
        Event::Failed(cause) => Event::Failed(Cause {
            vf: Some(vf),
            ..cause
        }),
        other => other,
    }
}

/// The first failure of several pairs' work, or all their sentences joined.
async fn each<F: Future<Output = Work<String>>>(works: impl Iterator<Item = F>) -> Work<String> {
    let all = futures_util::future::join_all(works).await;
    Ok(all.into_iter().collect::<Work<Vec<_>>>()?.join("; "))
}

/// Waits until libvirt can be reached, so that a restart of libvirtd is a pause and not a failure.
async fn reachable(libvirt: &Libvirt, within: Duration) -> Result<(), LibvirtError> {
    libvirt.connected(within).await
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn after(seconds: u64, told: &str) -> Work<String> {
        sleep(Duration::from_secs(seconds)).await;
        match told {
            "" => Err(Event::Failed(cause("FAIL_OVER", "no"))),
            told => Ok(told.into()),
        }
    }

    /// Of eight pairs each waits for its own guest's bond and frames, not for the other seven.
    #[tokio::test(start_paused = true)]
    async fn the_pairs_of_a_guest_are_worked_on_side_by_side() {
        let begun = Instant::now();
        let told = each((1..=8).map(|_| after(10, "so"))).await;
        assert_eq!(told, Ok(["so"; 8].join("; ")));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    /// What is under way with the others ends before it is said: nothing goes on behind the next phase's back.
    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_told_when_all_have_ended() {
        let begun = Instant::now();
        let told = each([after(1, ""), after(20, "so")].into_iter()).await;
        assert_eq!(told, Err(Event::Failed(cause("FAIL_OVER", "no"))));
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }
}
