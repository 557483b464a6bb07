//! An Ethernet address as a value.

use std::fmt;
use std::str::FromStr;

/// Six bytes; written `aa:bb:cc:dd:ee:ff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is not six pairs of hexadecimal digits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address")]
pub struct NotAMac;

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// From the bytes of a netlink attribute; `None` for other link layers and for an address of zeros.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 6] = bytes.try_into().ok()?;
        (bytes != [0; 6]).then_some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(NotAMac)?;
            // from_str_radix would take a sign.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotAMac)?;
        }
        if pairs.next().is_some() {
            Err(NotAMac)
        } else {
            Ok(Self(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mac: Mac = "52:54:00:AA:00:1f".parse().unwrap();
        assert_eq!(mac, Mac([0x52, 0x54, 0, 0xaa, 0, 0x1f]));
        assert_eq!(mac.to_string(), "52:54:00:aa:00:1f");
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "52:54:00:aa:00",
            "52:54:00:aa:00:10:11",
            "5:54:00:aa:00:10",
            "+2:54:00:aa:00:10",
            "zz:54:00:aa:00:10",
            "5254.00aa.0010",
            "é2:54:00:aa:00:10",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(NotAMac), "{text:?}");
        }
    }
}
