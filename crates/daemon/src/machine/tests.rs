use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A made-up root.
pub(crate) struct Tree(TempDir);

impl Tree {
    /// With nothing in it.
    pub(crate) fn new() -> Tree {
        Tree(TempDir::new().unwrap())
    }

    /// As the kernel shows a host with all that is needed.
    fn whole() -> Tree {
        let tree = Tree::new();
        tree.file(
            "proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme vmx sse\n\nprocessor\t: 1\n",
        );
        tree.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet intel_iommu=on\n");
        tree.file("proc/sys/kernel/osrelease", "6.12.0-1\n");
        tree.file("proc/sys/net/ipv4/tcp_retries2", "8\n");
        tree.file("sys/class/iommu/dmar0/x", "");
        tree.file("sys/firmware/acpi/tables/DMAR", "");
        tree.file("sys/module/vfio_pci/x", "");
        tree.file("sys/module/vfio_iommu_type1/x", "");
        tree.file("dev/kvm", "");
        tree.file("dev/vfio/vfio", "");
        tree
    }

    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn without(&self, path: &str) {
        let path = self.0.path().join(path);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }

    fn facts(&self) -> MachineFacts {
        self.machine().facts()
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::at(self.0.path())
    }
}

#[test]
fn a_whole_machine() {
    let facts = Tree::whole().facts();
    let expected = MachineFacts {
        cpu: Ok(Cpu {
            vendor: Vendor::Intel,
            virtualisation: Some(true),
        }),
        kvm: Ok(true),
        iommus: Ok(1),
        firmware: Ok(FirmwareTable::Dmar),
        command_line: Ok(vec![
            "BOOT_IMAGE=/vmlinuz".into(),
            "quiet".into(),
            "intel_iommu=on".into(),
        ]),
        vfio_pci: Ok(Module::Loaded),
        vfio_iommu: Ok(Module::Loaded),
        vfio_device: Ok(true),
        tcp_retries: Ok(8),
    };
    assert_eq!(facts, expected);
}

#[test]
fn each_thing_may_be_missing() {
    let tree = Tree::whole();
    tree.file("proc/sys/net/ipv4/tcp_retries2", "many\n");
    assert!(
        tree.facts()
            .tcp_retries
            .unwrap_err()
            .ends_with(r#""many" is no number"#)
    );
    tree.without("proc/sys/net/ipv4/tcp_retries2");
    assert!(
        tree.facts()
            .tcp_retries
            .unwrap_err()
            .contains("tcp_retries2: No such")
    );
    tree.without("dev/kvm");
    assert_eq!(tree.facts().kvm, Ok(false));
    tree.without("dev/vfio");
    assert_eq!(tree.facts().vfio_device, Ok(false));
    tree.without("sys/class/iommu/dmar0");
    assert_eq!(tree.facts().iommus, Ok(0));
    tree.without("sys/class/iommu");
    assert_eq!(tree.facts().iommus, Ok(0));
    tree.without("sys/firmware/acpi/tables/DMAR");
    assert_eq!(tree.facts().firmware, Ok(FirmwareTable::Missing));
    tree.file("sys/firmware/acpi/tables/IVRS", "");
    assert_eq!(tree.facts().firmware, Ok(FirmwareTable::Ivrs));
    tree.file(
        "proc/cpuinfo",
        "processor : 0\nvendor_id : AuthenticAMD\nflags : fpu vmxx\n",
    );
    let amd = Cpu {
        vendor: Vendor::Amd,
        virtualisation: Some(false),
    };
    assert_eq!(tree.facts().cpu, Ok(amd));
    // An ARM.
    tree.file("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n");
    let arm = Cpu {
        vendor: Vendor::Other,
        virtualisation: None,
    };
    assert_eq!(tree.facts().cpu, Ok(arm));
}

#[test]
fn modules_are_looked_up_where_the_running_kernel_has_them() {
    let tree = Tree::whole();
    tree.without("sys/module");
    assert_eq!(tree.facts().vfio_pci, Ok(Module::Missing));
    let dep = "lib/modules/6.12.0-1/modules.dep";
    tree.file(
        dep,
        "kernel/fs/xvfio-pci.ko: \nkernel/x/vfio-pci-core.ko.xz: kernel/x/vfio.ko\n",
    );
    assert_eq!(tree.facts().vfio_pci, Ok(Module::Missing));
    tree.file(
        dep,
        "kernel/x/vfio-pci.ko.xz: kernel/x/vfio.ko\nkernel/vfio_iommu_type1.ko:\n",
    );
    let facts = tree.facts();
    assert_eq!(
        (facts.vfio_pci, facts.vfio_iommu),
        (Ok(Module::Loadable), Ok(Module::Loadable))
    );
    tree.file("lib/modules/6.12.0-1/modules.builtin", "kernel/x/vfio-pci.ko\n");
    assert_eq!(tree.facts().vfio_pci, Ok(Module::Loaded));
    tree.file("proc/sys/kernel/osrelease", "../../etc\n");
    assert!(tree.facts().vfio_pci.is_err());
}

#[test]
fn garbage_is_no_fact_and_stops_nothing() {
    let tree = Tree::whole();
    let noise: Vec<u8> = (0..64 * 1024u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for path in ["proc/cpuinfo", "proc/cmdline", "proc/sys/kernel/osrelease"] {
        tree.file(path, &noise);
    }
    tree.without("sys/module");
    let facts = tree.facts();
    assert!(facts.cpu.is_err() && facts.vfio_pci.is_err());
    assert_eq!(facts.iommus, Ok(1), "the others are there");
    let empty = Tree(TempDir::new().unwrap()).facts();
    assert!(empty.iommus.is_err() && empty.firmware.is_err() && empty.cpu.is_err());
    assert_eq!(empty.kvm, Ok(false));
}

#[test]
fn a_directory_a_pipe_and_a_file_without_end() {
    let tree = Tree::whole();
    tree.without("proc/cpuinfo");
    fs::create_dir(tree.0.path().join("proc/cpuinfo")).unwrap();
    assert!(tree.facts().cpu.is_err());
    tree.without("proc/cmdline");
    let pipe = tree.0.path().join("proc/cmdline");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    assert_eq!(
        tree.facts().command_line,
        Ok(Vec::new()),
        "nobody writes, and nobody waits"
    );
    tree.without("proc/sys/kernel/osrelease");
    symlink("/dev/zero", tree.0.path().join("proc/sys/kernel/osrelease")).unwrap();
    let text = tree.machine().read("proc/sys/kernel/osrelease").unwrap();
    assert_eq!(text.len() as u64, MOST);
}

#[test]
fn what_a_process_may_lock() {
    let tree = Tree::whole();
    let limits = |hard: &str| {
        format!(
            "Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         65536                {hard}                bytes\n"
        )
    };
    tree.file("proc/7/comm", "libvirtd\n");
    tree.file("proc/7/status", "Name:\tlibvirtd\nCapEff:\t000001ffffffffff\n");
    tree.file("proc/7/limits", limits("8388608"));
    let memlock = || tree.machine().memlock(7, &["libvirtd"]);
    let may = |may_raise, limit| Ok(Memlock { may_raise, limit });
    assert_eq!(memlock(), may(true, Some(8 << 20)));
    // All but the one.
    tree.file("proc/7/status", "CapEff:\t000001fffeffffff\n");
    tree.file("proc/7/limits", limits("unlimited"));
    assert_eq!(memlock(), may(false, None));
    tree.file("proc/7/limits", limits("many"));
    assert!(memlock().is_err());
    tree.file("proc/7/status", "CapEff:\tall\n");
    assert!(memlock().is_err());
    tree.file("proc/7/comm", "sh\n");
    assert_eq!(memlock(), Err("process 7 is sh".into()));
    assert!(tree.machine().memlock(8, &["libvirtd"]).is_err());
}
