//! What the loop does itself, without the world: it sets VFs aside, tells why a rest goes on, and stands in the line for a
//! transfer.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use godwit_migration::{Cause, Course, Event, Migration, PciAddress, Phase, State};
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{Operation, Step, changes_nothing};
use crate::{Coordinator, World, holds::Unclean, retry::Policy};

/// A source that asks for a promise may have a guest that stands still until it has it.
const GIVE_BACK: Duration = Duration::from_secs(5);

impl<W: World> Operation<W> {
    /// The lock of those who choose VFs; commands are heard while it is waited for.
    async fn alone<'a>(&mut self, coordinator: &'a Coordinator<W>) -> Result<MutexGuard<'a, ()>, Step> {
        loop {
            tokio::select! {
                biased;
                alone = coordinator.alone() => return Ok(alone),
                Some(command) = self.commands.recv() => {
                    if let Some(step) = self.obey(command).await {
                        return Err(step);
                    }
                }
            }
        }
    }

    /// VFs of this host are set aside before anybody else may choose them: written down under the lock.
    pub(super) async fn hold(&mut self) -> Step {
        let coordinator = self.coordinator.clone();
        let alone = match self.alone(&coordinator).await {
            Ok(alone) => alone,
            Err(step) => return step,
        };
        let event = coordinator.held(&self.migration.brief).await;
        if !changes_nothing(self.migration.state(), &event) {
            self.record(event).await;
        }
        drop(alone);
        Step::Written
    }

    /// Before what did not work is tried again: another VF, if there is one.
    pub(super) async fn swap(&mut self) -> Option<Step> {
        let cause = self.failed.take().or_else(|| self.migration.failure().cloned())?;
        if !matches!(self.migration.state(), State::Rest(..)) || cause.vf.is_none() {
            return None;
        }
        let coordinator = self.coordinator.clone();
        let alone = match self.alone(&coordinator).await {
            Ok(alone) => alone,
            Err(step) => return Some(step),
        };
        if let Some(event) = coordinator.swapped(&self.migration, &cause).await {
            self.record(event).await;
        }
        drop(alone);
        None
    }

    /// The guest stayed, as far as this host knew, and the destination runs it. Nothing comes of that here while another operation
    /// is at work on the guest; one that would begin waits until this one occupies it.
    pub(super) async fn contradicted(&mut self, event: Event) -> bool {
        let coordinator = self.coordinator.clone();
        // Nothing that the table takes here can be told meanwhile; who tries is told so.
        let Ok(_alone) = self.alone(&coordinator).await else {
            return false;
        };
        if coordinator.is_shared(&self.migration) {
            let (guest, host) = (
                &self.migration.brief.guest.name,
                &self.migration.brief.destination,
            );
            self.failed_again(Cause {
                reason: "HOST_HAS_GUEST".into(),
                message: format!(
                    "{host} runs guest `{guest}` as well, and another operation is at work on it here"
                ),
                hint: format!("see both: `godwit guests` here and on {host}"),
                ..Cause::default()
            });
            return matches!(self.migration.state(), State::Rest(..));
        }
        self.record(event).await
    }

    /// The guest will not come. What was made ready for it is taken off its VFs before they are anybody's. Those that cannot
    /// be cleaned, each with the reason.
    pub(super) async fn give_back(&self) -> Vec<Unclean> {
        let brief = &self.migration.brief;
        let held = brief.pairs.iter().filter_map(|pair| brief.vf_here(pair));
        let unclean = join_all(held.map(|vf| self.give_one_back(vf))).await;
        unclean.into_iter().flatten().collect()
    }

    async fn give_one_back(&self, vf: PciAddress) -> Option<Unclean> {
        let world = self.coordinator.world();
        let late = || Cause {
            reason: "DEADLINE".into(),
            message: format!("VF {vf} was not cleaned within {} s", GIVE_BACK.as_secs()),
            ..Cause::default()
        };
        let end = Instant::now() + GIVE_BACK;
        let cleaned = timeout_at(end, world.clean(vf)).await;
        let cause = cleaned.unwrap_or_else(|_| Err(late())).err()?;
        // One that has gone has nothing left on it.
        let listed = timeout_at(end, world.vfs()).await;
        if matches!(&listed, Ok(Ok(vfs)) if vfs.iter().all(|listed| listed.address != vf)) {
            return None;
        }
        let causes = cause.causes.join(": ");
        warn!(migration = %self.migration.brief.id, causes, "{}", cause.message);
        Some((vf.to_string(), cause.message))
    }

    /// The rest goes on. Who looks at it sees why it does now, and the log has it when that changes.
    pub(super) fn failed_again(&mut self, cause: Cause) {
        self.tell_why(&cause);
        self.failed = Some(cause);
    }

    fn tell_why(&self, cause: &Cause) {
        let view = self.view.borrow();
        let known = view.failed.as_deref().or(self.migration.failure());
        let is_new =
            known.is_none_or(|known| (&known.reason, &known.message) != (&cause.reason, &cause.message));
        drop(view);
        if is_new {
            let (id, guest) = (&self.migration.brief.id, &self.migration.brief.guest.name);
            let (message, causes) = (&cause.message, cause.causes.join(": "));
            warn!(migration = %id, guest, state = %self.migration.state(), causes, "{message}");
            let failed = Some(Arc::new(cause.clone()));
            self.view.send_modify(|view| view.failed = failed);
        }
    }

    /// It waits for somebody who may not come, and why; without a doubt nothing is told of that any more.
    pub(super) fn doubts(&self, doubt: Option<Cause>) {
        match doubt {
            Some(cause) => self.tell_why(&cause),
            None => _ = self.view.send_if_modified(|view| view.failed.take().is_some()),
        }
    }

    /// For the log.
    pub(super) fn tell(&self, next: &Migration, before: State) {
        let (id, guest) = (&next.brief.id, &next.brief.guest.name);
        let ended = next
            .spans()
            .into_iter()
            .rev()
            .find(|span| span.ended_ms.is_some());
        let took_ms = ended
            .as_ref()
            .and_then(|span| Some(span.ended_ms? - span.started_ms));
        let detail = ended.map(|span| span.detail).unwrap_or_default();
        info!(migration = %id, guest, from = %before, to = %next.state(), took_ms, "{detail}");
    }

    /// Until there is room for one more transfer from this host. Then the world asks the destination for its own.
    pub(super) async fn stand_in_line(&mut self) -> Option<Step> {
        let (outgoing, id) = (
            self.coordinator.outgoing().clone(),
            self.migration.brief.id.clone(),
        );
        let view = self.view.clone();
        let enter = outgoing.enter(&id, |place| view.send_modify(|view| view.place = place));
        tokio::pin!(enter);
        loop {
            tokio::select! {
                biased;
                slot = &mut enter => {
                    self.slot = Some(slot);
                    return None;
                }
                Some(command) = self.commands.recv() => {
                    if let Some(step) = self.obey(command).await {
                        return Some(step);
                    }
                }
            }
        }
    }
}

/// How long a rest pauses between its attempts.
pub(super) fn patience(state: State) -> Policy {
    match state {
        State::Rest(Course::Return, Phase::Unreserve) => Policy::DEBT,
        _ => Policy::FAR,
    }
}
