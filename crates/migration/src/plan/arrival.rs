//! What a host lacks for a guest that is to come.

use std::collections::BTreeMap;

use super::{
    Heard, HugePages, NeededNic, Needs, NetworkSeen, PlaceSeen, disks, finding, leaving, networks, reach,
};
use crate::doctor::{Diagnosis, Fact, Finding, Memlock, Severity};

/// What was looked up at the host that a guest is to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalFacts {
    /// Its name.
    pub host: String,
    /// Its QEMU has the machine type: libvirt's answer.
    pub machine: Fact<Fit>,
    /// Its CPU can do what the guest's must: libvirt's answer. None: the guest has the host's own CPU, see `flags`.
    pub cpu: Fact<Option<Fit>>,
    /// Flags of its CPU, as `/proc/cpuinfo` has them.
    pub flags: Fact<Vec<String>>,
    /// Its memory.
    pub memory: Fact<FreeMemory>,
    /// What libvirtd may do about locked memory.
    pub memlock: Fact<Memlock>,
    /// The disks' places, in the order of the needs.
    pub disks: Vec<Fact<PlaceSeen>>,
    /// What the NICs are connected to, in the order of the needs.
    pub nics: Vec<Fact<NetworkSeen>>,
    /// What came of asking for those whom the guest knows on their networks: of each NIC in the order of its neighbours, or none
    /// where nobody was asked for.
    pub asked: Vec<Vec<Fact<Heard>>>,
    /// libvirt's lock manager.
    pub lock_manager: Fact<Option<String>>,
    /// File of QEMU's certificates for transfers that is not there; none: all are.
    pub certificates: Fact<Option<String>>,
}

/// libvirt's word for whether something would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It would.
    Fits,
    /// It would not, in libvirt's words.
    Unfit(String),
}

/// Memory of a host, bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeMemory {
    /// All of it.
    pub total: u64,
    /// `MemAvailable`.
    pub available: u64,
    /// Free huge pages of each wanted size, in the order of the needs. Its own default is told with its size, 0 where it has none.
    pub huge: Vec<HugePages>,
}

/// Examines a host for a guest that is to come.
pub fn arrival(needs: &Needs, facts: &ArrivalFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    machine(needs, facts, &mut diagnosis);
    cpu(needs, facts, &mut diagnosis);
    memory(needs, facts, &mut diagnosis);
    for (disk, seen) in needs.disks.iter().zip(&facts.disks) {
        if let Some(seen) = diagnosis.known(&format!("disk {} on {}", disk.target, facts.host), seen) {
            diagnosis
                .findings
                .extend(disks::of_disk(&needs.guest, &facts.host, disk, *seen));
        }
    }
    for (nic, seen) in needs.nics.iter().zip(&facts.nics) {
        if let Some(seen) = diagnosis.known(&format!("{} on {}", nic.place(), facts.host), seen) {
            let host = &facts.host;
            diagnosis
                .findings
                .extend(networks::of_nic(&needs.guest, host, nic, seen));
        }
    }
    for (nic, heard) in asked(needs, facts) {
        let reached = reach::of_nic(&needs.guest, &facts.host, nic, heard);
        diagnosis.findings.extend(reached.rest.findings);
        diagnosis.not_checked.extend(reached.rest.not_checked);
    }
    locks(needs, facts, &mut diagnosis);
    if needs.tls {
        let missing = diagnosis.known(
            &format!("QEMU's certificates on {}", facts.host),
            &facts.certificates,
        );
        let found = missing.and_then(|file| leaving::certificates(file.as_deref(), &facts.host));
        diagnosis.findings.extend(found);
    }
    diagnosis
}

/// Of each NIC, by its MAC, a sentence for each of its networks that was proved to be the same.
pub fn proved(needs: &Needs, facts: &ArrivalFacts) -> Vec<(String, Vec<String>)> {
    let each = asked(needs, facts);
    let proof = |(nic, heard): (&NeededNic, &[Fact<Heard>])| {
        let reached = reach::of_nic(&needs.guest, &facts.host, nic, heard);
        (nic.mac.clone(), reached.proved)
    };
    each.map(proof).collect()
}

fn asked<'a>(
    needs: &'a Needs,
    facts: &'a ArrivalFacts,
) -> impl Iterator<Item = (&'a NeededNic, &'a [Fact<Heard>])> {
    needs.nics.iter().zip(facts.asked.iter().map(Vec::as_slice))
}

fn machine(needs: &Needs, facts: &ArrivalFacts, diagnosis: &mut Diagnosis) {
    let (host, kind) = (&facts.host, &needs.machine.kind);
    let check = format!("machine type on {host}");
    let Some(Fit::Unfit(why)) = diagnosis.known(&check, &facts.machine) else {
        return;
    };
    diagnosis.add(finding(
        Severity::Error,
        "MACHINE_UNKNOWN",
        host,
        [
            format!(
                "QEMU on {host} has no machine type {kind} for guest `{}`: {why}",
                needs.guest
            ),
            "a guest cannot change its machine type while it runs: libvirt there would refuse it".into(),
            format!("upgrade QEMU on {host}; on {host}: virsh capabilities lists what it has"),
        ],
    ));
}

fn cpu(needs: &Needs, facts: &ArrivalFacts, diagnosis: &mut Diagnosis) {
    let host = &facts.host;
    let check = format!("CPU of {host}");
    let (severity, why) = match diagnosis.known(&check, &facts.cpu) {
        Some(Some(Fit::Unfit(why))) => (Severity::Error, why.clone()),
        Some(Some(Fit::Fits)) | None => return,
        // The guest has its host's CPU as it is. Kernels name some flags that no CPU has, so this is no proof.
        Some(None) => match diagnosis
            .known(&check, &facts.flags)
            .and_then(|has| lacking(&needs.cpu.flags, has))
        {
            Some(why) => (Severity::Warning, why),
            None => return,
        },
    };
    let consequence = match severity {
        Severity::Error => "libvirt there would refuse the guest",
        Severity::Warning | Severity::Hint => {
            "the guest has the CPU of its host itself (host-passthrough): it fails on an instruction that is not there"
        }
    };
    let guest = &needs.guest;
    let words = [
        format!("the CPU of {host} cannot do what that of guest `{guest}` does: {why}"),
        consequence.into(),
        format!(
            "give guest `{guest}` a CPU that both hosts have (virsh domcapabilities), from its next start on"
        ),
    ];
    diagnosis.add(finding(severity, "CPU_UNFIT", host, words));
}

/// So many flags are named.
const NAMED: usize = 8;

fn lacking(wanted: &[String], has: &[String]) -> Option<String> {
    let lacks: Vec<&str> = wanted
        .iter()
        .filter(|flag| !has.contains(flag))
        .map(String::as_str)
        .collect();
    let more = match lacks.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = lacks.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    (!lacks.is_empty()).then(|| format!("it lacks {named}{more}"))
}

fn memory(needs: &Needs, facts: &ArrivalFacts, diagnosis: &mut Diagnosis) {
    let (host, guest) = (&facts.host, &needs.guest);
    if let Some(has) = diagnosis
        .known(&format!("memory of {host}"), &facts.memory)
        .cloned()
    {
        for short in ordinary(needs, host, &has)
            .into_iter()
            .chain(huge(needs, host, &has))
        {
            diagnosis.add(short);
        }
    }
    let known = diagnosis.known(&format!("limit of locked memory on {host}"), &facts.memlock);
    let Some(largest) = known
        .and_then(Memlock::largest)
        .filter(|largest| needs.memory > *largest)
    else {
        return;
    };
    let what = format!(
        "guest `{guest}` has {} MiB of memory, and libvirtd on {host} may lock that of guests up to {} MiB",
        needs.memory >> 20,
        largest >> 20
    );
    let why =
        "with a VF all memory of the guest is locked, and 1 GiB more must be allowed: the plug there fails";
    let words = [what, why.into(), format!("on {host}: godwit doctor")];
    diagnosis.add(finding(Severity::Error, "MEMLOCK", host, words));
}

/// Whatever is not in huge pages.
fn ordinary(needs: &Needs, host: &str, has: &FreeMemory) -> Option<Finding> {
    let huge: u64 = needs.pages.iter().map(|pages| pages.bytes).sum();
    let wants = needs.memory.saturating_sub(huge);
    let mib = |bytes: u64| bytes >> 20;
    let (severity, has, fix) = match (has.total < wants, has.available < wants) {
        (true, _) => (
            Severity::Error,
            format!("{} MiB altogether", mib(has.total)),
            "choose another host".to_owned(),
        ),
        (false, true) => (
            Severity::Warning,
            format!("{} MiB that are not in use", mib(has.available)),
            format!("on {host}: free -m; move another guest away first"),
        ),
        (false, false) => return None,
    };
    let of = match huge {
        0 => "of memory",
        _ => "of memory in ordinary pages",
    };
    let what = format!(
        "guest `{}` has {} MiB {of}, and {host} has {has}",
        needs.guest,
        mib(wants)
    );
    let why = "with a VF all memory of the guest is locked, and must be there";
    Some(finding(severity, "MEMORY_SHORT", host, [what, why.into(), fix]))
}

/// Of each size: two of a guest's may be one at this host, whose default is one of them.
fn huge(needs: &Needs, host: &str, has: &FreeMemory) -> Vec<Finding> {
    let mut sizes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (wanted, free) in needs.pages.iter().zip(&has.huge) {
        let (wants, has) = sizes.entry(free.kib).or_default();
        *wants = wants.saturating_add(wanted.bytes);
        *has = free.bytes;
    }
    let short = sizes.into_iter().filter(|(_, (wants, has))| has < wants);
    let told = |(kib, (wants, has)): (u64, (u64, u64))| {
        let size = match kib {
            0 => "the default size, of which its kernel has none".to_owned(),
            kib => format!("{kib} KiB"),
        };
        let what = format!(
            "guest `{}` has {} MiB of memory in huge pages, and {host} has {} MiB free in huge pages of {size}",
            needs.guest,
            wants >> 20,
            has >> 20
        );
        let why = "QEMU there could not have the guest's memory, and would not start";
        let fix = match kib {
            0 => format!("on {host}: start a kernel that has huge pages (CONFIG_HUGETLBFS)"),
            kib => {
                let file = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages");
                format!("on {host}: echo {} >{file}", wants.div_ceil(kib << 10))
            }
        };
        finding(Severity::Error, "HUGE_PAGES_SHORT", host, [what, why.into(), fix])
    };
    short.map(told).collect()
}

fn locks(needs: &Needs, facts: &ArrivalFacts, diagnosis: &mut Diagnosis) {
    let host = &facts.host;
    let check = format!("lock manager on {host}");
    let Some(there) = diagnosis.known(&check, &facts.lock_manager).cloned() else {
        return;
    };
    if there == needs.lock_manager {
        let unlocked = there.is_none().then(|| unlocked(needs, host)).flatten();
        diagnosis.findings.extend(unlocked);
        return;
    }
    let word = |manager: &Option<String>| manager.clone().unwrap_or_else(|| "no lock manager".into());
    let what = format!(
        "libvirt has {} where guest `{}` is, and {} on {host}",
        word(&needs.lock_manager),
        needs.guest,
        word(&there)
    );
    let why = "locks that one host alone takes keep no second copy of a guest from its disks";
    let fix = "set the same lock_manager in `/etc/libvirt/qemu.conf` on both, and restart libvirt";
    diagnosis.add(finding(
        Severity::Warning,
        "LOCKS_DIFFER",
        host,
        [what, why.into(), fix.into()],
    ));
}

/// Disks that both hosts have, and nothing that keeps two copies of the guest from them.
fn unlocked(needs: &Needs, host: &str) -> Option<Finding> {
    let shared = needs.disks.iter().filter(|disk| disk.own && !disk.copied);
    let shared: Vec<&str> = shared.map(|disk| disk.target.as_str()).collect();
    if shared.is_empty() {
        return None;
    }
    let what = format!(
        "no lock manager of libvirt's, here or on {host}, keeps two copies from disk {} of guest `{}`",
        shared.join(", "),
        needs.guest
    );
    let why = format!(
        "if {host} falls silent in the middle of the move, the copy here is paused until somebody knows where the guest runs, \
         unless policy in [unknown] of godwitd.toml says `keep`"
    );
    let fix = "set the same lock_manager in `/etc/libvirt/qemu.conf` on both, and disk_locks = true under [unknown] in godwitd.toml";
    Some(finding(
        Severity::Hint,
        "NO_DISK_LOCKS",
        host,
        [what, why, fix.into()],
    ))
}
