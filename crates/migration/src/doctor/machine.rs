//! CPU, firmware and kernel: without them no VF is any guest's.

use super::{Cpu, Diagnosis, Finding, FirmwareTable, MachineFacts, Module, Severity, Vendor};

/// Words of the command line that switch an IOMMU off (Documentation/admin-guide/kernel-parameters.txt).
const SWITCHED_OFF: [&str; 3] = ["iommu=off", "intel_iommu=off", "amd_iommu=off"];

/// Where a distribution keeps the command line.
const COMMAND_LINE: &str = "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub (Fedora, RHEL: grubby --update-kernel=ALL --args=...)";

pub(super) fn machine(facts: &MachineFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    virtualisation(facts, &mut diagnosis);
    iommu(facts, &mut diagnosis);
    acs(facts, &mut diagnosis);
    vfio(facts, &mut diagnosis);
    tcp(facts, &mut diagnosis);
    diagnosis
}

/// The kernel uses an IOMMU; also where that is not known: nothing follows from it then.
pub(super) fn has_iommu(facts: &MachineFacts) -> bool {
    facts.iommus != Ok(0)
}

fn virtualisation(facts: &MachineFacts, diagnosis: &mut Diagnosis) {
    let cpu = diagnosis.known("virtualisation of the CPU", &facts.cpu).copied();
    let flag = cpu.and_then(|cpu| cpu.virtualisation);
    let (feature, module) = match cpu.map(|cpu| cpu.vendor) {
        Some(Vendor::Intel) => ("VT-x (flag vmx)", "kvm_intel"),
        Some(Vendor::Amd) => ("AMD-V (flag svm)", "kvm_amd"),
        _ => ("virtualisation", "kvm"),
    };
    let kvm = diagnosis.known("/dev/kvm", &facts.kvm).copied();
    let why = "without KVM no guest can be given a device of the host at any useful speed";
    if let (Some(Cpu { .. }), Some(false)) = (cpu, flag) {
        diagnosis.add(Finding {
            severity: Severity::Error,
            reason: "VIRTUALISATION_OFF",
            about: String::new(),
            what: format!("the CPU does not show {feature}"),
            why: why.into(),
            fix: "switch the CPU's virtualisation on in the firmware setup and reboot; of a host that is itself a guest, \
                  in its CPU model"
                .into(),
        });
    } else if kvm == Some(false) {
        diagnosis.add(Finding {
            severity: Severity::Error,
            reason: "KVM_MISSING",
            about: String::new(),
            what: "there is no /dev/kvm".into(),
            why: why.into(),
            fix: format!("modprobe {module}; if it refuses: dmesg | grep -i kvm"),
        });
    }
}

fn iommu(facts: &MachineFacts, diagnosis: &mut Diagnosis) {
    let Some(iommus) = diagnosis.known("IOMMUs in use", &facts.iommus) else {
        return;
    };
    if *iommus > 0 {
        return;
    }
    // That it is not known is said elsewhere.
    let words = facts.command_line.as_deref().unwrap_or_default();
    let table = diagnosis
        .known("firmware's table of IOMMUs", &facts.firmware)
        .copied();
    let (what, fix) = match (words.iter().find(|word| switches_off(word)), table) {
        (Some(word), _) => (
            format!("the IOMMU is switched off by `{word}` on the kernel command line"),
            format!("take `{word}` off the kernel command line ({COMMAND_LINE}), and reboot"),
        ),
        (None, Some(FirmwareTable::Missing)) => (
            format!("the firmware shows no IOMMU: {} is off", of_firmware(facts)),
            format!(
                "switch {} on in the firmware setup, and reboot",
                of_firmware(facts)
            ),
        ),
        (None, Some(FirmwareTable::Dmar)) if !words.iter().any(|word| switches_on(word)) => (
            "VT-d is on in the firmware and the kernel does not use it".into(),
            format!("add `intel_iommu=on iommu=pt` to the kernel command line ({COMMAND_LINE}), and reboot"),
        ),
        _ => (
            "the kernel uses no IOMMU".into(),
            "dmesg | grep -i -e dmar -e iommu -e amd-vi".into(),
        ),
    };
    diagnosis.add(Finding {
        severity: Severity::Error,
        reason: "IOMMU_OFF",
        about: String::new(),
        what,
        why: "without an IOMMU a VF could reach all memory of the host, so vfio-pci gives it to no guest"
            .into(),
        fix,
    });
}

/// What the firmware setup calls it.
fn of_firmware(facts: &MachineFacts) -> &'static str {
    match facts.cpu.as_ref().map(|cpu| cpu.vendor) {
        Ok(Vendor::Intel) => "VT-d",
        Ok(Vendor::Amd) => "AMD-Vi (IOMMU)",
        _ => "the IOMMU (VT-d, AMD-Vi, SMMU)",
    }
}

fn switches_off(word: &str) -> bool {
    let (name, values) = word.split_once('=').unwrap_or((word, ""));
    values
        .split(',')
        .any(|value| SWITCHED_OFF.contains(&format!("{name}={value}").as_str()))
}

fn switches_on(word: &str) -> bool {
    word.strip_prefix("intel_iommu=")
        .is_some_and(|values| values.split(',').any(|value| value == "on"))
}

fn acs(facts: &MachineFacts, diagnosis: &mut Diagnosis) {
    let Some(words) = diagnosis.known("kernel's command line", &facts.command_line) else {
        return;
    };
    if words.iter().any(|word| word.starts_with("pcie_acs_override=")) {
        diagnosis.add(Finding {
            severity: Severity::Warning,
            reason: "ACS_OVERRIDDEN",
            about: String::new(),
            what: "`pcie_acs_override` on the kernel command line makes IOMMU groups smaller than they are".into(),
            why: "devices that are shown apart can still reach each other past the IOMMU: guests are not isolated".into(),
            fix: format!(
                "take it off ({COMMAND_LINE}), and put the NIC into a slot whose port has ACS: lspci -vvv | grep -i acsctl"
            ),
        });
    }
}

fn vfio(facts: &MachineFacts, diagnosis: &mut Diagnosis) {
    let pci = diagnosis.known("module vfio-pci", &facts.vfio_pci).copied();
    let iommu = diagnosis
        .known("module vfio_iommu_type1", &facts.vfio_iommu)
        .copied();
    for (name, module, severity) in [
        ("vfio-pci", pci, Severity::Error),
        // vfio asks for it by itself (`MODULE_SOFTDEP`), if modprobe is there to hear it.
        ("vfio_iommu_type1", iommu, Severity::Warning),
    ] {
        let (what, severity, fix) = match module {
            None | Some(Module::Loaded) => continue,
            Some(Module::Loadable) => (
                format!("the module {name} is not loaded"),
                severity,
                format!("modprobe {name}; echo {name} >>/etc/modules-load.d/godwit.conf"),
            ),
            Some(Module::Missing) => (
                format!("the running kernel has no module {name}"),
                Severity::Error,
                "install the package with the rest of this kernel's modules (Ubuntu: linux-modules-extra-$(uname -r), \
                 Fedora: kernel-modules); after an upgrade of the kernel: reboot"
                    .into(),
            ),
        };
        diagnosis.add(vfio_finding(severity, what, fix));
    }
    // Without the module it is no news.
    if pci == Some(Module::Loaded) && diagnosis.known("/dev/vfio/vfio", &facts.vfio_device) == Some(&false) {
        diagnosis.add(vfio_finding(
            Severity::Error,
            "there is no /dev/vfio/vfio".into(),
            "modprobe vfio; ls -l /dev/vfio".into(),
        ));
    }
}

/// With this many a dead connection is given up after 102 s, with Linux's own 15 after 924 s at least
/// (Documentation/networking/ip-sysctl.rst). RFC 1122, 4.2.3.5, wants 100 s at least.
const TCP_RETRIES: u32 = 8;

/// QEMU waits for its connection with its guest paused, and answers to nobody meanwhile: at the end of a migration only TCP ends that.
fn tcp(facts: &MachineFacts, diagnosis: &mut Diagnosis) {
    let Some(retries) = diagnosis.known("net.ipv4.tcp_retries2", &facts.tcp_retries) else {
        return;
    };
    if *retries > TCP_RETRIES {
        diagnosis.add(Finding {
            severity: Severity::Hint,
            reason: "TCP_RETRIES",
            about: String::new(),
            what: format!("TCP gives a dead connection up after {retries} attempts (net.ipv4.tcp_retries2)"),
            why: "a guest whose link dies in the last moments of its migration stands still until then: a quarter of an hour \
                  with 15, less than two minutes with 8"
                .into(),
            fix: format!(
                "echo net.ipv4.tcp_retries2 = {TCP_RETRIES} >/etc/sysctl.d/90-godwit.conf && sysctl --system"
            ),
        });
    }
}

fn vfio_finding(severity: Severity, what: String, fix: String) -> Finding {
    Finding {
        severity,
        reason: "VFIO_MISSING",
        about: String::new(),
        what,
        why: "a VF is given to a guest by vfio-pci alone; Godwit binds VFs to it and loads no modules".into(),
        fix,
    }
}
