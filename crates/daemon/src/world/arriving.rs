//! The destination's wait for its guest. What of the plug needs no guest is done meanwhile.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use godwit_coordinator::Job;
use godwit_migration::{Event as Outcome, Figures, Pair, PciAddress, Report};
use tokio::{sync::broadcast::error::RecvError, time::sleep};
use tracing::{debug, warn};

use super::{RealWorld, Work, profile::profile_of, transfer::figures, uuid};
use crate::libvirt::{Event, RunState, Running, xml::Nic};

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
        let came = Instant::now();
        let figures = self.completed(job).await?;
        if self.is_carried_by_main_loop(job).await {
            let pause = figures.as_ref().and_then(|figures| figures.downtime_ms);
            sleep(breath(pause).saturating_sub(came.elapsed())).await;
        }
        self.correct_persistent(job).await;
        Ok(Report {
            figures,
            ..Report::of(format!("the guest runs on {}{prepared}", self.host))
        })
    }

    /// The figures of the transfer that brought the guest, if libvirt still has them.
    pub(super) async fn completed(&self, job: &Job) -> Work<Option<Figures>> {
        let completed = self.libvirt.completed_job_stats(uuid(&job.brief)?).await;
        Ok(completed.ok().flatten().as_ref().map(figures))
    }

    async fn is_carried_by_main_loop(&self, job: &Job) -> bool {
        let vhost = self.practice.machine.has_vhost();
        let devices = self.devices(&job.brief).await;
        devices.is_ok_and(|devices| is_carried_by_main_loop(&devices.nics, &job.brief.pairs, vhost))
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

/// Packets of a standby go through the emulator's main loop, which stands still during a plug: it maps all of the guest's
/// memory for the VF. Where the XML does not say who carries them, it is the host's kernel if that can (`vhost`).
fn is_carried_by_main_loop(nics: &[Nic], pairs: &[Pair], vhost: bool) -> bool {
    let is_standby = |nic: &&Nic| pairs.iter().any(|pair| pair.mac == nic.mac);
    let mut standbys = nics.iter().filter(is_standby);
    standbys.any(|nic| carried_by_emulator(nic, vhost))
}

/// The emulator reads its packets, not the host's kernel.
pub(super) fn carried_by_emulator(nic: &Nic, vhost: bool) -> bool {
    !vhost || nic.driver.as_deref() == Some("qemu")
}

/// How long a guest gets between its pause and the plug where the plug is a second pause for its packets. Both in one would be a
/// long silence, and TCP waits twice as long before it tries again: a sender that was stopped by the pause has tried again
/// when as much time as the pause took has gone by since.
fn breath(pause_ms: Option<u64>) -> Duration {
    let pause = Duration::from_millis(pause_ms.unwrap_or_default());
    (2 * pause).clamp(Duration::from_secs(1), Duration::from_secs(4))
}

/// A guest whose memory is still coming (post-copy) runs here but cannot be plugged yet.
fn has_arrived(run: RunState) -> bool {
    matches!(run, RunState::Running(reason) if !matches!(reason, Running::PostCopy | Running::PostCopyFailed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libvirt::xml::DomainDevices;

    #[test]
    fn packets_go_through_the_main_loop_where_no_kernel_carries_them() {
        const DOMAIN: &str = "<domain><name>web-1</name><uuid>60d01700-0000-4000-8000-000000000010</uuid><memory>1</memory>
            <os><type machine='q35'>hvm</type></os><devices><interface type='bridge'><mac address='52:54:00:aa:00:10'/>
            <model type='virtio'/>DRIVER</interface></devices></domain>";
        let carried = |driver: &str, mac: &str, vhost| {
            let devices = DomainDevices::parse(&DOMAIN.replace("DRIVER", driver)).unwrap();
            let mac = mac.parse().unwrap();
            let pair = Pair {
                mac,
                primary_mac: mac,
                standby: String::new(),
                primary: String::new(),
                pool: String::new(),
                source_vf: None,
                destination_vf: None,
                profile: None,
            };
            is_carried_by_main_loop(&devices.nics, &[pair], vhost)
        };
        let own = "52:54:00:aa:00:10";
        assert!(carried("<driver name='qemu'/>", own, true));
        assert!(!carried("<driver name='vhost'/>", own, true) && !carried("", own, true));
        assert!(carried("", own, false));
        // Another NIC of the guest's has no part in it.
        assert!(!carried("<driver name='qemu'/>", "52:54:00:aa:00:11", true));
    }

    #[test]
    fn a_long_pause_is_followed_by_a_long_breath() {
        let ms = |pause| breath(pause).as_millis();
        assert_eq!(
            [ms(None), ms(Some(300)), ms(Some(800)), ms(Some(60_000))],
            [1000, 1000, 1600, 4000]
        );
    }
}
