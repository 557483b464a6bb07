//! QEMU as the hosts' hardware. It comes from the rig's own root file system, run by that system's own dynamic
//! loader, because this machine may have none or one too old to know `igb`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::images::Images;
use crate::{Host, Place, command, host};

/// An AMD model, because its virtualisation is the one that QEMU emulates: hosts run their guest with KVM.
/// QEMU warns of what it cannot emulate of it; that is harmless.
pub const CPU: &str = "EPYC-v4";

/// VFs of each host's first PF: few, so that they run out.
pub const VFS: u32 = 2;

/// VFs of its second: all that an igb has when its PF keeps a queue for itself.
pub const SECOND_VFS: u32 = 7;

const MEMORY_MIB: u32 = 1536;
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=1 intel_iommu=on iommu=pt tsc=reliable \
    random.trust_cpu=on mitigations=off";

/// A program of the rig's root file system.
pub fn tool(images: &Images, name: &str) -> Command {
    let mut command = Command::new("env");
    loader(&mut command, images, name);
    command
}

/// Starts a host's machine and returns when its hardware is there. It runs on by itself. Of two `words` on its kernel's
/// command line that contradict each other, these count.
pub fn host(place: &Place, images: &Images, host: Host, words: &str) -> Result<()> {
    let run = place.run();
    let id = host.id();
    let mut qemu = command::command("ip", ["netns", "exec", &place.namespace(), "env"]);
    loader(&mut qemu, images, "qemu-system-x86_64");
    machine(&mut qemu, images, &host::console(place, host));
    qemu.arg("-append").arg(format!(
        "{KERNEL_LINE} rig.name={host} rig.id={id} rig.vfs={VFS} rig.second={SECOND_VFS} {words}"
    ));
    qemu.arg("-name").arg(format!("godwit-rig-{host}"));
    qemu.arg("-monitor").arg(format!(
        "unix:{}/{host}.monitor,server=on,wait=off",
        run.display()
    ));
    // What a host has written and asked to keep is then in this machine's page cache, which outlives QEMU:
    // killing it is a pulled plug, not a lost disk.
    disk(
        &mut qemu,
        &place.host(host).join("disk.qcow2"),
        "qcow2",
        "writeback",
    );
    for port in 1..=2 {
        let port = format!("pcie-root-port,id=rp{port},slot={port},chassis={port}");
        qemu.args(["-device", &port]);
    }
    for (byte, port, device) in [
        (1, "mg", "virtio-net-pci"),
        (2, "up", "virtio-net-pci"),
        (3, "pf", "igb,bus=rp1"),
        (4, "pf1", "igb,bus=rp2"),
    ] {
        qemu.arg("-netdev").arg(format!(
            "tap,id={port},ifname={host}-{port},script=no,downscript=no"
        ));
        qemu.arg("-device").arg(format!(
            "{device},netdev={port},mac=02:00:00:00:{id:02x}:{byte:02x},romfile="
        ));
    }
    // Without `-D` it would have no place for its last words once it runs in the background.
    let log = run.join(format!("{host}.qemu.log"));
    qemu.args(["-d", "unimp", "-D"]).arg(&log);
    qemu.arg("-daemonize")
        .arg("-pidfile")
        .arg(host::pid_file(place, host));

    let errors = File::create(&log)?;
    let status = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .status();
    let status = status.context("cannot run ip")?;
    if !status.success() {
        bail!("QEMU of {host} did not start:\n{}", std::fs::read_to_string(log)?);
    }
    Ok(())
}

/// Boots a new disk once, so that what libvirt finds out at its first start is in the image.
pub fn bake(images: &Images, initramfs: &Path, image: &Path, console: &Path) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(600);
    let mut qemu = command::command("timeout", [&LIMIT.as_secs().to_string(), "env"]);
    loader(&mut qemu, images, "qemu-system-x86_64");
    qemu.arg("-append").arg(format!(
        "{KERNEL_LINE} rig.name=bake rig.id=9 rig.vfs=0 rig.second=0 rig.bake=1"
    ));
    qemu.arg("-no-reboot");
    common(&mut qemu, images, initramfs, console);
    disk(&mut qemu, image, "raw", "unsafe");
    command::run(&mut qemu)?;
    let said = String::from_utf8_lossy(&std::fs::read(console)?).into_owned();
    if !said.contains("RIG-BAKED") || said.contains("RIG-FAILED") {
        bail!("the image did not start:\n{said}");
    }
    Ok(())
}

fn machine(qemu: &mut Command, images: &Images, console: &Path) {
    common(qemu, images, &images.host_initramfs(), console);
}

fn common(qemu: &mut Command, images: &Images, initramfs: &Path, console: &Path) {
    qemu.args([
        "-machine",
        "q35",
        "-accel",
        "tcg,thread=multi,tb-size=512",
        "-cpu",
        CPU,
        "-smp",
        "2",
    ]);
    qemu.arg("-m").arg(MEMORY_MIB.to_string());
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    // Gives every VF an IOMMU group of its own.
    qemu.args([
        "-device",
        "intel-iommu,intremap=on,device-iotlb=on",
        "-device",
        "virtio-rng-pci",
    ]);
    qemu.arg("-kernel")
        .arg(images.kernel())
        .arg("-initrd")
        .arg(initramfs);
}

fn disk(qemu: &mut Command, image: &Path, format: &str, cache: &str) {
    let file = image.display();
    qemu.arg("-drive").arg(format!(
        "if=none,id=disk,file={file},format={format},cache={cache}"
    ));
    qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
}

/// Appends `VARIABLE=value loader options program` to a command line that ends in `env`.
pub(crate) fn loader(command: &mut Command, images: &Images, program: &str) {
    let root = images.root();
    let libraries = root.join(LIBRARIES);
    command.arg(format!("QEMU_MODULE_DIR={}", libraries.join("qemu").display()));
    command
        .arg(root.join("usr/lib64/ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(libraries);
    command.arg(root.join("usr/bin").join(program));
    if program.starts_with("qemu-system") {
        command
            .arg("-L")
            .arg(root.join("usr/share/qemu"))
            .arg("-L")
            .arg(root.join("usr/share/seabios"));
    }
}
