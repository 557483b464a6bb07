//! VFs that managed guests have left by no doing of Godwit's: shut off, ended, or moved away by another tool. What was set on
//! them for the guest would go on drawing its frames on this host.

use std::collections::BTreeMap;

use godwit_migration::{PciAddress, Vf, VfUse, doctor::check};
use tracing::{info, warn};

use super::Coordinator;
use crate::World;

/// The VFs that managed guests had when they were looked at last, and the guests' names; and those that they have left and that
/// have not been seen to be free since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Had(BTreeMap<PciAddress, String>);

impl<W: World> Coordinator<W> {
    /// Cleans the VFs that managed guests had at the look before and that nobody has now. What an operation holds is its own, and
    /// what nobody was seen with is left for `godwit doctor` to tell. One that cannot be cleaned is in quarantine.
    pub async fn clean_left(&self, had: &mut Had) {
        // Before there is a journal nothing is known of holds.
        if self.open().is_err() {
            return;
        }
        let vfs = match self.vfs().await {
            Ok(vfs) => vfs,
            Err(refused) => return warn!("whether guests have left VFs is not known now: {refused}"),
        };
        for (vf, guest) in had.left(&vfs) {
            // One that is stored with it is set up for its next start, by whoever stored it.
            let facts = self.world().guests(Some(&guest)).await.unwrap_or_default();
            let stored = facts
                .iter()
                .flat_map(|facts| &facts.pairs)
                .any(|pair| pair.vf == Some(vf));
            if !stored {
                self.clean_one(vf).await;
            }
        }
        for (vf, guest) in had.unknown(&vfs) {
            let facts = self.world().guests(Some(&guest)).await.unwrap_or_default();
            if facts
                .iter()
                .any(|facts| facts.managed && facts.guest.name == guest)
            {
                had.0.insert(vf, guest);
            }
        }
    }

    async fn clean_one(&self, vf: PciAddress) {
        match self.clean_vf(&vf.to_string()).await {
            Ok(_) => {
                info!(%vf, "its guest left it, by no doing of Godwit's: it is clean");
                self.vf_was_freed();
            }
            // Somebody has it since; or it is in quarantine, with the reason.
            Err(refused) => warn!(%vf, "its guest left it, and it is not clean: {refused}"),
        }
    }
}

impl Had {
    /// Those that are free now and not as they should be. An emulator may have one open for a moment yet, or an operation holds
    /// it: that one is looked at next time.
    fn left(&mut self, vfs: &[Vf]) -> Vec<(PciAddress, String)> {
        let mut left = Vec::new();
        self.0.retain(|address, guest| {
            let Some(seen) = vfs.iter().find(|seen| seen.address == *address) else {
                return false;
            };
            if seen.usage == VfUse::Free && !check(seen, None).wrong.is_empty() {
                left.push((*address, guest.clone()));
            }
            match &seen.usage {
                VfUse::Free => false,
                VfUse::Guest(name) => name == guest,
                _ => true,
            }
        });
        left
    }

    /// Those in guests of which it is not known whether they are managed.
    fn unknown(&self, vfs: &[Vf]) -> Vec<(PciAddress, String)> {
        let in_guest = vfs.iter().filter_map(|seen| match &seen.usage {
            VfUse::Guest(name) => Some((seen.address, name.clone())),
            _ => None,
        });
        in_guest.filter(|(vf, _)| !self.0.contains_key(vf)).collect()
    }
}
