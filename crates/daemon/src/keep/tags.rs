//! Which frames with a VLAN tag of their own the bridge of a guest's tap would let through to it. What a peer brings goes past that bridge,
//! and must not come from a network that the bridge keeps from the guest.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use godwit_migration::plan::Uplink;
use tokio::time::timeout;
use tracing::debug;

use super::{frame::Frame, tap::Tap};
use crate::{
    machine::Machine,
    vf::{Sysfs, tagged_vlans},
};

/// The kernel and a database that is well answer at once; the guest waits.
const WITHIN: Duration = Duration::from_millis(500);

/// Those that may come to the tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// All: nothing sorts them.
    All,
    /// Those of these VLANs; others count only if the bridge takes that kind of tag for one.
    These {
        vlans: BTreeSet<u16>,
        /// The kind (TPID) of the bridge's tags; none: both.
        kind: Option<u16>,
    },
}

impl Tags {
    /// Of the port that this tap is. What cannot be found out is none.
    pub(super) async fn of(root: &Path, tap: &Tap) -> Tags {
        let sysfs = Sysfs::new(root);
        match sysfs.bridge_of(&tap.name) {
            // A switch of Open vSwitch in user space is nobody's master to the kernel.
            None => of_switch_or(&Machine::at(root), &tap.name, Tags::All).await,
            Some(bridge) if bridge == "ovs-system" => {
                of_switch_or(&Machine::at(root), &tap.name, none(None)).await
            }
            Some(_) if sysfs.bridge_ports(&tap.name).plain => Tags::All,
            Some(bridge) => {
                let file = root
                    .join("sys/class/net")
                    .join(bridge)
                    .join("bridge/vlan_protocol");
                let kind = fs::read_to_string(file).unwrap_or_default();
                let kind = u16::from_str_radix(kind.trim().trim_start_matches("0x"), 16).ok();
                match timeout(WITHIN, tagged_vlans(&tap.name)).await {
                    Ok(Ok(vlans)) => Tags::These { vlans, kind },
                    told => {
                        debug!(
                            tap = tap.name,
                            ?told,
                            "the kernel does not tell what a bridge's port lets through"
                        );
                        none(kind)
                    }
                }
            }
        }
    }

    /// Whether the guest might have got it from the bridge as it is.
    pub(super) fn admit(&self, frame: &Frame) -> bool {
        match (self, frame.tag()) {
            (Tags::All, _) | (_, None) => true,
            (Tags::These { vlans, kind }, Some((found, vlan))) => {
                kind.is_some_and(|kind| kind != found) || vlans.contains(&vlan)
            }
        }
    }
}

fn none(kind: Option<u16>) -> Tags {
    Tags::These {
        vlans: BTreeSet::new(),
        kind,
    }
}

/// As Open vSwitch has it; `unknown` where it has no such port.
async fn of_switch_or(machine: &Machine, port: &str, unknown: Tags) -> Tags {
    match timeout(WITHIN, machine.switch_port(port)).await {
        Ok(Ok(Some(found))) => of_switch(found),
        Ok(Ok(None)) => unknown,
        told => {
            debug!(
                port,
                ?told,
                "Open vSwitch does not tell what its port lets through"
            );
            none(None)
        }
    }
}

/// A port of Open vSwitch: what leaves by it has the tags that come to the guest.
fn of_switch(port: Uplink) -> Tags {
    match port {
        // A tunnel's frames have tags inside that are none of the switch's.
        Uplink::Open | Uplink::Tagging(_) => Tags::All,
        Uplink::Access(_) => none(None),
        Uplink::Trunk(vlans) => Tags::These {
            vlans: BTreeSet::from_iter(vlans),
            kind: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: Option<(u16, u16)>) -> Frame {
        Frame::read(&[0; 70], tag).unwrap()
    }

    fn these(vlans: &[u16], kind: Option<u16>) -> Tags {
        Tags::These {
            vlans: vlans.iter().copied().collect(),
            kind,
        }
    }

    #[test]
    fn a_tag_comes_through_where_the_bridge_would_let_it() {
        let [customer, service] = [0x8100, 0x88a8];
        let admitted = |tags: Tags, tag| tags.admit(&frame(tag));
        assert!(admitted(Tags::All, Some((customer, 7))));
        assert!(admitted(these(&[], None), None));
        // The priority beside the number is no part of it.
        assert!(admitted(these(&[7], None), Some((customer, 0xe007))));
        assert!(!admitted(these(&[7], None), Some((customer, 8))));
        assert!(!admitted(these(&[], Some(customer)), Some((customer, 7))));
        // A tag of another kind is part of what the frame carries.
        assert!(admitted(these(&[], Some(service)), Some((customer, 7))));
        assert!(!admitted(these(&[], Some(service)), Some((service, 7))));
    }

    #[test]
    fn a_port_of_a_switch_lets_through_what_it_is_set_to() {
        assert_eq!(of_switch(Uplink::Open), Tags::All);
        assert_eq!(of_switch(Uplink::Tagging(3)), Tags::All);
        assert_eq!(of_switch(Uplink::Access(3)), these(&[], None));
        assert_eq!(of_switch(Uplink::Trunk(vec![42, 43])), these(&[42, 43], None));
    }

    #[tokio::test]
    async fn what_cannot_be_found_out_is_let_through_to_nobody() {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("sys/class/net");
        let file = |path: &str, text: &str| {
            let path = net.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        // The kernel of this machine has no interface of that name.
        let name = "godwit-no-tap";
        for (counter, text) in [("tx_packets", "0"), ("tx_dropped", "0")] {
            file(&format!("{name}/statistics/{counter}"), text);
        }
        file(&format!("{name}/address"), "fe:54:00:aa:00:10\n");
        file(&format!("{name}/tun_flags"), "0x5002\n");
        file("br0/bridge/vlan_protocol", "0x88a8\n");
        file("br0/bridge/vlan_filtering", "0\n");
        let tap = || Tap::of(root.path(), "52:54:00:aa:00:10".parse().unwrap()).unwrap();
        assert_eq!(Tags::of(root.path(), &tap()).await, Tags::All);
        let master = net.join(name).join("master");
        std::os::unix::fs::symlink("../br0", &master).unwrap();
        assert_eq!(Tags::of(root.path(), &tap()).await, Tags::All);
        file("br0/bridge/vlan_filtering", "1\n");
        assert_eq!(Tags::of(root.path(), &tap()).await, these(&[], Some(0x88a8)));
        fs::remove_file(&master).unwrap();
        std::os::unix::fs::symlink("../ovs-system", &master).unwrap();
        assert_eq!(Tags::of(root.path(), &tap()).await, these(&[], None));
    }
}
