//! ICMP echo requests and their replies (RFC 792; RFC 4443, 4). Pure.

use std::net::IpAddr;

use godwit_api::agent::v1::ProbeKind;

use crate::frames;

/// Types of request and reply.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

/// What is behind identifier and number: told apart from everybody else's echoes by chance.
const COOKIE: usize = 8;

/// The requests of one record.
#[derive(Debug)]
pub(super) struct Echo {
    identifier: u16,
    cookie: [u8; COOKIE],
}

impl Echo {
    pub(super) fn new(chance: u64) -> Self {
        Self {
            identifier: u16::try_from(chance >> 48).unwrap_or_default(),
            cookie: chance.to_be_bytes(),
        }
    }

    /// The ICMP message. The kernel fills in the checksum of an ICMPv6 one.
    pub(super) fn request(&self, to: IpAddr, number: u16) -> Vec<u8> {
        let kind = if to.is_ipv4() { V4.0 } else { V6.0 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        message.extend(number.to_be_bytes());
        message.extend(self.cookie);
        if to.is_ipv4() {
            let checksum = frames::checksum(&[&message]).to_be_bytes();
            message.splice(2..4, checksum);
        }
        message
    }

    /// The number in a reply to one of these requests, as a raw socket gives it: an ICMPv4 message comes with its IPv4 header.
    pub(super) fn number(&self, from: IpAddr, arrived: &[u8]) -> Option<u16> {
        let (kind, message) = match from {
            IpAddr::V4(from) => {
                let header = usize::from(arrived.first()? & 0x0f) * 4;
                let is_from = arrived.get(12..16)? == from.octets();
                (V4.1, arrived.get(header..).filter(|_| is_from)?)
            }
            IpAddr::V6(_) => (V6.1, arrived),
        };
        let [first, second] = message.get(6..8)?.try_into().ok()?;
        let ours = message.first()? == &kind
            && message.get(4..6)? == self.identifier.to_be_bytes()
            && message.get(8..8 + COOKIE)? == self.cookie;
        ours.then(|| u16::from_be_bytes([first, second]))
    }
}

/// For the log.
pub(super) fn name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Arp => "ARP",
        ProbeKind::Nd => "neighbour discovery",
        ProbeKind::Reflector => "UDP to a reflector",
        ProbeKind::Echo | ProbeKind::Unspecified => "ICMP echo",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo {
        identifier: 0x1234,
        cookie: [1, 2, 3, 4, 5, 6, 7, 8],
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_has_every_byte_in_its_place() {
        let v4 = ECHO.request(ip("192.0.2.1"), 0x0506);
        // The checksum was computed apart from this program.
        assert_eq!(v4, [8, 0, 0xd0, 0xb1, 0x12, 0x34, 5, 6, 1, 2, 3, 4, 5, 6, 7, 8]);
        let v6 = ECHO.request(ip("2001:db8::1"), 7);
        assert_eq!(v6[..8], [128, 0, 0, 0, 0x12, 0x34, 0, 7]);
    }

    #[test]
    fn a_reply_gives_its_number_and_all_others_none() {
        let from = ip("192.0.2.1");
        let header = [[0x46, 0, 0, 40], [0; 4], [0; 4], [192, 0, 2, 1], [0; 4], [0; 4]].concat();
        let mut message = ECHO.request(from, 0x0506);
        message[0] = 0;
        let reply = [header, message].concat();
        assert_eq!(ECHO.number(from, &reply), Some(0x0506));
        assert_eq!(ECHO.number(ip("192.0.2.2"), &reply), None);
        for length in 0..reply.len() {
            assert_eq!(ECHO.number(from, &reply[..length]), None);
        }
        // The request itself, another's identifier, another's cookie.
        for at in [24, 28, 35] {
            let mut other = reply.clone();
            other[at] ^= 8;
            assert_eq!(ECHO.number(from, &other), None);
        }
        let mut v6 = ECHO.request(ip("2001:db8::1"), 9);
        v6[0] = 129;
        assert_eq!(ECHO.number(ip("2001:db8::1"), &v6), Some(9));
    }
}
