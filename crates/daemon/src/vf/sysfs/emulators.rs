//! Whose emulator has a tap open.

use std::{fs, path::Path};

use uuid::Uuid;

use super::{Sysfs, holder};

impl Sysfs {
    /// The emulator of that guest, by its command line, has that tap. Other processes are not looked into.
    pub(crate) fn guest_has_tap(&self, guest: Uuid, tap: &str) -> bool {
        let entries = fs::read_dir(self.root.join("proc")).into_iter().flatten();
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut processes = pids.map(|pid| (pid, self.root.join("proc").join(pid.to_string())));
        processes.any(|(pid, process)| holder(pid, &process).guest == Some(guest) && has_tap(&process, tap))
    }
}

/// The kernel says of each of a process' files which tap it is (`tun_chr_show_fdinfo()`).
fn has_tap(process: &Path, tap: &str) -> bool {
    let files = fs::read_dir(process.join("fdinfo")).into_iter().flatten();
    let mut told = files
        .flatten()
        .filter_map(|file| fs::read_to_string(file.path()).ok());
    told.any(|told| {
        told.lines()
            .any(|line| line.strip_prefix("iff:").is_some_and(|name| name.trim() == tap))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;

    #[test]
    fn a_tap_is_its_guests_by_the_emulator_that_has_it() {
        let machine = Machine::new();
        let (web, db) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
        for (pid, guest, tap) in [(70, web, "vnet0"), (71, db, "vnet1")] {
            machine.file(
                &format!("proc/{pid}/cmdline"),
                &format!("qemu\0-name\0x\0-uuid\0{guest}\0"),
            );
            machine.file(&format!("proc/{pid}/fdinfo/3"), "pos:\t0\nflags:\t02\n");
            machine.file(
                &format!("proc/{pid}/fdinfo/30"),
                &format!("pos:\t0\niff:\t{tap}\n"),
            );
        }
        let has = |guest, tap| machine.sysfs().guest_has_tap(guest, tap);
        assert!(has(web, "vnet0") && has(db, "vnet1"));
        assert!(!has(web, "vnet1") && !has(web, "vnet") && !has(web, ""));
    }
}
