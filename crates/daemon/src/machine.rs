//! What `/proc`, `/sys` and `/dev` say of this machine, for the doctor: CPU, firmware, kernel, processes. Nothing here knows
//! NICs or libvirt. All of it blocks; every read is bounded, and waits for nobody who might write.

mod network;
mod room;
mod switch;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

pub(crate) use self::{network::interface_of, room::Side};
use godwit_migration::doctor::{Cpu, Fact, FirmwareTable, MachineFacts, Memlock, Module, Vendor};
use rustix::fs::OFlags;

/// More of a file is not read. `modules.dep` of a distribution's kernel has less than 1 MiB.
const MOST: u64 = 8 << 20;

/// More entries of a directory are not counted.
const MOST_ENTRIES: usize = 1024;

/// `CAP_SYS_RESOURCE` (include/uapi/linux/capability.h).
const SYS_RESOURCE: u32 = 24;

/// The machine's file tree, at `/` but for tests.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::at("/")
    }
}

impl Machine {
    pub(crate) fn at(root: impl Into<PathBuf>) -> Machine {
        Machine { root: root.into() }
    }

    /// All of it, each for itself.
    pub(crate) fn facts(&self) -> MachineFacts {
        MachineFacts {
            cpu: self.cpu(),
            kvm: self.exists("dev/kvm"),
            iommus: self.iommus(),
            firmware: self.firmware(),
            command_line: self
                .read("proc/cmdline")
                .map(|text| text.split_whitespace().map(str::to_owned).collect()),
            vfio_pci: self.module("vfio_pci"),
            vfio_iommu: self.module("vfio_iommu_type1"),
            vfio_device: self.exists("dev/vfio/vfio"),
            tcp_retries: self.tcp_retries(),
        }
    }

    /// The kernel may carry the packets of virtio NICs.
    pub(crate) fn has_vhost(&self) -> bool {
        self.exists("dev/vhost-net").unwrap_or(false)
    }

    /// A file of text, whole or as much as is taken of one.
    ///
    /// # Errors
    /// With the file's name.
    pub(crate) fn read(&self, path: &str) -> Fact<String> {
        read(&self.root.join(path)).map_err(|error| told(path, &error))
    }

    fn exists(&self, path: &str) -> Fact<bool> {
        match fs::symlink_metadata(self.root.join(path)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(told(path, &error)),
        }
    }

    /// By the first processor.
    fn cpu(&self) -> Fact<Cpu> {
        let text = self.read("proc/cpuinfo")?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim())
        };
        if value("processor").is_none() {
            return Err("/proc/cpuinfo names no processor".into());
        }
        let vendor = match value("vendor_id") {
            Some("GenuineIntel") => Vendor::Intel,
            Some("AuthenticAMD" | "HygonGenuine") => Vendor::Amd,
            _ => Vendor::Other,
        };
        let flags = value("flags");
        let virtualisation = flags.map(|flags| flags.split(' ').any(|flag| matches!(flag, "vmx" | "svm")));
        Ok(Cpu {
            vendor,
            virtualisation,
        })
    }

    /// Without a driver for one the kernel may not even have the class.
    fn iommus(&self) -> Fact<usize> {
        if !self.exists("sys/class")? {
            return Err("/sys/class is not there".into());
        }
        let path = "sys/class/iommu";
        match fs::read_dir(self.root.join(path)) {
            Ok(entries) => Ok(entries.take(MOST_ENTRIES).flatten().count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(told(path, &error)),
        }
    }

    fn firmware(&self) -> Fact<FirmwareTable> {
        let tables = "sys/firmware/acpi/tables";
        if !self.exists(tables)? {
            return Err("the firmware has no ACPI".into());
        }
        Ok(if self.exists(&format!("{tables}/DMAR"))? {
            FirmwareTable::Dmar
        } else if self.exists(&format!("{tables}/IVRS"))? {
            FirmwareTable::Ivrs
        } else {
            FirmwareTable::Missing
        })
    }

    /// Of the running kernel; `name` with underscores.
    fn module(&self, name: &str) -> Fact<Module> {
        if self.exists(&format!("sys/module/{name}"))? {
            return Ok(Module::Loaded);
        }
        let release = self.read("proc/sys/kernel/osrelease")?;
        let release = release.trim();
        if release.is_empty() || release.starts_with('.') || release.contains('/') {
            return Err("the kernel's release is odd".into());
        }
        // Without the files there is nothing that modprobe could load.
        let has = |file: &str| {
            let path = format!("lib/modules/{release}/{file}");
            if !self.exists(&path)? {
                return Ok(false);
            }
            let text = self.read(&path)?;
            Ok::<_, String>(text.lines().any(|line| is_module(line, name)))
        };
        if has("modules.builtin")? {
            return Ok(Module::Loaded);
        }
        Ok(match has("modules.dep")? {
            true => Module::Loadable,
            false => Module::Missing,
        })
    }

    fn tcp_retries(&self) -> Fact<u32> {
        let path = "proc/sys/net/ipv4/tcp_retries2";
        let text = self.read(path)?;
        let number = text.trim().parse();
        number.map_err(|_| format!("/{path}: {:?} is no number", text.trim()))
    }

    /// What a process may do about locked memory, if it has one of these names.
    pub(crate) fn memlock(&self, pid: u32, names: &[&str]) -> Fact<Memlock> {
        let command = self.read(&format!("proc/{pid}/comm"))?;
        if !names.contains(&command.trim()) {
            return Err(format!("process {pid} is {}", command.trim()));
        }
        let status = self.read(&format!("proc/{pid}/status"))?;
        let effective = status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
            .ok_or_else(|| format!("/proc/{pid}/status names no capabilities"))?;
        let limits = self.read(&format!("proc/{pid}/limits"))?;
        // Name, soft limit, hard limit, unit.
        let limit = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().nth(1));
        let limit = match limit {
            Some("unlimited") => None,
            limit => Some(
                limit
                    .and_then(|limit| limit.parse().ok())
                    .ok_or_else(|| format!("/proc/{pid}/limits names no limit of locked memory"))?,
            ),
        };
        Ok(Memlock {
            may_raise: effective & (1 << SYS_RESOURCE) != 0,
            limit,
        })
    }
}

/// A line of `modules.dep` or `modules.builtin`: `kernel/drivers/vfio/pci/vfio-pci.ko.xz: ...`.
fn is_module(line: &str, name: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    let stem = file.split(".ko").next().unwrap_or_default();
    file.contains(".ko") && stem.replace('-', "_") == name
}

/// A pipe that nobody writes to has nothing to tell, and is not waited for.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn told(path: &str, error: &io::Error) -> String {
    format!("/{path}: {error}")
}

#[cfg(test)]
pub(crate) mod tests;
