//! What of this machine a guest that comes needs: memory, flags of the CPU, places of disks and networks. All of it blocks.

use std::{fs, io, path::Path};

use godwit_migration::{
    doctor::Fact,
    plan::{FreeMemory, HugePages, PlaceSeen},
};

use super::{Machine, told};

/// A side of a transfer by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The source, which connects.
    Client,
    /// The destination.
    Server,
}

/// File systems that one host alone has (`include/uapi/linux/magic.h`): ext, xfs, btrfs, tmpfs, zfs, overlay. What is not among
/// them may be shared.
const LOCAL: [u64; 6] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x2fc1_2fc1,
    0x794c_7630,
];

impl Machine {
    /// Its memory, and of each of those sizes what is free in huge pages.
    pub(crate) fn memory(&self, wanted: &[HugePages]) -> Fact<FreeMemory> {
        let text = self.read("proc/meminfo")?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            lines
                .find_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .ok_or_else(|| format!("/proc/meminfo has no {name}"))
        };
        let bytes = |name: &str| value(name).map(|kib| kib.saturating_mul(1024));
        // A kernel without huge pages has no line of them.
        let default = value("Hugepagesize:").unwrap_or(0);
        let free = |wanted: &HugePages| {
            let kib = if wanted.kib == 0 { default } else { wanted.kib };
            let file = format!("sys/kernel/mm/hugepages/hugepages-{kib}kB/free_hugepages");
            let pages = self.read(&file).ok();
            let pages = pages.and_then(|pages| pages.trim().parse::<u64>().ok());
            HugePages {
                kib,
                bytes: pages.unwrap_or(0).saturating_mul(kib.saturating_mul(1024)),
            }
        };
        Ok(FreeMemory {
            total: bytes("MemTotal:")?,
            available: bytes("MemAvailable:")?,
            huge: wanted.iter().map(free).collect(),
        })
    }

    /// Flags of its first CPU.
    pub(crate) fn cpu_flags(&self) -> Fact<Vec<String>> {
        let text = self.read("proc/cpuinfo")?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let flags = lines.find(|(key, _)| key.trim() == "flags");
        let flags = flags.ok_or("/proc/cpuinfo names no flags")?;
        Ok(flags.1.split_whitespace().map(str::to_owned).collect())
    }

    /// The file or device of a disk.
    pub(crate) fn disk(&self, path: &str) -> Fact<PlaceSeen> {
        let Some(inside) = path.strip_prefix('/') else {
            return Err("it is on the network".into());
        };
        let place = self.root.join(inside);
        match fs::metadata(&place) {
            Ok(_) => Ok(PlaceSeen::There),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = place.parent().unwrap_or(&self.root);
                match fs::metadata(folder) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PlaceSeen::Nowhere),
                    _ => Ok(PlaceSeen::Missing {
                        free: free(folder),
                        // libvirt's to say.
                        pool: None,
                    }),
                }
            }
            Err(error) => Err(told(inside, &error)),
        }
    }

    /// Bytes of the file of a disk; 0: not known.
    pub(crate) fn disk_size(&self, path: &str) -> u64 {
        let inside = path.strip_prefix('/').unwrap_or(path);
        let file = fs::metadata(self.root.join(inside)).ok();
        file.filter(fs::Metadata::is_file).map_or(0, |file| file.len())
    }

    /// It is a file on a file system that no other host has, for certain.
    pub(crate) fn is_local(&self, path: &str) -> bool {
        let inside = path.strip_prefix('/').unwrap_or(path);
        let place = self.root.join(inside);
        let is_file = fs::metadata(&place).is_ok_and(|found| found.is_file());
        let kind = rustix::fs::statfs(&place).map(|found| found.f_type as u64);
        is_file && kind.is_ok_and(|kind| LOCAL.contains(&kind))
    }

    /// Bytes that came for a guest by that end of a NIC of its: what a tap sends is what its guest receives, and a macvtap is the guest's own
    /// interface (Linux `drivers/net/tun.c`, `drivers/net/macvlan.c`).
    pub(crate) fn arrived(&self, end: &str) -> Fact<u64> {
        // A name from XML, to be part of a path.
        if end.is_empty() || end.contains('/') || end.starts_with('.') {
            return Err(format!("`{end}` is no name of an interface"));
        }
        let folder = format!("sys/class/net/{end}");
        let counter = match self.exists(&format!("{folder}/tun_flags"))? {
            true => "tx_bytes",
            false => "rx_bytes",
        };
        let text = self.read(&format!("{folder}/statistics/{counter}"))?;
        text.trim()
            .parse()
            .map_err(|_| format!("{counter} of {end} is no number"))
    }

    /// Ports at which libvirt lets QEMU receive guests, by its configuration: the first and the last.
    pub(crate) fn migration_ports(&self) -> (u16, u16) {
        let text = self.read("etc/libvirt/qemu.conf").unwrap_or_default();
        let set = |name: &str, otherwise: u16| {
            let value = text.lines().rev().find_map(|line| {
                let value = line.trim().strip_prefix(name)?.trim_start().strip_prefix('=')?;
                value.trim().trim_matches('"').parse::<u16>().ok()
            });
            value.unwrap_or(otherwise)
        };
        (set("migration_port_min", 49152), set("migration_port_max", 49215))
    }

    /// The first file of QEMU's certificates for transfers that is not there, for that side (`qemuMigrationParamsEnableTLS`; QEMU's
    /// `crypto/tlscredsx509.c` says which file each side opens).
    pub(crate) fn missing_certificate(&self, side: Side) -> Fact<Option<String>> {
        let text = self.read("etc/libvirt/qemu.conf").unwrap_or_default();
        let set = |name: &str| {
            text.lines().rev().find_map(|line| {
                let value = line.trim().strip_prefix(name)?.trim_start().strip_prefix('=')?;
                Some(value.trim().trim_matches('"').to_owned())
            })
        };
        let own = set("migrate_tls_x509_cert_dir").or_else(|| set("default_tls_x509_cert_dir"));
        let folder = own.unwrap_or_else(|| "/etc/pki/qemu".into());
        let own = match side {
            Side::Client => "client-cert.pem",
            Side::Server => "server-cert.pem",
        };
        for name in ["ca-cert.pem", own] {
            let file = format!("{}/{name}", folder.trim_end_matches('/'));
            // A server's certificate is taken for both sides, a client's is not.
            let server = file.replace("client-cert", "server-cert");
            let there = [&file, &server].map(|file| self.exists(file.trim_start_matches('/')));
            if !there.contains(&Ok(true)) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

/// Bytes that are free for others than root.
fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Tree, *};

    #[test]
    fn memory_is_read_and_huge_pages_are_of_the_sizes_that_are_wanted() {
        let tree = Tree::new();
        assert!(tree.machine().memory(&[]).is_err());
        let meminfo = "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n";
        tree.file("proc/meminfo", meminfo);
        tree.file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n");
        let found = tree.machine().memory(&[]).unwrap();
        assert_eq!(
            (found.total, found.available, found.huge.len()),
            (16 << 20, 8 << 20, 0)
        );
        let free = |kib| {
            let wanted = HugePages { kib, bytes: 1 };
            let found = tree.machine().memory(&[wanted]).unwrap().huge[0];
            (found.kib, found.bytes)
        };
        assert_eq!((free(2048), free(1_048_576)), ((2048, 6 << 20), (1_048_576, 0)));
        assert_eq!(free(0), (0, 0), "a kernel without huge pages");
        tree.file("proc/meminfo", format!("{meminfo}Hugepagesize:       2048 kB\n"));
        assert_eq!(free(0), (2048, 6 << 20));
        tree.file("proc/cpuinfo", "processor : 0\nflags\t\t: fpu sse2 avx\n");
        assert_eq!(tree.machine().cpu_flags().unwrap(), ["fpu", "sse2", "avx"]);
    }

    #[test]
    fn what_arrives_for_a_guest_is_counted_where_it_goes_in() {
        let tree = Tree::new();
        for (end, flags) in [("vnet0", true), ("macvtap0", false)] {
            let folder = format!("sys/class/net/{end}");
            tree.file(&format!("{folder}/statistics/rx_bytes"), "17\n");
            tree.file(&format!("{folder}/statistics/tx_bytes"), "42\n");
            if flags {
                tree.file(&format!("{folder}/tun_flags"), "0x1002\n");
            }
        }
        let machine = tree.machine();
        assert_eq!(
            (machine.arrived("vnet0"), machine.arrived("macvtap0")),
            (Ok(42), Ok(17))
        );
        assert!(machine.arrived("../x").is_err() && machine.arrived("vnet9").is_err());
    }

    #[test]
    fn disks_are_there_or_not() {
        let tree = Tree::new();
        tree.file("srv/a.qcow2", "12345");
        let machine = tree.machine();
        assert_eq!(machine.disk("/srv/a.qcow2"), Ok(PlaceSeen::There));
        assert!(matches!(
            machine.disk("/srv/b"),
            Ok(PlaceSeen::Missing { free: Some(_), .. })
        ));
        assert_eq!(machine.disk("/nowhere/b"), Ok(PlaceSeen::Nowhere));
        assert!(machine.disk("pool/image").is_err());
        assert_eq!(
            (machine.disk_size("/srv/a.qcow2"), machine.disk_size("/srv")),
            (5, 0)
        );
        assert!(!machine.is_local("/srv") && !machine.is_local("/nowhere"));
    }

    #[test]
    fn qemus_ports_and_certificates_are_where_its_configuration_says() {
        let tree = Tree::new();
        assert_eq!(tree.machine().migration_ports(), (49152, 49215));
        let missing = |tree: &Tree| tree.machine().missing_certificate(Side::Client).unwrap();
        let there = |tree: &Tree| tree.machine().missing_certificate(Side::Server).unwrap();
        assert_eq!(missing(&tree).as_deref(), Some("/etc/pki/qemu/ca-cert.pem"));
        tree.file("etc/pki/qemu/ca-cert.pem", "");
        assert_eq!(missing(&tree).as_deref(), Some("/etc/pki/qemu/client-cert.pem"));
        tree.file("etc/pki/qemu/server-cert.pem", "");
        assert_eq!((missing(&tree), there(&tree)), (None, None));
        let source = Tree::new();
        source.file("etc/pki/qemu/ca-cert.pem", "");
        source.file("etc/pki/qemu/client-cert.pem", "");
        assert_eq!(missing(&source), None);
        assert_eq!(there(&source).as_deref(), Some("/etc/pki/qemu/server-cert.pem"));
        tree.file(
            "etc/libvirt/qemu.conf",
            "migration_port_min = 50000\n#migration_port_max = 1\nmigrate_tls_x509_cert_dir = \"/etc/pki/m\"\n",
        );
        assert_eq!(tree.machine().migration_ports(), (50000, 49215));
        assert_eq!(missing(&tree).as_deref(), Some("/etc/pki/m/ca-cert.pem"));
    }
}
