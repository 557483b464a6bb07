//! Networks from which libvirt itself gives VFs to guests (`<forward mode='hostdev'>`). Those VFs are libvirt's: it takes any
//! that it finds unused, whoever has set it aside.

use std::path::Path;

use godwit_migration::PciAddress;
use roxmltree::Document;
use tracing::debug;
use virt_sys as sys;

use super::{LOCKED, Libvirt, LibvirtError, xml};

/// Where the daemon of networks listens, if that is a daemon of its own: made by systemd also while it does not run.
const OWN_DAEMON: &str = "/run/libvirt/virtnetworkd-sock";

/// A network of VFs that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VfNetwork {
    /// Its name.
    pub(crate) name: String,
    /// PFs all of whose VFs it has.
    pfs: Vec<String>,
    /// Single VFs that it has.
    vfs: Vec<PciAddress>,
}

impl VfNetwork {
    /// It may give that VF, of that PF, to a guest.
    pub(crate) fn has(&self, pf: &str, vf: PciAddress) -> bool {
        self.vfs.contains(&vf) || self.pfs.iter().any(|named| named == pf)
    }

    /// From a network's XML; none if it is of another kind, or cannot be read.
    fn parse(text: &str) -> Option<VfNetwork> {
        let document = Document::parse(text).ok()?;
        let network = document.root_element();
        let forward = xml::child(network, "forward")?;
        if forward.attribute("mode") != Some("hostdev") {
            return None;
        }
        let named = |tag: &'static str| forward.children().filter(move |child| child.has_tag_name(tag));
        Some(VfNetwork {
            name: xml::child(network, "name")?.text()?.trim().to_owned(),
            pfs: named("pf")
                .filter_map(|pf| Some(pf.attribute("dev")?.to_owned()))
                .collect(),
            vfs: named("address").filter_map(xml::pci_address).collect(),
        })
    }
}

impl Libvirt {
    /// The active networks of VFs. Where libvirt has no networks at all (their driver is a package of its own), none. Where each
    /// driver is a daemon of its own (`virtnetworkd`), one that is there and fails is an error: its VFs would be given away.
    pub(crate) async fn vf_networks(&self) -> Result<Vec<VfNetwork>, LibvirtError> {
        let listed = self
            .locked("list networks", LOCKED, |conn| {
                let active = conn.list_all_networks(sys::VIR_CONNECT_LIST_NETWORKS_ACTIVE)?;
                // One that went between the list and the look has no VFs any more.
                let texts = active.iter().filter_map(|network| network.xml_desc(0).ok());
                Ok(texts
                    .filter_map(|text| VfNetwork::parse(&text))
                    .collect::<Vec<_>>())
            })
            .await;
        match listed {
            Err(none) if has_no_networks(&none, || Path::new(OWN_DAEMON).exists()) => {
                debug!("libvirt has no networks: {none}");
                Ok(Vec::new())
            }
            listed => listed,
        }
    }
}

/// libvirt says so in many words where the driver is not installed. Where it is and its daemon fails, `virtqemud` cannot reach
/// that one's socket, which is there (`virNetSocketNewConnectUNIX`: `VIR_ERR_SYSTEM_ERROR`), or its line breaks.
fn has_no_networks(error: &LibvirtError, own_daemon: impl Fn() -> bool) -> bool {
    match error {
        LibvirtError::Refused { .. } => true,
        LibvirtError::Other { code, .. } => {
            !matches!(*code, sys::VIR_ERR_SYSTEM_ERROR | sys::VIR_ERR_RPC) || !own_daemon()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{LibvirtError, VfNetwork, has_no_networks, sys};

    #[test]
    fn networks_that_cannot_be_asked_for_are_not_none() {
        let other = |code| LibvirtError::Other {
            code,
            domain: 0,
            message: "Failed to connect socket to '/run/libvirt/virtnetworkd-sock'".into(),
        };
        let none = |error: &LibvirtError, there: bool| has_no_networks(error, || there);
        let refused = LibvirtError::Refused {
            code: sys::VIR_ERR_NO_SUPPORT,
            message: "no networks".into(),
        };
        assert!(none(&refused, false) && none(&refused, true));
        assert!(
            none(&other(sys::VIR_ERR_NO_CONNECT), true),
            "the driver is not installed"
        );
        for code in [sys::VIR_ERR_SYSTEM_ERROR, sys::VIR_ERR_RPC] {
            assert!(none(&other(code), false), "no such daemon on this host");
            assert!(!none(&other(code), true), "its VFs would be given away");
        }
        let lost = LibvirtError::ConnectionLost {
            message: "gone".into(),
        };
        assert!(!none(&lost, false));
    }

    /// As libvirt 11.3 shows one that is active and was defined by its PF; it has added the VFs.
    const BY_PF: &str = "<network connections='1'><name>fabric</name><uuid>1</uuid>
        <forward mode='hostdev' managed='yes'><driver name='vfio'/><pf dev='pf0'/>
          <address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>
        </forward></network>";

    #[test]
    fn a_network_has_the_vfs_of_its_pf_and_those_it_names() {
        let network = VfNetwork::parse(BY_PF).unwrap();
        assert_eq!(network.name, "fabric");
        let vf = |text: &str| text.parse().unwrap();
        assert!(network.has("pf0", vf("0000:01:10.2")));
        assert!(network.has("renamed", vf("0000:01:10.0")));
        assert!(!network.has("pf1", vf("0000:01:10.2")));
        let single = BY_PF.replace("<pf dev='pf0'/>", "");
        let single = VfNetwork::parse(&single).unwrap();
        assert!(single.has("pf0", vf("0000:01:10.0")) && !single.has("pf0", vf("0000:01:10.2")));
    }

    #[test]
    fn other_networks_have_no_vfs() {
        for text in [
            "",
            "<network/>",
            "<network><name>default</name><forward mode='nat'/></network>",
            "<network><name>lonely</name></network>",
            "<network><forward mode='hostdev'><pf dev='pf0'/></forward></network>",
        ] {
            assert_eq!(VfNetwork::parse(text), None, "{text}");
        }
    }
}
