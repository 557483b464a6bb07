//! What is looked at before a guest moves, at pretend hosts: nothing ails them but what was ordered.

use godwit_api::peer::v1 as peer;
use godwit_coordinator::{Planned, words};
use godwit_migration::{
    Brief, Cause,
    doctor::Fact,
    options::{Storage, Tls},
    plan::{
        self, ArrivalFacts, Carried, CpuNeeds, Fit, FreeMemory, GuestSize, KeepFacts, LeavingFacts, Machine,
        NeededDisk, NeededNic, Needs, Neighbour, Network, NetworkKind, NetworkSeen, NicSeen, NicVlans, Pages,
        PlaceSeen, PortVlans, Unseen, Uplink, Ways,
    },
    preflight::PairSeen,
};

use super::{
    PretendWorld,
    doctor::{lock_manager, memlock, route, versions},
    reach,
};
use crate::{ills::Ill, model::Host};

/// MTU of a bridge that nothing ails.
const MTU: u32 = 1500;
/// Bytes of a pretend host's memory.
const MEMORY: u64 = 1 << 40;
/// What arrives for a guest each second.
const ARRIVES: u64 = 1 << 20;
/// What a guest writes each second.
const WRITES: u64 = 20 << 20;
/// What a pretend network carries each second: 10 Gbit.
const CARRIES: u64 = 1_250_000_000;

impl PretendWorld {
    pub(super) async fn plan_leaving(
        &self,
        brief: &Brief,
        seen: &[PairSeen],
        carried: Option<&Carried>,
    ) -> Planned {
        let (needs, size) = self.needs(brief, seen);
        let answer = self.ask_plan(words::plan_request(brief, &needs), brief).await;
        let (nics, findings, not_checked, parts, own_versions) = {
            let model = self.model();
            let there = model.hosts.iter().find(|host| host.name == brief.destination);
            let here = &model.hosts[self.host];
            let mut facts = leaving(here, there.unwrap_or(here), brief, &answer);
            if let Some(carried) = carried {
                facts.carried = Ok(carried.clone());
            }
            let (pages, sent) = (facts.pages.clone().ok(), facts.carried.as_ref().ok());
            let parts = plan::estimate(size, &brief.options, pages, sent);
            let mut own = plan::leaving(&needs, &brief.options, &facts);
            let own_versions = words::versions(&facts.versions.0);
            let facts = keeping(&model.hosts[self.host], brief, &answer);
            let (nics, found) = plan::keeping(&needs.guest, &facts);
            own.findings.extend(found.findings);
            own.not_checked.extend(found.not_checked);
            let mut nics = words::nics(nics);
            let unproved = words::prove(
                &mut nics,
                (&needs, known(here, brief).map(drop)),
                &answer,
                &brief.destination,
            );
            let (findings, mut not_checked) = words::diagnosis(own);
            not_checked.extend(unproved);
            (nics, findings, not_checked, parts, own_versions)
        };
        let planned = words::planned(answer, findings, not_checked);
        Planned {
            estimate: words::estimates(&parts),
            nics,
            versions: (own_versions, planned.versions.1.clone()),
            ..planned
        }
    }

    /// Whoever comes has one disk, and each standby on the bridge `br0`.
    fn needs(&self, brief: &Brief, seen: &[PairSeen]) -> (Needs, GuestSize) {
        let model = self.model();
        let host = &model.hosts[self.host];
        let guest = model.find(&brief.guest.uuid).map(|guest| &model.guests[guest]);
        let memory = guest.map_or(0, |guest| guest.memory);
        let copied = match &brief.options.storage {
            Some(Storage::Copied { disks, .. }) => disks.is_empty() || disks.iter().any(|disk| disk == "vda"),
            Some(Storage::Shared) | None => false,
        };
        let nic = |pair: &godwit_migration::Pair| NeededNic {
            mac: pair.mac.to_string(),
            kind: "bridge".into(),
            source: "br0".into(),
            mtu: MTU,
            standby: true,
            vlans: NicVlans {
                guest: seen
                    .iter()
                    .find(|seen| seen.mac == pair.mac)
                    .map(|seen| seen.vlans.clone())
                    .unwrap_or_default(),
                vf: pair.profile.map_or(0, |profile| profile.vlan.id),
                port: PortVlans::Open,
                leaves_in: bridge(host).ways.untagged(&PortVlans::Open),
            },
            neighbours: known(host, brief).unwrap_or_default(),
        };
        let needs = Needs {
            guest: brief.guest.name.clone(),
            machine: Machine {
                kind: "pc-q35-10.0".into(),
                architecture: "x86_64".into(),
                virtualisation: "kvm".into(),
            },
            cpu: CpuNeeds {
                element: "<cpu mode='custom'><model>EPYC-Genoa</model></cpu>".into(),
                flags: Vec::new(),
            },
            memory,
            pages: Vec::new(),
            disks: vec![NeededDisk {
                target: "vda".into(),
                path: format!("/srv/{}.qcow2", brief.guest.name),
                copied,
                incremental: false,
                own: host.ills.contains(&Ill::OwnDisks),
                bytes: 1 << 30,
            }],
            nics: brief.pairs.iter().map(nic).collect(),
            lock_manager: lock_manager(host),
            tls: matches!(brief.options.tls, Some(Tls::On { .. })),
        };
        let size = GuestSize {
            memory,
            populated: false,
            slow_unplug: false,
        };
        (needs, size)
    }

    pub(super) fn plan_arriving(&self, needs: &Needs) -> Planned {
        let model = self.model();
        let host = &model.hosts[self.host];
        let facts = arriving(host, needs);
        let (findings, not_checked) = words::diagnosis(plan::arrival(needs, &facts));
        // Who is not let in hears nothing; the other side finds that out.
        let port = if host.ills.contains(&Ill::PortShut) {
            1
        } else {
            49215
        };
        Planned {
            findings,
            not_checked,
            // One that is older proves nothing.
            proved: match host.ills.contains(&Ill::KeepsUnknown) {
                true => Vec::new(),
                false => plan::proved(needs, &facts),
            },
            port: Some((port, host.name.clone())),
            offer: offer(host),
            versions: (words::versions(&Ok(versions(host))), None),
            ..Planned::default()
        }
    }
}

/// Of a guest that measures nothing nobody is asked for.
fn known(host: &Host, brief: &Brief) -> Fact<Vec<Neighbour>> {
    match brief.probes {
        0 => Err("so it is configured ([measure] probes = 0)".into()),
        _ => reach::known(host),
    }
}

fn offer(host: &Host) -> Option<peer::KeepOffer> {
    let why_not = match host.ills.contains(&Ill::KeepsNone) {
        true => "so it is configured".into(),
        false => String::new(),
    };
    let offer = peer::KeepOffer { room: 1, why_not };
    (!host.ills.contains(&Ill::KeepsUnknown)).then_some(offer)
}

/// Every standby has a tap, if nothing else was ordered.
fn keeping(host: &Host, brief: &Brief, answer: &Result<peer::PlanResponse, Cause>) -> KeepFacts {
    let nic = |pair: &godwit_migration::Pair| NicSeen {
        mac: pair.mac.to_string(),
        standby: true,
        unseen: host.ills.contains(&Ill::Macvtaps).then_some(Unseen::Macvtap),
        rate: match host.ills.contains(&Ill::BusyGuests) {
            true => Ok(100 * ARRIVES),
            false => Ok(ARRIVES),
        },
    };
    KeepFacts {
        hosts: (host.name.clone(), brief.destination.clone()),
        keep: brief.keep,
        nics: Ok(brief.pairs.iter().map(nic).collect()),
        offer: words::offer(answer),
        pause_ms: plan::pause_ms(&brief.options),
    }
}

fn arriving(host: &Host, needs: &Needs) -> ArrivalFacts {
    let ails = |ill| host.ills.contains(&ill);
    let unfit = |ill, why: &str| match ails(ill) {
        true => Fit::Unfit(why.into()),
        false => Fit::Fits,
    };
    let (total, available) = match (ails(Ill::MemoryShort), ails(Ill::MemoryInUse)) {
        (true, _) => (needs.memory / 2, needs.memory / 2),
        (false, true) => (MEMORY, needs.memory / 2),
        (false, false) => (MEMORY, MEMORY / 2),
    };
    let disk = |disk: &NeededDisk| match (ails(Ill::DiskMissing), ails(Ill::DiskFull)) {
        _ if ails(Ill::StorageHangs) => Err("no answer within 5 s".into()),
        (true, _) => Ok(PlaceSeen::Missing {
            free: Some(MEMORY),
            pool: Some(true),
        }),
        (false, true) if disk.copied => Ok(PlaceSeen::Missing {
            free: Some(disk.bytes / 2),
            pool: Some(true),
        }),
        (false, false) if disk.copied && ails(Ill::NoStoragePool) => Ok(PlaceSeen::Missing {
            free: Some(MEMORY),
            pool: Some(false),
        }),
        (false, _) => Ok(PlaceSeen::There),
    };
    let nic = match ails(Ill::BridgeMissing) {
        true => NetworkSeen::Missing,
        false => NetworkSeen::There(bridge(host)),
    };
    ArrivalFacts {
        host: host.name.clone(),
        machine: Ok(unfit(
            Ill::MachineUnknown,
            "the machine is not supported by the emulator",
        )),
        cpu: Ok(Some(unfit(Ill::CpuUnfit, "it lacks avx512f"))),
        flags: Ok(Vec::new()),
        memory: Ok(FreeMemory {
            total,
            available,
            huge: Vec::new(),
        }),
        memlock: Ok(memlock(host)),
        disks: needs.disks.iter().map(disk).collect(),
        nics: vec![Ok(nic); needs.nics.len()],
        asked: reach::asked(host, needs),
        lock_manager: Ok(lock_manager(host)),
        certificates: Ok(ails(Ill::NoCertificates).then(|| "/etc/pki/qemu/server-cert.pem".into())),
    }
}

/// Where standbys are.
fn bridge(host: &Host) -> Network {
    let ails = |ill| host.ills.contains(&ill);
    let uplink = match ails(Ill::BridgeVlan) {
        true => Uplink::Tagging(999),
        false => Uplink::Open,
    };
    Network {
        kind: match ails(Ill::BridgeKind) {
            true => NetworkKind::OpenVswitch,
            false => NetworkKind::Bridge,
        },
        mtu: if ails(Ill::BridgeMtu) { 1400 } else { MTU },
        link: !ails(Ill::BridgeNoLink),
        ways: Ways {
            uplinks: vec![uplink],
            filters: ails(Ill::BridgeFilters),
        },
    }
}

fn leaving(
    host: &Host,
    there: &Host,
    brief: &Brief,
    answer: &Result<peer::PlanResponse, Cause>,
) -> LeavingFacts {
    let ails = |ill| host.ills.contains(&ill);
    LeavingFacts {
        hosts: (host.name.clone(), brief.destination.clone()),
        versions: (Ok(versions(host)), words::versions_there(answer)),
        pages: Ok(Pages {
            written: if ails(Ill::BusyGuests) {
                100 * WRITES
            } else {
                WRITES
            },
            received: Some(match ails(Ill::BusyVf) {
                true => 1000 * ARRIVES,
                false => ARRIVES,
            }),
        }),
        local_disks: vec![("vda".into(), Ok(ails(Ill::LocalDisk)))],
        certificates: Ok(ails(Ill::NoCertificates).then(|| "/etc/pki/qemu/client-cert.pem".into())),
        port: match answer {
            Err(cause) => Err(cause.message.clone()),
            Ok(answer) => Ok(match answer.port {
                1 => Err("no answer within 2 s".into()),
                _ => Ok(()),
            }),
        },
        route: Some(route(there)),
        carried: Ok(Carried {
            rate: CARRIES,
            because: format!("that is the speed of `br0`, on the way to {}", brief.destination),
        }),
    }
}
