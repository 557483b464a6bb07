//! By what copies of one frame, seen in two places, are known to be one; and what belongs to one conversation.
//!
//! Two things differ between copies of one frame. The tag of its VLAN is taken off and put on by whatever it passes. The checksum of TCP
//! and UDP may be left to the NIC, which a copy that was seen before that has not got.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::frame::{Frame, Tag};

/// What is the same in all copies of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    /// The outermost; none: it has none here.
    pub(super) tag: Option<Tag>,
    /// Of its addresses and its content.
    pub(super) content: u64,
    /// Of its addresses and, where it has them, its ports: the same for all frames of a conversation in this direction.
    pub(super) flow: u64,
}

/// Ethernet's addresses.
const ADDRESSES: usize = 12;

/// Where IP's payload begins, with its protocol and its addresses.
struct Payload<'a> {
    protocol: u8,
    addresses: &'a [u8],
    begins: usize,
}

/// A frame's parts.
struct Parts<'a> {
    addresses: &'a [u8],
    tag: Option<Tag>,
    /// From its type on.
    rest: &'a [u8],
    payload: Option<Payload<'a>>,
}

impl Likeness {
    pub(super) fn of(frame: &Frame) -> Likeness {
        let parts = Parts::of(frame);
        Likeness {
            tag: parts.tag,
            content: parts.content(),
            flow: parts.flow(),
        }
    }
}

/// The conversation alone, with the tag.
pub(super) fn flow(frame: &Frame) -> (u64, Option<Tag>) {
    let parts = Parts::of(frame);
    (parts.flow(), parts.tag)
}

impl Parts<'_> {
    fn of(frame: &Frame) -> Parts<'_> {
        let (addresses, rest) = frame.data.split_at(ADDRESSES.min(frame.data.len()));
        let tag = frame.tag();
        let rest = if tag.is_some() { &rest[4..] } else { rest };
        Parts {
            addresses,
            tag,
            rest,
            payload: payload(rest),
        }
    }

    fn flow(&self) -> u64 {
        let mut flow = DefaultHasher::new();
        (self.addresses, self.rest.get(..2)).hash(&mut flow);
        if let Some(payload) = &self.payload {
            (payload.protocol, payload.addresses).hash(&mut flow);
            if payload.checksum().is_some() {
                let ports = payload.begins..payload.begins + 4;
                self.rest.get(ports).hash(&mut flow);
            }
        }
        flow.finish()
    }

    fn content(&self) -> u64 {
        let checksum = self.payload.as_ref().and_then(Payload::checksum);
        let blank = checksum.map_or(self.rest.len(), |at| at.min(self.rest.len()));
        let mut content = DefaultHasher::new();
        (self.addresses, &self.rest[..blank], self.rest.get(blank + 2..)).hash(&mut content);
        content.finish()
    }
}

impl Payload<'_> {
    /// Where the checksum stands that may be left to the NIC.
    fn checksum(&self) -> Option<usize> {
        match self.protocol {
            6 => Some(self.begins + 16),
            17 => Some(self.begins + 6),
            _ => None,
        }
    }
}

/// Of an IP packet behind its Ethernet type, if it is the first, or only, part of one.
fn payload(rest: &[u8]) -> Option<Payload<'_>> {
    let (kind, packet) = rest.split_first_chunk::<2>()?;
    match kind {
        [0x08, 0x00] => {
            let length = usize::from(packet.first()? & 0xf) * 4;
            let later_part = packet.get(6)? & 0x1f != 0 || *packet.get(7)? != 0;
            (!later_part).then_some(())?;
            Some(Payload {
                protocol: *packet.get(9)?,
                addresses: packet.get(12..20)?,
                begins: 2 + length,
            })
        }
        [0x86, 0xdd] => Some(Payload {
            protocol: *packet.get(6)?,
            addresses: packet.get(8..40)?,
            begins: 2 + 40,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A UDP datagram to port 9999 from that port, with that in it.
    fn datagram(from: u16, checksum: u16, content: u8, tag: Option<u16>) -> Likeness {
        let mut data = vec![0; 10];
        data.extend([0x52, 0x54, 0, 0xaa, 0, 0x10, 2, 2, 2, 2, 2, 2, 8, 0]);
        data.extend([
            0x45, 0, 0, 32, 0, 7, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        data.extend(from.to_be_bytes());
        data.extend([0x27, 0x0f, 0, 12]);
        data.extend(checksum.to_be_bytes());
        data.extend([content; 4]);
        Likeness::of(&Frame::read(&data, tag.map(|tag| (0x8100, tag))).unwrap())
    }

    #[test]
    fn copies_are_alike_and_nothing_else_is() {
        let plain = datagram(1000, 0, 1, None);
        let tagged = datagram(1000, 77, 1, Some(0x2007));
        assert_eq!(tagged.tag, Some((0x8100, 7)));
        assert_eq!((plain.content, plain.flow), (tagged.content, tagged.flow));
        let other = datagram(1000, 0, 2, None);
        assert_ne!(plain.content, other.content);
        assert_eq!(plain.flow, other.flow, "of the same conversation");
        assert_ne!(plain.flow, datagram(1001, 0, 1, None).flow);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 0..4) {
            let mut data = vec![0; 22];
            data.extend([[8, 0], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8]][kind as usize]);
            data.extend(bytes);
            if let Some(frame) = Frame::read(&data, None) {
                Likeness::of(&frame);
            }
        }
    }
}
