//! The rig: two hosts with real SR-IOV, libvirt and QEMU, and a guest on one of them, without hardware.
//!
//! A host is a QEMU machine with an emulated Intel 82576 (`igb`, which has SR-IOV) and an emulated IOMMU, run
//! without KVM, so it works wherever Linux and root do. Inside it everything is genuine: VFs, IOMMU groups,
//! vfio, libvirtd, live migration, `igbvf` and a bond in the guest.
//!
//! ```text
//!  network namespace godwit-rig on this machine
//!    br-data 10.77.0.1, the client outside the hosts          br-mgmt 10.78.0.254
//!      | HOST-pf          | HOST-up                             | HOST-mg
//!      pf0, the PF        up0, the only port of br0             mg0 10.78.0.1 (alpha), .2 (beta):
//!      | VF               | tap                                   ssh, godwitd, libvirt, the transfer
//!      igbvf  ---bond0--- virtio-net         guest web-1, 10.77.0.100
//! ```
//!
//! Other guests start when a story asks for them: `web-2`, like the first; `pairs-1`, of two pairs; `native-1`, whose
//! devices are asked for by the button of their slot.
//!
//! That is the topology `uplink`, which every story begins with. In the topology `pf` the port of br0 is pf0
//! itself, and up0 is idle: `cargo xtask rig topology pf`, see [`topology`]. Hosts and guests stay up meanwhile.
//!
//! Trouble to be had: a guest that hears of no unplug until it reboots ([`guest::Guest::ignore_unplugs`]), a daemon
//! or a libvirtd that is stopped, killed or restarted (`rig-service` on the hosts), or that is several daemons
//! ([`modular`]), a daemon with faults on purpose ([`faults`]), a host without power.
//!
//! The flat arm (`flat`) is the same guest alone, on this machine's own QEMU process: for tests of agent and bond
//! that need no host, at ten times the packets.
//!
//! It knows Godwit only from outside: its binaries, its configuration file and its command line.

pub mod between;
pub mod boots;
pub mod build;
pub mod clock;
pub mod command;
pub mod counters;
pub mod faults;
pub mod flat;
pub mod godwit;
pub mod guest;
pub mod guests;
pub mod hops;
pub mod host;
pub mod images;
pub mod install;
pub mod invariants;
pub mod kept;
pub mod line;
pub mod logs;
pub mod losses;
pub mod measure;
pub mod modular;
pub mod network;
pub mod part;
pub mod place;
pub mod prober;
pub mod qemu;
pub mod ready;
pub mod rig;
pub mod rivals;
pub mod room;
pub mod script;
pub mod setup;
pub mod slice;
pub mod small;
pub mod ssh;
pub mod state;
pub mod supervisor;
pub mod timeline;
pub mod tls;
pub mod told;
pub mod topology;
pub mod vf;

pub use host::Host;
pub use place::Place;
pub use rig::Rig;

/// Tells the person at the terminal what the rig is doing.
#[expect(clippy::print_stderr, reason = "the one place where the rig writes progress")]
pub fn say(text: impl std::fmt::Display) {
    eprintln!("rig: {text}");
}
