mod leaving;
mod networks;
mod reach;

use super::*;
use crate::{
    Options,
    doctor::{Diagnosis, Fact, Memlock, RouteFacts, Version, Versions},
    options::{AutoConverge, Compression, Storage, Tls},
};

const GIB: u64 = 1 << 30;
const VERSIONS: Versions = Versions {
    libvirt: Version(11, 3, 0),
    qemu: Version(10, 0, 2),
};

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
            flags: Vec::new(),
        },
        memory: 4 * GIB,
        pages: Vec::new(),
        disks: vec![NeededDisk {
            target: "vda".into(),
            path: "/srv/web-1.qcow2".into(),
            copied: false,
            incremental: false,
            own: false,
            bytes: 10 * GIB,
        }],
        nics: vec![NeededNic {
            mac: "52:54:00:aa:00:10".into(),
            kind: "bridge".into(),
            source: "br0".into(),
            mtu: 1500,
            standby: true,
            vlans: NicVlans {
                leaves_in: Some(0),
                ..NicVlans::default()
            },
            neighbours: Vec::new(),
        }],
        lock_manager: None,
        tls: false,
    }
}

fn there() -> ArrivalFacts {
    ArrivalFacts {
        host: "beta".into(),
        machine: Ok(Fit::Fits),
        cpu: Ok(Some(Fit::Fits)),
        flags: Ok(vec!["sse2".into(), "avx".into()]),
        memory: Ok(FreeMemory {
            total: 64 * GIB,
            available: 32 * GIB,
            huge: Vec::new(),
        }),
        memlock: Ok(Memlock {
            may_raise: true,
            limit: None,
        }),
        disks: vec![Ok(PlaceSeen::There)],
        nics: vec![Ok(NetworkSeen::There(bridge()))],
        asked: Vec::new(),
        lock_manager: Ok(None),
        certificates: Ok(None),
    }
}

fn bridge() -> Network {
    Network {
        kind: NetworkKind::Bridge,
        mtu: 1500,
        link: true,
        ways: Ways {
            uplinks: vec![Uplink::Open],
            filters: false,
        },
    }
}

fn here() -> LeavingFacts {
    LeavingFacts {
        hosts: ("alpha".into(), "beta".into()),
        versions: (Ok(VERSIONS), Ok(VERSIONS)),
        pages: Ok(Pages {
            written: 50 << 20,
            received: Some(10 << 20),
        }),
        local_disks: vec![("vda".into(), Ok(false))],
        certificates: Ok(None),
        port: Ok(Ok(())),
        route: Some(RouteFacts {
            peer: "beta".into(),
            migrate_uri: "qemu+tls://beta/system".into(),
            reached: Some(Ok(())),
        }),
        carried: Ok(carried()),
    }
}

/// 1 GiB a second.
fn carried() -> Carried {
    Carried {
        rate: GIB,
        because: "so fast was the newest".into(),
    }
}

/// One line for each finding, and for each check that was not made.
fn lines(diagnosis: &Diagnosis) -> Vec<String> {
    let found = diagnosis
        .findings
        .iter()
        .map(|found| format!("{:?} {}: {}", found.severity, found.reason, found.what));
    let skipped = diagnosis
        .not_checked
        .iter()
        .map(|skipped| format!("not known: {}: {}", skipped.check, skipped.why));
    found.chain(skipped).collect()
}

fn comes(change: impl FnOnce(&mut Needs, &mut ArrivalFacts)) -> String {
    let (mut needs, mut facts) = (needs(), there());
    change(&mut needs, &mut facts);
    lines(&arrival(&needs, &facts)).join("\n")
}

fn goes(options: Options, change: impl FnOnce(&mut Needs, &mut LeavingFacts)) -> String {
    let (mut needs, mut facts) = (needs(), here());
    change(&mut needs, &mut facts);
    lines(&leaving(&needs, &options, &facts)).join("\n")
}

#[test]
fn where_nothing_lacks_nothing_is_found() {
    assert_eq!(comes(|_, _| {}), "");
    assert_eq!(goes(Options::default(), |_, _| {}), "");
}

#[test]
fn a_cpu_that_would_not_do() {
    let refused = comes(|_, there| there.cpu = Ok(Some(Fit::Unfit("it lacks avx512f".into()))));
    assert_eq!(
        refused,
        "Error CPU_UNFIT: the CPU of beta cannot do what that of guest `web-1` does: it lacks avx512f"
    );
    // With the host's own CPU libvirt compares nothing: the flags are compared, which is no proof.
    let passed = comes(|needs, there| {
        there.cpu = Ok(None);
        needs.cpu.flags = ["sse2", "avx2"].map(str::to_owned).into();
    });
    assert_eq!(
        passed,
        "Warning CPU_UNFIT: the CPU of beta cannot do what that of guest `web-1` does: it lacks avx2"
    );
    let many = comes(|needs, there| {
        there.cpu = Ok(None);
        needs.cpu.flags = (0..11).map(|n| format!("f{n}")).collect();
    });
    assert!(
        many.ends_with("it lacks f0, f1, f2, f3, f4, f5, f6, f7 and 3 more"),
        "{many}"
    );
}

#[test]
fn a_machine_type_that_is_not_there() {
    let told = comes(|_, there| there.machine = Ok(Fit::Unfit("the machine is not supported".into())));
    assert_eq!(
        told,
        "Error MACHINE_UNKNOWN: QEMU on beta has no machine type pc-q35-10.0 for guest `web-1`: the machine is not supported"
    );
}

#[test]
fn memory_that_is_not_there_blocks_and_memory_in_use_does_not() {
    let with = |total, available| {
        comes(|_, there| {
            let huge = Vec::new();
            there.memory = Ok(FreeMemory {
                total,
                available,
                huge,
            });
        })
    };
    assert_eq!(
        with(2 * GIB, GIB),
        "Error MEMORY_SHORT: guest `web-1` has 4096 MiB of memory, and beta has 2048 MiB altogether"
    );
    assert_eq!(
        with(8 * GIB, 2 * GIB),
        "Warning MEMORY_SHORT: guest `web-1` has 4096 MiB of memory, and beta has 2048 MiB that are not in use"
    );
    let locked = comes(|_, there| {
        there.memlock = Ok(Memlock {
            may_raise: false,
            limit: Some(3 * GIB),
        });
    });
    assert!(
        locked.starts_with("Error MEMLOCK: ") && locked.contains("up to 2048 MiB"),
        "{locked}"
    );
}

#[test]
fn a_disk_is_there_or_copied_to_where_it_fits() {
    let lost = |disk: fn(&mut NeededDisk), free| {
        comes(|needs, there| {
            disk(&mut needs.disks[0]);
            there.disks[0] = Ok(PlaceSeen::Missing { free, pool: None });
        })
    };
    let missing = "Error DISK_MISSING: beta has no /srv/web-1.qcow2, which is disk vda of guest `web-1`";
    assert_eq!(lost(|_| {}, None), missing);
    assert_eq!(
        lost(|disk| (disk.copied, disk.incremental) = (true, true), Some(GIB)),
        missing
    );
    assert_eq!(lost(|disk| disk.copied = true, Some(20 * GIB)), "");
    assert_eq!(lost(|disk| disk.copied = true, None), "");
    assert_eq!(
        lost(|disk| disk.copied = true, Some(GIB)),
        "Error DISK_SPACE: beta has 1024 MiB free where /srv/web-1.qcow2 would be, and disk vda of guest `web-1` may have 10240"
    );
}

#[test]
fn a_disk_that_is_copied_needs_its_directory_and_somebody_who_makes_it() {
    let found = |seen: PlaceSeen, copied| {
        let (mut needs, mut facts) = (needs(), there());
        needs.disks[0].copied = copied;
        facts.disks[0] = Ok(seen);
        let found = arrival(&needs, &facts).findings.into_iter();
        found
            .map(|found| (found.severity, found.reason, found.fix))
            .collect::<Vec<_>>()
    };
    let [(Severity::Error, "DISK_MISSING", fix)] = &found(PlaceSeen::Nowhere, true)[..] else {
        panic!("{:?}", found(PlaceSeen::Nowhere, true))
    };
    assert_eq!(fix, "on beta: mkdir -p /srv");
    let shared = &found(PlaceSeen::Nowhere, false)[0];
    assert!(shared.1 == "DISK_MISSING" && shared.2.contains("--copy-storage all"));
    let with = |free, pool| {
        let found = found(PlaceSeen::Missing { free, pool }, true).into_iter();
        found
            .map(|(severity, reason, _)| (severity, reason))
            .collect::<Vec<_>>()
    };
    let unmade = (Severity::Warning, "DISK_NOT_MADE");
    assert_eq!(with(Some(20 * GIB), Some(false)), [unmade]);
    assert_eq!(
        with(Some(GIB), Some(false)),
        [(Severity::Error, "DISK_SPACE"), unmade]
    );
    assert_eq!((with(None, Some(true)), with(None, None)), (vec![], vec![]));
}

#[test]
fn the_standbys_network_is_the_same_on_both_sides() {
    let nic = |seen| comes(|_, there| there.nics[0] = Ok(seen));
    let with = |change: fn(&mut Network)| {
        let mut network = bridge();
        change(&mut network);
        nic(NetworkSeen::There(network))
    };
    assert_eq!(
        nic(NetworkSeen::Missing),
        "Error NETWORK_MISSING: beta has no bridge `br0`, which NIC 52:54:00:aa:00:10 of guest `web-1` is connected to"
    );
    assert_eq!(
        with(|network| network.mtu = 1400),
        "Warning NETWORK_MTU: bridge `br0` has an MTU of 1400 on beta, and of 1500 where guest `web-1` is"
    );
    assert_eq!(with(|network| network.mtu = 9000), "");
    assert_eq!(
        with(|network| network.link = false),
        "Warning STANDBY_WITHOUT_LINK: bridge `br0` has no link on beta: nothing in it does"
    );
    let network = comes(|needs, there| {
        needs.nics[0].kind = "network".into();
        there.nics[0] = Ok(NetworkSeen::Missing);
    });
    assert!(network.contains("beta has no active network `br0`"), "{network}");
}

#[test]
fn locks_that_one_host_alone_takes_are_told() {
    assert_eq!(
        comes(|needs, _| needs.lock_manager = Some("lockd".into())),
        "Warning LOCKS_DIFFER: libvirt has lockd where guest `web-1` is, and no lock manager on beta"
    );
    let same = comes(|needs, there| {
        needs.lock_manager = Some("lockd".into());
        there.lock_manager = Ok(needs.lock_manager.clone());
    });
    assert_eq!(same, "");
}

/// Of each size, its host's default among them; what is in none is in ordinary ones.
#[test]
fn huge_pages_are_wanted_of_each_size() {
    let with = |wanted: &[(u64, u64)], free: &[(u64, u64)], available| {
        let pages = |all: &[(u64, u64)]| {
            let each = all.iter();
            each.map(|(kib, gib)| HugePages {
                kib: *kib,
                bytes: gib * GIB,
            })
            .collect()
        };
        comes(|needs, there| {
            needs.pages = pages(wanted);
            let memory = there.memory.as_mut().unwrap();
            (memory.huge, memory.available) = (pages(free), available);
        })
    };
    let short = |has: u64, kib: &str| {
        format!(
            "Error HUGE_PAGES_SHORT: guest `web-1` has 4096 MiB of memory in huge pages, and beta has {has} MiB free in huge pages of {kib}"
        )
    };
    assert_eq!(with(&[(2048, 4)], &[(2048, 1)], 0), short(1024, "2048 KiB"));
    assert_eq!(with(&[(2048, 4)], &[(2048, 4)], 0), "");
    // The default is what the destination has for one.
    assert_eq!(with(&[(0, 4)], &[(2048, 3)], 0), short(3072, "2048 KiB"));
    assert_eq!(with(&[(0, 4)], &[(1 << 20, 4)], 0), "");
    assert!(with(&[(0, 4)], &[(0, 0)], 32 * GIB).contains("of which its kernel has none"));
    // Two sizes of the guest's are one there.
    assert_eq!(
        with(&[(0, 2), (2048, 2)], &[(2048, 3), (2048, 3)], 0),
        short(3072, "2048 KiB")
    );
    assert_eq!(
        with(&[(1 << 20, 2), (2048, 2)], &[(1 << 20, 2), (2048, 2)], 0),
        ""
    );
    let part = with(&[(2048, 3)], &[(2048, 3)], 0);
    assert_eq!(
        part,
        "Warning MEMORY_SHORT: guest `web-1` has 1024 MiB of memory in ordinary pages, and beta has 0 MiB that are not in use"
    );
}

#[test]
fn what_could_not_be_looked_at_is_told_and_blocks_nothing() {
    let late = || "no answer within 5 s".to_owned();
    let mut facts = there();
    (facts.cpu, facts.machine, facts.memory) = (Err(late()), Err(late()), Err(late()));
    (facts.disks, facts.nics) = (vec![Err(late())], vec![Err(late())]);
    (facts.memlock, facts.lock_manager) = (Err(late()), Err(late()));
    let mut leaves = here();
    (leaves.versions.0, leaves.pages, leaves.port) = (Err(late()), Err(late()), Err(late()));
    leaves.local_disks = vec![("vda".into(), Err(late()))];
    (leaves.certificates, facts.certificates) = (Err(late()), Err(late()));
    let tls = Options {
        tls: Some(Tls::On { destination: None }),
        ..Options::default()
    };
    let all = arrival(&needs(), &facts).and(leaving(&needs(), &tls, &leaves));
    assert_eq!(
        (all.findings.len(), all.not_checked.len()),
        (0, 12),
        "{:?}",
        lines(&all)
    );
}

#[test]
fn disks_that_are_not_there_and_disks_that_would_be_left_behind() {
    let copied = |disks: &[&str]| Options {
        storage: Some(Storage::Copied {
            incremental: false,
            disks: disks.iter().map(|disk| (*disk).to_owned()).collect(),
        }),
        ..Options::default()
    };
    assert_eq!(
        goes(copied(&["vda", "vdz"]), |_, _| {}),
        "Error DISK_UNKNOWN: guest `web-1` has no disk vdz that could be copied: it has vda"
    );
    let local = |here: &mut LeavingFacts| here.local_disks = vec![("vda".into(), Ok(true))];
    assert!(goes(Options::default(), |_, here| local(here)).starts_with("Warning DISK_LOCAL: disk vda"));
    let moves = goes(copied(&["vda"]), |needs, here| {
        needs.disks[0].copied = true;
        local(here);
    });
    assert_eq!(moves, "");
}

#[test]
fn a_port_that_is_shut_is_told() {
    let told = goes(Options::default(), |_, here| {
        here.port = Ok(Err("connection timed out".into()))
    });
    assert!(
        told.starts_with("Warning MIGRATION_PORT: alpha does not reach beta at a port"),
        "{told}"
    );
}

#[test]
fn a_libvirt_that_does_not_answer_where_guests_are_sent_is_an_error() {
    let with = |uri: &str, reached| {
        goes(Options::default(), |_, here| {
            let route = here.route.as_mut().unwrap();
            (route.migrate_uri, route.reached) = (uri.into(), reached);
        })
    };
    let deaf = with("qemu+tls://beta/system", Some(Err("connection refused".into())));
    assert_eq!(
        deaf,
        "Error MIGRATE_URI: nobody answers at beta port 16514, `migrate_uri` of peer beta: connection refused"
    );
    assert!(with("qemu:///system", None).starts_with("Error MIGRATE_URI: "));
    // That it is not encrypted is the doctor's to tell.
    assert_eq!(with("qemu+tcp://beta/system", Some(Ok(()))), "");
}

#[test]
fn where_no_lock_manager_is_what_a_host_that_is_silent_means_for_the_guest_is_told() {
    let written = |needs: &mut Needs| needs.disks[0].own = true;
    let told = comes(|needs, _| written(needs));
    assert!(told.starts_with("Hint NO_DISK_LOCKS: "), "{told}");
    assert!(told.contains("disk vda of guest `web-1`"), "{told}");
    let copied = comes(|needs, there| {
        written(needs);
        needs.disks[0].copied = true;
        there.disks[0] = Ok(PlaceSeen::Missing {
            free: None,
            pool: None,
        });
    });
    assert_eq!(copied, "", "each host has its own");
    let locked = comes(|needs, there| {
        written(needs);
        needs.lock_manager = Some("lockd".into());
        there.lock_manager = Ok(Some("lockd".into()));
    });
    assert_eq!(locked, "");
}

#[test]
fn errors_block_but_for_those_that_somebody_said_to_ignore() {
    let (mut needs, mut facts) = (needs(), there());
    facts.cpu = Ok(Some(Fit::Unfit("x".into())));
    facts.nics[0] = Ok(NetworkSeen::Missing);
    needs.lock_manager = Some("lockd".into());
    let all = arrival(&needs, &facts);
    let reasons = |ignored: &[&str]| {
        let ignored: Vec<String> = ignored.iter().map(|reason| (*reason).to_owned()).collect();
        let blocks = |found: &&crate::doctor::Finding| blocks(found.severity, found.reason, &ignored);
        let blocking = all.findings.iter().filter(blocks);
        blocking.map(|found| found.reason).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&[]), ["CPU_UNFIT", "NETWORK_MISSING"]);
    assert_eq!(reasons(&["CPU_UNFIT"]), ["NETWORK_MISSING"]);
}

#[test]
fn the_parts_take_as_long_as_guests_like_it() {
    let size = |gib: u64, populated, slow_unplug| GuestSize {
        memory: gib * GIB,
        populated,
        slow_unplug,
    };
    let told = |guest, options: &Options, pages| {
        let part = |part: &Estimated| format!("{} {}-{:?}", part.step, part.least_ms, part.most_ms);
        estimate(guest, options, pages, None)
            .iter()
            .map(part)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let plain = Options::default();
    // ACPI, and huge pages: the plug of 128 GiB takes 4 s at most; without, half a minute.
    assert_eq!(
        told(size(128, true, false), &plain, None),
        "unplug 70-Some(600), pause 50-Some(1100), plug 556-Some(4176)"
    );
    assert_eq!(
        told(size(128, false, true), &plain, None),
        "unplug 6100-Some(6700), pause 50-Some(1100), plug 556-Some(33360)"
    );
    let limited = Options {
        bandwidth: Some(1024),
        downtime_ms: Some(40),
        ..Options::default()
    };
    let writes = |mib: u64| {
        Some(Pages {
            written: mib << 20,
            received: None,
        })
    };
    assert!(
        told(size(8, true, false), &limited, writes(0))
            .contains("transfer 1300-Some(9000), pause 40-Some(580)")
    );
    assert!(told(size(8, true, false), &limited, writes(512)).contains("transfer 1300-Some(17000)"));
    assert!(told(size(8, true, false), &limited, writes(1024)).contains("transfer 1300-None"));
    let post_copy = Options {
        post_copy: Some(true),
        ..limited
    };
    assert!(told(size(8, true, false), &post_copy, writes(4096)).contains("transfer 1300-Some(17000)"));
    // Without a limit, as it is known of the way.
    let known = estimate(size(8, true, false), &plain, writes(512), Some(&carried()));
    assert_eq!((known[1].least_ms, known[1].most_ms), (1300, Some(17_000)));
    assert!(
        known[1]
            .because
            .starts_with("8192 MiB at 1024 MiB/s (so fast was the newest); "),
        "{}",
        known[1].because
    );
}
