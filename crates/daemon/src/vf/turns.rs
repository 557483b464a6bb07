//! Who works on VFs when: those of one PF one after the other, and what has begun to its end.

use std::sync::{Arc, PoisonError};

use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    Vfs,
    error::{VfError, VfName},
    sysfs::Sysfs,
};

impl Vfs {
    /// Work on a PF's VFs takes turns.
    pub(super) fn turn(&self, pf: &str) -> Arc<Mutex<()>> {
        let turns = self.inner.turns.lock();
        let mut turns = turns.unwrap_or_else(PoisonError::into_inner);
        turns.entry(pf.to_owned()).or_default().clone()
    }

    /// In the turn of the VF's PF. Who asked may give up waiting at any time: then the work was not begun, or it goes on to
    /// its end, and whoever has the next turn finds nothing half done.
    pub(super) async fn in_turn<T: Send + 'static>(
        &self,
        vf: &VfName,
        work: impl Future<Output = Result<T, VfError>> + Send + 'static,
    ) -> Result<T, VfError> {
        self.in_turn_of(&vf.pf, work).await
    }

    /// In the turn of a PF.
    pub(super) async fn in_turn_of<T: Send + 'static, E: Send + 'static>(
        &self,
        pf: &str,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let turn = self.turn(pf).lock_owned().await;
        let begun = tokio::spawn(async move {
            let _turn = turn;
            work.await
        });
        whole(begun).await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sysfs) -> Result<T, VfError> + Send + 'static,
    ) -> Result<T, VfError> {
        let sysfs = self.inner.sysfs.clone();
        whole(spawn_blocking(move || work(&sysfs))).await
    }

    /// The same of what cannot fail.
    pub(super) async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Sysfs) -> T + Send + 'static) -> T {
        let sysfs = self.inner.sysfs.clone();
        whole(spawn_blocking(move || look(&sysfs))).await
    }
}

/// What the task ended with.
pub(super) async fn whole<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(result) => result,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
