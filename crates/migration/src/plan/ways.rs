//! In which VLAN what a guest sends leaves a host. The host itself may tag it, on three occasions: at the guest's port, in the bridge, and
//! at the bridge's way out.

use std::collections::BTreeSet;

/// What a guest's port does about VLANs, by its domain's `<vlan>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PortVlans {
    /// Nothing is said: all frames pass as they are.
    #[default]
    Open,
    /// What comes without a tag is in this VLAN, and nothing that has a tag passes.
    Access(u16),
    /// What is tagged as one of these passes.
    Trunk(Vec<u16>),
}

/// A port of a bridge that is no guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// All frames leave as they are.
    Open,
    /// A VLAN interface of the kernel's: a tag is put on all of them.
    Tagging(u16),
    /// Frames of this VLAN alone leave, without their tag.
    Access(u16),
    /// Frames of these VLANs leave, with their tags.
    Trunk(Vec<u16>),
}

/// The ways out of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Those with a link; none: what becomes of a frame is not known.
    pub uplinks: Vec<Uplink>,
    /// The bridge lets VLANs through at those ports alone that have them (`vlan_filtering`), and which those are is not known.
    pub filters: bool,
}

impl Ways {
    /// The VLAN in which frames without a tag leave; 0: without one. None: not known, or not the same by each of the ways.
    pub fn untagged(&self, port: &PortVlans) -> Option<u16> {
        let inside = match port {
            PortVlans::Open => 0,
            PortVlans::Access(vlan) => *vlan,
            PortVlans::Trunk(_) => return None,
        };
        if self.filters {
            return None;
        }
        let leaves: BTreeSet<u16> = self.leaves(inside).collect();
        leaves.first().copied().filter(|_| leaves.len() == 1)
    }

    /// What keeps frames that the guest has tagged as of this VLAN from leaving with that tag; none: nothing, or it is not known.
    pub fn obstacle(&self, port: &PortVlans, vlan: u16) -> Option<&'static str> {
        match port {
            PortVlans::Access(_) => return Some("its port there takes frames without a tag alone (<vlan>)"),
            PortVlans::Trunk(vlans) if !vlans.contains(&vlan) => {
                return Some("its port there does not take that VLAN (<vlan>)");
            }
            PortVlans::Open if self.filters => {
                return Some("the bridge filters VLANs (vlan_filtering), and the guest's port is given none");
            }
            PortVlans::Open | PortVlans::Trunk(_) => {}
        }
        let known = !self.filters && !self.uplinks.is_empty();
        let passes = self.leaves(vlan).any(|left| left == vlan);
        (known && !passes).then_some("no way out of it carries that VLAN")
    }

    /// The tags that a frame of this VLAN in the bridge leaves with, by each way that it can take.
    fn leaves(&self, inside: u16) -> impl Iterator<Item = u16> {
        self.uplinks.iter().filter_map(move |uplink| match uplink {
            Uplink::Open => Some(inside),
            Uplink::Tagging(vlan) => (inside == 0).then_some(*vlan),
            Uplink::Access(vlan) => (inside == *vlan).then_some(0),
            Uplink::Trunk(vlans) => vlans.contains(&inside).then_some(inside),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(uplinks: &[Uplink]) -> Ways {
        Ways {
            uplinks: uplinks.to_vec(),
            filters: false,
        }
    }

    #[test]
    fn what_has_no_tag_leaves_as_port_and_uplink_make_it() {
        use PortVlans::{Access, Open, Trunk};
        let untagged = |uplinks: &[Uplink], port: PortVlans| by(uplinks).untagged(&port);
        assert_eq!(untagged(&[Uplink::Open], Open), Some(0));
        assert_eq!(untagged(&[Uplink::Open], Access(42)), Some(42));
        assert_eq!(untagged(&[Uplink::Tagging(42)], Open), Some(42));
        assert_eq!(untagged(&[Uplink::Access(42)], Access(42)), Some(0));
        assert_eq!(untagged(&[Uplink::Trunk(vec![42])], Access(42)), Some(42));
        // It gets nowhere, or by several ways to different places: nothing is claimed.
        assert_eq!(untagged(&[Uplink::Access(7)], Access(42)), None);
        assert_eq!(untagged(&[Uplink::Open, Uplink::Tagging(42)], Open), None);
        assert_eq!(untagged(&[Uplink::Open, Uplink::Open], Open), Some(0));
        assert_eq!(untagged(&[], Open), None);
        assert_eq!(untagged(&[Uplink::Open], Trunk(vec![42])), None);
        let filters = Ways {
            filters: true,
            ..by(&[Uplink::Open])
        };
        assert_eq!(filters.untagged(&Open), None);
    }

    #[test]
    fn a_tag_of_the_guests_passes_where_port_bridge_and_uplink_let_it() {
        use PortVlans::{Access, Open, Trunk};
        let passes = |ways: &Ways, port: PortVlans| ways.obstacle(&port, 100).is_none();
        assert!(passes(&by(&[Uplink::Open]), Open));
        assert!(passes(&by(&[Uplink::Open]), Trunk(vec![1, 100])));
        assert!(!passes(&by(&[Uplink::Open]), Trunk(vec![1])));
        assert!(!passes(&by(&[Uplink::Open]), Access(100)));
        assert!(!passes(&by(&[Uplink::Tagging(42)]), Open));
        assert!(!passes(&by(&[Uplink::Tagging(100)]), Open));
        assert!(passes(&by(&[Uplink::Tagging(42), Uplink::Open]), Open));
        assert!(!passes(&by(&[Uplink::Access(100)]), Open));
        assert!(passes(&by(&[Uplink::Trunk(vec![99, 100])]), Open));
        assert!(!passes(&by(&[Uplink::Trunk(vec![99])]), Open));
        // Without a way out nothing is known.
        assert!(passes(&by(&[]), Open));
        let filters = Ways {
            filters: true,
            ..by(&[Uplink::Open])
        };
        assert!(!passes(&filters, Open));
        assert!(passes(&filters, Trunk(vec![100])));
    }
}
