//! What sysfs and /proc know and do about VFs: which there are, whose driver they have, who has them open.
//! All of it blocks; the async face calls it through `spawn_blocking`.

mod emulators;
mod examine;
mod site;
mod uplinks;
mod usage;

pub(crate) use self::uplinks::{BridgePorts, Tap};

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use godwit_migration::PciAddress;

use super::error::{Holder, VfError, VfName};

const VFIO: &str = "vfio-pci";

/// How long a driver may take to bind or unbind, and how often to look.
const SETTLE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// A VF as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The VF.
    pub name: VfName,
    /// Driver it is bound to, if any.
    pub driver: Option<String>,
    /// Its IOMMU group; without one it cannot be given to a guest.
    pub group: Option<u32>,
    /// How this host uses it for itself, in words, if it does.
    pub used: Option<String>,
}

/// The machine's file tree, at `/` but for tests.
#[derive(Debug, Clone)]
pub(crate) struct Sysfs {
    pub(super) root: PathBuf,
}

impl Sysfs {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Sysfs { root: root.into() }
    }

    pub(super) fn device(&self, address: PciAddress) -> PathBuf {
        self.root.join("sys/bus/pci/devices").join(address.to_string())
    }

    /// Whether the PF was switched on (`IFF_UP`, include/uapi/linux/if.h); none if that cannot be read. Of one that is off a
    /// VF's driver in a guest reaches nobody, and takes an address by chance that it keeps.
    pub(crate) fn is_up(&self, pf: &str) -> Option<bool> {
        interface_is_up(&self.root.join("sys/class/net").join(pf))
    }

    /// The VFs of a PF, in the order of their index.
    pub(crate) fn functions(&self, pf: &str) -> Result<Vec<Function>, VfError> {
        let no_pf = |why: String| VfError::NoPf {
            pf: pf.to_owned(),
            why,
        };
        // A name from the configuration becomes part of a path.
        if pf.is_empty() || pf.starts_with('.') || pf.contains('/') {
            return Err(no_pf("not an interface name".into()));
        }
        let device = self.root.join("sys/class/net").join(pf).join("device");
        if !device.exists() {
            return Err(no_pf("no such PCI interface".into()));
        }
        if !device.join("sriov_numvfs").exists() {
            return Err(no_pf("its device has no SR-IOV".into()));
        }
        let mut functions = Vec::new();
        for entry in fs::read_dir(&device)
            .map_err(|error| no_pf(error.to_string()))?
            .flatten()
        {
            let file = entry.file_name();
            let Some(index) = file
                .to_str()
                .and_then(|name| name.strip_prefix("virtfn")?.parse().ok())
            else {
                continue;
            };
            let Some(address) = link_name(&entry.path()).and_then(|name| name.parse().ok()) else {
                continue;
            };
            functions.push(self.function(VfName {
                pf: pf.to_owned(),
                index,
                address,
            }));
        }
        functions.sort_by_key(|function| function.name.index);
        Ok(functions)
    }

    /// The driver of a PF, if it has one.
    pub(crate) fn driver_of(&self, pf: &str) -> Option<String> {
        link_name(&self.root.join("sys/class/net").join(pf).join("device/driver"))
    }

    fn function(&self, name: VfName) -> Function {
        let device = self.device(name.address);
        let driver = link_name(&device.join("driver"));
        Function {
            used: self.used_by_host(name.address, driver.as_deref()),
            driver,
            group: link_name(&device.join("iommu_group")).and_then(|group| group.parse().ok()),
            name,
        }
    }

    /// Gives the VF to vfio-pci, from no driver or another. Nothing happens if it is there already.
    pub(crate) fn bind_vfio(&self, vf: &VfName) -> Result<(), VfError> {
        // Also when it is bound: so that no other driver takes it at the next probe.
        self.write(vf, "driver_override", VFIO)?;
        match link_name(&self.device(vf.address).join("driver")) {
            Some(driver) if driver == VFIO => return Ok(()),
            Some(_) => self.unbind(vf)?,
            None => {}
        }
        let probe = self.root.join("sys/bus/pci/drivers_probe");
        // The probe fails when the driver refuses the device; which driver it has then says it better.
        let probed = write(&probe, &vf.address.to_string());
        if self.settles(vf, Some(VFIO)) {
            return Ok(());
        }
        match probed {
            Err(source) => Err(VfError::Sysfs {
                vf: vf.clone(),
                path: probe,
                source,
            }),
            Ok(()) => Err(self.wrong_driver(vf, VFIO)),
        }
    }

    fn unbind(&self, vf: &VfName) -> Result<(), VfError> {
        self.write(vf, "driver/unbind", &vf.address.to_string())?;
        if self.settles(vf, None) {
            Ok(())
        } else {
            Err(self.wrong_driver(vf, "no driver"))
        }
    }

    /// Resets the VF, if its device can; says whether it did. Not under a driver of the host's own: that has reset it when it
    /// took it, and igbvf (Linux 6.12, seen on the rig) never comes back from the reset of a VF whose interface is down:
    /// its `reset_prepare` waits for ever in `napi_disable`.
    pub(crate) fn reset(&self, vf: &VfName) -> Result<bool, VfError> {
        let driver = link_name(&self.device(vf.address).join("driver"));
        let under_another = driver.is_some_and(|driver| driver != VFIO);
        if under_another || !self.device(vf.address).join("reset").exists() {
            return Ok(false);
        }
        self.write(vf, "reset", "1").map(|()| true)
    }

    fn settles(&self, vf: &VfName, driver: Option<&str>) -> bool {
        let link = self.device(vf.address).join("driver");
        let start = Instant::now();
        loop {
            if link_name(&link).as_deref() == driver {
                return true;
            }
            if start.elapsed() > SETTLE {
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    fn wrong_driver(&self, vf: &VfName, wanted: &'static str) -> VfError {
        let found = link_name(&self.device(vf.address).join("driver"));
        VfError::Driver {
            vf: vf.clone(),
            wanted,
            found: found.unwrap_or_else(|| "no driver".into()),
        }
    }

    fn write(&self, vf: &VfName, file: &str, text: &str) -> Result<(), VfError> {
        let path = self.device(vf.address).join(file);
        write(&path, text).map_err(|source| VfError::Sysfs {
            vf: vf.clone(),
            path,
            source,
        })
    }

    /// The processes that have the VF open, through its vfio group or its own vfio device. Those that end meanwhile are
    /// left out; nobody else can hide from root.
    pub(crate) fn holders(&self, vf: &VfName) -> Result<Vec<Holder>, VfError> {
        let open = self.open_vfs(std::slice::from_ref(vf))?;
        Ok(open.into_iter().map(|(_, holder)| holder).collect())
    }

    /// The same of many VFs, with one look at each process.
    pub(crate) fn open_vfs(&self, vfs: &[VfName]) -> Result<Vec<(PciAddress, Holder)>, VfError> {
        let Some(first) = vfs.first() else {
            return Ok(Vec::new());
        };
        let files: Vec<(PciAddress, Vec<String>)> =
            vfs.iter().map(|vf| (vf.address, self.vfio_files(vf))).collect();
        let proc = self.root.join("proc");
        let entries = fs::read_dir(&proc).map_err(|source| VfError::Sysfs {
            vf: first.clone(),
            path: proc.clone(),
            source,
        })?;
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut open = Vec::new();
        for pid in pids {
            let process = proc.join(pid.to_string());
            let of_vfio = open_vfio_files(&process);
            if of_vfio.is_empty() {
                continue;
            }
            let has = |paths: &[String]| paths.iter().any(|path| of_vfio.contains(path));
            let named = files.iter().filter(|(_, paths)| has(paths));
            open.extend(named.map(|(vf, _)| (*vf, holder(pid, &process))));
        }
        Ok(open)
    }

    /// What a process that uses the VF has open.
    fn vfio_files(&self, vf: &VfName) -> Vec<String> {
        let device = self.device(vf.address);
        let group = link_name(&device.join("iommu_group")).map(|group| format!("/dev/vfio/{group}"));
        let own = first_entry(&device.join("vfio-dev")).map(|own| format!("/dev/vfio/devices/{own}"));
        group.into_iter().chain(own).collect()
    }
}

fn holder(pid: u32, process: &Path) -> Holder {
    let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    // libvirt starts every emulator with it.
    let guest = arguments
        .find(|word| *word == b"-uuid")
        .and_then(|_| arguments.next());
    Holder {
        pid,
        command: command.trim_end().to_owned(),
        guest: guest.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()),
    }
}

/// The files under `/dev/vfio` that a process has open.
fn open_vfio_files(process: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return Vec::new();
    };
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let named = targets.filter_map(|target| {
        let target = target.to_str()?;
        // QEMU may see /dev in a mount namespace of its own, whose nodes read as deleted from here.
        Some(target.strip_suffix(" (deleted)").unwrap_or(target).to_owned())
    });
    named.filter(|target| target.starts_with("/dev/vfio/")).collect()
}

/// Only an existing file: with `O_CREAT` a missing sysfs file would be a wrong error.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// Of an interface's folder; none if that cannot be read.
fn interface_is_up(folder: &Path) -> Option<bool> {
    number(&folder.join("flags"), 16).map(|flags| flags & 1 != 0)
}

pub(super) fn first_entry(folder: &Path) -> Option<String> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .next()?
        .file_name()
        .into_string()
        .ok()
}

/// A file with one number.
pub(super) fn number(path: &Path, radix: u32) -> Option<u32> {
    let text = text(path)?;
    let text = text.trim();
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), radix).ok()
}

/// The beginning of a file of one short line.
fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(64).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
pub(super) mod tests;
