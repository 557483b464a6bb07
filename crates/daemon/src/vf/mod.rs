//! This host's VFs: which there are, preparing one for a guest, and cleaning one that a guest has left. Nothing
//! outside this folder knows sysfs or netlink.
//!
//! Work on the VFs of one PF is serialised: their driver shares one mailbox and one switch table. Every setting is read
//! first, left alone if it is right (some drivers reset the VF on each change, or refuse what they cannot do even at
//! its default), and read back when it was set.

mod error;
mod netlink;
mod sysfs;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use godwit_migration::{MacAddress, PciAddress, doctor::PfFacts};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::{debug, info};

pub(crate) use self::{
    error::{Holder, VfError, VfName},
    netlink::{Profile, Settings},
};
use self::{
    netlink::{Netlink, Setting},
    sysfs::{Function, Sysfs},
};

/// How long after the removal event QEMU may still have the VF open, and how often to look.
const LET_GO: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// The VFs of this host's pools.
#[derive(Clone)]
pub(crate) struct Vfs {
    inner: Arc<Inner>,
}

struct Inner {
    sysfs: Sysfs,
    pfs: BTreeMap<String, Pf>,
}

struct Pf {
    pool: String,
    turn: Mutex<()>,
}

/// A VF as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VfState {
    /// Its address, PF and index.
    pub name: VfName,
    /// Pool of its PF.
    pub pool: String,
    /// Driver that it is bound to on this host, if any.
    pub driver: Option<String>,
    /// Its IOMMU group; without one it cannot be given to a guest.
    pub group: Option<u32>,
    /// Its network interface on this host, if this host itself uses it.
    pub netdev: Option<String>,
    /// What its PF has set for it; absent if the PF does not say.
    pub settings: Option<Settings>,
}

/// All VFs that could be read, and why others could not.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// By PF and index.
    pub vfs: Vec<VfState>,
    /// One per PF in trouble.
    pub problems: Vec<VfError>,
}

impl Vfs {
    /// The VFs of these pools (name and PFs). A PF belongs to one pool; of two, the last has it.
    pub(crate) fn new(pools: &BTreeMap<String, Vec<String>>) -> Vfs {
        Vfs::at("/", pools)
    }

    fn at(root: impl Into<std::path::PathBuf>, pools: &BTreeMap<String, Vec<String>>) -> Vfs {
        let pfs = pools
            .iter()
            .flat_map(|(pool, pfs)| pfs.iter().map(move |pf| (pool, pf)));
        let pfs = pfs.map(|(pool, pf)| {
            (
                pf.clone(),
                Pf {
                    pool: pool.clone(),
                    turn: Mutex::new(()),
                },
            )
        });
        Vfs {
            inner: Arc::new(Inner {
                sysfs: Sysfs::new(root),
                pfs: pfs.collect(),
            }),
        }
    }

    /// Every VF of every pool, as it is now. A PF that is gone or broken does not hide the others.
    pub(crate) async fn list(&self) -> Inventory {
        let mut inventory = Inventory::default();
        for (pf, Pf { pool, .. }) in &self.inner.pfs {
            match self.of_pf(pf, pool).await {
                Ok(vfs) => inventory.vfs.extend(vfs),
                Err(problem) => inventory.problems.push(problem),
            }
        }
        inventory
    }

    /// What each PF is, for the doctor; one that does not answer `within` hides none of the others.
    pub(crate) async fn examine(&self, within: Duration) -> Vec<PfFacts> {
        let each = self.inner.pfs.iter().map(async |(pf, Pf { pool, .. })| {
            let name = pf.clone();
            let look = self.blocking(move |sysfs| sysfs.examine(&name));
            let state = match tokio::time::timeout(within, look).await {
                Ok(state) => state.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", within.as_secs())),
            };
            PfFacts {
                pf: pf.clone(),
                pool: pool.clone(),
                state,
            }
        });
        join_all(each).await
    }

    async fn of_pf(&self, pf: &str, pool: &str) -> Result<Vec<VfState>, VfError> {
        let name = pf.to_owned();
        let functions = self.blocking(move |sysfs| sysfs.functions(&name)).await?;
        let mut settings = BTreeMap::from_iter(Netlink::open(pf)?.settings(pf).await?);
        let states = functions.into_iter().map(|function| {
            let Function {
                name,
                driver,
                group,
                netdev,
            } = function;
            let settings = settings.remove(&name.index);
            VfState {
                name,
                pool: pool.to_owned(),
                driver,
                group,
                netdev,
                settings,
            }
        });
        Ok(states.collect())
    }

    /// Makes a VF ready to be plugged: with vfio-pci, set as the profile says, and **without a MAC**, so that the NIC's
    /// switch sends it nothing before the guest's driver is up. Safe to repeat, until it is plugged.
    ///
    /// # Errors
    /// [`VfError::InUse`] if a process has it open: it is some guest's.
    pub(crate) async fn prepare(&self, address: PciAddress, profile: Profile) -> Result<(), VfError> {
        let (vf, pf) = self.find(address).await?;
        let _turn = pf.turn.lock().await;
        self.unused(&vf, Duration::ZERO).await?;
        let bound = vf.clone();
        self.blocking(move |sysfs| sysfs.bind_vfio(&bound)).await?;
        apply(&vf, None, profile).await?;
        info!(%vf, "prepared");
        Ok(())
    }

    /// Gives a VF its MAC, or with `None` takes it off: this is what moves the NIC's switch. Also while it is in use.
    pub(crate) async fn set_mac(&self, address: PciAddress, mac: Option<MacAddress>) -> Result<(), VfError> {
        let (vf, pf) = self.find(address).await?;
        let _turn = pf.turn.lock().await;
        let netlink = Netlink::open(&vf.pf)?;
        make(&netlink, &vf, &current(&netlink, &vf).await?, Setting::Mac(mac)).await
    }

    /// Makes a VF that a guest has left as good as new: waits until nobody has it open (the removal event can come
    /// first), resets it, takes off its MAC and puts every setting back to its default. Leaves it with the driver that it
    /// has. Safe to repeat.
    ///
    /// # Errors
    /// [`VfError::InUse`] if somebody keeps it open; nothing is touched then.
    pub(crate) async fn clean(&self, address: PciAddress) -> Result<(), VfError> {
        let (vf, pf) = self.find(address).await?;
        let _turn = pf.turn.lock().await;
        self.unused(&vf, LET_GO).await?;
        let resetting = vf.clone();
        if !self.blocking(move |sysfs| sysfs.reset(&resetting)).await? {
            debug!(%vf, "cannot be reset on its own");
        }
        apply(&vf, None, Profile::default()).await?;
        info!(%vf, "clean");
        Ok(())
    }

    /// The processes that have a VF open now.
    pub(crate) async fn holders(&self, address: PciAddress) -> Result<Vec<Holder>, VfError> {
        let (vf, _) = self.find(address).await?;
        self.blocking(move |sysfs| sysfs.holders(&vf)).await
    }

    async fn unused(&self, vf: &VfName, within: Duration) -> Result<(), VfError> {
        let start = Instant::now();
        loop {
            let asked = vf.clone();
            let holders = self.blocking(move |sysfs| sysfs.holders(&asked)).await?;
            if holders.is_empty() {
                return Ok(());
            }
            if start.elapsed() >= within {
                return Err(VfError::InUse {
                    vf: vf.clone(),
                    holders,
                });
            }
            sleep(LOOK).await;
        }
    }

    async fn find(&self, address: PciAddress) -> Result<(VfName, &Pf), VfError> {
        for (pf, entry) in &self.inner.pfs {
            let name = pf.clone();
            // A PF that cannot be read has no VF that could be worked on.
            let functions = self
                .blocking(move |sysfs| sysfs.functions(&name))
                .await
                .unwrap_or_default();
            if let Some(found) = functions.into_iter().find(|found| found.name.address == address) {
                return Ok((found.name, entry));
            }
        }
        Err(VfError::NoVf(address))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sysfs) -> Result<T, VfError> + Send + 'static,
    ) -> Result<T, VfError> {
        let sysfs = self.inner.sysfs.clone();
        match spawn_blocking(move || work(&sysfs)).await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// MAC and profile, each setting only where it differs.
async fn apply(vf: &VfName, mac: Option<MacAddress>, profile: Profile) -> Result<(), VfError> {
    let netlink = Netlink::open(&vf.pf)?;
    let current = current(&netlink, vf).await?;
    make(&netlink, vf, &current, Setting::Mac(mac)).await?;
    for setting in Setting::of(&profile) {
        make(&netlink, vf, &current, setting).await?;
    }
    Ok(())
}

async fn current(netlink: &Netlink, vf: &VfName) -> Result<Settings, VfError> {
    let all = netlink.settings(&vf.pf).await?;
    let found = all.into_iter().find(|(index, _)| *index == vf.index);
    found
        .map(|(_, settings)| settings)
        .ok_or(VfError::NoVf(vf.address))
}

async fn make(netlink: &Netlink, vf: &VfName, current: &Settings, wanted: Setting) -> Result<(), VfError> {
    if wanted.found_in(current) == wanted {
        return Ok(());
    }
    match netlink.set(vf, wanted).await {
        // A driver without the setting is where the default would put it.
        Err(refused) if refused.is_unsupported() && Setting::of(&Profile::default()).contains(&wanted) => {
            debug!(%vf, %refused, "left at the driver's default");
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests;
