//! What is known of a host and its guests, as plain values.

use std::str::FromStr;

use crate::PciAddress;

/// What was looked up, or why it could not be.
pub type Fact<T> = Result<T, String>;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// CPU, firmware, kernel.
    pub machine: MachineFacts,
    /// The PFs that the configuration names.
    pub pfs: Vec<PfFacts>,
    /// libvirt and QEMU.
    pub libvirt: LibvirtFacts,
    /// The daemon's own configuration.
    pub own: OwnFacts,
}

/// CPU, firmware, kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    /// `/proc/cpuinfo`.
    pub cpu: Fact<Cpu>,
    /// There is a `/dev/kvm`.
    pub kvm: Fact<bool>,
    /// IOMMUs that the kernel uses: the entries of `/sys/class/iommu`.
    pub iommus: Fact<usize>,
    /// What the firmware says of an IOMMU: `/sys/firmware/acpi/tables`.
    pub firmware: Fact<FirmwareTable>,
    /// Words of the kernel's command line.
    pub command_line: Fact<Vec<String>>,
    /// The driver that a VF has while it is a guest's.
    pub vfio_pci: Fact<Module>,
    /// vfio's side of the IOMMU.
    pub vfio_iommu: Fact<Module>,
    /// There is a `/dev/vfio/vfio`.
    pub vfio_device: Fact<bool>,
    /// How often TCP sends again before it gives a connection up: `net.ipv4.tcp_retries2`.
    pub tcp_retries: Fact<u32>,
}

/// A CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Who made it.
    pub vendor: Vendor,
    /// It has the flag `vmx` or `svm`; none where CPUs have no such flag. Linux takes the flag away when the firmware
    /// has locked the feature off (`init_ia32_feat_ctl` in arch/x86/kernel/cpu/feat_ctl.c).
    pub virtualisation: Option<bool>,
}

/// Who made a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// VT-x and VT-d.
    Intel,
    /// SVM and AMD-Vi.
    Amd,
    /// Another.
    Other,
}

/// The firmware's table of IOMMUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareTable {
    /// Intel's: VT-d is on.
    Dmar,
    /// AMD's: AMD-Vi is on.
    Ivrs,
    /// None of the two.
    Missing,
}

/// A kernel module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// Loaded, or part of the kernel.
    Loaded,
    /// The running kernel has it on disk.
    Loadable,
    /// It has not.
    Missing,
}

/// A PF that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PfFacts {
    /// Its interface name.
    pub pf: String,
    /// Its pool.
    pub pool: String,
    /// What became of it.
    pub state: Fact<PfState>,
}

/// What a PF of the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PfState {
    /// No interface has that name.
    Missing,
    /// It has no SR-IOV: no `sriov_totalvfs`, or none possible.
    NoSriov,
    /// A PF.
    There(PfDetail),
}

/// A PF as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PfDetail {
    /// `sriov_totalvfs`.
    pub possible: u32,
    /// It was switched on (`ip link set PF up`).
    pub up: bool,
    /// It has a link: its carrier.
    pub link: bool,
    /// The VFs that there are.
    pub vfs: Vec<VfFacts>,
}

/// A VF and who shares its IOMMU group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfFacts {
    /// Its address.
    pub address: PciAddress,
    /// The number of its group, if it is in one.
    pub group: Option<u32>,
    /// Other devices of the group; bridges do not count.
    pub others: Vec<Neighbour>,
}

/// Another device in the IOMMU group of a VF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: PciAddress,
    /// Its driver, if it has one.
    pub driver: Option<String>,
}

/// libvirt and QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibvirtFacts {
    /// Of both. Not to be had: libvirt does not answer.
    pub versions: Fact<Versions>,
    /// What libvirtd may do about locked memory.
    pub memlock: Fact<Memlock>,
    /// Its lock manager, if its configuration names one.
    pub lock_manager: Fact<Option<String>>,
    /// Godwit's configuration says that it has one.
    pub disk_locks: bool,
}

/// Versions of libvirt and of its QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// libvirt's.
    pub libvirt: Version,
    /// QEMU's.
    pub qemu: Version,
}

/// Major, minor, micro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl FromStr for Version {
    type Err = String;

    /// `1.2.3`, with anything after a `-` or `+`, as Cargo has it.
    fn from_str(text: &str) -> Result<Version, String> {
        let odd = || format!("`{text}` is no version");
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let numbers: Result<Vec<u32>, _> = core.split('.').map(str::parse).collect();
        match numbers.map_err(|_| odd())?.as_slice() {
            [major, minor, micro] => Ok(Version(*major, *minor, *micro)),
            _ => Err(odd()),
        }
    }
}

/// What libvirtd may do about the memory that its QEMU locks. With a VF all of a guest's memory is locked; libvirt raises
/// QEMU's limit itself, for which it needs `CAP_SYS_RESOURCE` (`virProcessSetMaxMemLock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memlock {
    /// It may raise the limit.
    pub may_raise: bool,
    /// The limit that it has itself, bytes; none: no limit.
    pub limit: Option<u64>,
}

/// The daemon's own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFacts {
    /// It listens for peers.
    pub listens: bool,
    /// Days until its certificate ends, less than 0 afterwards; none without TLS.
    pub certificate_days: Fact<Option<i64>>,
    /// The ways to its peers' libvirts.
    pub routes: Vec<RouteFacts>,
}

/// The way to a peer's libvirt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFacts {
    /// The peer's name.
    pub peer: String,
    /// `migrate_uri` of the configuration.
    pub migrate_uri: String,
    /// Somebody listens there, or why not; none: not tried.
    pub reached: Option<Result<(), String>>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// Its name.
    pub name: String,
    /// What it says of itself, or why it does not answer.
    pub seen: Result<PeerSeen, String>,
}

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSeen {
    /// Version of its daemon.
    pub version: String,
    /// Its pools; none where it is too old to tell.
    pub pools: Option<Vec<String>>,
    /// How far its clock is ahead of this host's for certain, milliseconds, less than 0: behind. None where it is too old
    /// to tell.
    pub clock_ahead_ms: Option<i64>,
    /// Days until its certificate ends; none where it does not tell.
    pub certificate_days: Option<i64>,
    /// Its VFs that are free.
    pub free_vfs: u32,
    /// Its own word for what is wrong there; empty: nothing.
    pub problem: String,
}

/// A guest's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainFacts {
    /// Machine type.
    pub machine: String,
    /// Its slots have only their button.
    pub slow_unplug: bool,
    /// PCIe root ports without a device; none on machines that need none.
    pub free_ports: Option<usize>,
    /// VFs, by address on the host, in places that cannot be unplugged.
    pub fixed: Vec<PciAddress>,
    /// Its memory.
    pub memory: Memory,
    /// VFs in its stored definition, by address on the host; none: nothing is stored.
    pub stored: Fact<Option<Vec<PciAddress>>>,
    /// What libvirtd may do about locked memory.
    pub memlock: Fact<Memlock>,
    /// Snapshots that libvirt has of it.
    pub snapshots: Fact<u32>,
    /// Devices of the host that it has besides VFs and that are not migrated, in words.
    pub passed: Vec<String>,
}

/// A guest's memory, and what its definition says of locking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes.
    pub size: u64,
    /// `<memtune><hard_limit>`, bytes. libvirt then takes it as the limit for locked memory.
    pub hard_limit: Option<u64>,
    /// In huge pages, allocated or locked from the start: a plug has nothing to fetch.
    pub populated: bool,
}
