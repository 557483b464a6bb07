//! What stands in the way of a move, and how long its parts may take, before anything is touched: facts of both hosts and the guest in,
//! findings and figures out. A finding of severity error keeps a move from beginning; what is not known keeps nothing.

mod arrival;
mod disks;
mod estimate;
mod keeping;
mod leaving;
mod networks;
mod reach;
#[cfg(test)]
mod tests;
mod ways;

use crate::doctor::{Finding, Severity};

pub use self::{
    arrival::{ArrivalFacts, Fit, FreeMemory, arrival, proved},
    disks::PlaceSeen,
    estimate::{Estimated, GuestSize, estimate, pause_ms},
    keeping::{KeepFacts, Loss, NicKept, NicSeen, Offer, Unseen, keeping},
    leaving::{Carried, LeavingFacts, Pages, leaving},
    networks::{NeededNic, Network, NetworkKind, NetworkSeen, NicVlans},
    reach::{Heard, Neighbour, OwnPort, VlanTag},
    ways::{PortVlans, Uplink, Ways},
};

/// What a guest needs of the host that it comes to, by its live domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Its name, for sentences.
    pub guest: String,
    /// Machine type, architecture and virtualisation (`kvm`, `qemu`), as libvirt has them.
    pub machine: Machine,
    /// Its CPU.
    pub cpu: CpuNeeds,
    /// Bytes.
    pub memory: u64,
    /// What of it is in huge pages; the rest is in ordinary ones.
    pub pages: Vec<HugePages>,
    /// Its disks, but for those that are empty.
    pub disks: Vec<NeededDisk>,
    /// Its virtual NICs.
    pub nics: Vec<NeededNic>,
    /// libvirt's lock manager where it runs; none: there is none, or it is not known.
    pub lock_manager: Option<String>,
    /// Its transfer is to be by TLS.
    pub tls: bool,
}

/// What a domain runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `pc-q35-10.0`; empty: not known.
    pub kind: String,
    /// `x86_64`.
    pub architecture: String,
    /// `kvm`, or `qemu` where instructions are emulated.
    pub virtualisation: String,
}

/// What a guest's CPU must be able to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuNeeds {
    /// The element `<cpu>`; empty: there is none.
    pub element: String,
    /// Flags of its host's CPU, as `/proc/cpuinfo` has them, where the guest has that CPU itself (`host-passthrough`); else none.
    pub flags: Vec<String>,
}

/// Memory in huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Of one page, KiB; 0: the default of the host that it is on, as the kernel has it.
    pub kib: u64,
    /// Bytes of memory.
    pub bytes: u64,
}

/// A disk that a guest has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededDisk {
    /// As its domain names it, `vda`.
    pub target: String,
    /// File or block device; empty: it is on the network.
    pub path: String,
    /// The transfer copies it.
    pub copied: bool,
    /// Only what differs from an image at the destination.
    pub incremental: bool,
    /// The guest can write it, and has it alone.
    pub own: bool,
    /// Bytes that it can have; 0: not known.
    pub bytes: u64,
}

/// A finding of a plan.
fn finding(severity: Severity, reason: &'static str, about: &str, words: [String; 3]) -> Finding {
    let [what, why, fix] = words;
    Finding {
        severity,
        reason,
        about: about.into(),
        what,
        why,
        fix,
    }
}

/// Whether a finding keeps a move from beginning: an error that nobody said to ignore.
pub fn blocks(severity: Severity, reason: &str, ignored: &[String]) -> bool {
    severity == Severity::Error && !ignored.iter().any(|word| word == reason)
}
