//! What libvirt's hook needs to know: all that is said here is known without libvirt, which waits for the answer.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use godwit_migration::{Cause, Event, PciAddress, Vf, VfUse};
use tracing::debug;

use super::{RealWorld, profile::profile_of};
use crate::{
    cause::{CauseExt, cause},
    hook::Prepare,
    libvirt::VfNetwork,
};

/// Whose VFs are, by libvirt's words.
#[derive(Debug, Clone, Default)]
pub(super) struct Owners {
    /// VFs of guests that run here, and the guests' names.
    pub(super) guests: Vec<(PciAddress, String)>,
    /// libvirt's own networks of VFs.
    pub(super) networks: Vec<VfNetwork>,
}

/// What this process keeps in mind.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Whose VFs were, when libvirt was asked last; none: it has not answered since this daemon started.
    owners: Mutex<Option<Owners>>,
    /// Migrations whose transfer is to end early.
    pub(super) aborted: Mutex<HashSet<String>>,
}

impl Remembered {
    pub(super) fn set_owners(&self, owners: &Owners) {
        *self.owners.lock().unwrap_or_else(PoisonError::into_inner) = Some(owners.clone());
    }

    fn owners(&self) -> Option<Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RealWorld {
    /// Asks libvirt whose VFs are, to remember it for the hook.
    pub(crate) async fn remember_owners(&self) {
        if let Err(cause) = self.owners().await {
            debug!("whose VFs are is not known anew: {}", cause.message);
        }
    }

    /// This host's VFs as they are, and whose they were when libvirt was asked last. A VF that a guest got since then is open
    /// in its emulator.
    pub(crate) async fn vfs_without_libvirt(&self) -> Result<Vec<Vf>, Cause> {
        let owners = self.remembered.owners();
        let owners = owners.ok_or_else(|| {
            cause("LIBVIRT", "godwitd has not seen yet whose this host's VFs are")
                .hint("systemctl status libvirtd virtqemud")
        })?;
        self.vfs_of(&owners).await
    }

    /// Makes a VF ready for a guest that comes with it: as its last one was set, with vfio-pci, and with its MAC where libvirt
    /// does not give it one. There is no moment for the MAC between the guest's stop and its start here: its emulator plugs
    /// the VF itself.
    pub(crate) async fn prepare_for_hook(&self, asked: Prepare) -> Result<(), Cause> {
        let Prepare {
            vf,
            pair,
            set_by_libvirt,
        } = asked;
        let profile = profile_of(None, &pair);
        let worked = async {
            let lacks = self.prepare_like(vf, &profile, true).await?;
            if !set_by_libvirt {
                self.steer_like(vf, &pair, &profile, lacks).await?;
            }
            Ok(())
        };
        worked.await.map_err(|event: Event| match event {
            Event::Failed(cause) => cause,
            _ => cause("PLUG", format!("VF {vf} could not be prepared")),
        })
    }

    /// This host's VFs, whose they are by libvirt's words, and who else uses them.
    pub(super) async fn vfs_of(&self, owners: &Owners) -> Result<Vec<Vf>, Cause> {
        let told = |error: &(dyn std::error::Error + 'static)| {
            cause("VF", "this host's VFs cannot be read")
                .because(error)
                .hint("journalctl -u godwitd; the PFs are in /sys/class/net/*/device")
        };
        let vfs = self.inventory().await;
        let open = self.vfs.open_vfs().await.map_err(|error| told(&error))?;
        let mut facts = Vec::with_capacity(vfs.len());
        for vf in vfs {
            let address = vf.name.address;
            let owner = owners.guests.iter().find(|(owned, _)| *owned == address);
            let usage = match owner {
                Some((_, guest)) => VfUse::Guest(guest.clone()),
                None => {
                    let unowned = self.unowned(&vf, &open, &owners.networks).await;
                    unowned.map_err(|error| told(&error))?
                }
            };
            facts.push(Vf {
                address,
                pool: vf.pool,
                pf: vf.name.pf,
                usage,
                profile: vf.settings.map(|settings| settings.profile),
                site: vf.site,
                mac: vf.settings.and_then(|settings| settings.mac),
            });
        }
        Ok(facts)
    }
}
