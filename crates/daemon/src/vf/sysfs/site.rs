//! Where a VF sits: its NUMA node, who is in its IOMMU group, its PF's link.

use godwit_migration::{
    PciAddress,
    choice::{Group, Site},
};

use super::{Function, Sysfs, number, text};

/// What is the same for all VFs of a PF.
#[derive(Debug, Clone, Default)]
pub(crate) struct PfSite {
    driver: String,
    link: Option<bool>,
    speed: Option<u32>,
}

impl Sysfs {
    /// Of a PF that is off or has no link neither link nor speed can be read, or the speed is -1.
    pub(crate) fn pf_site(&self, pf: &str) -> PfSite {
        let class = self.root.join("sys/class/net").join(pf);
        PfSite {
            driver: self.driver_of(pf).unwrap_or_default(),
            link: number(&class.join("carrier"), 10).map(|carrier| carrier == 1),
            speed: number(&class.join("speed"), 10),
        }
    }

    /// Where one of its VFs sits.
    pub(crate) fn site(&self, vf: &Function, pf: &PfSite) -> Site {
        let address = vf.name.address;
        // -1 is no node: a machine with one, or a firmware that does not tell.
        let node = text(&self.device(address).join("numa_node"));
        Site {
            node: node.and_then(|node| node.trim().parse().ok()),
            group: match vf.group {
                None => Group::Missing,
                Some(_) => group(self.group_members(address).collect()),
            },
            link: pf.link,
            speed: pf.speed,
            driver: pf.driver.clone(),
            vlans: None,
        }
    }
}

fn group(mut others: Vec<PciAddress>) -> Group {
    others.sort();
    match others.is_empty() {
        true => Group::Alone,
        false => Group::With(others),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Machine, *};

    fn sites(machine: &Machine) -> Vec<Site> {
        let sysfs = machine.sysfs();
        let pf = sysfs.pf_site("pf0");
        let functions = sysfs.functions("pf0").unwrap();
        functions.iter().map(|vf| sysfs.site(vf, &pf)).collect()
    }

    #[test]
    fn a_vf_with_all_that_can_be_told() {
        let machine = Machine::new();
        machine.file("sys/class/net/pf0/carrier", "1\n");
        machine.file("sys/class/net/pf0/speed", "1000\n");
        machine.file("sys/bus/pci/devices/0000:01:10.0/numa_node", "1\n");
        machine.file("sys/kernel/iommu_groups/12/devices/0000:01:10.0/x", "");
        let alone = Site {
            node: Some(1),
            group: Group::Alone,
            link: Some(true),
            speed: Some(1000),
            driver: "igb".into(),
            vlans: None,
        };
        assert_eq!(sites(&machine)[0], alone);
        assert_eq!(sites(&machine)[1].group, Group::Missing);
        machine.file("sys/kernel/iommu_groups/12/devices/0000:01:10.2/x", "");
        let other = "0000:01:10.2".parse().unwrap();
        assert_eq!(sites(&machine)[0].group, Group::With(vec![other]));
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let machine = Machine::new();
        for (carrier, speed, node) in [
            ("", "-1\n", "-1\n"),
            ("\0\u{fffd}", "fast", ""),
            ("7\n", "4294967296\n", "x"),
        ] {
            machine.file("sys/class/net/pf0/carrier", carrier);
            machine.file("sys/class/net/pf0/speed", speed);
            machine.file("sys/bus/pci/devices/0000:01:10.0/numa_node", node);
            let site = sites(&machine).remove(0);
            assert_eq!((site.speed, site.node), (None, None), "{site:?}");
            assert_ne!(site.link, Some(true), "{site:?}");
        }
    }
}
