//! One Ethernet frame as a packet socket has it: what its sender left to the NIC stands before it.

use godwit_api::peer::v1::KeptFrame;
use godwit_migration::MacAddress;

/// `struct virtio_net_hdr` of the kernel's virtio_net.h, as `PACKET_VNET_HDR` puts it before a frame.
pub(super) const HEADER: usize = 10;

/// The longest frame: what a NIC cuts into pieces itself is at most 64 KiB (`GSO_LEGACY_MAX_SIZE`), and link-layer headers.
pub(super) const LONGEST: usize = 65536 + 64;

/// Ethernet's header.
const ETHERNET: usize = 14;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the other flags say what a receiver knows, and no sender.
const NEEDS_CHECKSUM: u8 = 1;

/// `VIRTIO_NET_HDR_GSO_…`: none, TCP over IPv4, UDP, TCP over IPv6, UDP in datagrams; and the bit for ECN.
const SEGMENT_TYPES: [u8; 5] = [0, 1, 3, 4, 5];
const ECN: u8 = 0x80;

/// A VLAN's tag: kind (TPID), and the VLAN without its priority.
pub(crate) type Tag = (u16, u16);

const TAG_KINDS: [u16; 2] = [0x8100, 0x88a8];

/// What a sender left to the NIC: to fill in the checksum, or to cut it into pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offload {
    needs_checksum: bool,
    segment_type: u8,
    header_length: u16,
    segment_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) data: Vec<u8>,
    pub(crate) offload: Offload,
}

/// It cannot be one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame that is none")]
pub(super) struct NoFrame;

impl Offload {
    fn read(header: [u8; HEADER]) -> Offload {
        let [flags, segment_type, rest @ ..] = header;
        let [length, size, start, offset] =
            [0, 2, 4, 6].map(|at| u16::from_ne_bytes([rest[at], rest[at + 1]]));
        let needs_checksum = flags & NEEDS_CHECKSUM != 0;
        // Without the flag the kernel leaves in these what it likes.
        Offload {
            needs_checksum,
            segment_type,
            header_length: length,
            segment_size: size,
            checksum_start: if needs_checksum { start } else { 0 },
            checksum_offset: if needs_checksum { offset } else { 0 },
        }
    }

    fn written(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = u8::from(self.needs_checksum);
        header[1] = self.segment_type;
        let numbers = [
            self.header_length,
            self.segment_size,
            self.checksum_start,
            self.checksum_offset,
        ];
        for (place, number) in header[2..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        header
    }

    /// As it is when so many bytes more, or less, stand before the payload.
    fn moved(mut self, bytes: i16) -> Offload {
        if self.header_length > 0 {
            self.header_length = self.header_length.saturating_add_signed(bytes);
        }
        if self.needs_checksum {
            self.checksum_start = self.checksum_start.saturating_add_signed(bytes);
        }
        self
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Frame {
    /// From what a packet socket gave: header, frame. `vlan` is the tag that the kernel keeps beside it (TPID, TCI).
    pub(super) fn read(bytes: &[u8], vlan: Option<(u16, u16)>) -> Option<Frame> {
        let (header, data) = bytes.split_first_chunk::<HEADER>()?;
        if data.len() < ETHERNET {
            return None;
        }
        let offload = Offload::read(*header);
        let Some((protocol, tag)) = vlan else {
            return Some(Frame {
                data: data.to_vec(),
                offload,
            });
        };
        let (addresses, rest) = data.split_at(12);
        let tag = [protocol.to_be_bytes(), tag.to_be_bytes()].concat();
        Some(Frame {
            data: [addresses, &tag, rest].concat(),
            offload: offload.moved(4),
        })
    }

    /// For a packet socket.
    pub(super) fn written(&self) -> Vec<u8> {
        [self.offload.written().as_slice(), &self.data].concat()
    }

    /// Whom it is for.
    pub(super) fn destination(&self) -> [u8; 6] {
        destination(&self.data)
    }

    /// Whom it is from.
    pub(super) fn source(&self) -> [u8; 6] {
        destination(self.data.get(6..).unwrap_or_default())
    }

    /// With another VLAN tag before all that it has inside, or with none.
    pub(super) fn retagged(self, new: Option<Tag>) -> Frame {
        let Frame { mut data, offload } = self;
        let had = tag(&data).is_some();
        let bytes = new.map(|(kind, vlan)| [kind.to_be_bytes(), vlan.to_be_bytes()].concat());
        data.splice(12..if had { 16 } else { 12 }, bytes.unwrap_or_default());
        let offload = match (had, new.is_some()) {
            (false, true) => offload.moved(4),
            (true, false) => offload.moved(-4),
            (true, true) | (false, false) => offload,
        };
        Frame { data, offload }
    }

    pub(super) fn tag(&self) -> Option<Tag> {
        tag(&self.data)
    }

    pub(super) fn told(self, held_us: u64) -> KeptFrame {
        KeptFrame {
            data: self.data,
            flags: u32::from(self.offload.needs_checksum),
            segment_type: self.offload.segment_type.into(),
            header_length: self.offload.header_length.into(),
            segment_size: self.offload.segment_size.into(),
            checksum_start: self.offload.checksum_start.into(),
            checksum_offset: self.offload.checksum_offset.into(),
            held_us,
        }
    }

    /// From a peer, which may be hostile: the kernel checks the offsets once more.
    pub(super) fn heard(told: KeptFrame) -> Result<Frame, NoFrame> {
        let number = |value: u32| u16::try_from(value).map_err(|_| NoFrame);
        let segment_type = u8::try_from(told.segment_type).map_err(|_| NoFrame)?;
        let known = SEGMENT_TYPES.contains(&(segment_type & !ECN));
        if !known || told.flags > 1 || !(ETHERNET..=LONGEST - HEADER).contains(&told.data.len()) {
            return Err(NoFrame);
        }
        let offload = Offload {
            needs_checksum: told.flags == 1,
            segment_type,
            header_length: number(told.header_length)?,
            segment_size: number(told.segment_size)?,
            checksum_start: number(told.checksum_start)?,
            checksum_offset: number(told.checksum_offset)?,
        };
        let ends = usize::from(offload.checksum_start) + usize::from(offload.checksum_offset) + 2;
        if offload.needs_checksum && ends > told.data.len() {
            return Err(NoFrame);
        }
        Ok(Frame {
            data: told.data,
            offload,
        })
    }
}

/// The VLAN tag of a frame's bytes (IEEE 802.1Q or 802.1ad), the outermost.
pub(crate) fn tag(data: &[u8]) -> Option<Tag> {
    let [kind, number] = [12, 14].map(|at| {
        let bytes = data.get(at..at + 2)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*bytes))
    });
    let kind = kind.filter(|kind| TAG_KINDS.contains(kind))?;
    Some((kind, number? & 0xfff))
}

/// Whom a frame is for; of one that is cut off, nobody.
pub(super) fn destination(data: &[u8]) -> [u8; 6] {
    data.first_chunk::<6>().copied().unwrap_or_default()
}

/// It is for that address and for no group.
pub(super) fn is_for(destination: [u8; 6], macs: &[MacAddress]) -> bool {
    destination[0] & 1 == 0 && macs.iter().any(|mac| mac.bytes() == destination)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header that asks for the checksum at 34 + 16, and a frame.
    fn bytes() -> Vec<u8> {
        let offload = Offload {
            needs_checksum: true,
            segment_type: 1,
            header_length: 54,
            segment_size: 1448,
            checksum_start: 34,
            checksum_offset: 16,
        };
        let mut data = vec![0x52, 0x54, 0, 0xaa, 0, 0x10, 2, 2, 2, 2, 2, 2, 8, 0];
        data.extend([7; 100]);
        [offload.written().as_slice(), &data].concat()
    }

    #[test]
    fn a_frame_comes_through_as_it_is() {
        let frame = Frame::read(&bytes(), None).unwrap();
        assert_eq!(frame.written(), bytes());
        assert_eq!(Frame::heard(frame.clone().told(0)), Ok(frame.clone()));
        assert!(is_for(
            frame.destination(),
            &["52:54:00:aa:00:10".parse().unwrap()]
        ));
        assert!(!is_for(
            frame.destination(),
            &["52:54:00:aa:00:11".parse().unwrap()]
        ));
        assert!(!is_for([0xff; 6], &["52:54:00:aa:00:10".parse().unwrap()]));
        assert_eq!(frame.tag(), None);
        assert_eq!(Frame::read(&bytes()[..HEADER + 13], None), None);
    }

    #[test]
    fn a_tag_beside_the_frame_is_put_into_it_and_what_stands_behind_moves() {
        let frame = Frame::read(&bytes(), Some((0x8100, 0x2007))).unwrap();
        assert_eq!(frame.tag(), Some((0x8100, 7)));
        assert_eq!(frame.data[12..18], [0x81, 0, 0x20, 0x07, 8, 0]);
        assert_eq!(
            (frame.offload.checksum_start, frame.offload.header_length),
            (38, 58)
        );
        // Another one, and none any more.
        let other = frame.retagged(Some((0x8100, 9)));
        assert_eq!(other.data[12..18], [0x81, 0, 0, 9, 8, 0]);
        assert_eq!(other.offload.checksum_start, 38);
        let plain = Frame::read(&bytes(), None).unwrap();
        assert_eq!(other.retagged(None), plain);
        assert_eq!(plain.clone().retagged(Some((0x8100, 9))).retagged(None), plain);
    }

    #[test]
    fn what_a_receiver_knows_is_not_passed_on_as_a_wish() {
        let mut valid = bytes();
        valid[0] = 2;
        let frame = Frame::read(&valid, None).unwrap();
        assert_eq!(frame.written()[0], 0);
        assert_eq!(frame.offload.checksum_start, 0);
    }

    #[test]
    fn nonsense_of_a_peer_is_no_frame() {
        let told = || Frame::read(&bytes(), None).unwrap().told(0);
        let refused = |change: fn(&mut KeptFrame)| {
            let mut told = told();
            change(&mut told);
            Frame::heard(told).is_err()
        };
        assert!(refused(|told| told.data.truncate(13)));
        assert!(refused(|told| told.data.resize(LONGEST, 0)));
        assert!(refused(|told| told.flags = 3));
        assert!(refused(|told| told.segment_type = 2));
        assert!(refused(|told| told.segment_size = 65536));
        assert!(refused(|told| told.checksum_start = 113));
        assert!(!refused(|told| told.segment_type |= 0x80));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200), tci in any::<Option<u16>>()) {
            if let Some(frame) = Frame::read(&bytes, tci.map(|tci| (0x88a8, tci))) {
                prop_assert!(tci.is_none_or(|tci| frame.tag() == Some((0x88a8, tci & 0xfff))));
                prop_assert_eq!(frame.written().len(), bytes.len() + tci.map_or(0, |_| 4));
            }
        }
    }
}
