//! What can go wrong with a VF, naming the VF.

use std::{fmt, io, path::PathBuf};

use godwit_migration::PciAddress;
use rustix::io::Errno;
use uuid::Uuid;

/// Names a VF for people: `VF 3 of pf0 (0000:01:10.6)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VfName {
    /// Interface name of its PF.
    pub pf: String,
    /// Its index there.
    pub index: u32,
    /// Its address.
    pub address: PciAddress,
}

impl fmt::Display for VfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VF {} of {} ({})", self.index, self.pf, self.address)
    }
}

/// A process that has a VF open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as the kernel cuts it.
    pub command: String,
    /// The guest whose emulator it is, if it is one.
    pub guest: Option<Uuid>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.command, self.pid)
    }
}

/// Why a VF could not be read or set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VfError {
    /// No interface of this name, or one without SR-IOV.
    #[error("{pf} is not an SR-IOV interface of this host: {why}")]
    NoPf {
        /// Its name in the configuration.
        pf: String,
        /// What is missing.
        why: String,
    },
    /// No VF of a configured PF has this address.
    #[error("{0} is not a VF of any pool of this host")]
    NoVf(PciAddress),
    /// sysfs or /proc said no.
    #[error("{vf}: {path}: {source}", path = path.display())]
    Sysfs {
        /// The VF.
        vf: VfName,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The VF did not come to the driver that it was given to.
    #[error("{vf} is with {found}, not with {wanted}")]
    Driver {
        /// The VF.
        vf: VfName,
        /// The driver it should have.
        wanted: &'static str,
        /// The driver it has.
        found: String,
    },
    /// Somebody has it open, or this host uses it for itself.
    #[error("{vf} is still in use: {by}")]
    InUse {
        /// The VF.
        vf: VfName,
        /// Who, and how.
        by: String,
    },
    /// The PF's driver refused a setting.
    #[error("{vf}: the driver of {} refused {setting}: {source}", vf.pf)]
    Refused {
        /// The VF.
        vf: VfName,
        /// What was to be set, with its value.
        setting: String,
        /// Why. `EOPNOTSUPP`: the driver has no such setting.
        source: io::Error,
    },
    /// The PF's driver accepted a setting and has another.
    #[error("{vf}: {setting} was set and reads back as {found}")]
    ReadBack {
        /// The VF.
        vf: VfName,
        /// What was set, with its value.
        setting: String,
        /// What is there.
        found: String,
    },
    /// Netlink itself failed.
    #[error("netlink about {pf}: {why}")]
    Netlink {
        /// The PF.
        pf: String,
        /// Why.
        why: String,
    },
}

impl VfError {
    /// Why a driver refused a setting, without the names that stand beside it: for a list of settings of one VF.
    pub(crate) fn refusal(&self) -> String {
        match self {
            VfError::Refused { vf, source, .. } => format!("the driver of {} refused it: {source}", vf.pf),
            other => other.to_string(),
        }
    }

    /// The PF's driver has no such setting.
    pub(crate) fn is_unsupported(&self) -> bool {
        self.refused_with(&[Errno::OPNOTSUPP])
    }

    /// The PF's driver is busy with the VF.
    pub(crate) fn is_passing(&self) -> bool {
        self.refused_with(&[Errno::AGAIN, Errno::BUSY])
    }

    fn refused_with(&self, any: &[Errno]) -> bool {
        let VfError::Refused { source, .. } = self else {
            return false;
        };
        any.iter()
            .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }
}
