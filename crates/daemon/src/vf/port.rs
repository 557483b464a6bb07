//! What a port of a bridge of the kernel's lets through, read by netlink.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    link::{AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkExtentMask, LinkMessage},
};

/// The VLANs whose frames that port of a bridge of the kernel's lets out with their tags.
///
/// # Errors
/// The kernel does not tell, or it is no such port.
pub(crate) async fn tagged_vlans(port: &str) -> Result<BTreeSet<u16>, String> {
    Ok(tagged(&found(port).await?))
}

/// In which VLAN a bridge of the kernel's puts its own frames without a tag, if they pass, and with which tags its own pass.
///
/// # Errors
/// As [`tagged_vlans`].
pub(crate) async fn own_vlans(bridge: &str) -> Result<(Option<u16>, BTreeSet<u16>), String> {
    let own = found(bridge).await?;
    Ok((untagged(&own), tagged(&own)))
}

async fn found(port: &str) -> Result<LinkMessage, String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let all = handle
        .link()
        .get()
        .set_filter_mask(AddressFamily::Bridge, vec![LinkExtentMask::Brvlan])
        .execute();
    let found: Result<Option<LinkMessage>, _> = all
        .try_filter(|message| {
            let is_it = message
                .attributes
                .contains(&LinkAttribute::IfName(port.to_owned()));
            std::future::ready(is_it)
        })
        .try_next()
        .await;
    connection.abort();
    let found = found.map_err(|error| error.to_string())?;
    found.ok_or_else(|| "it is a port of no bridge".into())
}

/// Only one whose frames leave without a tag too: what is asked is answered so.
fn untagged(port: &LinkMessage) -> Option<u16> {
    let both = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    port.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(list) => list.iter().find_map(|info| match info {
            AfSpecBridge::VlanInfo(info) if info.flags.contains(both) => Some(info.vid),
            _ => None,
        }),
        _ => None,
    })
}

fn tagged(port: &LinkMessage) -> BTreeSet<u16> {
    let mut vlans = BTreeSet::new();
    let lists = port.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(list) => Some(list),
        _ => None,
    });
    // Without compression each VLAN is told by itself; a range has two ends.
    let mut begin = None;
    for info in lists.flatten() {
        let AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid, .. }) = info else {
            continue;
        };
        let first = begin.take().unwrap_or(*vid);
        if flags.contains(BridgeVlanInfoFlags::RangeBegin) {
            begin = Some(*vid);
        } else if !flags.contains(BridgeVlanInfoFlags::Untagged) {
            vlans.extend(first..=*vid);
        }
    }
    vlans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_for_a_port() {
        let info = |flags, vid| AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid });
        let untagged = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let list = vec![
            info(untagged, 1),
            info(BridgeVlanInfoFlags::empty(), 7),
            info(BridgeVlanInfoFlags::RangeBegin, 100),
            info(BridgeVlanInfoFlags::RangeEnd, 102),
            info(
                BridgeVlanInfoFlags::RangeBegin | BridgeVlanInfoFlags::Untagged,
                200,
            ),
            info(BridgeVlanInfoFlags::RangeEnd | BridgeVlanInfoFlags::Untagged, 202),
        ];
        let mut port = LinkMessage::default();
        port.attributes.push(LinkAttribute::AfSpecBridge(list));
        assert_eq!(Vec::from_iter(tagged(&port)), [7, 100, 101, 102]);
        assert_eq!(self::untagged(&port), Some(1));
        let none = LinkMessage::default();
        assert!(tagged(&none).is_empty() && self::untagged(&none).is_none());
    }
}
