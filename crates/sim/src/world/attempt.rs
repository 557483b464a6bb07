//! One attempt at a phase: micro-steps, and the fault that strikes one of them.

use std::{
    future::pending,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use godwit_coordinator::Job;
use godwit_migration::{Event, Phase};
use tracing::debug;

use super::{PretendWorld, Work, cause};
use crate::{
    faults::Kind,
    model::{Domain, GuestId, HostId, Model},
};

pub(super) struct Attempt<'a> {
    pub(super) world: &'a PretendWorld,
    pub(super) job: Job,
    pub(super) guest: GuestId,
    pub(super) host: HostId,
    phase: Phase,
    /// The fault that is to strike, and at which step.
    fault: Mutex<Option<(Kind, u8)>>,
    steps: AtomicU8,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(world: &'a PretendWorld, job: Job, guest: GuestId, phase: Phase) -> Attempt<'a> {
        let fault = world.model().knobs.strike(phase, guest, world.host);
        Attempt {
            world,
            job,
            guest,
            host: world.host,
            phase,
            fault: Mutex::new(fault),
            steps: AtomicU8::new(0),
        }
    }

    /// A micro-step: takes its time, then looks and makes it so, in one instant.
    pub(super) async fn step<T>(
        &self,
        what: &str,
        ms: u64,
        deed: impl FnOnce(&mut Model) -> Work<T>,
    ) -> Work<T> {
        tokio::time::sleep(self.world.shared.pace.of(ms)).await;
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault_at(step);
        self.suffer(fault, what).await?;
        let done = self.world.shared.deed(self.guest, what, deed);
        debug!("{}", self.line(what));
        match fault {
            Some(Kind::Half) => Err(self.failed(what)),
            _ => done,
        }
    }

    /// A fault that was to strike a later step than there are strikes now.
    pub(super) async fn at_the_end(&self) -> Work<()> {
        let fault = self.fault_at(u8::MAX);
        self.suffer(fault, "its end").await?;
        match fault {
            Some(Kind::Half) => Err(self.failed("its end")),
            _ => Ok(()),
        }
    }

    fn fault_at(&self, step: u8) -> Option<Kind> {
        let off = self.world.model().knobs.off();
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.take_if(|_| off);
        fault.take_if(|(_, at)| *at <= step).map(|(kind, _)| kind)
    }

    async fn suffer(&self, fault: Option<Kind>, what: &str) -> Work<()> {
        let Some(kind) = fault else { return Ok(()) };
        debug!("{}", self.line(&format!("FAULT {kind:?} at: {what}")));
        match kind {
            Kind::Half => {}
            Kind::Fail => return Err(self.failed(what)),
            Kind::Hang => pending().await,
            other => {
                self.world.happens(other, self.guest, &self.job.brief);
                if matches!(other, Kind::Crash(_) | Kind::Forget(_)) {
                    pending().await
                }
            }
        }
        Ok(())
    }

    fn line(&self, what: &str) -> String {
        let (host, guest) = (&self.world.name, &self.job.brief.guest.name);
        format!("{host} {guest} {}: {what}", self.job.state)
    }

    pub(super) fn failed(&self, what: &str) -> Event {
        let host = &self.world.name;
        Event::Failed(cause(
            "PRETENDED",
            format!(
                "{} failed on {host}, as the simulator was told: {what}",
                self.phase
            ),
        ))
    }

    /// Left is what only a look can say: the guest does not run here, and not by our doing.
    pub(super) async fn look(&self) -> Work<()> {
        let (guest, host) = (self.guest, self.host);
        self.step("look", 5, |model| {
            match model.body(guest, host).map(|body| body.domain) {
                None | Some(Domain::ShutOff) => Err(self.left(model)),
                _ => Ok(()),
            }
        })
        .await
    }

    pub(super) fn left(&self, model: &Model) -> Event {
        let (host, guest) = (&model.hosts[self.host].name, &self.job.brief.guest.name);
        let message = format!("guest `{guest}` is not running on {host}, and not by this migration");
        Event::Left(cause("GUEST_LEFT", message))
    }

    /// The agent answers only in a guest that runs.
    pub(super) fn agent(&self, model: &Model) -> Work<()> {
        let answers = model.runs(self.guest, self.host) && model.guests[self.guest].agent;
        match answers {
            true => Ok(()),
            false => {
                let message = format!(
                    "the agent in guest `{}` does not answer",
                    self.job.brief.guest.name
                );
                Err(Event::Failed(cause("GUEST_WITHOUT_AGENT", message)))
            }
        }
    }

    /// The same for each pair of the guest.
    pub(super) async fn each_pair(
        &self,
        what: &str,
        ms: u64,
        deed: impl Fn(&mut Model, usize) -> Work<()>,
    ) -> Work<()> {
        let pairs = self.job.brief.pairs.len();
        self.step(what, ms, |model| {
            (0..pairs).try_for_each(|pair| deed(model, pair))
        })
        .await
    }
}
