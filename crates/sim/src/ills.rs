//! What ails a pretend host, for `godwit doctor` and `godwit plan` to find. It changes nothing else, but for what is left on VFs: that is on
//! them in truth, and can be cleaned.

use std::str::FromStr;

use godwit_migration::{MacAddress, Profile, profile::Vlan};

use crate::{
    layout,
    model::{HostId, Model},
};

/// One thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ill {
    /// The firmware has VT-d switched off.
    IommuOff,
    /// The module vfio-pci is not loaded.
    NoVfio,
    /// The first PF has no link.
    LinkDown,
    /// libvirt has a known fault.
    OldLibvirt,
    /// The certificate ends in some days.
    CertificateEnds,
    /// A free VF carries a MAC and a VLAN of somebody who is long gone.
    LeftoverVf,
    /// A free VF carries the MAC of a guest of another host.
    DuplicateMac,
    /// Its CPU lacks something that guests of other hosts have.
    CpuUnfit,
    /// Its QEMU has not the machine type that guests have.
    MachineUnknown,
    /// It has less memory than any guest.
    MemoryShort,
    /// A part of its memory is in use.
    MemoryInUse,
    /// The guests' disks are not there.
    DiskMissing,
    /// The storage of the guests' disks does not answer.
    StorageHangs,
    /// There is no bridge for standbys.
    BridgeMissing,
    /// The bridge for standbys takes smaller frames than those of other hosts.
    BridgeMtu,
    /// Nothing in the bridge for standbys has a link.
    BridgeNoLink,
    /// The bridge for standbys is one of Open vSwitch.
    BridgeKind,
    /// The way out of the bridge for standbys is in a VLAN.
    BridgeVlan,
    /// The bridge for standbys lets no tags of guests through.
    BridgeFilters,
    /// The agents of its guests are of a version before this one.
    OldAgents,
    /// libvirt has a lock manager.
    LockManager,
    /// A firewall lets nobody in where QEMU receives guests.
    PortShut,
    /// Nobody answers where libvirt there takes guests from.
    LibvirtShut,
    /// Its clock is a minute ahead.
    ClockAhead,
    /// Its guests have disks that they write to, on storage that other hosts have too.
    OwnDisks,
    /// Its guests write all of their memory all the time.
    BusyGuests,
    /// Its guests' disks are files of its own.
    LocalDisk,
    /// Its guests have snapshots.
    Snapshots,
    /// Its guests have another device of it besides their VFs.
    PassedDevice,
    /// Its guests' standbys are macvtaps.
    Macvtaps,
    /// It takes no frames of a pause.
    KeepsNone,
    /// It is older than the question whether it takes any, and than that for whom guests know.
    KeepsUnknown,
    /// Its QEMU has no certificates for a transfer by TLS.
    NoCertificates,
    /// Its bridge for standbys is in another network, where somebody else has the gateway's address.
    OtherNetwork,
    /// Nobody answers in its bridge for standbys.
    SilentNetwork,
    /// Its guests have bonds of another mode.
    BondBroken,
    /// The standbys of its guests have no carrier.
    StandbyNoCarrier,
    /// Its guests' bonds do not notice a port that dies.
    BondUnmonitored,
    /// libvirtd may lock less memory than any guest has.
    MemlockLow,
    /// Its guests have no free port for a VF.
    NoFreePort,
    /// Its guests receive much by their VFs.
    BusyVf,
    /// There is no room for disks that are copied.
    DiskFull,
    /// libvirt has no storage pool in which it would make disks that are copied.
    NoStoragePool,
}

/// An ill as somebody typed it: the host is still a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedIll {
    /// Its host; none: all.
    pub host: Option<String>,
    /// What it is.
    pub ill: Ill,
}

impl Ill {
    /// All there are.
    pub const ALL: [Ill; 43] = [
        Ill::IommuOff,
        Ill::NoVfio,
        Ill::LinkDown,
        Ill::OldLibvirt,
        Ill::CertificateEnds,
        Ill::LeftoverVf,
        Ill::DuplicateMac,
        Ill::CpuUnfit,
        Ill::MachineUnknown,
        Ill::MemoryShort,
        Ill::MemoryInUse,
        Ill::DiskMissing,
        Ill::StorageHangs,
        Ill::BridgeMissing,
        Ill::BridgeMtu,
        Ill::BridgeNoLink,
        Ill::BridgeKind,
        Ill::BridgeVlan,
        Ill::BridgeFilters,
        Ill::OldAgents,
        Ill::LockManager,
        Ill::PortShut,
        Ill::LibvirtShut,
        Ill::ClockAhead,
        Ill::OwnDisks,
        Ill::BusyGuests,
        Ill::LocalDisk,
        Ill::Snapshots,
        Ill::PassedDevice,
        Ill::Macvtaps,
        Ill::KeepsNone,
        Ill::KeepsUnknown,
        Ill::NoCertificates,
        Ill::OtherNetwork,
        Ill::SilentNetwork,
        Ill::BondBroken,
        Ill::StandbyNoCarrier,
        Ill::BondUnmonitored,
        Ill::MemlockLow,
        Ill::NoFreePort,
        Ill::BusyVf,
        Ill::DiskFull,
        Ill::NoStoragePool,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Ill::IommuOff => "iommu-off",
            Ill::NoVfio => "no-vfio",
            Ill::LinkDown => "link-down",
            Ill::OldLibvirt => "old-libvirt",
            Ill::CertificateEnds => "certificate-ends",
            Ill::LeftoverVf => "leftover-vf",
            Ill::DuplicateMac => "duplicate-mac",
            Ill::CpuUnfit => "cpu-unfit",
            Ill::MachineUnknown => "machine-unknown",
            Ill::MemoryShort => "memory-short",
            Ill::MemoryInUse => "memory-in-use",
            Ill::DiskMissing => "disk-missing",
            Ill::StorageHangs => "storage-hangs",
            Ill::BridgeMissing => "bridge-missing",
            Ill::BridgeMtu => "bridge-mtu",
            Ill::BridgeNoLink => "bridge-no-link",
            Ill::BridgeKind => "bridge-kind",
            Ill::BridgeVlan => "bridge-vlan",
            Ill::BridgeFilters => "bridge-filters",
            Ill::OldAgents => "old-agents",
            Ill::LockManager => "lock-manager",
            Ill::PortShut => "port-shut",
            Ill::LibvirtShut => "libvirt-shut",
            Ill::ClockAhead => "clock-ahead",
            Ill::OwnDisks => "own-disks",
            Ill::BusyGuests => "busy-guests",
            Ill::LocalDisk => "local-disk",
            Ill::Snapshots => "snapshots",
            Ill::PassedDevice => "passed-device",
            Ill::Macvtaps => "macvtaps",
            Ill::KeepsNone => "keeps-none",
            Ill::KeepsUnknown => "keeps-unknown",
            Ill::NoCertificates => "no-certificates",
            Ill::OtherNetwork => "other-network",
            Ill::SilentNetwork => "silent-network",
            Ill::BondBroken => "bond-broken",
            Ill::StandbyNoCarrier => "standby-no-carrier",
            Ill::BondUnmonitored => "bond-unmonitored",
            Ill::MemlockLow => "memlock-low",
            Ill::NoFreePort => "no-free-port",
            Ill::BusyVf => "busy-vf",
            Ill::DiskFull => "disk-full",
            Ill::NoStoragePool => "no-storage-pool",
        }
    }

    /// The host ails from it from now on.
    pub(crate) fn strike(self, model: &mut Model, host: HostId) {
        model.hosts[host].ills.insert(self);
        let mac = match self {
            Ill::LeftoverVf => MacAddress::new([0x52, 0x54, 0xff, 0, 0, host as u8]).ok(),
            Ill::DuplicateMac => {
                let elsewhere = model.guests.iter().filter(|guest| !guest.at.contains_key(&host));
                elsewhere
                    .flat_map(|guest| &guest.pairs)
                    .map(|pair| pair.mac)
                    .next()
            }
            _ => None,
        };
        let (Some(mac), host) = (mac, &mut model.hosts[host]) else {
            return;
        };
        // The last one is the last that a guest is given.
        let clean = |address| host.macs_of(address).is_empty();
        let of_pf = host
            .vfs
            .iter()
            .filter(|(_, vf)| vf.pf == layout::FIRST_PF && vf.owner.is_none());
        let last = of_pf
            .map(|(address, _)| *address)
            .rfind(|address| clean(*address));
        let Some(last) = last else { return };
        host.switch.insert(mac, last);
        if let Some(vf) = host.vfs.get_mut(&last).filter(|_| self == Ill::LeftoverVf) {
            vf.profile = Profile {
                vlan: Vlan {
                    id: 999,
                    ..Vlan::default()
                },
                ..Profile::default()
            };
        }
    }
}

impl FromStr for WantedIll {
    type Err = String;

    /// `ILL[@HOST]`.
    fn from_str(text: &str) -> Result<WantedIll, String> {
        let (name, host) = match text.split_once('@') {
            Some((name, host)) => (name, Some(host.to_owned())),
            None => (text, None),
        };
        let known = Ill::ALL.map(Ill::name).join(", ");
        let ill = Ill::ALL.into_iter().find(|ill| ill.name() == name);
        let ill = ill.ok_or_else(|| format!("`{name}` is no ill; there are: {known}"))?;
        Ok(WantedIll { host, ill })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ills_are_read_as_they_are_typed() {
        for ill in Ill::ALL {
            let wanted: WantedIll = format!("{}@beta", ill.name()).parse().unwrap();
            assert_eq!((wanted.host.as_deref(), wanted.ill), (Some("beta"), ill));
        }
        assert_eq!("link-down".parse::<WantedIll>().unwrap().host, None);
        assert!(
            "link"
                .parse::<WantedIll>()
                .unwrap_err()
                .contains("iommu-off, no-vfio")
        );
    }
}
