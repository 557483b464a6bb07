//! The packages this machine needs: for the rig, for building the daemon, and for its tests on a D-Bus of their own.

use anyhow::{Context, Result};

use crate::command::{command, output, run};

/// Debian packages. QEMU is not among them: the rig runs the one of its own root file system.
const PACKAGES: [&str; 21] = [
    // the daemon's build
    "gcc",
    "libc6-dev",
    "libvirt-dev",
    "pkg-config",
    // images; the keyring knows the hosts' release, which may be newer than this machine's
    "binutils",
    "cpio",
    "debian-archive-keyring",
    "e2fsprogs",
    "kmod",
    "mmdebstrap",
    "xz-utils",
    // a bus of the tests' own, with dbusmock's logind and polkit; setpriv
    "dbus",
    "python3-dbusmock",
    "util-linux",
    // the rig
    "git",
    "iproute2",
    "iputils-ping",
    "openssh-client",
    "openssl",
    "procps",
    "tar",
];

/// Installs what is missing.
pub fn install() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    crate::say(format!("installing {}", missing.join(" ")));
    run(&mut command("apt-get", ["-q", "update"])).context("apt-get update")?;
    let mut install = command("apt-get", ["-q", "install", "-y", "--no-install-recommends"]);
    install.env("DEBIAN_FRONTEND", "noninteractive").args(missing);
    run(&mut install).context("the rig needs a Debian machine and root")
}

fn is_installed(package: &str) -> bool {
    let mut query = command(
        "dpkg-query",
        ["--show", "--showformat=${db:Status-Status}", package],
    );
    output(&mut query).is_ok_and(|status| status == "installed")
}
