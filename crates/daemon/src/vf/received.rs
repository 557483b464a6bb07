//! What VFs have received, as their PF's driver counts it.

use futures_util::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfStats},
};

use super::{Vfs, error::VfName, netlink::Netlink};

impl Vfs {
    /// Bytes since the driver counts; none where it counts nothing, or has more VFs than its answer has room for.
    pub(crate) async fn received(&self, vf: &VfName) -> Option<u64> {
        let netlink = Netlink::open(&vf.pf).ok()?;
        let request = netlink.links().get().match_name(vf.pf.clone());
        let request = request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::Vf]);
        let answer = request.execute().try_next().await;
        received_in(answer.ok()??, vf.index)
    }
}

/// A driver that does not count answers zeros.
fn received_in(message: LinkMessage, index: u32) -> Option<u64> {
    let lists = message
        .attributes
        .into_iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::VfInfoList(list) => Some(list),
            _ => None,
        });
    let is = |info: &VfInfo| matches!(info, VfInfo::Mac(mac) if mac.vf_id == index);
    let LinkVfInfo(infos) = lists.flatten().find(|LinkVfInfo(infos)| infos.iter().any(is))?;
    let bytes = infos.iter().find_map(|info| match info {
        VfInfo::Stats(stats) => stats.iter().find_map(|count| match count {
            VfStats::RxBytes(bytes) => Some(*bytes),
            _ => None,
        }),
        _ => None,
    });
    bytes.filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::VfInfoMac;

    use super::*;

    #[test]
    fn bytes_are_those_of_the_vf_and_zeros_are_no_count() {
        let vf = |index: u32, bytes| {
            LinkVfInfo(vec![
                VfInfo::Mac(VfInfoMac::new(index, &[0; 6])),
                VfInfo::Stats(vec![VfStats::TxBytes(9), VfStats::RxBytes(bytes)]),
            ])
        };
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::VfInfoList(vec![vf(0, 7), vf(1, 0)]));
        assert_eq!(received_in(message.clone(), 0), Some(7));
        assert_eq!(received_in(message.clone(), 1), None);
        assert_eq!(received_in(message, 2), None);
    }
}
