//! The Ethernet frames that announce somebody and ask for somebody, and the answers to some of them. The agent sends them in the guest, the
//! daemon on its host. The tests hold every byte.
//!
//! Announcements (gratuitous ARP, RFC 5227; unsolicited neighbour advertisement, RFC 4861 7.2.6) make
//! switches send the guest's frames to the port that now carries its traffic. Questions (ARP request,
//! neighbour solicitation) make somebody answer through it. Probes are questions without a sender's address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Mac;

/// A VLAN tag, as it stands in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// 0x8100 for 802.1Q, 0x88a8 for 802.1ad.
    pub protocol: u16,
    /// The VLAN, without a priority.
    pub id: u16,
}

/// Bytes of an Ethernet header, and of a tag in it.
const HEADER: usize = 14;
const TAG: usize = 4;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_RARP: [u8; 2] = [0x80, 0x35];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Options of both: the sender's or the target's link-layer address.
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// "This address is here." `router` must be true on a guest that forwards IPv6, or its neighbours stop
/// using it as a router.
pub fn announcement(mac: Mac, ip: IpAddr, router: bool) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp_request(mac, ip, ip),
        IpAddr::V6(ip) => {
            let flags = OVERRIDE | if router { ROUTER } else { 0 };
            discovery(
                mac,
                ip,
                ALL_NODES,
                (ADVERTISEMENT, flags),
                (ip, Some(TARGET_ADDRESS)),
            )
        }
    }
}

/// "This MAC is here", of a guest without an address: a reverse ARP request (RFC 903), as QEMU sends it for a guest that has
/// moved. Nobody answers it, and every switch on its way learns.
pub fn presence(mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(Mac::BROADCAST, mac, ETHERTYPE_RARP);
    // Ethernet, IPv4, their lengths, reverse request.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 3]);
    for _ in 0..2 {
        frame.extend(mac.0);
        frame.extend([0; 4]);
    }
    frame
}

/// "Where is `to`? Tell `from`." `None` when the two are not of one family.
pub fn question(mac: Mac, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(arp_request(mac, from, to)),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let group = solicited_nodes(to);
            Some(discovery(
                mac,
                from,
                group,
                (SOLICITATION, 0),
                (to, Some(SOURCE_ADDRESS)),
            ))
        }
        _ => None,
    }
}

/// "Where is `to`?", asked by nobody in particular, in the VLAN of these tags, the outermost first.
pub fn probe(mac: Mac, to: IpAddr, tags: &[Tag]) -> Vec<u8> {
    let mut frame = match to {
        IpAddr::V4(to) => arp_request(mac, Ipv4Addr::UNSPECIFIED, to),
        IpAddr::V6(to) => {
            let group = solicited_nodes(to);
            discovery(mac, Ipv6Addr::UNSPECIFIED, group, (SOLICITATION, 0), (to, None))
        }
    };
    let bytes = tags.iter().flat_map(|tag| [tag.protocol, tag.id]);
    let bytes: Vec<u8> = bytes.flat_map(u16::to_be_bytes).collect();
    // Behind the two addresses, before the type.
    frame.splice(12..12, bytes);
    frame
}

/// The same frame, behind so many tags, as long as one may be where an interface carries `mtu` bytes. Whoever answers reads its
/// beginning alone, and every switch on its way passes it on whole or not at all.
pub fn full_size(mut frame: Vec<u8>, tags: usize, mtu: u32) -> Vec<u8> {
    // What no IP packet fills (its length has 16 bits) is no network's size.
    let payload = usize::try_from(mtu)
        .unwrap_or_default()
        .min(usize::from(u16::MAX));
    let size = HEADER + TAG * tags + payload;
    frame.resize(size.max(frame.len()), 0);
    frame
}

/// What is asked again and again of one target: of `whom` alone, once its MAC is known, so that nobody else is bothered.
/// ARP asks without a sender's address: the answer cannot be taken for one that the guest's kernel asked for, and the
/// target's cache is not kept alive by it. Neighbour discovery would answer such a question to everybody, so it asks from
/// `from`.
pub fn direct(mac: Mac, from: IpAddr, to: IpAddr, whom: Option<Mac>) -> Vec<u8> {
    let frame = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let group = if whom.is_some() { to } else { solicited_nodes(to) };
            discovery(mac, from, group, (SOLICITATION, 0), (to, Some(SOURCE_ADDRESS)))
        }
        (_, to) => probe(mac, to, &[]),
    };
    match whom {
        Some(whom) => to_alone(frame, whom),
        None => frame,
    }
}

/// The same question to one station alone. An IPv6 packet to a group may come so (RFC 6085).
pub fn to_alone(mut frame: Vec<u8>, whom: Mac) -> Vec<u8> {
    frame.splice(0..6, whom.0);
    frame
}

/// How much of a frame [`answer`] looks at.
pub const ANSWER: usize = 78;

/// Who answers a probe with this frame: an ARP reply to no address, or an advertisement, which cannot be told from one
/// that nobody asked for.
pub fn answer(frame: &[u8]) -> Option<IpAddr> {
    let at = |from: usize, to: usize| frame.get(from..to);
    if at(12, 14)? == ETHERTYPE_ARP {
        let is_reply = at(14, 22)? == [0, 1, 0x08, 0x00, 6, 4, 0, 2] && at(38, 42)? == [0; 4];
        let from: [u8; 4] = at(28, 32)?.try_into().ok()?;
        return is_reply.then(|| from.into());
    }
    let is_advertisement =
        at(12, 14)? == ETHERTYPE_IPV6 && at(20, 21)? == [ICMPV6] && at(54, 55)? == [ADVERTISEMENT];
    let target: [u8; 16] = at(62, ANSWER)?.try_into().ok()?;
    is_advertisement.then(|| target.into())
}

/// The MAC in an ARP reply of whoever sent it.
pub fn answerer(frame: &[u8]) -> Option<Mac> {
    frame.get(22..28).and_then(Mac::from_bytes)
}

/// Who answers a probe with this frame, and the MAC that it gives for it.
pub fn answers(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let ip = answer(frame)?;
    let option = || {
        let option = frame.get(ANSWER..ANSWER + 8)?;
        let (kind, mac) = option.split_at(2);
        (kind == [TARGET_ADDRESS, 1]).then(|| Mac::from_bytes(mac))?
    };
    let mac = match ip {
        IpAddr::V4(_) => answerer(frame),
        // Who is asked by nobody in particular has to give it (RFC 4861 7.2.4); or else who sent it is meant.
        IpAddr::V6(_) => option().or_else(|| frame.get(6..12).and_then(Mac::from_bytes)),
    };
    Some((ip, mac?))
}

/// Who answers a solicitation with this ICMPv6 message, and the MAC that it gives for it.
pub fn advertised(message: &[u8]) -> Option<(IpAddr, Option<Mac>)> {
    let at = |from: usize, to: usize| message.get(from..to);
    let is_answer = at(0, 1)? == [ADVERTISEMENT] && at(4, 5)?.first()? & SOLICITED != 0;
    let target: [u8; 16] = at(8, 24)?.try_into().ok()?;
    let has_mac = at(24, 26) == Some(&[TARGET_ADDRESS, 1]);
    let mac = at(26, 32).filter(|_| has_mac).and_then(Mac::from_bytes);
    is_answer.then(|| (target.into(), mac))
}

fn arp_request(mac: Mac, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(Mac::BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet, IPv4, their lengths, request.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(to.octets());
    frame
}

/// A neighbour discovery message: `kind` with the first byte of its flags, about a target and with one
/// link-layer option at most.
fn discovery(
    mac: Mac,
    from: Ipv6Addr,
    to: Ipv6Addr,
    kind: (u8, u8),
    about: (Ipv6Addr, Option<u8>),
) -> Vec<u8> {
    let (target, option) = about;
    let mut message = vec![kind.0, 0, 0, 0, kind.1, 0, 0, 0];
    message.extend(target.octets());
    if let Some(option) = option {
        message.extend([option, 1]);
        message.extend(mac.0);
    }
    let length = u8::try_from(message.len()).unwrap_or_default();
    let checksum = checksum(&[
        &from.octets(),
        &to.octets(),
        &[0, 0, 0, length, 0, 0, 0, ICMPV6],
        &message,
    ]);

    let [.., a, b, c, d] = to.octets();
    let mut frame = ethernet(Mac([0x33, 0x33, a, b, c, d]), mac, ETHERTYPE_IPV6);
    // Version 6; payload length, next header, hop limit 255 (others are ignored).
    frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(message.iter().take(2));
    frame.extend(checksum.to_be_bytes());
    frame.extend(message.iter().skip(4));
    frame
}

fn ethernet(to: Mac, from: Mac, ethertype: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(ethertype);
    frame
}

/// The multicast group that the owner of an address listens to (RFC 4291 2.7.1).
fn solicited_nodes(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Internet checksum (RFC 1071) over parts of even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words
        .map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0x00, 0xaa, 0x00, 0x10]);

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn gratuitous_arp() {
        let expected = "ffffffffffff 525400aa0010 0806  0001 0800 06 04 0001
                        525400aa0010 0a4d0064  000000000000 0a4d0064";
        assert_eq!(announcement(MAC, ip("10.77.0.100"), true), hex(expected));
    }

    #[test]
    fn arp_request() {
        let expected = "ffffffffffff 525400aa0010 0806  0001 0800 06 04 0001
                        525400aa0010 0a4d0064  000000000000 0a4d0001";
        assert_eq!(
            question(MAC, ip("10.77.0.100"), ip("10.77.0.1")),
            Some(hex(expected))
        );
    }

    #[test]
    fn a_mac_without_an_address() {
        let expected = "ffffffffffff 525400aa0010 8035  0001 0800 06 04 0003
                        525400aa0010 00000000  525400aa0010 00000000";
        assert_eq!(presence(MAC), hex(expected));
    }

    /// The checksums were computed apart from this program (Python, RFC 1071 over the pseudo header).
    #[test]
    fn unsolicited_advertisement() {
        let expected = "333300000001 525400aa0010 86dd  60000000 0020 3a ff
                        fd000000000000000000000000000100 ff020000000000000000000000000001
                        8800 0790 20000000 fd000000000000000000000000000100 02 01 525400aa0010";
        assert_eq!(announcement(MAC, ip("fd00::100"), false), hex(expected));
        let router = announcement(MAC, ip("fd00::100"), true);
        assert_eq!(router.get(58), Some(&0xa0));
    }

    #[test]
    fn solicitation() {
        let expected = "3333ff000001 525400aa0010 86dd  60000000 0020 3a ff
                        fe80000000000000505400fffeaa0010 ff0200000000000000000001ff000001
                        8700 d97e 00000000 fe800000000000000000000000000001 01 01 525400aa0010";
        let asked = question(MAC, ip("fe80::5054:ff:feaa:10"), ip("fe80::1"));
        assert_eq!(asked, Some(hex(expected)));
    }

    #[test]
    fn a_probe_is_a_question_without_a_sender() {
        let arp = "ffffffffffff 525400aa0010 0806  0001 0800 06 04 0001
                   525400aa0010 00000000  000000000000 0a4d0001";
        assert_eq!(probe(MAC, ip("10.77.0.1"), &[]), hex(arp));
        let tags = [(0x88a8, 7), (0x8100, 100)].map(|(protocol, id)| Tag { protocol, id });
        let tagged = arp.replace("0806", "88a8 0007 8100 0064 0806");
        assert_eq!(probe(MAC, ip("10.77.0.1"), &tags), hex(&tagged));
        // No option: RFC 4861 4.3 forbids it under this sender.
        let solicitation = "3333ff000001 525400aa0010 86dd  60000000 0018 3a ff
                            00000000000000000000000000000000 ff0200000000000000000001ff000001
                            8700 7c25 00000000 fe800000000000000000000000000001";
        assert_eq!(probe(MAC, ip("fe80::1"), &[]), hex(solicitation));
    }

    #[test]
    fn a_probe_may_fill_a_frame() {
        let tag = Tag {
            protocol: 0x8100,
            id: 100,
        };
        let small = probe(MAC, ip("10.77.0.1"), &[tag]);
        let full = full_size(small.clone(), 1, 1500);
        assert_eq!(full.len(), 1518);
        assert_eq!(full[..small.len()], small);
        assert!(full[small.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(full_size(small.clone(), 1, 0), small, "nothing is cut off");
        assert_eq!(full_size(small, 0, u32::MAX).len(), 14 + 65535);
    }

    #[test]
    fn what_is_asked_often_goes_to_one_alone() {
        let whom = Mac([2, 0, 0, 0, 0, 1]);
        let arp = "020000000001 525400aa0010 0806  0001 0800 06 04 0001
                   525400aa0010 00000000  000000000000 0a4d0001";
        let asked = |to: &str, whom| direct(MAC, ip("fe80::5054:ff:feaa:10"), ip(to), whom);
        assert_eq!(
            direct(MAC, ip("10.77.0.100"), ip("10.77.0.1"), Some(whom)),
            hex(arp)
        );
        assert_eq!(
            direct(MAC, ip("10.77.0.100"), ip("10.77.0.1"), None),
            probe(MAC, ip("10.77.0.1"), &[])
        );
        assert_eq!(
            Some(asked("fe80::1", None)),
            question(MAC, ip("fe80::5054:ff:feaa:10"), ip("fe80::1"))
        );
        // The checksum was computed apart from this program.
        let solicitation = "020000000001 525400aa0010 86dd  60000000 0020 3a ff
                            fe80000000000000505400fffeaa0010 fe800000000000000000000000000001
                            8700 d902 00000000 fe800000000000000000000000000001 01 01 525400aa0010";
        assert_eq!(asked("fe80::1", Some(whom)), hex(solicitation));
    }

    #[test]
    fn an_advertisement_that_was_asked_for_gives_the_mac() {
        let message = hex("8800 0000 60000000 fe800000000000000000000000000001 02 01 020000000001");
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        assert_eq!(advertised(&message), Some((ip("fe80::1"), Some(mac))));
        assert_eq!(advertised(&message[..24]), Some((ip("fe80::1"), None)));
        for length in 0..24 {
            assert_eq!(advertised(&message[..length]), None);
        }
        // One that nobody asked for.
        assert_eq!(
            advertised(&hex("8800 0000 20000000 fe800000000000000000000000000001")),
            None
        );
        let reply = "525400aa0010 020000000001 0806  0001 0800 06 04 0002 020000000001 0a4d0001";
        assert_eq!(answerer(&hex(reply)), Some(mac));
    }

    #[test]
    fn an_answer_gives_the_mac_of_who_answers() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let reply = "525400aa0010 020000000009 0806  0001 0800 06 04 0002
                     020000000001 0a4d0001  525400aa0010 00000000";
        assert_eq!(answers(&hex(reply)), Some((ip("10.77.0.1"), mac)));
        let nobody = reply.replace("020000000001 0a4d0001", "000000000000 0a4d0001");
        assert_eq!(answers(&hex(&nobody)), None);
        let told = "333300000001 020000000009 86dd  60000000 0020 3a ff
                    fe800000000000000000000000000001 ff020000000000000000000000000001
                    8800 0000 20000000 fe800000000000000000000000000001";
        let with = format!("{told} 02 01 020000000001");
        assert_eq!(answers(&hex(&with)), Some((ip("fe80::1"), mac)));
        assert_eq!(
            answers(&hex(told)),
            Some((ip("fe80::1"), Mac([2, 0, 0, 0, 0, 9])))
        );
        for length in 0..78 {
            assert_eq!(answers(&hex(&with)[..length]), None);
        }
    }

    #[test]
    fn an_answer_names_who_answers() {
        let reply = "525400aa0010 020000000001 0806  0001 0800 06 04 0002
                     020000000001 0a4d0001  525400aa0010 00000000";
        assert_eq!(answer(&hex(reply)), Some(ip("10.77.0.1")));
        // One to an address answers what the kernel asked; the others are no replies, or cut short.
        assert_eq!(answer(&hex(&reply.replace("00000000", "0a4d0064"))), None);
        assert_eq!(answer(&hex(&reply.replace("04 0002", "04 0001"))), None);
        for length in 0..42 {
            assert_eq!(answer(&hex(reply)[..length]), None);
        }
        let advertisement = announcement(MAC, ip("fd00::100"), false);
        assert_eq!(answer(&advertisement), Some(ip("fd00::100")));
        assert_eq!(answer(&advertisement[..77]), None);
        assert_eq!(answer(&probe(MAC, ip("fd00::100"), &[])), None);
    }

    #[test]
    fn checksums_carry_round() {
        // RFC 1071, section 3; and a sum whose first carry makes another.
        assert_eq!(
            checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]),
            !0xddf2
        );
        assert_eq!(checksum(&[&[0xff, 0xff, 0x00, 0x01]]), !0x0001);
        assert_eq!(checksum(&[&[0xff, 0xff], &[0xff, 0xff]]), 0);
    }

    #[test]
    fn a_question_stays_in_its_family() {
        assert_eq!(question(MAC, ip("10.77.0.100"), ip("fe80::1")), None);
    }
}
