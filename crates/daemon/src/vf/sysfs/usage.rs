//! Whether this host itself uses a VF.

use std::{fs, path::Path};

use godwit_migration::PciAddress;

use super::{Sysfs, VFIO, VfName, interface_is_up, link_name};

/// What is built on an interface is a link of its folder with this before its name.
const ABOVE: &str = "upper_";

impl Sysfs {
    /// How this host uses the VF for itself, in words; none if it does not. A network driver makes an interface of each VF
    /// that it finds: one that is down, and that nothing is built on, is nobody's. Where a driver has the VF and no
    /// interface is seen, that may be a container's: sysfs shows those of one network namespace.
    pub(crate) fn used(&self, vf: &VfName) -> Option<String> {
        let driver = link_name(&self.device(vf.address).join("driver"));
        self.used_by_host(vf.address, driver.as_deref())
    }

    pub(super) fn used_by_host(&self, address: PciAddress, driver: Option<&str>) -> Option<String> {
        let folder = self.device(address).join("net");
        let mut names = entries(&folder);
        names.sort();
        if names.is_empty() {
            let other = driver.filter(|driver| *driver != VFIO)?;
            return Some(format!(
                "its driver is {other}, and no interface of it is seen; a container may have it"
            ));
        }
        names.iter().find_map(|name| used(&folder.join(name), name))
    }
}

fn used(interface: &Path, name: &str) -> Option<String> {
    if let Some(master) = link_name(&interface.join("master")) {
        return Some(format!("the host has it as {name}, a port of {master}"));
    }
    let above = entries(interface);
    if let Some(upper) = above.iter().find_map(|entry| entry.strip_prefix(ABOVE)) {
        return Some(format!("the host has it as {name}, below {upper}"));
    }
    match interface_is_up(interface) {
        Some(false) => None,
        Some(true) => Some(format!("the host has it as {name}, which is up")),
        // It is going, or was renamed just now.
        None => Some(format!("the host has it as {name}")),
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;

    const VF: &str = "sys/bus/pci/devices/0000:01:10.2";

    fn used(machine: &Machine) -> Option<String> {
        let functions = machine.sysfs().functions("pf0").unwrap();
        functions[1].used.clone()
    }

    #[test]
    fn an_interface_that_nobody_uses_is_no_use() {
        let machine = Machine::new();
        let flags = format!("{VF}/net/enp1s16f2/flags");
        assert_eq!(used(&machine).unwrap(), "the host has it as enp1s16f2");
        machine.file(&flags, "0x1002\n");
        assert_eq!(used(&machine), None);
        machine.file(&flags, "0x1003\n");
        assert_eq!(
            used(&machine).unwrap(),
            "the host has it as enp1s16f2, which is up"
        );
    }

    /// Also one that is down: what it is part of may be switched on any time.
    #[test]
    fn what_is_built_on_an_interface_is_a_use() {
        let machine = Machine::new();
        machine.file(&format!("{VF}/net/enp1s16f2/flags"), "0x1002\n");
        machine.file(&format!("{VF}/net/enp1s16f2/upper_enp1s16f2.7/ifindex"), "9\n");
        assert_eq!(
            used(&machine).unwrap(),
            "the host has it as enp1s16f2, below enp1s16f2.7"
        );
        machine.link(
            &format!("{VF}/net/enp1s16f2/master"),
            "../../../../../../class/net/br7",
        );
        assert_eq!(
            used(&machine).unwrap(),
            "the host has it as enp1s16f2, a port of br7"
        );
    }

    #[test]
    fn a_vf_whose_interface_is_elsewhere_is_in_use() {
        let machine = Machine::new();
        machine.remove(&format!("{VF}/net"));
        assert_eq!(
            used(&machine).unwrap(),
            "its driver is igbvf, and no interface of it is seen; a container may have it"
        );
        machine.link(&format!("{VF}/driver"), "../../drivers/vfio-pci");
        assert_eq!(used(&machine), None);
    }
}
