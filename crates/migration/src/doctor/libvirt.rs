//! libvirt and QEMU: versions with known faults, and what libvirtd may do.

use super::{Diagnosis, Finding, LibvirtFacts, Memlock, Severity, Version, Versions};

/// vfio's own share on top of the guest's memory (`qemuDomainGetMemLockLimitBytes`: 1 GiB for the devices' registers).
pub(super) const ON_TOP: u64 = 1 << 30;

/// A fault of the versions from one up to, and without, another.
struct Fault {
    severity: Severity,
    from: Version,
    until: Version,
    what: &'static str,
    why: &'static str,
}

/// Of libvirt; from its news and its sources.
const OF_LIBVIRT: [Fault; 2] = [
    Fault {
        severity: Severity::Error,
        from: Version(0, 0, 0),
        until: Version(4, 4, 0),
        what: "it cannot unplug a device by its alias",
        why: "both NICs of a pair have one MAC, so Godwit names the VF by its alias",
    },
    Fault {
        severity: Severity::Warning,
        from: Version(12, 1, 0),
        until: Version(12, 2, 0),
        what: "it crashes when an interface of a network of VFs (forward mode='hostdev') is plugged",
        why: "Godwit plugs none, other tools do; the crash ends every transfer of this host",
    },
];

/// libvirt from here on works with no QEMU before the other.
const PARTED: (Version, Version) = (Version(12, 4, 0), Version(7, 2, 0));

pub(super) fn libvirt(facts: &LibvirtFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    match &facts.versions {
        Ok(found) => diagnosis.findings.extend(versions(found)),
        Err(why) => {
            diagnosis.add(Finding {
                severity: Severity::Error,
                reason: "LIBVIRT",
                about: String::new(),
                what: format!("libvirt on this host does not answer: {why}"),
                why: "nothing is known of guests, and nothing can be done with them, without it".into(),
                fix: "systemctl status libvirtd virtqemud; then restart the one that this host has".into(),
            });
            diagnosis.skip("known faults of libvirt and QEMU", "libvirt does not answer");
        }
    }
    if let Some(found) = diagnosis.known("limit of locked memory", &facts.memlock) {
        diagnosis.findings.extend(memlock(found));
    }
    if let Some(manager) = diagnosis.known("lock manager of disks", &facts.lock_manager) {
        diagnosis
            .findings
            .extend(locks(facts.disk_locks, manager.as_deref()));
    }
    diagnosis
}

/// Known faults of these.
pub fn versions(found: &Versions) -> Vec<Finding> {
    let Versions { libvirt, qemu } = found;
    let finding = |severity, what: String, why: &str, fix| Finding {
        severity,
        reason: "LIBVIRT_FAULTY",
        about: String::new(),
        what,
        why: why.into(),
        fix,
    };
    let known = OF_LIBVIRT
        .iter()
        .filter(|fault| (fault.from..fault.until).contains(libvirt));
    let mut findings: Vec<Finding> = known
        .map(|fault| {
            let what = format!("libvirt is {libvirt}: {}", fault.what);
            finding(
                fault.severity,
                what,
                fault.why,
                format!("upgrade libvirt to {} or newer", fault.until),
            )
        })
        .collect();
    let (new, old) = PARTED;
    if *libvirt >= new && *qemu < old {
        let what = format!("libvirt {libvirt} does not work with QEMU {qemu}");
        let fix = format!("upgrade QEMU to {old} or newer");
        findings.push(finding(
            Severity::Error,
            what,
            "no guest starts, and none can arrive",
            fix,
        ));
    }
    findings
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// As libvirt numbers them: 1,000,000 × major + 1,000 × minor + micro.
    pub fn of(number: u32) -> Version {
        Version(number / 1_000_000, number / 1000 % 1000, number % 1000)
    }
}

impl Memlock {
    /// The memory of the largest guest that can be given a VF, bytes; none: any.
    pub(crate) fn largest(&self) -> Option<u64> {
        let limit = self.limit.filter(|_| !self.may_raise)?;
        Some(limit.saturating_sub(ON_TOP))
    }
}

fn memlock(found: &Memlock) -> Option<Finding> {
    let largest = found.largest()?;
    let what = "libvirtd may not raise the limit of locked memory (it lacks CAP_SYS_RESOURCE)";
    let (severity, what) = match largest >> 20 {
        0 => (
            Severity::Error,
            format!("{what}, and its own is too low for any guest with a VF"),
        ),
        mib => (
            Severity::Warning,
            format!("{what}: no guest with more than {mib} MiB of memory gets a VF"),
        ),
    };
    Some(Finding {
        severity,
        reason: "MEMLOCK",
        about: String::new(),
        what,
        why: "with a VF all memory of the guest is locked, and 1 GiB more must be allowed; libvirt raises the limit of its \
              QEMU by itself where it may"
            .into(),
        fix: "run libvirtd (or virtqemud) as root with all capabilities, or: systemctl edit libvirtd (or virtqemud), \
              [Service] LimitMEMLOCK=infinity; then restart it"
            .into(),
    })
}

fn locks(configured: bool, manager: Option<&str>) -> Option<Finding> {
    let (severity, what, why, fix) = match (configured, manager) {
        (true, None) => (
            Severity::Warning,
            "the configuration says `disk_locks`, and libvirt has no lock manager".to_owned(),
            "a guest that may run twice is left running, with nothing to keep two copies from one disk",
            "set lock_manager = \"lockd\" in `/etc/libvirt/qemu.conf`, or take disk_locks out of [unknown] in godwitd.toml",
        ),
        (false, Some(manager)) => (
            Severity::Hint,
            format!("libvirt has the lock manager {manager}, and the configuration does not say so"),
            "a guest that may run twice is paused, which its locked disks make unnecessary",
            "set disk_locks = true under [unknown] in godwitd.toml, if all disks are locked; systemctl restart godwitd",
        ),
        (true, Some(_)) | (false, None) => return None,
    };
    Some(Finding {
        severity,
        reason: "DISK_LOCKS",
        about: String::new(),
        what,
        why: why.into(),
        fix: fix.into(),
    })
}
