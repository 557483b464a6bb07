//! What sysfs shows of a PF and of its VFs' IOMMU groups, for the doctor.

use std::fs;

use godwit_migration::{
    PciAddress,
    doctor::{Neighbour, PfDetail, PfState, VfFacts},
};

use super::{Function, Sysfs, VfError, link_name, number, text};

/// A group has no more devices than that; a bus has not.
const MOST: usize = 256;

/// All classes of bridges (include/linux/pci_ids.h): they belong to a group, and to no guest.
const BRIDGE: &str = "0x06";

impl Sysfs {
    /// What a PF of the configuration is.
    pub(crate) fn examine(&self, pf: &str) -> Result<PfState, VfError> {
        let plain = !pf.is_empty() && !pf.starts_with('.') && !pf.contains('/');
        let class = self.root.join("sys/class/net").join(pf);
        if !plain || !class.exists() {
            return Ok(PfState::Missing);
        }
        let possible = number(&class.join("device/sriov_totalvfs"), 10).unwrap_or(0);
        if possible == 0 {
            return Ok(PfState::NoSriov);
        }
        Ok(PfState::There(PfDetail {
            possible,
            up: self.is_up(pf) == Some(true),
            // Of an interface that is switched off it cannot be read.
            link: number(&class.join("carrier"), 10) == Some(1),
            vfs: self
                .functions(pf)?
                .into_iter()
                .map(|vf| self.neighbours(vf))
                .collect(),
        }))
    }

    /// The other devices of its IOMMU group, without bridges.
    pub(super) fn group_members(&self, address: PciAddress) -> impl Iterator<Item = PciAddress> {
        let members = fs::read_dir(self.device(address).join("iommu_group/devices"));
        let members = members.into_iter().flatten().flatten().take(MOST);
        members
            .filter_map(|member| member.file_name().to_str()?.parse::<PciAddress>().ok())
            .filter(move |other| *other != address && !self.is_bridge(*other))
    }

    fn neighbours(&self, vf: Function) -> VfFacts {
        let address = vf.name.address;
        let others = self.group_members(address).map(|other| Neighbour {
            address: other,
            driver: link_name(&self.device(other).join("driver")),
        });
        let mut others: Vec<Neighbour> = others.collect();
        others.sort_by_key(|other| other.address);
        VfFacts {
            address,
            group: vf.group,
            others,
        }
    }

    fn is_bridge(&self, address: PciAddress) -> bool {
        text(&self.device(address).join("class")).is_some_and(|class| class.starts_with(BRIDGE))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Machine, *};

    fn whole() -> Machine {
        let machine = Machine::new();
        machine.file("sys/class/net/pf0/flags", "0x1003\n");
        machine.file("sys/class/net/pf0/carrier", "1\n");
        machine.file("sys/bus/pci/devices/0000:01:00.0/sriov_totalvfs", "7\n");
        machine.file("sys/bus/pci/devices/0000:00:01.0/class", "0x060400\n");
        for device in ["0000:01:10.0", "0000:00:01.0"] {
            machine.file(&format!("sys/kernel/iommu_groups/12/devices/{device}/x"), "");
        }
        machine
    }

    fn detail(machine: &Machine) -> PfDetail {
        match machine.sysfs().examine("pf0").unwrap() {
            PfState::There(detail) => detail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pf_with_its_vfs() {
        let found = detail(&whole());
        assert_eq!((found.possible, found.up, found.link), (7, true, true));
        let groups: Vec<Option<u32>> = found.vfs.iter().map(|vf| vf.group).collect();
        assert_eq!(groups, [Some(12), None]);
        assert!(
            found.vfs.iter().all(|vf| vf.others.is_empty()),
            "a bridge is nobody: {found:?}"
        );
    }

    #[test]
    fn what_is_not_a_pf() {
        let machine = whole();
        for name in ["pf9", "", ".", "..", "../net/pf0"] {
            assert_eq!(machine.sysfs().examine(name).unwrap(), PfState::Missing, "{name}");
        }
        for total in ["0\n", "", "many", "-1"] {
            machine.file("sys/bus/pci/devices/0000:01:00.0/sriov_totalvfs", total);
            assert_eq!(
                machine.sysfs().examine("pf0").unwrap(),
                PfState::NoSriov,
                "{total}"
            );
        }
    }

    #[test]
    fn a_pf_that_is_off_or_has_no_link() {
        let machine = whole();
        machine.file("sys/class/net/pf0/carrier", "0\n");
        assert!(detail(&machine).up && !detail(&machine).link);
        machine.file("sys/class/net/pf0/flags", "0x1002\n");
        assert!(!detail(&machine).up);
        machine.file("sys/class/net/pf0/flags", "\u{fffd}\0");
        machine.file("sys/class/net/pf0/carrier", "yes");
        assert!(!detail(&machine).up && !detail(&machine).link);
    }

    #[test]
    fn who_else_is_in_the_group() {
        let machine = whole();
        for device in ["0000:01:00.0", "0000:01:10.2", "odd"] {
            machine.file(&format!("sys/kernel/iommu_groups/12/devices/{device}/x"), "");
        }
        let vf = detail(&machine).vfs.remove(0);
        let others: Vec<String> = vf
            .others
            .iter()
            .map(|other| format!("{} {:?}", other.address, other.driver))
            .collect();
        assert_eq!(
            others,
            ["0000:01:00.0 Some(\"igb\")", "0000:01:10.2 Some(\"igbvf\")"]
        );
    }
}
