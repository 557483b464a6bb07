//! What the doctor asks of libvirt on this host: its versions, its process, its lock manager.

use godwit_migration::doctor::{Fact, Memlock, Version, Versions};

use super::{Libvirt, LibvirtError};
use crate::machine::Machine;

/// Where the daemon that runs QEMU writes its process id, in one piece or in several (`virtqemud`).
const PIDS: [&str; 3] = [
    "run/libvirtd.pid",
    "run/virtqemud.pid",
    "run/libvirt/libvirtd.pid",
];
const NAMES: [&str; 2] = ["libvirtd", "virtqemud"];

impl Libvirt {
    /// This host's name, as libvirt tells it to a source that is given no other.
    pub(crate) async fn host_name(&self) -> Result<String, LibvirtError> {
        self.quick("host name", |conn| Ok(conn.hostname()?)).await
    }

    /// Versions of libvirt and of its QEMU.
    pub(crate) async fn versions(&self) -> Result<Versions, LibvirtError> {
        self.quick("versions", |conn| {
            Ok(Versions {
                libvirt: Version::of(conn.lib_version()?),
                qemu: Version::of(conn.hyp_version()?),
            })
        })
        .await
    }
}

/// What libvirtd on this machine may do about locked memory. It blocks.
pub(crate) fn memlock(machine: &Machine, uri: &str) -> Fact<Memlock> {
    if !uri.starts_with("qemu:///system") {
        return Err(format!("{uri} is not this host's own libvirtd"));
    }
    let mut why = "it has written no process id".to_owned();
    for file in PIDS {
        let Ok(text) = machine.read(file) else { continue };
        let Ok(pid) = text.trim().parse() else {
            why = format!("/{file} has no process id");
            continue;
        };
        // A file that an earlier one left has somebody else's id, or nobody's.
        match machine.memlock(pid, &NAMES) {
            Ok(found) => return Ok(found),
            Err(error) => why = error,
        }
    }
    Err(format!("libvirtd: {why}"))
}

/// The lock manager that libvirt's QEMU driver is told to use. It blocks.
pub(crate) fn lock_manager(machine: &Machine) -> Fact<Option<String>> {
    // Without the file everything is at its default.
    let Ok(text) = machine.read("etc/libvirt/qemu.conf") else {
        return Ok(None);
    };
    let set = text.lines().rev().find_map(|line| {
        let value = line
            .trim()
            .strip_prefix("lock_manager")?
            .trim_start()
            .strip_prefix('=')?;
        Some(value.trim().trim_matches('"').to_owned())
    });
    Ok(set.filter(|manager| !manager.is_empty() && manager != "nop"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Tree;

    #[test]
    fn libvirtd_is_found_by_the_id_that_it_wrote() {
        let tree = Tree::new();
        let memlock = |tree: &Tree| memlock(&tree.machine(), "qemu:///system");
        assert_eq!(
            memlock(&tree),
            Err("libvirtd: it has written no process id".into())
        );
        tree.file("run/libvirtd.pid", "x");
        assert!(memlock(&tree).unwrap_err().contains("has no process id"));
        // Left by one that is gone; the other is there.
        tree.file("run/libvirtd.pid", "3");
        tree.file("proc/3/comm", "sh\n");
        assert_eq!(memlock(&tree), Err("libvirtd: process 3 is sh".into()));
        tree.file("run/virtqemud.pid", "4\n");
        tree.file("proc/4/comm", "virtqemud\n");
        tree.file("proc/4/status", "CapEff:\t000001ffffffffff\n");
        tree.file("proc/4/limits", "Max locked memory  65536  8388608  bytes\n");
        assert!(memlock(&tree).unwrap().may_raise);
        assert!(super::memlock(&tree.machine(), "qemu+ssh://beta/system").is_err());
    }

    #[test]
    fn the_lock_manager_is_the_last_that_is_set() {
        let of = |text: &str| {
            let tree = Tree::new();
            tree.file("etc/libvirt/qemu.conf", text);
            lock_manager(&tree.machine()).unwrap()
        };
        assert_eq!(of("#lock_manager = \"lockd\"\nuser = \"root\"\n"), None);
        assert_eq!(
            of("lock_manager = \"lockd\"\n  lock_manager=\"sanlock\"\n").as_deref(),
            Some("sanlock")
        );
        assert_eq!(of("lock_manager = \"nop\"\n"), None);
        assert_eq!(of("lock_manager_x = \"lockd\"\n\0\u{fffd}"), None);
        let empty = Tree::new();
        assert_eq!(lock_manager(&empty.machine()), Ok(None));
    }
}
