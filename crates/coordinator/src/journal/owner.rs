//! Who has the connection: a thread, because a disk may be slow; or, in a simulator, whoever calls.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, watch};

use super::{Disk, JournalError, Task};
use crate::clock;

#[derive(Clone, Debug)]
pub(super) struct Owner {
    at: At,
    /// Turns true when the process that a simulator pretends has died.
    dead: Option<watch::Receiver<bool>>,
}

#[derive(Clone, Debug)]
enum At {
    Thread(mpsc::Sender<Task>),
    Caller(Arc<Mutex<Disk>>),
}

impl Owner {
    pub(super) fn thread(tasks: mpsc::Sender<Task>) -> Owner {
        Owner {
            at: At::Thread(tasks),
            dead: None,
        }
    }

    pub(super) fn caller(disk: Disk) -> Owner {
        Owner {
            at: At::Caller(Arc::new(Mutex::new(disk))),
            dead: None,
        }
    }

    pub(super) fn until(&self, dead: watch::Receiver<bool>) -> Owner {
        Owner {
            at: self.at.clone(),
            dead: Some(dead),
        }
    }

    /// Has the task done, and waits for its answer. A process that has died hears none.
    pub(super) async fn run<T>(
        &self,
        task: Task,
        answered: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let done = async {
            match &self.at {
                At::Thread(tasks) => {
                    tasks.send(task).await.map_err(|_| JournalError::Closed)?;
                    answered.await
                }
                At::Caller(disk) => {
                    clock::disk().await;
                    task(&mut disk.lock().unwrap_or_else(PoisonError::into_inner));
                    clock::disk().await;
                    answered.await
                }
            }
        };
        let Some(mut dead) = self.dead.clone() else {
            return done.await;
        };
        let death = async { drop(dead.wait_for(|dead| *dead).await) };
        tokio::select! {
            biased;
            () = death => pending().await,
            answer = done => answer,
        }
    }
}
