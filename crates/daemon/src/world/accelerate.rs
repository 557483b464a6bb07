//! Accelerate, plug and fail back: the arrival at the destination and the undo on the source alike.

use std::time::Duration;

use futures_util::future::join_all;
use godwit_coordinator::{Job, retry::Policy, words};
use godwit_migration::{Course, Event, MacAddress, Pair, PciAddress, Report, State, preflight::Stray};
use tokio::{sync::Mutex, time::Instant};
use tracing::{info, warn};

use super::{
    RealWorld, Work, bad, channel_in, each, failed,
    leaving::{alias_of, is_wished},
    profile::profile_of,
    teamed::teamed_with,
    uuid,
};
use crate::{
    agent::AgentError,
    cause::{CauseExt, cause, refused},
    libvirt::{
        JobKind, XmlOf,
        edit::{hostdev_xml, metadata_in},
        metadata::GuestWish,
        xml::DomainDevices,
    },
    vf::VfError,
};

impl RealWorld {
    pub(super) async fn plug(&self, job: &Job) -> Work<Report> {
        self.await_libvirt(job).await?;
        // Also of one that came by another tool, or was started here by hand.
        if matches!(job.state, State::Work(Course::Arrive, _)) {
            self.correct_persistent(job).await;
        }
        self.copies_on(&job.brief).await?;
        let turn = Mutex::new(());
        // A pair that was on its standby before is put back there.
        let works = job.brief.pairs.iter().enumerate().filter_map(|numbered| {
            let vf = job.brief.vf_here(numbered.1)?;
            Some(self.plug_one(job, numbered, vf, &turn))
        });
        // All have ended before it is said what came of them.
        let begun = Instant::now();
        match all_or_worst(join_all(works).await) {
            Ok(plugged) => {
                let told: Vec<String> = plugged.into_iter().map(|plugged| plugged.told).collect();
                Ok(Report::of(told.join("; ")))
            }
            Err((worst, there)) => {
                let left = job.deadline.saturating_sub(begun.elapsed());
                self.use_what_is_there(job, &there, left).await;
                Err(worst)
            }
        }
    }

    /// Each pair that has its VF uses it, while another waits for its own: a VF that is plugged and not used draws its
    /// frames away from the standby, and one whose MAC is taken off before its driver has begun is not known to its pair any
    /// more (the driver in the guest takes an address by chance, seen with igbvf). What does not come of it is tried again
    /// with the others.
    async fn use_what_is_there(&self, job: &Job, there: &[MacAddress], within: Duration) {
        let job = Job {
            deadline: within,
            ..job.clone()
        };
        let Ok(devices) = self.devices(&job.brief).await else {
            return;
        };
        let pairs = job.brief.pairs.iter().filter(|pair| there.contains(&pair.mac));
        let back = pairs.map(|pair| self.fail_back_one(&job, pair, &devices));
        for done in join_all(back).await {
            match done {
                Ok(told) => info!(migration = %job.brief.id, "meanwhile: {told}"),
                Err(event) => warn!(migration = %job.brief.id, ?event, "a VF is plugged and not used"),
            }
        }
    }

    async fn plug_one(
        &self,
        job: &Job,
        (index, pair): (usize, &Pair),
        vf: PciAddress,
        turn: &Mutex<()>,
    ) -> Work<Plugged> {
        let done = |alias: String, already: &str, lacks: &str| Plugged {
            pair: pair.mac,
            told: format!("{alias} is plugged{already}{lacks}"),
        };
        let wish = self.wish_for(job, pair).await?;
        let profile = profile_of(wish.as_ref(), pair);
        let devices = self.devices(&job.brief).await?;
        if let Some(has) = plugged(&devices, pair, vf) {
            let lacks = self.check_plugged(has.1, &profile).await?;
            self.steer_back(pair, has.1).await?;
            return Ok(done(has.0, " already", &lacks));
        }
        self.check_no_stray(job, &devices, (index, pair)).await?;
        self.check_nobody_has(vf).await?;
        self.check_stays(job).await?;
        self.check_pf(vf).await?;
        let lacks = self.prepare_like(vf, &profile, false).await?;
        // libvirt plugs into one domain one after the other anyway, and where a VF goes in the guest depends on what is
        // there already. Nor is a VF steered to before its turn.
        let _mine = turn.lock().await;
        let lacks = self.steer_like(vf, pair, &profile, lacks).await?;
        let place = wish.as_ref().and_then(|wish| place_of(wish, pair));
        match self.attach_one(job, (index, pair), vf, place).await {
            Ok(has) => Ok(done(has, "", &lacks)),
            Err(event) => {
                self.take_back(vf).await;
                Err(event)
            }
        }
    }

    /// What libvirt answers is a hint; the domain is the evidence.
    async fn attach_one(
        &self,
        job: &Job,
        (index, pair): (usize, &Pair),
        vf: PciAddress,
        place: Option<PciAddress>,
    ) -> Work<String> {
        let id = uuid(&job.brief)?;
        let devices = self.devices(&job.brief).await?;
        let place = place.filter(|place| is_free(&devices, *place));
        let alias = words::plug_alias(&pair.primary, index);
        let device = hostdev_xml(vf, &alias, place, teamed_with(&devices, pair));
        let attached = self.libvirt.attach(id, device).await;
        match (plugged(&self.devices(&job.brief).await?, pair, vf), attached) {
            (Some((alias, _)), _) => Ok(alias),
            (None, Err(error)) if error.is_retryable() => Err(failed(
                "PLUG",
                format!("VF {vf} could not be plugged now"),
                &error,
            )),
            (None, Err(error)) => Err(bad(
                vf,
                failed("PLUG", format!("VF {vf} could not be plugged"), &error),
            )),
            (None, Ok(())) => Err(Event::Failed(cause(
                "PLUG",
                format!("VF {vf} is not in the domain although libvirt plugged it"),
            ))),
        }
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

    /// In a guest, a VF of a PF that is down takes an address by chance and keeps it when the PF is up again: the pair would
    /// never find it.
    async fn check_pf(&self, vf: PciAddress) -> Work<()> {
        let down = self.vfs.pf_down(vf).await;
        match down.map_err(|error| unprepared(vf, &error))? {
            None => Ok(()),
            Some(pf) => Err(Event::Failed(
                cause(
                    "PF_DOWN",
                    format!("VF {vf} is not plugged while its PF {pf} is down"),
                )
                .hint(format!("ip link set {pf} up")),
            )),
        }
    }

    /// libvirtd may have died inside an attach: then the guest's QEMU has a VF under the pair's alias, and no XML says
    /// so. No other VF would do until that one has left.
    async fn check_no_stray(
        &self,
        job: &Job,
        devices: &DomainDevices,
        (index, pair): (usize, &Pair),
    ) -> Work<()> {
        let told = |error| failed("PLUG", "who has VFs open cannot be seen", &error);
        let open = self.vfs.open_vfs().await.map_err(told)?;
        let alias = words::plug_alias(&pair.primary, index);
        let strays = self.strays(uuid(&job.brief)?, devices, &open, &[alias]).await;
        // What another pair is being plugged with is its own.
        let others = job.brief.pairs.iter().filter(|other| other.mac != pair.mac);
        let theirs: Vec<PciAddress> = others.filter_map(|other| job.brief.vf_here(other)).collect();
        let own = |stray: &&Stray| !theirs.contains(&stray.vf);
        match strays.map_err(told)?.iter().find(own) {
            None => Ok(()),
            Some(stray) => Err(Event::Failed(refused(stray.refusal(&job.brief.guest.name)))),
        }
    }

    /// Whoever has the VF open: QEMU could not have it.
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
        let devices = self.devices(&job.brief).await?;
        let back = |pair: &Pair| {
            let (pair, devices) = (pair.clone(), &devices);
            async move {
                // Of a fail over that is undone the VF may be without it.
                let has = job
                    .brief
                    .vf_here(&pair)
                    .and_then(|vf| plugged(devices, &pair, vf));
                if let Some((_, vf)) = has
                    && let Err(mut event) = self.steer_back(&pair, vf).await
                {
                    // It may be on, on a PF that then would not tell.
                    let kept = self.steer_away_again(job, &pair, devices).await;
                    if let Event::Failed(cause) = &mut event {
                        cause.message.push_str(kept);
                    }
                    return Err(event);
                }
                self.fail_back_one(job, &pair, devices).await
            }
        };
        let back = each(job.brief.pairs_here().into_iter().map(back)).await?;
        // A pair without a VF here stays on its standby, and needs its copy.
        self.copies_off(&job.brief, job.brief.pairs_here()).await;
        Ok(Report::of(back))
    }

    async fn fail_back_one(&self, job: &Job, pair: &Pair, devices: &DomainDevices) -> Work<String> {
        let end = Instant::now() + job.deadline;
        let left = || end.saturating_duration_since(Instant::now());
        if teamed_with(devices, pair).is_some() {
            return self.teamed_uses(&job.brief, pair, end).await;
        }
        let path = &channel_in(devices, &job.brief)?;
        // Right after an arrival the agent may not have noticed its new host end yet.
        let adopted = Policy::NEAR
            .retry(left(), AgentError::is_passing, || {
                self.agents.adopt(path, pair.mac, pair.primary_mac, left())
            })
            .await;
        let interface = adopted.map_err(|error| {
            let message = format!("the guest did not take the VF into pair {}", pair.mac);
            let guest = &job.brief.guest.name;
            let anew =
                format!("godwit standby {guest} --wait; godwit accelerate {guest}: it is plugged anew");
            Event::Failed(cause("ADOPT", message).because(&error).hint(anew))
        })?;
        let tally = self.tally(job, pair, devices).await;
        let switched = Policy::NEAR
            .retry(left(), AgentError::is_passing, || {
                self.agents.fail_back(path, pair.mac, left())
            })
            .await;
        let switched = match switched {
            Ok(switched) => switched,
            Err(error) => {
                let kept = self.steer_away_again(job, pair, devices).await;
                let message = format!(
                    "the traffic of pair {} did not move to {interface}{kept}",
                    pair.mac
                );
                return Err(failed("FAIL_BACK", message, &error));
            }
        };
        let seen = self.sees_on_vf(job, pair, &tally).await;
        Ok(format!(
            "traffic on {}, frame after {} ms{seen}",
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
        if !state.is_some_and(|state| state.persistent) {
            return Ok(());
        }
        let wish = self.wish(id).await.map_err(anyhow::Error::from_boxed)?;
        let Some(wish) = wish else {
            return self.correct_teamed(&job.brief, id).await;
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

/// A pair's VF that is in the guest.
struct Plugged {
    /// Which pair's.
    pair: MacAddress,
    /// One sentence.
    told: String,
}

/// All of them, or why not: a guest that has left is told before a VF that failed. With it the pairs that have their VF.
fn all_or_worst(all: Vec<Work<Plugged>>) -> Result<Vec<Plugged>, (Event, Vec<MacAddress>)> {
    let mut plugged = Vec::new();
    let mut failures = Vec::new();
    for one in all {
        match one {
            Ok(one) => plugged.push(one),
            Err(event) => failures.push(event),
        }
    }
    let left = failures.iter().position(|event| matches!(event, Event::Left(_)));
    if failures.is_empty() {
        return Ok(plugged);
    }
    let worst = failures.swap_remove(left.unwrap_or(0));
    let there = match left {
        Some(_) => Vec::new(),
        None => plugged.iter().map(|one| one.pair).collect(),
    };
    Err((worst, there))
}

/// Alias and address of the pair's VF if the domain has it; after a plug whose answer was lost it may be another than the
/// one that is held now.
pub(super) fn plugged(devices: &DomainDevices, pair: &Pair, vf: PciAddress) -> Option<(String, PciAddress)> {
    let named = || {
        let alias = alias_of(devices, pair)?;
        devices.hostdev(&alias)
    };
    let by_address = devices.hostdevs.iter().find(|hostdev| hostdev.host_address == vf);
    let found = by_address.or_else(named)?;
    Some((found.alias.clone().unwrap_or_default(), found.host_address))
}

pub(super) fn unprepared(vf: PciAddress, error: &VfError) -> Event {
    let message = format!("VF {vf} could not be prepared");
    bad(vf, failed("PLUG", message, error))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> MacAddress {
        format!("52:54:00:aa:00:{last:02x}").parse().unwrap()
    }

    fn has(last: u8) -> Work<Plugged> {
        Ok(Plugged {
            pair: mac(last),
            told: String::new(),
        })
    }

    fn worst(all: Vec<Work<Plugged>>) -> (Event, Vec<MacAddress>) {
        all_or_worst(all).err().unwrap()
    }

    #[test]
    fn those_that_have_their_vf_are_named_beside_what_failed() {
        let failed = || Event::Failed(cause("PLUG", "no"));
        let (event, there) = worst(vec![has(1), Err(failed()), has(2)]);
        assert_eq!((event, there), (failed(), vec![mac(1), mac(2)]));
    }

    #[test]
    fn a_guest_that_left_is_told_first_and_nothing_more_is_done_with_it() {
        let left = Event::Left(cause("GUEST_LEFT", "gone"));
        let failed = Event::Failed(cause("PLUG", "no"));
        let (event, there) = worst(vec![has(1), Err(failed), Err(left.clone())]);
        assert_eq!((event, there), (left, vec![]));
    }

    #[test]
    fn all_are_told_in_their_order() {
        let all = all_or_worst(vec![has(2), has(1)]).ok().unwrap();
        assert_eq!(
            all.iter().map(|one| one.pair).collect::<Vec<_>>(),
            [mac(2), mac(1)]
        );
    }
}
