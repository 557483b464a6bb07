//! The PFs of the configuration, their VFs, and the VFs' IOMMU groups.

use super::{Diagnosis, Finding, PfDetail, PfFacts, PfState, Severity, VfFacts};
use crate::PciAddress;

/// So many addresses are named; the others are counted.
const NAMED: usize = 3;

/// Drivers that keep a device away from the host, and so out of a guest's way.
const HARMLESS: [&str; 2] = ["vfio-pci", "pci-stub"];

/// Without an IOMMU no VF is in a group, which is said once and elsewhere.
pub(super) fn pfs(all: &[PfFacts], iommu: bool) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    if all.is_empty() {
        diagnosis.add(Finding {
            severity: Severity::Error,
            reason: "NO_POOL",
            about: String::new(),
            what: "the configuration names no pool".into(),
            why: "Godwit touches the VFs of its pools alone: without one no guest here gets a VF".into(),
            fix: "add a [[pool]] with the interface names of its PFs to godwitd.toml; systemctl restart godwitd".into(),
        });
    }
    for pf in all {
        let Some(state) = diagnosis.known(&format!("PF {}", pf.pf), &pf.state) else {
            continue;
        };
        // Another PF of the pool stands in for it.
        let severity = match all.iter().any(|other| other.pool == pf.pool && works(other)) {
            true => Severity::Warning,
            false => Severity::Error,
        };
        diagnosis.findings.extend(itself(pf, state, severity));
        if let (PfState::There(detail), true) = (state, iommu) {
            diagnosis.findings.extend(groups(pf, detail));
        }
    }
    diagnosis
}

fn works(pf: &PfFacts) -> bool {
    matches!(&pf.state, Ok(PfState::There(detail)) if detail.up && detail.link && !detail.vfs.is_empty())
}

/// What is wrong with the PF itself; no VFs and no link may be two findings.
fn itself(facts: &PfFacts, state: &PfState, severity: Severity) -> Vec<Finding> {
    let PfFacts { pf, pool, .. } = facts;
    let found = |reason, what, why: &str, fix| Finding {
        severity,
        reason,
        about: pf.clone(),
        what,
        why: why.into(),
        fix,
    };
    let no_vfs = "there is no VF of it that a guest could be given";
    let detail = match state {
        PfState::Missing => {
            let what = format!("no interface is named {pf}, a PF of pool {pool} in the configuration");
            let fix = "ip -brief link; then correct `pfs` in godwitd.toml; systemctl restart godwitd".into();
            return vec![found("PF_MISSING", what, no_vfs, fix)];
        }
        PfState::NoSriov => {
            let what = format!("{pf} has no SR-IOV");
            let fix = format!(
                "switch SR-IOV on in the firmware setup, the machine's and the NIC's, and reboot; \
                 `lspci -vvv -s $(basename $(readlink /sys/class/net/{pf}/device)) | grep -i sr-iov`"
            );
            return vec![found("PF_WITHOUT_SRIOV", what, no_vfs, fix)];
        }
        PfState::There(detail) => detail,
    };
    let mut findings = Vec::new();
    if detail.vfs.is_empty() {
        let possible = detail.possible;
        let what = format!("{pf} has no VFs (0 of {possible})");
        let fix = format!(
            "echo {possible} >/sys/class/net/{pf}/device/sriov_numvfs; for each boot: `vfs = {possible}` in its [[pool]]"
        );
        findings.push(found("PF_WITHOUT_VFS", what, no_vfs, fix));
    }
    let silent = "its VFs carry no frame to the outside, so guests do not fail back to them";
    match (detail.up, detail.link) {
        (false, _) => {
            let what = format!("{pf} is switched off");
            findings.push(found(
                "PF_DOWN",
                what,
                "its VFs carry no frame, and none of them is held or plugged",
                format!("ip link set {pf} up"),
            ));
        }
        (true, false) => {
            let fix = format!("look at the cable and at the switch's port; ethtool {pf}");
            findings.push(found("PF_LINK_DOWN", format!("{pf} has no link"), silent, fix));
        }
        (true, true) => {}
    }
    findings
}

fn groups(facts: &PfFacts, detail: &PfDetail) -> Vec<Finding> {
    let pf = &facts.pf;
    let those = |fits: &dyn Fn(&VfFacts) -> bool| -> Vec<PciAddress> {
        let fitting = detail.vfs.iter().filter(|vf| fits(vf));
        fitting.map(|vf| vf.address).collect()
    };
    let blocked = |vf: &VfFacts| {
        let drivers = vf.others.iter().filter_map(|other| other.driver.as_deref());
        drivers.into_iter().any(|driver| !HARMLESS.contains(&driver))
    };
    let mut findings = Vec::new();
    let outside = those(&|vf| vf.group.is_none());
    if !outside.is_empty() {
        findings.push(Finding {
            severity: Severity::Error,
            reason: "VF_WITHOUT_GROUP",
            about: pf.clone(),
            what: format!(
                "{} of {pf} in no IOMMU group: {}",
                counted(outside.len()),
                named(&outside)
            ),
            why: "vfio-pci takes no device that is in no group".into(),
            fix: "is the NIC behind the IOMMU? dmesg | grep -i -e dmar -e iommu".into(),
        });
    }
    let why = "a group is given to one guest, or to none while a device in it has a driver of the host";
    let fix = "put the NIC into a slot whose port has ACS, or switch ACS on in the firmware setup; \
               lspci -vvv | grep -i acsctl";
    for (severity, shared) in [
        (Severity::Error, those(&blocked)),
        (
            Severity::Warning,
            those(&|vf| !vf.others.is_empty() && !blocked(vf)),
        ),
    ] {
        let Some(first) = detail.vfs.iter().find(|vf| shared.contains(&vf.address)) else {
            continue;
        };
        let others: Vec<String> = first.others.iter().take(NAMED).map(neighbour).collect();
        findings.push(Finding {
            severity,
            reason: "VF_GROUP_SHARED",
            about: pf.clone(),
            what: format!(
                "{} of {pf} not alone in the IOMMU group: {}; the first with {}",
                counted(shared.len()),
                named(&shared),
                others.join(", ")
            ),
            why: why.into(),
            fix: fix.into(),
        });
    }
    findings
}

fn neighbour(other: &super::Neighbour) -> String {
    match &other.driver {
        Some(driver) => format!("{} ({driver})", other.address),
        None => other.address.to_string(),
    }
}

fn counted(count: usize) -> String {
    match count {
        1 => "1 VF".into(),
        count => format!("{count} VFs"),
    }
}

fn named(all: &[PciAddress]) -> String {
    let mut text: Vec<String> = all.iter().take(NAMED).map(PciAddress::to_string).collect();
    if all.len() > NAMED {
        text.push("...".into());
    }
    text.join(", ")
}
