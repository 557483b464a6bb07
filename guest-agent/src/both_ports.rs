//! Accepting frames on both ports of a bond around a switch (`all_slaves_active`).
//!
//! Frames are on their way to the old port when the traffic moves, and an inactive port drops them. So
//! both accept, from before the switch until a second after it, and then the bond is as it was, whatever
//! became of the request: the setting is undone by a task of its own, started by dropping a guard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::kernel::{BondChange, Kernel, KernelError};
use crate::log::say;

/// How long frames may be on their way to the old port.
const LINGER: Duration = Duration::from_secs(1);

/// The bonds that accept on both ports because of this program.
#[derive(Clone)]
pub(crate) struct BothPorts {
    kernel: Kernel,
    /// By the bond's index; with the task that will undo it, once one was started.
    bonds: Arc<Mutex<HashMap<u32, Option<AbortHandle>>>>,
}

/// While it lives, the bond accepts on both ports.
pub(crate) struct Accepting {
    both_ports: BothPorts,
    bond: u32,
}

impl BothPorts {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            bonds: Arc::default(),
        }
    }

    /// Makes a bond accept on both ports. `already` says whether it does; if so, and not because of this
    /// program, that is the guest's own setting and stays.
    pub(crate) async fn accept(&self, bond: u32, already: bool) -> Result<Option<Accepting>, KernelError> {
        if already && !self.lock().contains_key(&bond) {
            return Ok(None);
        }
        self.stop_undoing(bond);
        // First the guard, so that it is undone even if this future is dropped at the await.
        let accepting = Accepting {
            both_ports: self.clone(),
            bond,
        };
        self.kernel
            .change_bond(bond, BondChange::AllPortsActive(true))
            .await?;
        Ok(Some(accepting))
    }

    /// What is still to be undone waits as long as these live, and a second longer: a switch looks at the bond before it
    /// asks for both ports, and what it saw must still be so then.
    pub(crate) fn keep(&self) -> Vec<Accepting> {
        let bonds: Vec<u32> = self.lock().keys().copied().collect();
        let keep = |bond| {
            self.stop_undoing(bond);
            Accepting {
                both_ports: self.clone(),
                bond,
            }
        };
        bonds.into_iter().map(keep).collect()
    }

    /// Undoes now what is still to be undone.
    pub(crate) async fn settle(&self) {
        let bonds: Vec<u32> = self.lock().keys().copied().collect();
        for bond in bonds {
            self.stop_undoing(bond);
            self.undo(bond).await;
        }
    }

    /// Notes the bond as ours and as not to be undone for now.
    fn stop_undoing(&self, bond: u32) {
        if let Some(Some(task)) = self.lock().insert(bond, None) {
            task.abort();
        }
    }

    async fn undo(&self, bond: u32) {
        if let Err(error) = self
            .kernel
            .change_bond(bond, BondChange::AllPortsActive(false))
            .await
        {
            say!("bond {bond} goes on accepting frames on both ports: {error}");
        }
        self.lock().remove(&bond);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Option<AbortHandle>>> {
        self.bonds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        let (both_ports, bond) = (self.both_ports.clone(), self.bond);
        let undo = tokio::spawn(async move {
            sleep(LINGER).await;
            both_ports.undo(bond).await;
        });
        let former = self.both_ports.lock().insert(bond, Some(undo.abort_handle()));
        // Of two guards of one bond the last one's second counts.
        if let Some(Some(former)) = former {
            former.abort();
        }
    }
}
