//! The source's work: reserve, fail over, unplug, transfer, release, follow, unreserve.

use std::time::Duration;

use godwit_coordinator::{Job, retry::Policy, words};
use godwit_migration::{Course, Event, Figures, Pair, Report, State};
use tokio::{sync::broadcast, time::Instant};

use super::{
    RealWorld, Work, channel_in, each, failed,
    let_go::asked_for,
    reachable,
    teamed::{check_channel, teamed_with},
    uuid,
};
use crate::{
    cause::{CauseExt, cause},
    libvirt::{
        self, LibvirtError,
        metadata::GuestWish,
        xml::DomainDevices,
        xml::hotplug::{BUTTON, patience},
    },
};

/// How often who waits for room at the destination asks for it.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A device's removal is noticed by its event; this often the domain is read all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A VF that the guest is asked for.
struct Unplug<'a> {
    job: &'a Job,
    pair: &'a Pair,
    /// As it is in the guest now.
    alias: String,
    /// By the button of its slot.
    native: bool,
    /// Where the pair's traffic is meanwhile.
    traffic: &'static str,
}

impl Unplug<'_> {
    fn patience(&self) -> Duration {
        patience(self.native, self.job.deadline)
    }
}

impl RealWorld {
    pub(super) async fn reserve(&self, job: &Job) -> Work<Report> {
        let held = self
            .peers
            .reserve(&job.brief, job.deadline)
            .await
            .map_err(Event::Failed)?;
        let vfs: Vec<String> = held.iter().map(|(_, vf)| vf.to_string()).collect();
        let detail = match vfs.is_empty() {
            true => format!("{} expects the guest, without a VF", job.brief.destination),
            false => format!("{} holds {}", job.brief.destination, vfs.join(", ")),
        };
        Ok(Report {
            held,
            ..Report::of(detail)
        })
    }

    /// The guest keeps its VF until the destination has room for it.
    pub(super) async fn queue(&self, job: &Job) -> Work<Report> {
        loop {
            // It may be shut down while it waits.
            self.devices(&job.brief).await?;
            let place = self.peers.admit(&job.brief).await.map_err(Event::Failed)?;
            job.place.send_replace(place);
            if place == 0 {
                return Ok(Report::of(format!("{} has room", job.brief.destination)));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    pub(super) async fn fail_over(&self, job: &Job) -> Work<Report> {
        self.await_libvirt(job).await?;
        self.record_profiles(job).await?;
        let devices = self.devices(&job.brief).await?;
        check_channel(&devices, &job.brief)?;
        self.copies_on(&job.brief).await?;
        let switch = |pair: &Pair| {
            let (mac, pair, devices) = (pair.mac, pair.clone(), &devices);
            async move {
                if teamed_with(devices, &pair).is_some() {
                    return self.teamed_ready(devices, &pair).await;
                }
                let path = channel_in(devices, &job.brief)?;
                let tally = self.tally(job, &pair, devices).await;
                let switched = self.to_standby(&path, mac, job.deadline).await;
                let switched = switched.map_err(|error| {
                    failed(
                        "FAIL_OVER",
                        format!("the traffic of pair {mac} did not move to the standby"),
                        &error,
                    )
                })?;
                let seen = self.sees_on_standby(job, &pair, &tally).await?;
                // Both ports accept for a second yet.
                let kept = self.steer_away(job, &pair).await?;
                let already = if switched.already { " (already)" } else { "" };
                Ok(format!(
                    "traffic on {}{already}, frame after {} ms{seen}{kept}",
                    switched.active, switched.first_frame_ms
                ))
            }
        };
        Ok(Report::of(each(job.brief.pairs.iter().map(switch)).await?))
    }

    /// A request that may have been made cannot be withdrawn: with one outstanding every failure is a silence, or
    /// the way back would put the traffic on a VF that then leaves.
    pub(super) async fn unplug(&self, job: &Job) -> Work<Report> {
        let all = job.brief.pairs.iter().map(|pair| self.unplug_one(job, pair));
        let all = futures_util::future::join_all(all).await;
        let worst = all
            .iter()
            .filter_map(|one| one.as_ref().err())
            .max_by_key(|event| match event {
                Event::Left(_) => 2,
                Event::Silent(_) => 1,
                _ => 0,
            });
        match worst {
            Some(event) => Err(event.clone()),
            None => Ok(Report::of(
                all.into_iter().flatten().collect::<Vec<_>>().join("; "),
            )),
        }
    }

    async fn unplug_one(&self, job: &Job, pair: &Pair) -> Work<String> {
        let mut events = self.libvirt.events();
        let devices = self.devices(&job.brief).await?;
        let before = self.vfs.tap(pair.mac).await;
        let left = self.unplug_vf(job, pair, &devices, &mut events).await?;
        let evidence = self.teamed_left(job, pair, &devices, before).await?;
        Ok(left + &evidence)
    }

    async fn unplug_vf(
        &self,
        job: &Job,
        pair: &Pair,
        devices: &DomainDevices,
        events: &mut broadcast::Receiver<libvirt::Event>,
    ) -> Work<String> {
        let Some(alias) = alias_of(devices, pair) else {
            return Ok(format!("the VF of {} has left already", pair.mac));
        };
        let wanted = Unplug {
            job,
            pair,
            alias,
            native: devices.native_hotplug,
            traffic: teamed_with(devices, pair)
                .map_or("is on the standby", |_| "stays on it until it has left"),
        };
        // A process that died may have pressed the button just now, and a second press would cancel the first.
        if wanted.native && job.taken_up {
            let pressed = self.await_removal(&wanted, BUTTON, events).await;
            if !matches!(pressed, Err(Event::Silent(_))) {
                return pressed;
            }
        }
        let lets_go = self.lets_go(job, pair, devices);
        asked_for(job, lets_go, self.ask_unplug(&wanted)).await?;
        self.await_removal(&wanted, wanted.patience(), events).await
    }

    /// Until the guest has let go, by the domain's own XML; the event only wakes.
    async fn await_removal(
        &self,
        wanted: &Unplug<'_>,
        within: Duration,
        events: &mut broadcast::Receiver<libvirt::Event>,
    ) -> Work<String> {
        let end = Instant::now() + within;
        loop {
            match self.devices(&wanted.job.brief).await {
                Ok(devices) if alias_of(&devices, wanted.pair).is_none() => {
                    return Ok(format!("{} has left the guest", wanted.alias));
                }
                Err(left @ Event::Left(_)) => return Err(left),
                // Not readable now (libvirtd restarts): looked at again.
                Ok(_) | Err(_) => {}
            }
            if Instant::now() >= end {
                return Err(silent(wanted));
            }
            removal(events, &wanted.alias, end.min(Instant::now() + LOOK_AGAIN)).await;
        }
    }

    /// One request. When the connection breaks nobody knows whether it was heard, so it is asked again: a repeated
    /// request is harmless (where there is a button, once its time is over), a lost one would be waited for in vain.
    async fn ask_unplug(&self, wanted: &Unplug<'_>) -> Work<()> {
        let id = uuid(&wanted.job.brief)?;
        let mut lost = false;
        let end = Instant::now() + wanted.patience();
        loop {
            match self.libvirt.detach_alias(id, wanted.alias.clone()).await {
                Ok(()) | Err(LibvirtError::NoDevice { .. }) => return Ok(()),
                Err(LibvirtError::ConnectionLost { .. } | LibvirtError::Timeout { .. })
                    if Instant::now() < end =>
                {
                    lost = true;
                    if wanted.native {
                        tokio::time::sleep(BUTTON).await;
                    }
                    let _ = reachable(&self.libvirt, LOOK_AGAIN).await;
                }
                Err(error) => {
                    let message = format!("libvirt did not ask the guest for {}", wanted.alias);
                    let cause = cause("UNPLUG_REFUSED", message).because(&error);
                    return Err(if lost {
                        Event::Silent(cause)
                    } else {
                        Event::Failed(cause)
                    });
                }
            }
        }
    }

    pub(super) async fn release(&self, job: &Job) -> Work<Report> {
        if let Ok(id) = uuid(&job.brief) {
            self.evidence.forget(id);
        }
        // One that stays here is on its standby now.
        if !matches!(job.state, State::Work(Course::Withdraw, _)) {
            self.copies_off(&job.brief, &job.brief.pairs).await;
        }
        let vfs = job.brief.pairs.iter().filter_map(|pair| job.brief.vf_here(pair));
        let clean = |vf| async move {
            let cleaned = self.vfs.clean(vf).await;
            cleaned.map_err(|error| {
                Event::Failed(
                    cause(
                        "RELEASE",
                        format!("VF {vf} could not be cleaned and is quarantined"),
                    )
                    .because(&error)
                    .hint(format!(
                        "mend what the cause names; then: `godwit vfs release {vf}`"
                    )),
                )
            })?;
            Ok(format!("{vf} is clean"))
        };
        Ok(Report::of(each(vfs.map(clean)).await?))
    }

    /// Only watches, to report: the destination finishes by itself.
    pub(super) async fn follow(&self, job: &Job) -> Work<Report> {
        let end = Instant::now() + job.deadline;
        let mut pauses = Policy::NEAR.pauses();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let record = self.peers.arrival(&job.brief, left).await.map_err(|cause| {
                Event::Failed(cause.hint(format!(
                    "on {}: godwit status {}",
                    job.brief.destination, job.brief.id
                )))
            })?;
            if record.settled || left.is_zero() {
                let figures = record.progress.as_ref().map(wire_figures);
                let acceleration = Some(words::acceleration_of(&record));
                let detail = format!("{} has told", job.brief.destination);
                return Ok(Report {
                    acceleration,
                    figures,
                    spans: words::spans(&record),
                    measured: words::measured(&record).map(Box::new),
                    ..Report::of(detail)
                });
            }
            pauses.wait().await;
        }
    }
}

/// The alias under which the pair's VF is in the guest now.
pub(super) fn alias_of(devices: &DomainDevices, pair: &Pair) -> Option<String> {
    let ours = |hostdev: &&libvirt::xml::HostDev| {
        hostdev.alias.as_deref() == Some(&pair.primary) || Some(hostdev.host_address) == pair.source_vf
    };
    devices
        .hostdevs
        .iter()
        .find(ours)
        .and_then(|hostdev| hostdev.alias.clone())
}

pub(super) fn is_wished(wish: &GuestWish, hostdev: &libvirt::xml::HostDev) -> bool {
    let alias = hostdev.alias.as_deref();
    let interface = matches!(&hostdev.form, libvirt::xml::HostDevForm::Interface { mac }
        if wish.pairs.iter().any(|pair| pair.primary_mac == *mac));
    interface || wish.pairs.iter().any(|pair| alias == Some(&pair.primary_alias))
}

fn silent(wanted: &Unplug<'_>) -> Event {
    let (guest, seconds) = (&wanted.job.brief.guest.name, wanted.patience().as_secs());
    let (alias, mac) = (&wanted.alias, wanted.pair.mac);
    Event::Silent(
        cause(
            "UNPLUG_PENDING",
            format!("unplug pending: guest `{guest}` was asked for {alias} (pair {mac}) and has not answered in {seconds} s; its traffic {}", wanted.traffic),
        )
        .hint(format!("in {guest}: see who holds the VF; a reboot of the guest completes the unplug")),
    )
}

/// Until the device's removal is told, the connection changes, or the time is over.
async fn removal(events: &mut broadcast::Receiver<libvirt::Event>, alias: &str, end: Instant) {
    let told = async {
        loop {
            match events.recv().await {
                Ok(libvirt::Event::DeviceRemoved { alias: removed, .. }) if removed == alias => return,
                Ok(libvirt::Event::Connected | libvirt::Event::Rebooted { .. }) => return,
                Ok(_) => {}
                Err(_) => return tokio::time::sleep_until(end).await,
            }
        }
    };
    let _ = tokio::time::timeout_at(end, told).await;
}

fn wire_figures(progress: &godwit_api::v1::TransferProgress) -> Figures {
    Figures {
        memory_total: progress.memory_total_bytes,
        memory_processed: progress.memory_processed_bytes,
        memory_remaining: progress.memory_remaining_bytes,
        rate: progress.bytes_per_second,
        elapsed_ms: progress.elapsed_ms,
        iteration: progress.iteration,
        downtime_ms: progress.downtime_ms,
    }
}
