//! What a guest needs of the host that it comes to, between two daemons. A peer's word is bounded, and only looked up.

use godwit_api::{peer::v1 as peer, v1 as api};
use godwit_migration::{
    Brief, Cause,
    doctor::{Fact, Version, Versions},
    plan::{CpuNeeds, HugePages, Machine, NeededDisk, NeededNic, Needs, NicKept, NicVlans, Offer, PortVlans},
};

use super::{reach, reserve_request};
use crate::Planned;

/// More disks, or NICs, of a request do not count.
const MOST: usize = 64;
/// More flags of a CPU do not count.
const MOST_FLAGS: usize = 1024;
/// A longer element is not looked at, bytes.
const LONGEST_ELEMENT: usize = 64 << 10;
/// More findings of a peer are not shown.
const MOST_FINDINGS: usize = 128;

/// What a destination is asked before a migration.
pub fn plan_request(brief: &Brief, needs: &Needs) -> peer::PlanRequest {
    peer::PlanRequest {
        reserve: Some(reserve_request(brief)),
        needs: Some(wire(needs)),
    }
}

/// What it answered, or why it did not, with what was found here, the worst first.
pub fn planned(
    answer: Result<peer::PlanResponse, Cause>,
    own: Vec<api::Finding>,
    skipped: Vec<api::NotChecked>,
) -> Planned {
    let (answer, unasked) = match answer {
        Ok(answer) => (answer, None),
        Err(cause) => (peer::PlanResponse::default(), Some(cause)),
    };
    let mut findings = own;
    findings.extend(answer.findings.into_iter().take(MOST_FINDINGS));
    findings.sort_by_key(|found| std::cmp::Reverse(found.severity));
    let mut not_checked = skipped;
    not_checked.extend(answer.not_checked.into_iter().take(MOST_FINDINGS));
    Planned {
        pairs: answer.pairs,
        findings,
        not_checked,
        refused: answer.refused,
        versions: (None, answer.versions.map(bounded)),
        unasked,
        ..Planned::default()
    }
}

/// Of libvirt and QEMU, as far as they are known.
pub fn versions(known: &Fact<Versions>) -> Option<api::Versions> {
    let known = known.as_ref().ok()?;
    Some(api::Versions {
        libvirt: known.libvirt.to_string(),
        qemu: known.qemu.to_string(),
    })
}

/// Those of the destination, as it answered.
pub fn versions_there(answer: &Result<peer::PlanResponse, Cause>) -> Fact<Versions> {
    let answer = answer.as_ref().map_err(|cause| cause.message.clone())?;
    let told = answer.versions.as_ref();
    let told = told.ok_or("the godwitd there does not know them, or is older than this")?;
    let read = |text: &str| word(text).parse::<Version>();
    Ok(Versions {
        libvirt: read(&told.libvirt)?,
        qemu: read(&told.qemu)?,
    })
}

/// As a peer tells them, for a line of text.
fn bounded(told: api::Versions) -> api::Versions {
    let short = |text: String| -> String { word(&text).chars().take(32).collect() };
    api::Versions {
        libvirt: short(told.libvirt),
        qemu: short(told.qemu),
    }
}

/// What the destination does with frames that arrive in the pause, as it answered.
pub fn offer(answer: &Result<peer::PlanResponse, Cause>) -> Fact<Offer> {
    let answer = answer.as_ref().map_err(|cause| cause.message.clone())?;
    Ok(match &answer.keep {
        None => Offer::Older,
        Some(peer::KeepOffer { room, why_not }) if *room > 0 && why_not.is_empty() => Offer::Taken,
        Some(offer) => Offer::Refused(word(&offer.why_not)),
    })
}

/// Of each NIC whether they will be kept.
pub fn nics(each: Vec<NicKept>) -> Vec<api::NicPlan> {
    let nic = |nic: NicKept| {
        let because = match (&nic.not_kept, &nic.loss) {
            (None, _) => String::new(),
            (Some(_), Ok(loss)) => format!("{} KiB/s arrive now", loss.rate >> 10),
            (Some(_), Err(why)) => format!("how much is not known: {why}"),
        };
        api::NicPlan {
            mac: nic.mac,
            standby: nic.standby,
            not_kept: nic.not_kept.unwrap_or_default(),
            loss_least_bytes: nic.loss.as_ref().ok().map(|loss| loss.least),
            loss_most_bytes: nic.loss.as_ref().ok().map(|loss| loss.most),
            loss_because: because,
            proved: Vec::new(),
        }
    };
    each.into_iter().map(nic).collect()
}

fn wire(needs: &Needs) -> peer::ArrivalNeeds {
    let disk = |disk: &NeededDisk| peer::NeededDisk {
        target: disk.target.clone(),
        path: disk.path.clone(),
        copied: disk.copied,
        incremental: disk.incremental,
        own: disk.own,
        bytes: disk.bytes,
    };
    let nic = |nic: &NeededNic| peer::NeededNic {
        mac: nic.mac.clone(),
        kind: nic.kind.clone(),
        source: nic.source.clone(),
        mtu: nic.mtu,
        standby: nic.standby,
        guest_vlans: numbers(&nic.vlans.guest),
        vf_vlan: nic.vlans.vf.into(),
        port_vlans: match &nic.vlans.port {
            PortVlans::Open => Vec::new(),
            PortVlans::Access(vlan) => vec![(*vlan).into()],
            PortVlans::Trunk(vlans) => numbers(vlans),
        },
        port_is_trunk: matches!(nic.vlans.port, PortVlans::Trunk(_)),
        leaves_in: nic.vlans.leaves_in.map(u32::from),
        neighbours: nic.neighbours.iter().map(reach::told).collect(),
    };
    let huge = |pages: &HugePages| peer::HugePages {
        kib: pages.kib,
        bytes: pages.bytes,
    };
    peer::ArrivalNeeds {
        machine: needs.machine.kind.clone(),
        architecture: needs.machine.architecture.clone(),
        virtualisation: needs.machine.virtualisation.clone(),
        cpu: needs.cpu.element.clone(),
        memory_bytes: needs.memory,
        page_kib: needs.pages.first().map_or(0, |pages| pages.kib),
        disks: needs.disks.iter().take(MOST).map(disk).collect(),
        nics: needs.nics.iter().take(MOST).map(nic).collect(),
        cpu_flags: needs.cpu.flags.iter().take(MOST_FLAGS).cloned().collect(),
        lock_manager: needs.lock_manager.clone().unwrap_or_default(),
        tls: needs.tls,
        pages: needs.pages.iter().take(MOST).map(huge).collect(),
    }
}

/// As a peer told it of the guest of that name.
pub(crate) fn needs_of(guest: &str, wire: peer::ArrivalNeeds) -> Needs {
    let disk = |disk: peer::NeededDisk| NeededDisk {
        target: word(&disk.target),
        path: word(&disk.path),
        copied: disk.copied,
        incremental: disk.incremental,
        own: disk.own,
        bytes: disk.bytes,
    };
    let nic = |nic: peer::NeededNic| NeededNic {
        mac: word(&nic.mac),
        kind: word(&nic.kind),
        source: word(&nic.source),
        mtu: nic.mtu,
        standby: nic.standby,
        vlans: NicVlans {
            guest: vlans(&nic.guest_vlans),
            vf: vlan(nic.vf_vlan).unwrap_or(0),
            port: match (nic.port_is_trunk, vlans(&nic.port_vlans)) {
                (true, vlans) => PortVlans::Trunk(vlans),
                (false, vlans) => vlans.first().copied().map_or(PortVlans::Open, PortVlans::Access),
            },
            leaves_in: nic.leaves_in.and_then(vlan),
        },
        neighbours: reach::neighbours(&nic.neighbours),
    };
    let pages = pages_of(&wire);
    let element = match wire.cpu.len() <= LONGEST_ELEMENT {
        true => wire.cpu,
        false => String::new(),
    };
    Needs {
        guest: guest.into(),
        machine: Machine {
            kind: word(&wire.machine),
            architecture: word(&wire.architecture),
            virtualisation: word(&wire.virtualisation),
        },
        cpu: CpuNeeds {
            element,
            flags: wire
                .cpu_flags
                .iter()
                .take(MOST_FLAGS)
                .map(|flag| word(flag))
                .collect(),
        },
        memory: wire.memory_bytes,
        pages,
        disks: wire.disks.into_iter().take(MOST).map(disk).collect(),
        nics: wire.nics.into_iter().take(MOST).map(nic).collect(),
        lock_manager: Some(word(&wire.lock_manager)).filter(|manager| !manager.is_empty()),
        tls: wire.tls,
    }
}

/// One that is older tells one size, for all of its memory.
fn pages_of(wire: &peer::ArrivalNeeds) -> Vec<HugePages> {
    if wire.pages.is_empty() && wire.page_kib > 0 {
        let (kib, bytes) = (wire.page_kib, wire.memory_bytes);
        return vec![HugePages { kib, bytes }];
    }
    let told = wire.pages.iter().take(MOST);
    told.map(|pages| HugePages {
        kib: pages.kib,
        bytes: pages.bytes,
    })
    .collect()
}

/// Of huge pages that an older destination took for ordinary ones, or for all of one size.
pub fn pages_unseen(
    needs: &Needs,
    answer: &Result<peer::PlanResponse, Cause>,
    destination: &str,
) -> Option<api::NotChecked> {
    let answer = answer.as_ref().ok()?;
    let plain = match needs.pages.as_slice() {
        [] => true,
        [one] => one.kib > 0 && one.bytes == needs.memory,
        _ => false,
    };
    (!plain && !answer.pages_seen).then(|| api::NotChecked {
        check: format!("huge pages of {destination}"),
        why: format!(
            "the godwitd of {destination} is older than this: it looks for pages of one size that is named"
        ),
    })
}

fn numbers(vlans: &[u16]) -> Vec<u32> {
    vlans.iter().take(MOST).map(|vlan| (*vlan).into()).collect()
}

/// Those that can be one.
fn vlans(told: &[u32]) -> Vec<u16> {
    told.iter().take(MOST).filter_map(|told| vlan(*told)).collect()
}

fn vlan(told: u32) -> Option<u16> {
    u16::try_from(told).ok().filter(|vlan| *vlan < 4096)
}

/// It stands in sentences, and is looked up: printable, and no longer than a path can be.
pub(super) fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(4096).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        Needs {
            guest: "web-1".into(),
            machine: Machine {
                kind: "pc-q35-10.0".into(),
                architecture: "x86_64".into(),
                virtualisation: "kvm".into(),
            },
            cpu: CpuNeeds {
                element: "<cpu/>".into(),
                flags: vec!["avx".into()],
            },
            memory: 1 << 30,
            pages: vec![
                HugePages {
                    kib: 0,
                    bytes: 1 << 29,
                },
                HugePages {
                    kib: 2048,
                    bytes: 1 << 29,
                },
            ],
            disks: vec![NeededDisk {
                target: "vda".into(),
                path: "/srv/a".into(),
                copied: true,
                incremental: true,
                own: true,
                bytes: 7,
            }],
            nics: vec![NeededNic {
                mac: "52:54:00:aa:00:10".into(),
                kind: "bridge".into(),
                source: "br0".into(),
                mtu: 9000,
                standby: true,
                vlans: NicVlans {
                    guest: vec![100, 200],
                    vf: 42,
                    port: PortVlans::Trunk(vec![100, 4095]),
                    leaves_in: Some(0),
                },
                neighbours: reach::tests::known(),
            }],
            lock_manager: Some("lockd".into()),
            tls: true,
        }
    }

    #[test]
    fn nothing_is_lost_on_the_wire() {
        assert_eq!(needs_of("web-1", wire(&needs())), needs());
        for port in [
            PortVlans::Open,
            PortVlans::Access(7),
            PortVlans::Trunk(Vec::new()),
        ] {
            let mut needs = needs();
            needs.nics[0].vlans.port = port;
            needs.nics[0].vlans.leaves_in = None;
            assert_eq!(needs_of("web-1", wire(&needs)), needs);
        }
    }

    #[test]
    fn huge_pages_are_told_to_older_destinations_and_by_older_sources() {
        let named = HugePages {
            kib: 2048,
            bytes: 1 << 30,
        };
        let of = |pages: Vec<HugePages>| Needs { pages, ..needs() };
        let older = |needs: &Needs| {
            let told = wire(needs);
            let told = peer::ArrivalNeeds {
                pages: Vec::new(),
                ..told
            };
            needs_of("web-1", told).pages
        };
        assert_eq!(older(&of(vec![named])), [named]);
        assert_eq!(older(&of(Vec::new())), []);
        let default = HugePages { kib: 0, ..named };
        assert_eq!(older(&of(vec![default])), [], "it knows no such thing");
        let unseen = |pages: Vec<HugePages>, pages_seen| {
            let answer = peer::PlanResponse {
                pages_seen,
                ..Default::default()
            };
            pages_unseen(&of(pages), &Ok(answer), "beta").map(|skipped| skipped.check)
        };
        let told = Some("huge pages of beta".to_owned());
        assert_eq!(
            (unseen(vec![default], false), unseen(vec![default], true)),
            (told, None)
        );
        assert_eq!(
            (unseen(vec![named], false), unseen(Vec::new(), false)),
            (None, None)
        );
        assert!(unseen(needs().pages, false).is_some());
    }

    #[test]
    fn versions_are_told_as_libvirt_has_them_and_a_peers_are_bounded() {
        let known = Versions {
            libvirt: Version(11, 3, 0),
            qemu: Version(10, 0, 2),
        };
        let told = versions(&Ok(known)).unwrap();
        assert_eq!((told.libvirt.as_str(), told.qemu.as_str()), ("11.3.0", "10.0.2"));
        assert_eq!(versions(&Err("no answer".into())), None);
        let of = |versions| {
            versions_there(&Ok(peer::PlanResponse {
                versions,
                ..Default::default()
            }))
        };
        assert_eq!(of(Some(told)), Ok(known));
        assert!(of(None).unwrap_err().contains("older"));
        let odd = api::Versions {
            libvirt: "eleven".into(),
            qemu: "10.0.2".into(),
        };
        assert!(of(Some(odd)).unwrap_err().contains("`eleven` is no version"));
        let away = Cause {
            message: "beta cannot be reached".into(),
            ..Cause::default()
        };
        assert_eq!(versions_there(&Err(away)), Err("beta cannot be reached".into()));
        let answer = peer::PlanResponse {
            versions: Some(api::Versions {
                libvirt: "1\n".repeat(99),
                qemu: "10.0.2".into(),
            }),
            ..Default::default()
        };
        let there = planned(Ok(answer), Vec::new(), Vec::new()).versions.1.unwrap();
        assert_eq!((there.libvirt, there.qemu), ("1".repeat(32), "10.0.2".into()));
    }

    #[test]
    fn what_a_peer_says_has_bounds() {
        let mut hostile = needs();
        hostile.disks = vec![hostile.disks[0].clone(); 1000];
        hostile.disks[0].path = format!("/a\n{}", "b".repeat(9000));
        hostile.cpu.element = "x".repeat(LONGEST_ELEMENT + 1);
        hostile.cpu.flags = vec!["f".into(); 5000];
        let mut told = wire(&hostile);
        told.disks = vec![told.disks[0].clone(); 1000];
        told.cpu_flags = hostile.cpu.flags;
        let nic = &mut told.nics[0];
        (nic.guest_vlans, nic.port_vlans) = (vec![4096; 9000], [&[u32::MAX, 9][..], &[5; 9000]].concat());
        (nic.vf_vlan, nic.leaves_in) = (70_000, Some(4096));
        let read = needs_of("web-1", told);
        assert_eq!((read.disks.len(), read.cpu.flags.len()), (MOST, MOST_FLAGS));
        assert_eq!((read.disks[0].path.len(), read.cpu.element.as_str()), (4096, ""));
        assert!(!read.disks[0].path.contains('\n'));
        let vlans = &read.nics[0].vlans;
        assert_eq!((vlans.guest.len(), vlans.vf, vlans.leaves_in), (0, 0, None));
        assert!(
            matches!(&vlans.port, PortVlans::Trunk(passed) if passed.len() == MOST - 1 && passed[0] == 9)
        );
    }
}
