//! Phases of a guest whose pairs are libvirt's own (`<teaming>`), brought by another tool: its emulator plugs the VF in the
//! moment in which it starts here, and the guest's `net_failover` uses it by itself. So there is only to look.

use godwit_coordinator::Job;
use godwit_migration::{Event, Pair, PciAddress, Phase, Report};

use super::{RealWorld, Work};
use crate::cause::cause;

impl RealWorld {
    /// The phase's work, where it is another than that of a guest with an agent.
    pub(super) async fn work_teamed(&self, job: &Job, phase: Phase) -> Option<Work<Report>> {
        Some(match phase {
            Phase::Await => self.teamed_arrival(job).await,
            Phase::Plug => self.teamed_plug(job).await,
            Phase::FailBack => Ok(Report::of(
                "the guest's own net_failover uses its VF; no agent confirms it",
            )),
            _ => return None,
        })
    }

    async fn teamed_arrival(&self, job: &Job) -> Work<Report> {
        self.arrived(job).await?;
        Ok(Report {
            figures: self.completed(job).await?,
            ..Report::of(format!("the guest runs on {}", self.host))
        })
    }

    /// The domain has what was held for it. If it came with something else, another hand was in it, and nothing is held any
    /// longer.
    async fn teamed_plug(&self, job: &Job) -> Work<Report> {
        self.await_libvirt(job).await?;
        let devices = self.devices(&job.brief).await?;
        let mut told = Vec::new();
        for pair in &job.brief.pairs {
            let Some(vf) = job.brief.vf_here(pair) else {
                continue;
            };
            if !devices.hostdevs.iter().any(|device| device.host_address == vf) {
                let (guest, host) = (&job.brief.guest.name, &self.host);
                return Err(Event::Left(cause(
                    "GUEST_LEFT",
                    format!("guest `{guest}` runs on {host} without VF {vf}, which was held for it"),
                )));
            }
            told.push(self.teamed_state(pair, vf).await);
        }
        Ok(Report::of(told.join("; ")))
    }

    /// libvirt's XML has the VF also where the emulator could not take it, and no event tells.
    async fn teamed_state(&self, pair: &Pair, vf: PciAddress) -> String {
        match self.vfs.holders(vf).await {
            Ok(holders) if holders.is_empty() => format!(
                "{vf} is in the domain and not open in its emulator: the pair {} is on its standby (its emulator's log \
                 says why)",
                pair.mac
            ),
            _ => format!("{vf} is in the guest"),
        }
    }
}
