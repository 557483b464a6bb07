//! A host with nothing wrong, and each fact of it broken; peers and guests likewise.

pub(super) mod guests;
mod macs;
mod peers;
mod vfs;

use super::*;

fn vf(function: u8) -> VfFacts {
    VfFacts {
        address: format!("0000:01:10.{function}").parse().unwrap(),
        group: Some(7 + u32::from(function)),
        others: Vec::new(),
    }
}

fn pf(name: &str) -> PfFacts {
    PfFacts {
        pf: name.into(),
        pool: "fabric".into(),
        state: Ok(PfState::There(PfDetail {
            possible: 7,
            up: true,
            link: true,
            vfs: vec![vf(0), vf(2)],
        })),
    }
}

fn detail(facts: &mut HostFacts) -> &mut PfDetail {
    match &mut facts.pfs[0].state {
        Ok(PfState::There(detail)) => detail,
        _ => panic!("a PF"),
    }
}

fn whole() -> HostFacts {
    HostFacts {
        machine: MachineFacts {
            cpu: Ok(Cpu {
                vendor: Vendor::Intel,
                virtualisation: Some(true),
            }),
            kvm: Ok(true),
            iommus: Ok(1),
            firmware: Ok(FirmwareTable::Dmar),
            command_line: Ok(vec!["quiet".into(), "intel_iommu=on".into()]),
            vfio_pci: Ok(Module::Loaded),
            vfio_iommu: Ok(Module::Loaded),
            vfio_device: Ok(true),
            tcp_retries: Ok(8),
        },
        pfs: vec![pf("pf0")],
        libvirt: LibvirtFacts {
            versions: Ok(Versions {
                libvirt: Version(11, 3, 0),
                qemu: Version(10, 0, 2),
            }),
            memlock: Ok(Memlock {
                may_raise: true,
                limit: Some(8 << 20),
            }),
            lock_manager: Ok(None),
            disk_locks: false,
        },
        own: OwnFacts {
            listens: true,
            certificate_days: Ok(Some(300)),
            routes: vec![route("qemu+tls://beta/system")],
        },
    }
}

fn route(uri: &str) -> RouteFacts {
    RouteFacts {
        peer: "beta".into(),
        migrate_uri: uri.into(),
        reached: Some(Ok(())),
    }
}

/// One line for each finding, and for each check that was not made.
fn told(diagnosis: &Diagnosis) -> Vec<String> {
    for finding in &diagnosis.findings {
        for part in [&finding.what, &finding.why, &finding.fix] {
            assert!(!part.is_empty() && !part.contains("  "), "{finding:?}");
        }
    }
    let found = diagnosis.findings.iter().map(|f| {
        format!(
            "{:?} {} [{}] {} | {}",
            f.severity, f.reason, f.about, f.what, f.fix
        )
    });
    let skipped = diagnosis
        .not_checked
        .iter()
        .map(|skipped| format!("not checked: {}: {}", skipped.check, skipped.why));
    found.chain(skipped).collect()
}

fn broken(change: impl FnOnce(&mut HostFacts)) -> Vec<String> {
    let mut facts = whole();
    change(&mut facts);
    told(&host(&facts))
}

/// The one finding of a fact.
fn one(change: impl FnOnce(&mut HostFacts)) -> String {
    let mut all = broken(change);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

#[test]
fn a_whole_host_has_nothing() {
    assert_eq!(broken(|_| {}), [""; 0]);
}

#[test]
fn cpu_and_kvm() {
    let off = one(|f| {
        f.machine.kvm = Ok(false);
        f.machine.cpu = Ok(Cpu {
            vendor: Vendor::Amd,
            virtualisation: Some(false),
        });
    });
    assert!(
        off.starts_with("Error VIRTUALISATION_OFF [] the CPU does not show AMD-V (flag svm)"),
        "{off}"
    );
    let no_kvm = one(|f| f.machine.kvm = Ok(false));
    assert!(
        no_kvm.contains("KVM_MISSING") && no_kvm.contains("modprobe kvm_intel"),
        "{no_kvm}"
    );
    // Where CPUs have no such flag its absence says nothing.
    let arm = broken(|f| {
        f.machine.cpu = Ok(Cpu {
            vendor: Vendor::Other,
            virtualisation: None,
        });
    });
    assert!(arm.is_empty(), "{arm:?}");
}

#[test]
fn an_iommu_that_is_off_says_where() {
    let off = |table, line: &[&str]| {
        one(|f| {
            f.machine.iommus = Ok(0);
            f.machine.firmware = Ok(table);
            f.machine.command_line = Ok(line.iter().map(|word| (*word).into()).collect());
            // What follows from it is not told again.
            detail(f).vfs.iter_mut().for_each(|vf| vf.group = None);
        })
    };
    let firmware = off(FirmwareTable::Missing, &["intel_iommu=on"]);
    assert!(
        firmware.starts_with("Error IOMMU_OFF") && firmware.contains("switch VT-d on"),
        "{firmware}"
    );
    let kernel = off(FirmwareTable::Dmar, &["quiet"]);
    assert!(
        kernel.contains("add `intel_iommu=on iommu=pt` to the kernel command line"),
        "{kernel}"
    );
    for word in ["iommu=off", "intel_iommu=off", "amd_iommu=fullflush,off"] {
        let line = off(FirmwareTable::Dmar, &["intel_iommu=on", word]);
        assert!(line.contains(&format!("take `{word}` off")), "{line}");
    }
    for table in [FirmwareTable::Dmar, FirmwareTable::Ivrs] {
        let neither = off(table, &["intel_iommu=on,sm_on"]);
        assert!(neither.contains("dmesg"), "{neither}");
    }
}

#[test]
fn groups_that_only_pretend_to_be_apart() {
    let acs = one(|f| f.machine.command_line = Ok(vec!["pcie_acs_override=downstream".into()]));
    assert!(acs.starts_with("Warning ACS_OVERRIDDEN"), "{acs}");
}

#[test]
fn modules_of_vfio() {
    let loadable = one(|f| f.machine.vfio_pci = Ok(Module::Loadable));
    assert!(
        loadable.starts_with("Error VFIO_MISSING") && loadable.contains("| modprobe vfio-pci;"),
        "{loadable}"
    );
    let missing = one(|f| f.machine.vfio_pci = Ok(Module::Missing));
    assert!(missing.contains("has no module vfio-pci"), "{missing}");
    // Without the module there is no device either, which is not said twice.
    let both = broken(|f| (f.machine.vfio_pci, f.machine.vfio_device) = (Ok(Module::Missing), Ok(false)));
    assert_eq!(both.len(), 1, "{both:?}");
    let iommu = one(|f| f.machine.vfio_iommu = Ok(Module::Loadable));
    assert!(iommu.starts_with("Warning VFIO_MISSING"), "{iommu}");
    let iommu = one(|f| f.machine.vfio_iommu = Ok(Module::Missing));
    assert!(iommu.starts_with("Error VFIO_MISSING"), "{iommu}");
    let device = one(|f| f.machine.vfio_device = Ok(false));
    assert!(device.contains("no /dev/vfio/vfio"), "{device}");
}

#[test]
fn a_host_that_waits_long_for_a_dead_link() {
    let usual = one(|f| f.machine.tcp_retries = Ok(15));
    assert!(usual.starts_with("Hint TCP_RETRIES"), "{usual}");
    assert!(broken(|f| f.machine.tcp_retries = Ok(8)).is_empty());
}

#[test]
fn pfs_of_the_configuration() {
    let none = one(|f| f.pfs.clear());
    assert!(none.starts_with("Error NO_POOL"), "{none}");
    let missing = one(|f| f.pfs[0].state = Ok(PfState::Missing));
    assert!(missing.starts_with("Error PF_MISSING [pf0]"), "{missing}");
    let plain = one(|f| f.pfs[0].state = Ok(PfState::NoSriov));
    assert!(plain.starts_with("Error PF_WITHOUT_SRIOV [pf0]"), "{plain}");
    let no_vfs = one(|f| detail(f).vfs.clear());
    assert!(
        no_vfs.starts_with("Error PF_WITHOUT_VFS [pf0] pf0 has no VFs (0 of 7) | echo 7 >"),
        "{no_vfs}"
    );
    let off = one(|f| (detail(f).up, detail(f).link) = (false, false));
    assert!(
        off.starts_with("Error PF_DOWN [pf0]") && off.ends_with("ip link set pf0 up"),
        "{off}"
    );
    let cable = one(|f| detail(f).link = false);
    assert!(
        cable.contains("pf0 has no link") && cable.contains("cable"),
        "{cable}"
    );
    let unread = one(|f| f.pfs[0].state = Err("permission denied".into()));
    assert_eq!(unread, "not checked: PF pf0: permission denied");
}

#[test]
fn another_pf_of_the_pool_stands_in() {
    let with = |other: fn(&mut PfFacts)| {
        one(|f| {
            let mut second = pf("pf1");
            other(&mut second);
            f.pfs.push(second);
            detail(f).link = false;
        })
    };
    assert!(with(|_| {}).starts_with("Warning PF_LINK_DOWN"));
    assert!(with(|other| other.pool = "storage".into()).starts_with("Error PF_LINK_DOWN"));
}

#[test]
fn vfs_that_are_not_alone() {
    let alone = one(|f| detail(f).vfs[1].group = None);
    assert!(
        alone.starts_with("Error VF_WITHOUT_GROUP [pf0] 1 VF of pf0"),
        "{alone}"
    );
    let neighbour = |driver: Option<&str>| Neighbour {
        address: "0000:01:00.0".parse().unwrap(),
        driver: driver.map(str::to_owned),
    };
    let shared = |driver| one(|f| detail(f).vfs[0].others.push(neighbour(driver)));
    let blocked = shared(Some("igb"));
    assert!(
        blocked.starts_with("Error VF_GROUP_SHARED [pf0] 1 VF of pf0")
            && blocked.contains("0000:01:00.0 (igb)"),
        "{blocked}"
    );
    for harmless in [None, Some("vfio-pci")] {
        assert!(shared(harmless).starts_with("Warning VF_GROUP_SHARED"));
    }
    let many = one(|f| {
        detail(f).vfs = (0..8).map(vf).collect();
        detail(f)
            .vfs
            .iter_mut()
            .for_each(|vf| vf.others.push(neighbour(Some("igb"))));
    });
    assert!(
        many.contains("8 VFs of pf0") && many.contains("0000:01:10.2, ...;"),
        "{many}"
    );
}

#[test]
fn versions_with_known_faults() {
    let of = |libvirt, qemu| broken(|f| f.libvirt.versions = Ok(Versions { libvirt, qemu }));
    let new = Version(10, 0, 0);
    for (libvirt, severity) in [(Version(12, 1, 0), "Warning"), (Version(4, 3, 9), "Error")] {
        let told = of(libvirt, new);
        assert!(
            told[0].starts_with(&format!("{severity} LIBVIRT_FAULTY")),
            "{told:?}"
        );
    }
    assert!(of(Version(12, 2, 0), new).is_empty());
    assert!(of(Version(12, 0, 9), new).is_empty());
    assert!(of(Version(12, 4, 0), Version(7, 1, 9))[0].contains("does not work with QEMU 7.1.9"));
    assert!(of(Version(12, 4, 0), Version(7, 2, 0)).is_empty());
    assert_eq!(Version::of(12_001_003), Version(12, 1, 3));
}

#[test]
fn a_libvirt_that_does_not_answer_is_a_finding() {
    let told = broken(|f| f.libvirt.versions = Err("no answer in 5 s".into()));
    assert!(
        told[0].starts_with("Error LIBVIRT [] libvirt on this host does not answer: no answer in 5 s"),
        "{told:?}"
    );
    assert_eq!(
        told[1],
        "not checked: known faults of libvirt and QEMU: libvirt does not answer"
    );
}

#[test]
fn locked_memory() {
    let of = |may_raise, limit| broken(|f| f.libvirt.memlock = Ok(Memlock { may_raise, limit }));
    assert!(of(false, None).is_empty());
    let low = of(false, Some(8 << 20));
    assert!(low[0].starts_with("Error MEMLOCK"), "{low:?}");
    let some = of(false, Some(5 << 30));
    assert!(
        some[0].starts_with("Warning MEMLOCK") && some[0].contains("more than 4096 MiB"),
        "{some:?}"
    );
}

#[test]
fn locks_of_disks() {
    let of = |configured, manager: Option<&str>| {
        broken(|f| {
            f.libvirt.disk_locks = configured;
            f.libvirt.lock_manager = Ok(manager.map(str::to_owned));
        })
    };
    assert!(of(true, Some("lockd")).is_empty());
    assert!(of(true, None)[0].starts_with("Warning DISK_LOCKS"));
    assert!(of(false, Some("sanlock"))[0].starts_with("Hint DISK_LOCKS"));
}

#[test]
fn the_daemons_own_configuration() {
    let ended = one(|f| f.own.certificate_days = Ok(Some(-3)));
    assert!(
        ended.starts_with("Error CERTIFICATE") && ended.contains("has ended, 3 days ago"),
        "{ended}"
    );
    let soon = one(|f| f.own.certificate_days = Ok(Some(14)));
    assert!(soon.starts_with("Warning CERTIFICATE"), "{soon}");
    assert!(broken(|f| f.own.certificate_days = Ok(Some(15))).is_empty());
    assert!(one(|f| f.own.routes.clear()).starts_with("Hint NO_PEER"));
    assert!(one(|f| f.own.listens = false).starts_with("Hint NO_LISTENER"));
}

#[test]
fn ways_to_the_peers_libvirts() {
    let of = |uri: &str| one(|f| f.own.routes = vec![route(uri)]);
    for (uri, wrong) in [
        ("beta", "it is no URI"),
        ("xen+tls://beta/system", "does not begin with `qemu`"),
        ("qemu+carrier://beta/system", "no such transport"),
        ("qemu+unix:///system", "not lead to another host"),
        ("qemu:///system", "names no host"),
        ("qemu+tls://localhost/system", "this host itself"),
        ("qemu+tls://127.0.0.1/system", "this host itself"),
        ("qemu+tls://beta/session", "/system"),
        ("qemu+tls://beta:x/system", "port"),
        ("qemu+tls://[fe80::1/system", "bracket"),
    ] {
        let told = of(uri);
        assert!(
            told.starts_with("Error MIGRATE_URI [beta]") && told.contains(wrong),
            "{uri}: {told}"
        );
    }
    assert!(of("qemu+tcp://10.78.0.2/system").starts_with("Hint MIGRATE_URI [beta]"));
    for good in [
        "qemu://beta/system",
        "qemu+ssh://root@beta:2222/system?keyfile=x",
        "qemu+tls://[fe80::1]/system",
    ] {
        assert!(broken(|f| f.own.routes = vec![route(good)]).is_empty(), "{good}");
    }
    let ssh = endpoint("qemu+ssh://root@beta:2222/system?x=/y").unwrap();
    assert_eq!((ssh.host.as_str(), ssh.port), ("beta", 2222));
    assert_eq!(endpoint("qemu+tls://[fe80::1]/system").unwrap().port, 16514);
    let deaf = one(|f| f.own.routes[0].reached = Some(Err("connection refused".into())));
    assert!(
        deaf.contains("nobody answers at beta port 16514") && deaf.starts_with("Error"),
        "{deaf}"
    );
}

#[test]
fn what_cannot_be_looked_at_hides_nothing() {
    let why = || "no answer".to_owned();
    let told = broken(|f| {
        let m = &mut f.machine;
        (m.cpu, m.kvm, m.iommus, m.firmware) = (Err(why()), Err(why()), Err(why()), Err(why()));
        (m.command_line, m.vfio_pci, m.vfio_iommu) = (Err(why()), Err(why()), Err(why()));
        (m.vfio_device, m.tcp_retries) = (Err(why()), Err(why()));
        (f.libvirt.memlock, f.libvirt.lock_manager) = (Err(why()), Err(why()));
        f.own.certificate_days = Err(why());
        detail(f).up = false;
    });
    assert!(told[0].starts_with("Error PF_DOWN"), "{told:#?}");
    assert!(
        told[1..].iter().all(|line| line.starts_with("not checked: ")),
        "{told:#?}"
    );
    assert_eq!(told.len(), 1 + 10, "{told:#?}");
}

#[test]
fn the_worst_comes_first() {
    let told = broken(|f| {
        f.own.listens = false;
        f.libvirt.disk_locks = true;
        detail(f).link = false;
    });
    let severities: Vec<&str> = told.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(severities, ["Error", "Warning", "Hint"]);
}
