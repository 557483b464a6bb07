//! Which PFs a pool has: by interface name, by PCI address, or all of a kind. Looked up each time: interfaces come, go
//! and are renamed, and a driver may be loaded after this daemon.

use std::{collections::BTreeMap, fs, io};

use godwit_migration::PciAddress;
use tracing::{info, warn};

use super::{
    Vfs,
    error::{Holder, VfError, VfName},
    sysfs::{Sysfs, first_entry, number, write},
};

/// A pool as the configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PoolSpec {
    /// Its name.
    pub(crate) name: String,
    /// Its PFs: interface names, or PCI addresses.
    pub(crate) pfs: Vec<String>,
    /// And all PFs of these kinds that no pool names.
    pub(crate) kinds: Vec<PfKind>,
    /// VLANs that it carries, from and to; none: all.
    pub(crate) vlans: Option<(u16, u16)>,
    /// How many VFs each of its PFs has; none: as many as it is found with.
    pub(crate) vfs: Option<u32>,
}

/// What a PF is; what is not said is anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PfKind {
    /// Its driver.
    pub(crate) driver: Option<String>,
    /// PCI vendor.
    pub(crate) vendor: Option<u16>,
    /// PCI device.
    pub(crate) device: Option<u16>,
}

/// Why a PF has not the VFs that the configuration wants.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountError {
    /// Those that it has cannot be seen.
    #[error(transparent)]
    Unknown(#[from] VfError),
    /// The host itself uses one.
    #[error("{vf} is in use: {used}")]
    Taken {
        /// Which.
        vf: VfName,
        /// How.
        used: String,
    },
    /// A process has one open.
    #[error("{vf} is in use by {holder}")]
    Used {
        /// Which.
        vf: VfName,
        /// Whose.
        holder: Holder,
    },
    /// The kernel said no.
    #[error("{file}")]
    Refused {
        /// Of the PF.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The NIC has not so many.
    #[error("it can have {possible}")]
    TooMany {
        /// How many it can have.
        possible: u32,
    },
    /// The driver made another number of them.
    #[error("it has {made} afterwards")]
    Short {
        /// How many.
        made: u32,
    },
}

/// More network interfaces of a host are not looked at.
const MOST: usize = 4096;

impl Vfs {
    /// The PFs that the pools have now, each with its pool.
    pub(super) async fn pfs(&self) -> Vec<(String, &PoolSpec)> {
        let pools = self.inner.pools.clone();
        let found = self.blocking(move |sysfs| Ok(sysfs.pfs_of(&pools))).await;
        let found = found.unwrap_or_default().into_iter();
        found
            .filter_map(|(pf, index)| Some((pf, self.inner.pools.get(index)?)))
            .collect()
    }

    /// Gives each PF the VFs that the configuration wants of it, and tells the log what was done, or why it was not.
    pub(crate) async fn ensure(&self) {
        for (pf, pool) in self.pfs().await {
            let Some(wanted) = pool.vfs else { continue };
            let (vfs, name) = (self.clone(), pf.clone());
            let work = async move { vfs.look(move |sysfs| sysfs.ensure_vfs(&name, wanted)).await };
            match self.in_turn_of(&pf, format!("make the VFs of {pf}"), work).await {
                Ok(None) => {}
                Ok(Some(done)) => info!("{done}"),
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "{pf} should have {wanted} VFs: {error}"
                    );
                }
            }
        }
    }

    /// The VF of a pool at that address.
    pub(super) async fn find(&self, address: PciAddress) -> Result<VfName, VfError> {
        let pfs: Vec<String> = self.pfs().await.into_iter().map(|(pf, _)| pf).collect();
        self.blocking(move |sysfs| {
            // A PF that cannot be read has no VF that could be worked on.
            let functions = pfs.iter().filter_map(|pf| sysfs.functions(pf).ok()).flatten();
            let mut names = functions.map(|function| function.name);
            names
                .find(|name| name.address == address)
                .ok_or(VfError::NoVf(address))
        })
        .await
    }
}

impl Sysfs {
    /// The PFs of these pools by interface name, each with the number of its pool. A PF that is named and not there is among
    /// them, so that it is told. Of two pools, the first that names it has it, then the first whose kinds it is of.
    pub(crate) fn pfs_of(&self, pools: &[PoolSpec]) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for (index, pool) in pools.iter().enumerate() {
            for pf in &pool.pfs {
                found.entry(self.interface(pf)).or_insert(index);
            }
        }
        if pools.iter().any(|pool| !pool.kinds.is_empty()) {
            for pf in self.all_pfs() {
                let is = |pool: &PoolSpec| pool.kinds.iter().any(|kind| self.is_of(&pf, kind));
                if let Some(index) = pools.iter().position(is) {
                    found.entry(pf).or_insert(index);
                }
            }
        }
        found
    }

    /// An address as the interface that it has now; itself where it has none.
    fn interface(&self, pf: &str) -> String {
        let address = pf.parse::<PciAddress>().ok();
        let named = address.and_then(|address| first_entry(&self.device(address).join("net")));
        named.unwrap_or_else(|| pf.to_owned())
    }

    /// Every interface whose device can have VFs and is none.
    fn all_pfs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("sys/class/net"));
        let names = entries.into_iter().flatten().flatten().take(MOST);
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let possible = |pf: &String| {
            number(
                &self
                    .root
                    .join("sys/class/net")
                    .join(pf)
                    .join("device/sriov_totalvfs"),
                10,
            )
        };
        let mut pfs: Vec<String> = names
            .filter(|pf| possible(pf).is_some_and(|possible| possible > 0))
            .collect();
        pfs.sort();
        pfs
    }

    fn is_of(&self, pf: &str, kind: &PfKind) -> bool {
        let device = self.root.join("sys/class/net").join(pf).join("device");
        let is = |wanted: Option<u16>, file: &str| {
            wanted.is_none_or(|wanted| number(&device.join(file), 16) == Some(u32::from(wanted)))
        };
        let driver = kind.driver.as_ref();
        driver.is_none_or(|driver| self.driver_of(pf).as_ref() == Some(driver))
            && is(kind.vendor, "vendor")
            && is(kind.device, "device")
    }

    /// Gives a PF so many VFs, unless it has them. The host's own driver does not take them. What was done, for the log; none
    /// if there was nothing to do.
    ///
    /// # Errors
    /// [`CountError::Used`] or [`CountError::Taken`] when one of those that it has is used by anybody: then nothing is changed.
    fn ensure_vfs(&self, pf: &str, wanted: u32) -> Result<Option<String>, CountError> {
        let now = self.functions(pf)?;
        let has = now.len() as u32;
        if has == wanted {
            return Ok(None);
        }
        for vf in now {
            if let Some(used) = vf.used {
                return Err(CountError::Taken { vf: vf.name, used });
            }
            if let Some(holder) = self.holders(&vf.name)?.into_iter().next() {
                return Err(CountError::Used { vf: vf.name, holder });
            }
        }
        let device = self.root.join("sys/class/net").join(pf).join("device");
        // Those that it has are taken away first, and would be missed.
        let possible = number(&device.join("sriov_totalvfs"), 10).unwrap_or(0);
        if wanted > possible {
            return Err(CountError::TooMany { possible });
        }
        let set = |file: &'static str, text: &str| {
            let written = write(&device.join(file), text);
            written.map_err(|source| CountError::Refused { file, source })
        };
        // Older kernels have no such file, and probe.
        let _ = set("sriov_drivers_autoprobe", "0");
        if has > 0 {
            set("sriov_numvfs", "0")?;
        }
        set("sriov_numvfs", &wanted.to_string())?;
        let made = self.functions(pf)?.len() as u32;
        match made == wanted {
            true => Ok(Some(format!("{pf} has {wanted} VFs, and had {has}"))),
            false => Err(CountError::Short { made }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sysfs::tests::Machine, *};

    /// Beside `pf0`, a PF of another make and an interface without VFs.
    fn machine() -> Machine {
        let machine = Machine::new();
        machine.file("sys/bus/pci/devices/0000:01:00.0/net/pf0/x", "");
        machine.file("sys/bus/pci/devices/0000:01:00.0/sriov_totalvfs", "7\n");
        machine.file("sys/bus/pci/devices/0000:01:00.0/vendor", "0x8086\n");
        machine.file("sys/bus/pci/devices/0000:01:00.0/device", "0x10c9\n");
        machine.file("sys/class/net/pf1/device/sriov_totalvfs", "127\n");
        machine.file("sys/class/net/pf1/device/vendor", "0x15b3\n");
        machine.file("sys/class/net/up0/device/vendor", "0x1af4\n");
        machine.file("sys/class/net/lo/flags", "0x9\n");
        machine
    }

    fn pool(name: &str, pfs: &[&str], kinds: &[PfKind]) -> PoolSpec {
        PoolSpec {
            name: name.into(),
            pfs: pfs.iter().map(|pf| (*pf).to_owned()).collect(),
            kinds: kinds.to_vec(),
            ..PoolSpec::default()
        }
    }

    fn found(pools: &[PoolSpec]) -> Vec<(String, usize)> {
        machine().sysfs().pfs_of(pools).into_iter().collect()
    }

    #[test]
    fn pfs_by_name_by_address_and_by_kind() {
        let pf0 = || ("pf0".to_owned(), 0);
        assert_eq!(found(&[pool("a", &["pf0"], &[])]), [pf0()]);
        assert_eq!(found(&[pool("a", &["0000:01:00.0"], &[])]), [pf0()]);
        // What is named and not there is told as it was named.
        assert_eq!(
            found(&[pool("a", &["0000:09:00.0"], &[])]),
            [("0000:09:00.0".to_owned(), 0)]
        );
        let intel = PfKind {
            vendor: Some(0x8086),
            ..PfKind::default()
        };
        let igb = PfKind {
            driver: Some("igb".into()),
            ..PfKind::default()
        };
        for kind in [&intel, &igb] {
            assert_eq!(found(&[pool("a", &[], std::slice::from_ref(kind))]), [pf0()]);
        }
        let other = PfKind {
            device: Some(0x1572),
            ..intel.clone()
        };
        assert_eq!(found(&[pool("a", &[], &[other])]), []);
    }

    #[test]
    fn a_pf_is_in_one_pool() {
        let any = PfKind::default();
        let pools = [pool("rest", &[], &[any]), pool("named", &["pf0"], &[])];
        assert_eq!(found(&pools), [("pf0".to_owned(), 1), ("pf1".to_owned(), 0)]);
    }

    #[test]
    fn vfs_are_made_where_nobody_is_disturbed() {
        let machine = machine();
        let sysfs = machine.sysfs();
        assert_eq!(sysfs.ensure_vfs("pf0", 2).unwrap(), None);
        let used = sysfs.ensure_vfs("pf0", 7).unwrap_err().to_string();
        assert_eq!(
            used,
            "VF 1 of pf0 (0000:01:10.2) is in use: the host has it as enp1s16f2"
        );
        machine.file("sys/bus/pci/devices/0000:01:10.2/net/enp1s16f2/flags", "0x1002\n");
        machine.process(77, "qemu-system-x86", "/dev/vfio/12");
        let used = sysfs.ensure_vfs("pf0", 7).unwrap_err().to_string();
        assert!(used.contains("in use by qemu-system-x86 (process 77)"), "{used}");
        assert_eq!(
            machine.text("sys/bus/pci/devices/0000:01:00.0/sriov_numvfs"),
            "2\n"
        );
        machine.process(77, "qemu-system-x86", "/dev/null");
        let many = sysfs.ensure_vfs("pf0", 8).unwrap_err().to_string();
        assert_eq!(many, "it can have 7");
        assert_eq!(
            machine.text("sys/bus/pci/devices/0000:01:00.0/sriov_numvfs"),
            "2\n"
        );
        // The made-up kernel makes none.
        let few = sysfs.ensure_vfs("pf0", 7).unwrap_err().to_string();
        assert!(few.ends_with("it has 2 afterwards"), "{few}");
        assert_eq!(
            machine.text("sys/bus/pci/devices/0000:01:00.0/sriov_numvfs"),
            "7\n"
        );
        assert!(sysfs.ensure_vfs("pf9", 7).is_err());
    }

    /// What `godwit vfs` and every choice read of sysfs, of a large host. Prints how long that takes; asserts no time.
    #[test]
    #[ignore = "a benchmark: cargo test -p godwitd -- --ignored --nocapture of_127_vfs"]
    fn four_pfs_of_127_vfs_are_read() {
        let machine = Machine::new();
        let vf = |pf: u32, n: u32| format!("0000:{:02x}:{:02x}.{}", 0x10 + pf, 0x02 + n / 8, n % 8);
        let names: Vec<String> = (0..4).map(|pf| format!("big{pf}")).collect();
        for (pf, name) in (0..4).zip(&names) {
            let device = format!("sys/bus/pci/devices/0000:{:02x}:00.0", 0x10 + pf);
            machine.file(&format!("{device}/sriov_numvfs"), "127\n");
            machine.file(&format!("sys/class/net/{name}/carrier"), "1\n");
            machine.file(&format!("sys/class/net/{name}/speed"), "100000\n");
            machine.link(
                &format!("sys/class/net/{name}/device"),
                &format!("../../../../{device}"),
            );
            for n in 0..127 {
                let (vf, group) = (vf(pf, n), 100 + pf * 127 + n);
                machine.file(&format!("sys/bus/pci/devices/{vf}/numa_node"), "0\n");
                machine.link(
                    &format!("sys/bus/pci/devices/{vf}/driver"),
                    "../../drivers/vfio-pci",
                );
                machine.file(&format!("sys/kernel/iommu_groups/{group}/devices/{vf}/x"), "");
                let to = format!("../../../../kernel/iommu_groups/{group}");
                machine.link(&format!("sys/bus/pci/devices/{vf}/iommu_group"), &to);
                machine.link(&format!("{device}/virtfn{n}"), &format!("../{vf}"));
            }
        }
        let sysfs = machine.sysfs();
        let mut times: Vec<f64> = (0..50)
            .map(|_| {
                let start = std::time::Instant::now();
                let read = names.iter().map(|name| {
                    let pf = sysfs.pf_site(name);
                    let functions = sysfs.functions(name).unwrap();
                    functions
                        .iter()
                        .map(|vf| sysfs.site(vf, &pf))
                        .collect::<Vec<_>>()
                        .len()
                });
                assert_eq!(read.sum::<usize>(), 4 * 127);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!(
            "4 PFs of 127 VFs: median {:.1} ms, slowest {:.1} ms",
            times[25], times[49]
        );
    }
}
