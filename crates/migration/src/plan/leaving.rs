//! What speaks against a transfer where the guest is: its options, its disks, and whether it would ever end.

use super::{Needs, finding};
use crate::{
    Options,
    doctor::{self, Diagnosis, Fact, Finding, RouteFacts, Severity, Version, Versions},
    options::{AutoConverge, Compression, Tls},
};

/// What was looked up where the guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingFacts {
    /// This host's name, and the destination's.
    pub hosts: (String, String),
    /// Of libvirt and QEMU here, and at the destination.
    pub versions: (Fact<Versions>, Fact<Versions>),
    /// What the guest writes.
    pub pages: Fact<Pages>,
    /// Of each disk that the guest alone has and can write, by its name: libvirt would call it unsafe, because it is a file of this host
    /// alone.
    pub local_disks: Vec<(String, Fact<bool>)>,
    /// File of QEMU's certificates for transfers that is not there; none: all are.
    pub certificates: Fact<Option<String>>,
    /// Somebody was reached at a port where QEMU would receive the guest, or why not.
    pub port: Fact<Result<(), String>>,
    /// The way to the destination's libvirt; none: the configuration has none.
    pub route: Option<RouteFacts>,
    /// How fast its memory would go there if nobody limits it.
    pub carried: Fact<Carried>,
}

/// How fast memory goes to a destination, as far as there is anything to tell it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bytes a second.
    pub rate: u64,
    /// By what it is told, a clause; empty: it is the limit that was asked for.
    pub because: String,
}

impl Carried {
    /// The limit that was asked for, or else what is known of the way.
    pub(super) fn of(options: &Options, known: Option<&Carried>) -> Option<Carried> {
        let limit = options.bandwidth.map(|mib| Carried {
            rate: mib << 20,
            because: String::new(),
        });
        limit.or_else(|| known.cloned())
    }

    /// In parentheses, where there is something.
    pub(super) fn because(&self) -> String {
        match self.because.as_str() {
            "" => String::new(),
            because => format!(" ({because})"),
        }
    }
}

/// How fast a guest's memory changes, bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// By its own CPUs: QEMU's estimate.
    pub written: u64,
    /// By its VFs, which QEMU does not see: what they received. None: their driver does not count it.
    pub received: Option<u64>,
}

impl Pages {
    /// What has to be sent again each second, once the VF has gone and its traffic comes by the standby.
    pub fn all(self) -> u64 {
        self.written.saturating_add(self.received.unwrap_or(0))
    }
}

/// From here on QEMU takes post-copy and several connections together.
const BOTH: Version = Version(10, 1, 0);
/// From here on QEMU has no compression in threads of its own.
const NO_MT: Version = Version(9, 1, 0);
/// From here on libvirt compresses parallel connections.
const PARALLEL_COMPRESSION: Version = Version(9, 4, 0);

/// Examines a transfer where the guest is.
pub fn leaving(needs: &Needs, options: &Options, facts: &LeavingFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let here = &facts.hosts.0;
    diagnosis.findings.extend(unknown_disks(needs, options));
    let (hosts, (own, others)) = (&facts.hosts, &facts.versions);
    for (host, versions) in [(here, own), (&hosts.1, others)] {
        if let Some(versions) = diagnosis.known(&format!("versions on {host}"), versions) {
            diagnosis
                .findings
                .extend(too_old_or_new(options, *versions, host));
            diagnosis.findings.extend(faulty(versions, host));
        }
    }
    for (disk, local) in &facts.local_disks {
        let check = format!("disk {disk} of `{}` on {here}", needs.guest);
        if diagnosis.known(&check, local) == Some(&true) {
            diagnosis.findings.extend(local_disk(needs, disk));
        }
    }
    if matches!(options.tls, Some(Tls::On { .. })) {
        let missing = diagnosis.known(&format!("QEMU's certificates on {here}"), &facts.certificates);
        diagnosis
            .findings
            .extend(missing.and_then(|file| certificates(file.as_deref(), here)));
    }
    if let Some(route) = &facts.route {
        diagnosis.findings.extend(way(route));
    }
    let reached = diagnosis.known(&format!("a port of QEMU's on {}", facts.hosts.1), &facts.port);
    if let Some(Err(why)) = reached {
        diagnosis.add(port(why, &facts.hosts));
    }
    let pages = diagnosis.known(&format!("how fast `{}` writes", needs.guest), &facts.pages);
    let known = facts.carried.as_ref().ok();
    if let (None, Err(why)) = (options.bandwidth, &facts.carried) {
        let check = format!("how fast memory goes to {}", hosts.1);
        diagnosis.skip(check, format!("{why}; with --bandwidth it would be known"));
    }
    let found = pages.and_then(|pages| slow(needs, options, *pages, &Carried::of(options, known)?));
    diagnosis.findings.extend(found);
    diagnosis
}

fn unknown_disks(needs: &Needs, options: &Options) -> Vec<Finding> {
    let known = |disk: &String| needs.disks.iter().any(|has| has.target == *disk);
    let names: Vec<&str> = needs.disks.iter().map(|disk| disk.target.as_str()).collect();
    let names = match names.as_slice() {
        [] => "it has none".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    let unknown = options.disks().iter().filter(|disk| !known(disk));
    unknown
        .map(|disk| {
            let words = [
                format!(
                    "guest `{}` has no disk {disk} that could be copied: {names}",
                    needs.guest
                ),
                "libvirt would refuse the transfer, with the VF already taken".into(),
                format!("virsh domblklist {}", needs.guest),
            ];
            finding(Severity::Error, "DISK_UNKNOWN", &needs.guest, words)
        })
        .collect()
}

/// As the doctor of that host has it.
fn faulty(versions: &Versions, host: &str) -> Vec<Finding> {
    let found = doctor::versions(versions).into_iter();
    let of_host = |found: Finding| Finding {
        about: host.into(),
        what: format!("{host}: {}", found.what),
        fix: format!("on {host}: {}", found.fix),
        ..found
    };
    found.map(of_host).collect()
}

/// Both sides are told the options, and either refuses what it does not know.
fn too_old_or_new(options: &Options, versions: Versions, host: &str) -> Vec<Finding> {
    let methods = options.compression.as_deref().unwrap_or_default();
    let threaded = methods
        .iter()
        .any(|method| matches!(method, Compression::Zlib | Compression::Zstd));
    let Versions { libvirt, qemu } = versions;
    let checks = [
        (
            options.post_copies() && options.connections().is_some() && qemu < BOTH,
            format!("post-copy and parallel connections together need QEMU {BOTH}, and {host} has {qemu}"),
            "leave one of them out",
        ),
        (
            methods.contains(&Compression::Mt) && qemu >= NO_MT,
            format!("compression by mt is gone since QEMU {NO_MT}, and {host} has {qemu}"),
            "use parallel connections with zstd",
        ),
        (
            threaded && libvirt < PARALLEL_COMPRESSION,
            format!(
                "compression by zlib or zstd needs libvirt {PARALLEL_COMPRESSION}, and {host} has {libvirt}"
            ),
            "leave it out",
        ),
    ];
    let wrong = checks.into_iter().filter(|(wrong, ..)| *wrong);
    wrong
        .map(|(_, what, fix)| {
            let why = "libvirt or QEMU would refuse the transfer, with the VF already taken";
            finding(
                Severity::Error,
                "TRANSFER_OPTION",
                host,
                [what, why.into(), fix.into()],
            )
        })
        .collect()
}

/// libvirt refuses a transfer that would leave a file behind (`qemuMigrationSrcIsSafe`). It knows more file systems than are looked
/// for here, so it is not said for certain.
fn local_disk(needs: &Needs, name: &str) -> Option<Finding> {
    let disk = needs
        .disks
        .iter()
        .find(|disk| disk.target == name && !disk.copied)?;
    let words = [
        format!(
            "disk {} of guest `{}` is {}, on a file system of this host alone",
            disk.target, needs.guest, disk.path
        ),
        "libvirt refuses a transfer that would leave a disk behind, with the VF already taken".into(),
        "put it on storage that both hosts have, or have it copied: --copy-storage all".into(),
    ];
    Some(finding(Severity::Warning, "DISK_LOCAL", &needs.guest, words))
}

/// Of either side.
pub(super) fn certificates(missing: Option<&str>, host: &str) -> Option<Finding> {
    let file = missing?;
    let words = [
        format!("QEMU on {host} has no certificates for a transfer by TLS: {file} is not there"),
        "libvirt would refuse the transfer, with the VF already taken".into(),
        format!(
            "on {host}: make them (libvirt's migrate_tls_x509_cert_dir in `/etc/libvirt/qemu.conf`), or leave --tls out"
        ),
    ];
    Some(finding(Severity::Error, "TRANSFER_TLS", host, words))
}

/// As the doctor has it, but for what is no matter of this move.
fn way(route: &RouteFacts) -> Option<Finding> {
    doctor::route(route).filter(|found| found.severity > Severity::Hint)
}

fn port(why: &str, (here, there): &(String, String)) -> Finding {
    let words = [
        format!("{here} does not reach {there} at a port where QEMU would receive the guest: {why}"),
        "the transfer would fail, with the VF already taken; the ports are migration_port_min to migration_port_max of libvirt's `qemu.conf`"
            .into(),
        format!("on {there}: let {here} in at ports 49152 to 49215 (firewall-cmd, nft); or name another way with memory_uri in [[peer]]"),
    ];
    finding(Severity::Warning, "MIGRATION_PORT", there, words)
}

/// It ends by itself only if more is sent than is written meanwhile.
fn slow(needs: &Needs, options: &Options, pages: Pages, sent: &Carried) -> Option<Finding> {
    let slowed = matches!(options.auto_converge, Some(AutoConverge::On { .. }));
    let urged = slowed || options.post_copies() || options.timeout.is_some();
    if urged || pages.all() < sent.rate {
        return None;
    }
    let mib = |bytes: u64| bytes >> 20;
    let received = match pages.received {
        Some(received) => format!("its VF receives {} of them", mib(received)),
        None => "what its VF receives is not known, and comes on top".into(),
    };
    let raise = match options.bandwidth {
        Some(_) => "raise --bandwidth, or ",
        None => "",
    };
    let words = [
        format!(
            "guest `{}` writes {} MiB/s ({received}), and {} MiB/s can be sent{}",
            needs.guest,
            mib(pages.all()),
            mib(sent.rate),
            sent.because()
        ),
        "its transfer would not end by itself, with the guest on its standby all the while".into(),
        format!(
            "{raise}say what is to be done: --auto-converge, --post-copy, or --transfer-timeout 10min --timeout-action suspend"
        ),
    ];
    Some(finding(
        Severity::Warning,
        "SLOW_TO_CONVERGE",
        &needs.guest,
        words,
    ))
}
