//! Who works on VFs when: those of one PF one after the other, and what has begun to its end.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    Vfs,
    error::{VfError, VfName},
    sysfs::Sysfs,
};

/// Who waits so long for a turn says what has it. Most work takes less than a second; a driver that never answers keeps its
/// PF's turn, and this is where that is seen.
const LONG: Duration = Duration::from_secs(10);

/// The turn of one PF.
#[derive(Default)]
pub(super) struct Turn {
    free: Arc<Mutex<()>>,
    at_work: std::sync::Mutex<Option<(String, Instant)>>,
}

impl Turn {
    /// What has it, and for how long; for people.
    fn told(&self) -> String {
        let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        match &*at_work {
            Some((work, since)) => format!("{work} since {} s", since.elapsed().as_secs()),
            None => "nothing is at work".into(),
        }
    }

    fn note(&self, work: Option<String>) {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        *at_work = work.map(|work| (work, Instant::now()));
    }
}

impl Vfs {
    fn turn(&self, pf: &str) -> Arc<Turn> {
        let turns = self.inner.turns.lock();
        let mut turns = turns.unwrap_or_else(PoisonError::into_inner);
        turns.entry(pf.to_owned()).or_default().clone()
    }

    /// In the turn of the VF's PF. Who asked may give up waiting at any time: then the work was not begun, or it goes on to
    /// its end, and whoever has the next turn finds nothing half done. `what` is done, in a word.
    pub(super) async fn in_turn<T: Send + 'static>(
        &self,
        vf: &VfName,
        what: &str,
        work: impl Future<Output = Result<T, VfError>> + Send + 'static,
    ) -> Result<T, VfError> {
        self.in_turn_of(&vf.pf, format!("{what} {vf}"), work).await
    }

    /// In the turn of a PF.
    pub(super) async fn in_turn_of<T: Send + 'static, E: Send + 'static>(
        &self,
        pf: &str,
        what: String,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let turn = self.turn(pf);
        let mine = Arc::clone(&turn.free).lock_owned();
        tokio::pin!(mine);
        let mine = loop {
            match timeout(LONG, &mut mine).await {
                Ok(mine) => break mine,
                Err(_) => warn!(pf, "{what}: waits for its turn; {}", turn.told()),
            }
        };
        let begun = tokio::spawn(async move {
            let _mine = mine;
            turn.note(Some(what));
            let done = work.await;
            turn.note(None);
            done
        });
        whole(begun).await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sysfs) -> Result<T, VfError> + Send + 'static,
    ) -> Result<T, VfError> {
        self.look(work).await
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

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::{super::sysfs::tests::Machine, *};

    /// Who waits can say for what; and after it the turn is free.
    #[tokio::test(start_paused = true)]
    async fn what_has_a_turn_is_told() {
        let machine = Machine::new();
        let vfs = Vfs::at(machine.root(), Vec::new());
        let slow = async {
            sleep(Duration::from_secs(30)).await;
            Ok::<_, VfError>(())
        };
        let first = vfs.in_turn_of("pf0", "clean VF 0 of pf0".into(), slow);
        let _ = timeout(Duration::from_secs(12), first).await;
        assert_eq!(vfs.turn("pf0").told(), "clean VF 0 of pf0 since 12 s");
        let quick = async { Ok::<_, VfError>(()) };
        vfs.in_turn_of("pf0", "set".into(), quick).await.unwrap();
        assert_eq!(vfs.turn("pf0").told(), "nothing is at work");
    }
}
