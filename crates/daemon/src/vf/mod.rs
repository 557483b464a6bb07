//! This host's VFs: which there are, preparing one for a guest, and cleaning one that a guest has left. Nothing
//! outside this folder knows sysfs or netlink.
//!
//! Work on the VFs of one PF is serialised: their driver shares one mailbox and one switch table. Every setting is read
//! first, left alone if it is right (some drivers reset the VF on each change, or refuse what they cannot do even at
//! its default), and all are read back at the end: a driver may change one with another. The MAC comes after the rest,
//! because it is what moves the NIC's switch.

mod copies;
mod counters;
mod error;
mod netlink;
mod pools;
mod port;
mod sysfs;
mod turns;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use godwit_migration::{
    MacAddress, PciAddress, Profile,
    choice::Site,
    doctor::PfFacts,
    profile::{Difference, Driver, Lever, told},
};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

pub(crate) use self::{
    error::{Holder, VfError, VfName},
    netlink::Settings,
    pools::{PfKind, PoolSpec},
    port::{own_vlans, tagged_vlans},
    sysfs::{BridgePorts, Sysfs, Tap},
    watch::Watch,
};
use self::{
    netlink::{Change, Netlink},
    sysfs::Function,
    turns::Turn,
};

/// How long after the removal event QEMU may still have the VF open, and how often to look.
const LET_GO: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// How long a driver may be busy with a VF before that counts as a refusal.
const SETTLE: Duration = Duration::from_secs(5);

/// The VFs of this host's pools.
#[derive(Clone)]
pub(crate) struct Vfs {
    inner: Arc<Inner>,
}

struct Inner {
    sysfs: Sysfs,
    pools: Vec<PoolSpec>,
    /// Work on a PF's VFs is done one after the other; by its name.
    turns: std::sync::Mutex<BTreeMap<String, Arc<Turn>>>,
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
    /// How this host uses it for itself, in words, if it does.
    pub used: Option<String>,
    /// What its PF has set for it; absent if the PF does not say.
    pub settings: Option<Settings>,
    /// Where it sits.
    pub site: Site,
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
    /// The VFs of these pools.
    pub(crate) fn new(pools: Vec<PoolSpec>) -> Vfs {
        Vfs::at("/", pools)
    }

    pub(crate) fn at(root: impl Into<std::path::PathBuf>, pools: Vec<PoolSpec>) -> Vfs {
        let inner = Inner {
            sysfs: Sysfs::new(root),
            pools,
            turns: std::sync::Mutex::default(),
        };
        Vfs {
            inner: Arc::new(inner),
        }
    }

    /// Every VF of every pool, as it is now. A PF that is gone or broken does not hide the others.
    pub(crate) async fn list(&self) -> Inventory {
        let mut inventory = Inventory::default();
        for (pf, pool) in self.pfs().await {
            match self.of_pf(&pf, pool).await {
                Ok(vfs) => inventory.vfs.extend(vfs),
                Err(problem) => inventory.problems.push(problem),
            }
        }
        inventory
    }

    /// What each PF is, for the doctor; one that does not answer `within` hides none of the others.
    pub(crate) async fn examine(&self, within: Duration) -> Vec<PfFacts> {
        let each = self.pfs().await.into_iter().map(async |(pf, pool)| {
            let name = pf.clone();
            let look = self.blocking(move |sysfs| sysfs.examine(&name));
            let state = match tokio::time::timeout(within, look).await {
                Ok(state) => state.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", within.as_secs())),
            };
            PfFacts {
                pf,
                pool: pool.name.clone(),
                state,
            }
        });
        join_all(each).await
    }

    async fn of_pf(&self, pf: &str, pool: &PoolSpec) -> Result<Vec<VfState>, VfError> {
        let name = pf.to_owned();
        let functions = self.blocking(move |sysfs| {
            let pf = sysfs.pf_site(&name);
            let functions = sysfs.functions(&name)?.into_iter();
            Ok(functions.map(|vf| (sysfs.site(&vf, &pf), vf)).collect::<Vec<_>>())
        });
        let functions = functions.await?;
        let mut settings = BTreeMap::from_iter(Netlink::open(pf)?.settings(pf).await?);
        let states = functions.into_iter().map(|(site, function)| {
            let Function {
                name,
                driver,
                group,
                used,
            } = function;
            let settings = settings.remove(&name.index);
            VfState {
                name,
                pool: pool.name.clone(),
                driver,
                group,
                used,
                settings,
                site: Site {
                    vlans: pool.vlans,
                    ..site
                },
            }
        });
        Ok(states.collect())
    }

    /// Makes a VF ready to be plugged: with vfio-pci, set as the profile says, and **without a MAC**, so that the NIC's
    /// switch sends it nothing before the rest is right. `anew`: it is reset as well. Safe to repeat, until it is plugged.
    /// Answers in what it is not as the profile says.
    ///
    /// # Errors
    /// [`VfError::InUse`] if somebody has it: nothing is touched then.
    pub(crate) async fn prepare(
        &self,
        address: PciAddress,
        profile: &Profile,
        anew: bool,
    ) -> Result<Vec<Difference>, VfError> {
        let vf = self.find(address).await?;
        let (vfs, name, profile) = (self.clone(), vf.clone(), *profile);
        let work = async move {
            vfs.unused(&name, Duration::ZERO).await?;
            let bound = name.clone();
            vfs.blocking(move |sysfs| sysfs.bind_vfio(&bound)).await?;
            if anew {
                vfs.reset_in_turn(&name).await?;
            }
            let fitted = vfs.fit(&name, &profile).await?;
            info!(vf = %name, "prepared");
            Ok(fitted)
        };
        self.in_turn(&vf, "prepare", work).await
    }

    async fn reset_in_turn(&self, vf: &VfName) -> Result<(), VfError> {
        let resetting = vf.clone();
        if !self.blocking(move |sysfs| sysfs.reset(&resetting)).await? {
            debug!(%vf, "not reset: its device cannot be alone, or its driver has done it");
        }
        Ok(())
    }

    /// In what a VF is not as the profile says, now.
    pub(crate) async fn differences(
        &self,
        address: PciAddress,
        profile: &Profile,
    ) -> Result<Vec<Difference>, VfError> {
        let vf = self.find(address).await?;
        let driver = self.driver_of(&vf.pf).await?;
        let now = current(&Netlink::open(&vf.pf)?, &vf).await?;
        Ok(profile.differences(&now.profile, driver))
    }

    /// Gives a VF its MAC, or with `None` takes it off: this is what moves the NIC's switch. Also while it is in use.
    pub(crate) async fn set_mac(&self, address: PciAddress, mac: Option<MacAddress>) -> Result<(), VfError> {
        let vf = self.find(address).await?;
        let name = vf.clone();
        let work = async move { give_mac(&Netlink::open(&name.pf)?, &name, mac).await };
        self.in_turn(&vf, "set the MAC of", work).await
    }

    /// Whether a guest's MAC can be taken off the VF, and put back, while the guest has it. A driver that is not known is left
    /// alone.
    pub(crate) async fn is_steered_here(&self, address: PciAddress) -> Result<bool, VfError> {
        let vf = self.find(address).await?;
        let driver = self.driver_of(&vf.pf).await?;
        Ok(driver.is_some_and(|driver| driver.lever == Lever::Host))
    }

    /// Makes a VF that a guest has left as good as new: waits until nobody has it open (the removal event can come
    /// first), resets it, takes off its MAC and puts every setting back to neutral. Leaves it with the driver that it
    /// has. Safe to repeat.
    ///
    /// # Errors
    /// [`VfError::InUse`] if somebody keeps it open; nothing is touched then. [`VfError::ReadBack`] if it reads as
    /// anything but neutral.
    pub(crate) async fn clean(&self, address: PciAddress) -> Result<(), VfError> {
        let vf = self.find(address).await?;
        // Not in its turn: other guests of the PF are not to wait for an emulator.
        self.unused(&vf, LET_GO).await?;
        let (vfs, name) = (self.clone(), vf.clone());
        let work = async move { vfs.clean_in_turn(name).await };
        self.in_turn(&vf, "clean", work).await
    }

    async fn clean_in_turn(&self, vf: VfName) -> Result<(), VfError> {
        self.unused(&vf, Duration::ZERO).await?;
        self.reset_in_turn(&vf).await?;
        let differs = self.fit(&vf, &Profile::default()).await?;
        if !differs.is_empty() {
            return Err(VfError::ReadBack {
                vf,
                setting: "neutral".into(),
                found: told(&differs),
            });
        }
        info!(%vf, "clean");
        Ok(())
    }

    /// No MAC, and the profile as far as the driver has it; in what it is not so then.
    async fn fit(&self, vf: &VfName, profile: &Profile) -> Result<Vec<Difference>, VfError> {
        let driver = self.driver_of(&vf.pf).await?;
        let netlink = Netlink::open(&vf.pf)?;
        give_mac(&netlink, vf, None).await?;
        let mut refusals = Vec::new();
        for change in changes(&current(&netlink, vf).await?, profile, driver) {
            match ask(&netlink, vf, change).await {
                Ok(()) => {}
                Err(refused @ VfError::Refused { .. }) => refusals.push((change, refused)),
                Err(error) => return Err(error),
            }
        }
        let now = current(&netlink, vf).await?;
        Change::Mac(None).check(vf, &now)?;
        Ok(left(profile.differences(&now.profile, driver), &refusals))
    }

    async fn driver_of(&self, pf: &str) -> Result<Option<&'static Driver>, VfError> {
        let pf = pf.to_owned();
        let name = self.blocking(move |sysfs| Ok(sysfs.driver_of(&pf))).await?;
        Ok(name.and_then(|name| Driver::named(&name)))
    }

    /// The VF's PF, if it was switched off.
    pub(crate) async fn pf_down(&self, address: PciAddress) -> Result<Option<String>, VfError> {
        let VfName { pf, .. } = self.find(address).await?;
        self.blocking(move |sysfs| Ok((sysfs.is_up(&pf) == Some(false)).then_some(pf)))
            .await
    }

    /// The processes that have a VF open now.
    pub(crate) async fn holders(&self, address: PciAddress) -> Result<Vec<Holder>, VfError> {
        let vf = self.find(address).await?;
        self.blocking(move |sysfs| sysfs.holders(&vf)).await
    }

    /// The processes that have VFs of any pool open now, and which VFs.
    pub(crate) async fn open_vfs(&self) -> Result<Vec<(PciAddress, Holder)>, VfError> {
        let pfs: Vec<String> = self.pfs().await.into_iter().map(|(pf, _)| pf).collect();
        self.blocking(move |sysfs| {
            // A PF that cannot be read has no VF that could be given away.
            let functions = pfs.iter().filter_map(|pf| sysfs.functions(pf).ok()).flatten();
            sysfs.open_vfs(&functions.map(|function| function.name).collect::<Vec<_>>())
        })
        .await
    }

    /// Waits until nobody has it open, and this host does not use it for itself: a driver that has just got it makes its
    /// interface a moment later.
    async fn unused(&self, vf: &VfName, within: Duration) -> Result<(), VfError> {
        let start = Instant::now();
        loop {
            let asked = vf.clone();
            let look = self.blocking(move |sysfs| Ok((sysfs.used(&asked), sysfs.holders(&asked)?)));
            let (used, holders) = look.await?;
            let open = holders.iter().map(|holder| format!("{holder} has it open"));
            let by: Vec<String> = used.into_iter().chain(open).collect();
            if by.is_empty() {
                return Ok(());
            }
            if start.elapsed() >= within {
                return Err(VfError::InUse {
                    vf: vf.clone(),
                    by: by.join(", "),
                });
            }
            sleep(LOOK).await;
        }
    }
}

/// Some drivers reset the VF on a change, and take none while they do.
async fn ask(netlink: &Netlink, vf: &VfName, change: Change) -> Result<(), VfError> {
    let start = Instant::now();
    loop {
        match netlink.send(vf, change).await {
            Err(refused) if refused.is_passing() && start.elapsed() < SETTLE => sleep(LOOK).await,
            answer => return answer,
        }
    }
}

/// What is to be asked of the driver: what differs, and what it does not lack.
fn changes(now: &Settings, profile: &Profile, driver: Option<&Driver>) -> Vec<Change> {
    let asked = Change::of(&profile.on(driver)).into_iter();
    asked.filter(|change| !change.is_in(now)).collect()
}

/// The differences that count, each with the driver's refusal where there was one. A driver without the setting is where
/// neutral would put it.
fn left(differences: Vec<Difference>, refusals: &[(Change, VfError)]) -> Vec<Difference> {
    let neutral = Change::of(&Profile::default());
    let told = |mut difference: Difference| {
        let refusal = refusals
            .iter()
            .find(|(change, _)| change.sets(difference.setting));
        if let Some((change, refused)) = refusal {
            if refused.is_unsupported() && neutral.contains(change) {
                debug!(%refused, "left at the driver's default");
                return None;
            }
            difference.because = refused.refusal();
        }
        Some(difference)
    };
    differences.into_iter().filter_map(told).collect()
}

async fn give_mac(netlink: &Netlink, vf: &VfName, mac: Option<MacAddress>) -> Result<(), VfError> {
    let change = Change::Mac(mac);
    if change.is_in(&current(netlink, vf).await?) {
        return Ok(());
    }
    netlink.send(vf, change).await?;
    change.check(vf, &current(netlink, vf).await?)
}

async fn current(netlink: &Netlink, vf: &VfName) -> Result<Settings, VfError> {
    let all = netlink.settings(&vf.pf).await?;
    let found = all.into_iter().find(|(index, _)| *index == vf.index);
    found
        .map(|(_, settings)| settings)
        .ok_or(VfError::NoVf(vf.address))
}

#[cfg(test)]
mod tests;
