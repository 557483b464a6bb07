//! Why a migration is not begun: an enum of sentences, shared by API, CLI and tests.
//! A refusal means that nothing was changed.

// The fields are the words of the sentence that stands above them.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

/// The guest is not in a state to move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum GuestRefusal {
    /// libvirt knows no such guest here.
    #[error("guest `{guest}` is not known on {host}")]
    Unknown { guest: String, host: String },
    /// It does not run.
    #[error("guest `{guest}` is {state}, not running")]
    NotRunning { guest: String, state: String },
    /// It has no metadata of Godwit's.
    #[error("guest `{guest}` is not managed: its domain has no Godwit metadata")]
    NotManaged { guest: String },
    /// It has no VF.
    #[error("guest `{guest}` has no VF: {detail}")]
    NoVf { guest: String, detail: String },
    /// It has a VF without a standby.
    #[error("guest `{guest}` has no standby for its VF: {detail}")]
    NoStandby { guest: String, detail: String },
    /// The agent does not answer.
    #[error("the agent in guest `{guest}` does not answer: {detail}")]
    NoAgent { guest: String, detail: String },
    /// The agent does not see what the host sees.
    #[error("the agent in guest `{guest}` does not see the pair {mac}: {detail}")]
    NoPair {
        guest: String,
        mac: String,
        detail: String,
    },
    /// Its emulator has a VF that its domain does not.
    #[error(
        "VF {vf} is in the emulator of guest `{guest}` (process {pid}) and not in its domain: libvirtd \
         ended in the middle of a plug"
    )]
    StrayVf {
        guest: String,
        vf: String,
        pid: u32,
        alias: String,
    },
    /// It is being migrated, or was left on standby by a migration that is not over.
    #[error("guest `{guest}` is busy: migration {migration} is at {phase}")]
    Busy {
        guest: String,
        migration: String,
        phase: String,
    },
}

/// A host cannot take the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HostRefusal {
    /// The configuration names no such host.
    #[error("host `{host}` is not a peer of {here}; its peers are: {known}")]
    Unknown {
        host: String,
        here: String,
        known: String,
    },
    /// The destination is the source.
    #[error("guest `{guest}` is on {host} already: the destination must be another host")]
    Itself { guest: String, host: String },
    /// It does not answer.
    #[error("host {host} cannot be reached: {detail}")]
    Unreachable { host: String, detail: String },
    /// It has no such pool.
    #[error("host {host} has no VF in a pool named `{pool}`")]
    NoPool { host: String, pool: String },
    /// All VFs of the pool are taken.
    #[error("host {host} has no free VF in pool `{pool}` ({})", among(unfit, *total))]
    NoFreeVf {
        host: String,
        pool: String,
        total: usize,
        /// Of those that are free, why none would do.
        #[serde(default)]
        unfit: Vec<String>,
    },
    /// It has a domain of that UUID already.
    #[error("host {host} has a guest with UUID {uuid} already ({state})")]
    HasGuest {
        host: String,
        uuid: String,
        state: String,
    },
    /// No PF of its pools has that name.
    #[error("no PF of {host}'s pools is named `{pf}`; there are: {known}")]
    UnknownPf { host: String, pf: String, known: String },
    /// It refuses for a reason of its own.
    #[error("host {host} refuses: {detail}")]
    Refused { host: String, detail: String },
}

/// Nothing is done with a VF.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum VfRefusal {
    /// No VF of the host's pools has that address.
    #[error("no VF of {host}'s pools has the address {vf}")]
    Unknown { host: String, vf: String },
    /// Somebody uses the VF, or Godwit does not own it.
    #[error("VF {vf} of {host} is not in quarantine: {usage}")]
    NotQuarantined { host: String, vf: String, usage: String },
    /// Somebody has the VF, or it is kept from everybody.
    #[error("VF {vf} of {host} is not cleaned: {usage}")]
    NotFree { host: String, vf: String, usage: String },
}

/// Why a migration is not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// Because of the guest.
    #[error(transparent)]
    Guest(#[from] GuestRefusal),
    /// Because of a host.
    #[error(transparent)]
    Host(#[from] HostRefusal),
    /// Because of a VF.
    #[error(transparent)]
    Vf(#[from] VfRefusal),
}

impl Refusal {
    /// Stable word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Guest(refusal) => match refusal {
                GuestRefusal::Unknown { .. } => "GUEST_UNKNOWN",
                GuestRefusal::NotRunning { .. } => "GUEST_NOT_RUNNING",
                GuestRefusal::NotManaged { .. } => "GUEST_NOT_MANAGED",
                GuestRefusal::NoVf { .. } => "GUEST_WITHOUT_VF",
                GuestRefusal::NoStandby { .. } => "GUEST_WITHOUT_STANDBY",
                GuestRefusal::NoAgent { .. } => "GUEST_WITHOUT_AGENT",
                GuestRefusal::NoPair { .. } => "GUEST_PAIR_UNKNOWN_TO_AGENT",
                GuestRefusal::StrayVf { .. } => "STRAY_VF",
                GuestRefusal::Busy { .. } => "GUEST_BUSY",
            },
            Refusal::Host(refusal) => match refusal {
                HostRefusal::Unknown { .. } => "HOST_UNKNOWN",
                HostRefusal::Itself { .. } => "HOST_IS_SOURCE",
                HostRefusal::Unreachable { .. } => "HOST_UNREACHABLE",
                HostRefusal::NoPool { .. } => "NO_POOL",
                HostRefusal::NoFreeVf { .. } => "NO_FREE_VF",
                HostRefusal::HasGuest { .. } => "HOST_HAS_GUEST",
                HostRefusal::UnknownPf { .. } => "PF_UNKNOWN",
                HostRefusal::Refused { .. } => "HOST_REFUSED",
            },
            Refusal::Vf(refusal) => match refusal {
                VfRefusal::Unknown { .. } => "VF_UNKNOWN",
                VfRefusal::NotQuarantined { .. } => "VF_NOT_QUARANTINED",
                VfRefusal::NotFree { .. } => "VF_NOT_FREE",
            },
        }
    }

    /// The next command to type.
    pub fn hint(&self) -> String {
        match self {
            Refusal::Guest(refusal) => guest_hint(refusal),
            Refusal::Host(refusal) => host_hint(refusal),
            Refusal::Vf(
                VfRefusal::Unknown { host, .. }
                | VfRefusal::NotQuarantined { host, .. }
                | VfRefusal::NotFree { host, .. },
            ) => format!("on {host}: `godwit vfs` lists them"),
        }
    }
}

/// So many VFs of a refusal are named: a PF may have hundreds.
const NAMED: usize = 3;

/// How many there are, and what is wrong with those that are free.
fn among(unfit: &[String], total: usize) -> String {
    match unfit {
        [] => format!("0 of {total} free"),
        unfit => {
            let named = unfit.iter().take(NAMED).map(String::as_str);
            let rest = unfit.len().saturating_sub(NAMED);
            let more = (rest > 0).then(|| format!("{rest} more; `godwit plan` names all"));
            let named: Vec<&str> = named.chain(more.as_deref()).collect();
            format!(
                "of {total}, {} free would not do: {}",
                unfit.len(),
                named.join("; ")
            )
        }
    }
}

fn guest_hint(refusal: &GuestRefusal) -> String {
    match refusal {
        GuestRefusal::Unknown { .. } => "godwit guests".into(),
        GuestRefusal::NotRunning { guest, .. } => format!("virsh start {guest}"),
        GuestRefusal::NotManaged { guest } => format!("godwit adopt {guest}"),
        GuestRefusal::NoVf { guest, .. } | GuestRefusal::NoStandby { guest, .. } => {
            format!("virsh dumpxml {guest}; what a pair needs is in docs/guests.md")
        }
        GuestRefusal::NoAgent { guest, .. } => {
            format!("in {guest}: systemctl status godwit-agent; its channel is in docs/guests.md")
        }
        GuestRefusal::NoPair { guest, .. } => {
            format!(
                "in {guest}: cat /proc/net/bonding/*; of a standby without carrier, on its host: virsh domif-setlink {guest} \
                 VNET up (virsh domiflist {guest}); what a pair needs is in docs/guests.md"
            )
        }
        GuestRefusal::StrayVf { guest, alias, .. } => {
            format!("virsh qemu-monitor-command {guest} --hmp 'device_del {alias}'")
        }
        GuestRefusal::Busy { migration, .. } => format!("godwit status {migration}"),
    }
}

fn host_hint(refusal: &HostRefusal) -> String {
    match refusal {
        HostRefusal::Unknown { host, .. } => {
            format!("add a [[peer]] named `{host}` to the configuration of godwitd")
        }
        HostRefusal::Itself { .. } => "name another host: godwit migrate GUEST HOST".into(),
        HostRefusal::Unreachable { host, .. } => format!("on {host}: systemctl status godwitd"),
        HostRefusal::NoPool { host, .. } => {
            format!("on {host}: godwitd needs a [[pool]] of that name, and its PFs need VFs (sriov_numvfs)")
        }
        HostRefusal::NoFreeVf { host, unfit, .. } if !unfit.is_empty() => {
            format!(
                "on {host}: mend what rules those out (`must_match` under [profile], `vlans` of the [[pool]], IOMMU groups), or free \
                 another VF; `godwit vfs` shows who has them"
            )
        }
        HostRefusal::NoFreeVf { host, .. } => {
            format!("on {host}: free a VF or raise sriov_numvfs; `godwit vfs` shows who has them")
        }
        HostRefusal::HasGuest { host, uuid, .. } => format!("on {host}: virsh domstate {uuid} --reason"),
        HostRefusal::UnknownPf { host, .. } => format!("on {host}: `godwit vfs` lists them"),
        HostRefusal::Refused { host, .. } => format!("on {host}: journalctl -u godwitd"),
    }
}
