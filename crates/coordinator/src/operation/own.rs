//! What the loop does itself, without the world: it sets VFs aside, tells why a rest goes on, and stands in the line for a
//! transfer.

use std::sync::Arc;

use godwit_migration::{Cause, State};
use tokio::sync::MutexGuard;
use tracing::warn;

use super::{Operation, Step, changes_nothing};
use crate::{Coordinator, World};

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

    /// The rest goes on. Who looks at it sees why it does now, and the log has it when that changes.
    pub(super) fn failed_again(&mut self, cause: Cause) {
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
        self.failed = Some(cause);
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
