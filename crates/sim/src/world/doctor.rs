//! The facts of a pretend host, for the doctor: nothing ails it but what was ordered.

use std::collections::BTreeMap;

use godwit_migration::{
    PciAddress,
    doctor::{
        self, Cpu, Diagnosis, DomainFacts, FirmwareTable, HostFacts, LibvirtFacts, MachineFacts, Memlock,
        Memory, Module, OwnFacts, PfDetail, PfFacts, PfState, RouteFacts, Vendor, Version, Versions, VfFacts,
    },
    preflight::GuestFacts,
};

use super::PretendWorld;
use crate::{
    ills::Ill,
    layout,
    model::{Host, Model},
};

impl PretendWorld {
    pub(super) fn diagnosis(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        let model = self.model();
        match guest {
            None => doctor::host(&facts(&model, &model.hosts[self.host])),
            Some(guest) => {
                let facts = domain(&model, &model.hosts[self.host], &guest.guest.uuid);
                doctor::domain(guest, &facts)
            }
        }
    }
}

fn facts(model: &Model, host: &Host) -> HostFacts {
    let ails = |ill| host.ills.contains(&ill);
    let (firmware, iommus) = match ails(Ill::IommuOff) {
        true => (FirmwareTable::Missing, 0),
        false => (FirmwareTable::Dmar, 1),
    };
    let vfio = match ails(Ill::NoVfio) {
        true => Module::Loadable,
        false => Module::Loaded,
    };
    let peers = model.hosts.iter().filter(|peer| peer.name != host.name);
    HostFacts {
        machine: MachineFacts {
            cpu: Ok(Cpu {
                vendor: Vendor::Intel,
                virtualisation: Some(true),
            }),
            kvm: Ok(true),
            iommus: Ok(iommus),
            firmware: Ok(firmware),
            command_line: Ok(vec!["intel_iommu=on".into()]),
            vfio_pci: Ok(vfio),
            vfio_iommu: Ok(Module::Loaded),
            vfio_device: Ok(true),
            tcp_retries: Ok(8),
        },
        pfs: pfs(host),
        libvirt: LibvirtFacts {
            versions: Ok(versions(host)),
            memlock: Ok(memlock(host)),
            lock_manager: Ok(lock_manager(host)),
            disk_locks: false,
        },
        own: OwnFacts {
            listens: true,
            certificate_days: Ok(Some(layout::certificate_days(host))),
            routes: peers.map(route).collect(),
        },
    }
}

pub(super) fn versions(host: &Host) -> Versions {
    let libvirt = match host.ills.contains(&Ill::OldLibvirt) {
        true => Version(12, 1, 0),
        false => Version(11, 3, 0),
    };
    Versions {
        libvirt,
        qemu: Version(10, 0, 2),
    }
}

pub(super) fn lock_manager(host: &Host) -> Option<String> {
    host.ills.contains(&Ill::LockManager).then(|| "lockd".into())
}

pub(super) fn memlock(host: &Host) -> Memlock {
    Memlock {
        may_raise: !host.ills.contains(&Ill::MemlockLow),
        limit: Some(8 << 20),
    }
}

pub(super) fn route(peer: &Host) -> RouteFacts {
    RouteFacts {
        peer: peer.name.clone(),
        migrate_uri: format!("qemu+tls://{}/system", peer.name),
        reached: Some(match peer.ills.contains(&Ill::LibvirtShut) {
            true => Err("connection refused".into()),
            false => Ok(()),
        }),
    }
}

/// The first PF is there also without VFs.
fn pfs(host: &Host) -> Vec<PfFacts> {
    let mut by_pf: BTreeMap<&str, (&str, Vec<PciAddress>)> = BTreeMap::new();
    by_pf.insert(layout::FIRST_PF, (layout::POOL, Vec::new()));
    for (address, vf) in &host.vfs {
        let pf = by_pf.entry(&vf.pf).or_insert((&vf.pool, Vec::new()));
        pf.1.push(*address);
    }
    let vf = |(index, address): (usize, &PciAddress)| VfFacts {
        address: *address,
        group: Some(index as u32),
        others: Vec::new(),
    };
    let facts = |(pf, (pool, vfs)): (&str, (&str, Vec<PciAddress>))| PfFacts {
        pf: pf.into(),
        pool: pool.into(),
        state: Ok(PfState::There(PfDetail {
            possible: 256,
            up: true,
            link: pf != layout::FIRST_PF || !host.ills.contains(&Ill::LinkDown),
            vfs: vfs.iter().enumerate().map(vf).collect(),
        })),
    };
    by_pf.into_iter().map(facts).collect()
}

fn domain(model: &Model, host: &Host, uuid: &str) -> DomainFacts {
    let ails = |ill| host.ills.contains(&ill);
    let guest = model.find(uuid).map(|guest| &model.guests[guest]);
    DomainFacts {
        machine: "pc-q35-10.0".into(),
        slow_unplug: false,
        free_ports: Some(match ails(Ill::NoFreePort) {
            true => 0,
            false => guest.map_or(1, |guest| guest.pairs.len().max(1)),
        }),
        fixed: Vec::new(),
        memory: Memory {
            size: guest.map_or(0, |guest| guest.memory),
            hard_limit: None,
            populated: false,
        },
        stored: Ok(Some(Vec::new())),
        memlock: Ok(memlock(host)),
        snapshots: Ok(if ails(Ill::Snapshots) { 2 } else { 0 }),
        passed: match ails(Ill::PassedDevice) {
            true => vec!["PCI device 0000:03:00.0".into()],
            false => Vec::new(),
        },
    }
}
