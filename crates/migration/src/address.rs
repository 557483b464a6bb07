//! Addresses of things: a PCI function, a MAC. Parsed once at the edge, compared as values.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A PCI function on one host, `dddd:bb:ss.f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    /// PCI domain, 0 on most machines.
    pub domain: u16,
    /// Bus, 0 to 255.
    pub bus: u8,
    /// Slot, 0 to 31.
    pub slot: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

/// A text that is not an address of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} (expected {example})")]
pub struct BadAddress {
    kind: &'static str,
    example: &'static str,
    text: String,
}

impl BadAddress {
    fn pci(text: &str) -> Self {
        BadAddress {
            kind: "PCI address",
            example: "0000:01:10.0",
            text: clip(text),
        }
    }

    fn mac(text: &str) -> Self {
        BadAddress {
            kind: "MAC address",
            example: "52:54:00:12:34:56",
            text: clip(text),
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

impl FromStr for PciAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let parse = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (slot, function) = rest.split_once('.')?;
            let lengths = (domain.len(), bus.len(), slot.len(), function.len());
            let address = PciAddress {
                domain: u16::from_str_radix(domain, 16).ok()?,
                bus: u8::from_str_radix(bus, 16).ok()?,
                slot: u8::from_str_radix(slot, 16).ok()?,
                function: function.parse().ok()?,
            };
            (lengths == (4, 2, 2, 1) && address.slot < 32 && address.function < 8).then_some(address)
        };
        parse().ok_or_else(|| BadAddress::pci(text))
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            self.domain, self.bus, self.slot, self.function
        )
    }
}

impl TryFrom<String> for PciAddress {
    type Error = BadAddress;

    fn try_from(text: String) -> Result<Self, BadAddress> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> String {
        address.to_string()
    }
}

/// An Ethernet address of one station (never a group address, never all zeros).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The six bytes, if they are one station's address.
    ///
    /// # Errors
    /// A group address or all zeros.
    pub fn new(bytes: [u8; 6]) -> Result<Self, BadAddress> {
        let station = bytes[0] & 1 == 0 && bytes != [0; 6];
        if station {
            Ok(MacAddress(bytes))
        } else {
            Err(BadAddress::mac(&hex(&bytes)))
        }
    }

    /// The six bytes, in the order of the wire.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

impl FromStr for MacAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(|| BadAddress::mac(text))?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadAddress::mac(text))?;
        }
        if parts.next().is_some() {
            return Err(BadAddress::mac(text));
        }
        MacAddress::new(bytes)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadAddress;

    fn try_from(text: String) -> Result<Self, BadAddress> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_read_and_print_the_same() {
        let address: PciAddress = "0000:01:10.0".parse().unwrap();
        assert_eq!((address.bus, address.slot, address.function), (1, 16, 0));
        assert_eq!(address.to_string(), "0000:01:10.0");
        for wrong in [
            "",
            "1:10.0",
            "0000:01:20.0",
            "0000:01:10.8",
            "0000:01:10.0x",
            "../0:01:10.0",
            "00000:1:10.0",
        ] {
            assert!(wrong.parse::<PciAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_one_stations_address_is_a_mac() {
        let address: MacAddress = "52:54:00:AA:00:10".parse().unwrap();
        assert_eq!(address.to_string(), "52:54:00:aa:00:10");
        for wrong in [
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "52:54:00:aa:00",
            "52:54:00:aa:00:10:11",
            "5:54:0:a:0:1",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
