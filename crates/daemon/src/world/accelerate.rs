//! Accelerate, plug and fail back: the arrival at the destination and the undo on the source alike.

use std::path::Path;

use godwit_coordinator::{Job, retry::Policy};
use godwit_migration::{Course, Event, Pair, PciAddress, Report, State};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    RealWorld, Work, bad, each, failed,
    leaving::{alias_of, is_wished},
    profile::profile_of,
    reachable, uuid,
};
use crate::{
    agent::AgentError,
    cause::{CauseExt, cause},
    libvirt::{
        JobKind, XmlOf,
        edit::{hostdev_xml, metadata_in},
        metadata::GuestWish,
        xml::DomainDevices,
    },
    peers::plug_alias,
};

impl RealWorld {
    pub(super) async fn plug(&self, job: &Job) -> Work<Report> {
        let told = |error| failed("LIBVIRT", "libvirt does not answer", &error);
        reachable(&self.libvirt, job.deadline / 2).await.map_err(told)?;
        // Also of one that came by another tool, or was started here by hand.
        if matches!(job.state, State::Work(Course::Arrive, _)) {
            self.correct_persistent(job).await;
        }
        // One after the other: libvirt plugs into one domain under one job anyway.
        let mut plugged = Vec::new();
        // A pair that was on its standby before is put back there.
        for (index, pair) in job.brief.pairs.iter().enumerate() {
            if let Some(vf) = job.brief.vf_here(pair) {
                plugged.push(self.plug_one(job, (index, pair), vf).await?);
            }
        }
        Ok(Report::of(plugged.join("; ")))
    }

    async fn plug_one(&self, job: &Job, (index, pair): (usize, &Pair), vf: PciAddress) -> Work<String> {
        let devices = self.devices(&job.brief).await?;
        let id = uuid(&job.brief)?;
        let wish = self.wish_for(job, pair).await?;
        let profile = profile_of(wish.as_ref(), pair);
        if let Some(has) = plugged(&devices, pair, vf) {
            let is = devices.hostdev(&has).map_or(vf, |hostdev| hostdev.host_address);
            let lacks = self.check_plugged(is, &profile).await?;
            return Ok(format!("{has} is plugged already{lacks}"));
        }
        self.check_nobody_has(vf).await?;
        self.check_stays(job).await?;
        let lacks = self.make_ready(vf, pair, &profile).await?;
        let place = wish.as_ref().and_then(|wish| place_of(wish, pair));
        let device = hostdev_xml(
            vf,
            &plug_alias(&pair.primary, index),
            place.filter(|place| is_free(&devices, *place)),
        );
        let attached = self.libvirt.attach(id, device).await;
        // What libvirt answers is a hint; the domain is the evidence.
        let event = match (plugged(&self.devices(&job.brief).await?, pair, vf), attached) {
            (Some(has), _) => return Ok(format!("{has} is plugged{lacks}")),
            (None, Err(error)) if error.is_retryable() => {
                failed("PLUG", format!("VF {vf} could not be plugged now"), &error)
            }
            (None, Err(error)) => bad(
                vf,
                failed("PLUG", format!("VF {vf} could not be plugged"), &error),
            ),
            (None, Ok(())) => Event::Failed(cause(
                "PLUG",
                format!("VF {vf} is not in the domain although libvirt plugged it"),
            )),
        };
        self.take_back(vf).await;
        Err(event)
    }

    /// Another tool may be moving the guest away: libvirt would not plug before that has ended.
    async fn check_stays(&self, job: &Job) -> Work<()> {
        match self.libvirt.job(uuid(&job.brief)?).await {
            Ok(JobKind::OutgoingMigration) => Err(Event::Failed(cause(
                "LEAVING",
                format!(
                    "guest `{}` is being moved away by another tool",
                    job.brief.guest.name
                ),
            ))),
            // Whatever else it is, libvirt says so when it is asked to plug.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// libvirtd may have died inside an attach: then a QEMU has the VF and no XML says so.
    pub(super) async fn check_nobody_has(&self, vf: PciAddress) -> Work<()> {
        let told = |error| failed("PLUG", format!("who has VF {vf} open cannot be seen"), &error);
        let holders = self.vfs.holders(vf).await.map_err(told)?;
        match holders.first() {
            None => Ok(()),
            Some(holder) => Err(bad(
                vf,
                Event::Failed(
                    cause(
                        "STRAY_VF",
                        format!(
                            "VF {vf} is open in process {} ({}) and in no domain's XML",
                            holder.pid, holder.command
                        ),
                    )
                    .hint(format!("see what it is: ps -fp {}", holder.pid)),
                ),
            )),
        }
    }

    pub(super) async fn fail_back(&self, job: &Job) -> Work<Report> {
        let path = self.channel(&job.brief).await?;
        let back = |pair: &Pair| {
            let (pair, path) = (pair.clone(), path.clone());
            async move { self.fail_back_one(job, &pair, &path).await }
        };
        Ok(Report::of(
            each(job.brief.pairs_here().into_iter().map(back)).await?,
        ))
    }

    async fn fail_back_one(&self, job: &Job, pair: &Pair, path: &Path) -> Work<String> {
        let end = Instant::now() + job.deadline;
        let left = || end.saturating_duration_since(Instant::now());
        // Right after an arrival the agent may not have noticed its new host end yet.
        let adopted = Policy::NEAR
            .retry(left(), AgentError::is_passing, || {
                self.agents.adopt(path, pair.mac, pair.primary_mac, left())
            })
            .await;
        let interface = adopted.map_err(|error| {
            failed(
                "ADOPT",
                format!("the guest did not take the VF into pair {}", pair.mac),
                &error,
            )
        })?;
        let switched = Policy::NEAR
            .retry(left(), AgentError::is_passing, || {
                self.agents.fail_back(path, pair.mac, left())
            })
            .await;
        let switched = switched.map_err(|error| {
            failed(
                "FAIL_BACK",
                format!("the traffic of pair {} did not move to {interface}", pair.mac),
                &error,
            )
        })?;
        Ok(format!(
            "traffic on {}, frame after {} ms",
            switched.active, switched.first_frame_ms
        ))
    }

    /// Whatever tool moved the guest: its persistent definition here has the metadata and no VF. A failure is told and
    /// is no reason to leave the guest on standby.
    pub(super) async fn correct_persistent(&self, job: &Job) {
        if let Err(error) = self.try_correct_persistent(job).await {
            warn!(migration = %job.brief.id, "persistent XML not corrected: {error:#}");
        }
    }

    async fn try_correct_persistent(&self, job: &Job) -> anyhow::Result<()> {
        let id: uuid::Uuid = job.brief.guest.uuid.parse()?;
        let state = self.libvirt.state(id).await?;
        let wish = self.wish(id).await.map_err(anyhow::Error::from_boxed)?;
        let (true, Some(wish)) = (state.is_some_and(|state| state.persistent), wish) else {
            return Ok(());
        };
        let now = self.libvirt.xml(id, XmlOf::Persistent).await?;
        let written = metadata_in(&now)?.and_then(|element| element.parse::<GuestWish>().ok());
        let has_vf = DomainDevices::parse(&now)?
            .hostdevs
            .iter()
            .any(|hostdev| is_wished(&wish, hostdev));
        if written.as_ref() == Some(&wish) && !has_vf {
            return Ok(());
        }
        let right = self.persistent_xml(id, &job.brief.guest.name).await;
        let right =
            right.map_err(|cause| anyhow::anyhow!("{}: {}", cause.message, cause.causes.join(": ")))?;
        info!(migration = %job.brief.id, "correcting the persistent definition");
        Ok(self.libvirt.define(right).await?)
    }
}

/// The alias of the VF if the domain has it.
fn plugged(devices: &DomainDevices, pair: &Pair, vf: PciAddress) -> Option<String> {
    let by_address = devices.hostdevs.iter().find(|hostdev| hostdev.host_address == vf);
    by_address
        .map(|hostdev| hostdev.alias.clone().unwrap_or_default())
        .or_else(|| alias_of(devices, pair))
}

/// Where the pair's VF was in the guest.
pub(super) fn place_of(wish: &GuestWish, pair: &Pair) -> Option<PciAddress> {
    wish.pairs
        .iter()
        .find(|wished| wished.standby_mac == pair.mac)?
        .guest_address
}

/// The VF comes back to its old place in the guest, so that its name there stays; unless something else is there now.
fn is_free(devices: &DomainDevices, place: PciAddress) -> bool {
    let nics = devices.nics.iter().filter_map(|nic| nic.guest_address);
    let hostdevs = devices
        .hostdevs
        .iter()
        .filter_map(|hostdev| hostdev.guest_address);
    !nics.chain(hostdevs).any(|taken| taken == place)
}
