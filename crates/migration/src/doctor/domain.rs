//! A guest's domain: places to plug into, how it is asked to unplug, its memory, its stored definition.

use super::{Diagnosis, DomainFacts, Finding, Memlock, Severity, libvirt::ON_TOP};
use crate::{
    PciAddress,
    preflight::{self, GuestFacts},
};

/// From here on pinning memory that is not there yet takes some 8 s (245 ms for each GiB), bytes.
const LARGE: u64 = 32 << 30;

/// Examines the domain of a guest.
pub fn domain(guest: &GuestFacts, facts: &DomainFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let name = &guest.guest.name;
    let mut add = |severity, reason, what: String, why: &str, fix: String| {
        diagnosis.add(Finding {
            severity,
            reason,
            about: name.clone(),
            what,
            why: why.into(),
            fix,
        });
    };
    if let Some((what, fix)) = ports(guest, facts) {
        let why = "a VF is plugged into a PCIe root port of its own";
        add(Severity::Error, "GUEST_WITHOUT_PORT", what, why, fix);
    }
    if !facts.fixed.is_empty() {
        let what = format!(
            "guest `{name}` has VFs where nothing can be unplugged: {}",
            list(&facts.fixed)
        );
        let why = "neither pcie.0 nor a port with hotplug='off' lets a device go while the guest runs";
        let fix = format!(
            "virsh edit {name}: take them out of the definition; godwit plugs a VF after the next start"
        );
        add(Severity::Error, "GUEST_VF_FIXED", what, why, fix);
    }
    if facts.slow_unplug {
        let what = format!(
            "guest `{name}` has the machine type {}, whose slots have only their button",
            facts.machine
        );
        let why = "each unplug takes 6 s or more, in which the guest is on standby, and cannot be asked for again sooner";
        let fix =
            format!("virsh edit {name}: machine='pc-q35-6.1' or newer (ACPI's way); from its next start on");
        add(Severity::Warning, "GUEST_UNPLUG_SLOW", what, why, fix);
    }
    if facts.memory.size >= LARGE && !facts.memory.populated {
        let gib = facts.memory.size >> 30;
        let what = format!("guest `{name}` has {gib} GiB of memory that is not in huge pages");
        let why =
            "each plug pins all of it; what was never touched is fetched then, some 0.25 s for each GiB";
        let fix =
            format!("virsh edit {name}: <memoryBacking><hugepages/></memoryBacking>; from its next start on");
        add(Severity::Hint, "GUEST_PINNED_SLOWLY", what, why, fix);
    }
    held_here(name, facts, &mut diagnosis);
    memory(name, facts, &mut diagnosis);
    stored(name, facts, &mut diagnosis);
    diagnosis
}

/// What libvirt refuses a transfer for, whoever asks for it (`qemuMigrationSrcIsAllowed`): it looks only when the VF has gone.
fn held_here(name: &str, facts: &DomainFacts, diagnosis: &mut Diagnosis) {
    if !facts.passed.is_empty() {
        let what = format!(
            "guest `{name}` has devices of this host that are no VF of its pairs: {}",
            facts.passed.join(", ")
        );
        let why = "QEMU migrates none whose driver cannot (vfio): libvirt would refuse the transfer, with the VF already taken";
        diagnosis.add(Finding {
            severity: Severity::Error,
            reason: "GUEST_HOST_DEVICE",
            about: name.into(),
            what,
            why: why.into(),
            fix: format!(
                "virsh edit {name}: take them out, from its next start on; or, where their driver can migrate: --ignore GUEST_HOST_DEVICE"
            ),
        });
    }
    let known = diagnosis.known(&format!("snapshots of `{name}`"), &facts.snapshots);
    let Some(count) = known.copied().filter(|count| *count > 0) else {
        return;
    };
    let several = if count == 1 { "snapshot" } else { "snapshots" };
    diagnosis.add(Finding {
        severity: Severity::Error,
        reason: "GUEST_HAS_SNAPSHOTS",
        about: name.into(),
        what: format!("guest `{name}` has {count} {several}"),
        why: "libvirt migrates no guest that has any: it would refuse the transfer, with the VF already taken".into(),
        fix: format!(
            "virsh snapshot-list {name}; for each: virsh snapshot-delete {name} NAME --metadata (libvirt forgets it, its files stay)"
        ),
    });
}

/// A VF that is there leaves its port free when it goes.
fn ports(guest: &GuestFacts, facts: &DomainFacts) -> Option<(String, String)> {
    let name = &guest.guest.name;
    let free = facts.free_ports?;
    let lacking = guest.pairs.iter().filter(|pair| pair.vf.is_none()).count();
    let wanted = lacking.max(usize::from(guest.pairs.is_empty() && !preflight::is_plain(guest)));
    (free < wanted).then(|| {
        (
            format!("guest `{name}` has {free} free PCIe root ports, and {wanted} VFs to be plugged"),
            format!("virsh edit {name}: add <controller type='pci' model='pcie-root-port'/>; from its next start on"),
        )
    })
}

fn memory(name: &str, facts: &DomainFacts, diagnosis: &mut Diagnosis) {
    let needed = facts.memory.size.saturating_add(ON_TOP);
    let (has, may) = (facts.memory.size >> 20, |bytes: u64| bytes >> 20);
    let (what, fix) = match facts.memory.hard_limit {
        // libvirt takes it as the limit, whatever it could raise.
        Some(limit) if limit < needed => (
            format!(
                "guest `{name}` has a hard_limit of {} MiB, and needs {} MiB",
                may(limit),
                may(needed)
            ),
            format!("virsh memtune {name} --hard-limit {}", needed >> 10),
        ),
        Some(_) => return,
        None => {
            let known = diagnosis.known("limit of locked memory", &facts.memlock);
            let Some(largest) = known
                .and_then(Memlock::largest)
                .filter(|largest| facts.memory.size > *largest)
            else {
                return;
            };
            (
                format!(
                    "guest `{name}` has {has} MiB of memory, and libvirtd may lock that of guests up to {} MiB",
                    may(largest)
                ),
                "godwit doctor".into(),
            )
        }
    };
    diagnosis.add(Finding {
        severity: Severity::Error,
        reason: "MEMLOCK",
        about: name.into(),
        what,
        why: "with a VF all memory of the guest is locked, and 1 GiB more must be allowed: the plug fails"
            .into(),
        fix,
    });
}

fn stored(name: &str, facts: &DomainFacts, diagnosis: &mut Diagnosis) {
    let check = format!("stored definition of `{name}`");
    let Some(Some(vfs)) = diagnosis.known(&check, &facts.stored) else {
        return;
    };
    if vfs.is_empty() {
        return;
    }
    diagnosis.add(Finding {
        severity: Severity::Warning,
        reason: "GUEST_VF_STORED",
        about: name.into(),
        what: format!("the stored definition of guest `{name}` has host devices: {}", list(vfs)),
        why: "on another host, or when somebody else has that VF, the guest does not start; Godwit plugs one after the start"
            .into(),
        fix: format!("virsh edit {name}: take the VF out, leave the standby in"),
    });
}

fn list(all: &[PciAddress]) -> String {
    let all: Vec<String> = all.iter().map(PciAddress::to_string).collect();
    all.join(", ")
}
