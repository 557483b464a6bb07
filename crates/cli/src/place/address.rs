//! Where a daemon listens: a host and a port.

use std::net::Ipv6Addr;

use super::contexts::ContextError;

/// The port of `listen` in the documents' examples, and of whoever follows them.
pub(crate) const PORT: u16 = 7716;
/// RFC 1035: no name is longer.
const LONGEST: usize = 253;

/// A host by its name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// `beta`, `beta:7716`, `10.1.0.2:7716`, `[fd00::2]:7716` or `fd00::2`.
    ///
    /// # Errors
    /// Anything else.
    pub(crate) fn parse(text: &str) -> Result<Address, ContextError> {
        let wrong = || ContextError::Address { text: text.into() };
        let whole = |host: &str| (host.to_owned(), None);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                match after.strip_prefix(':') {
                    Some(port) => (host.to_owned(), Some(port)),
                    None if after.is_empty() => whole(host),
                    None => return Err(wrong()),
                }
            }
            None if text.parse::<Ipv6Addr>().is_ok() => whole(text),
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => whole(text),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > LONGEST || !host.chars().all(plain) {
            return Err(wrong());
        }
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        Ok(Address { host, port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_or_without_a_port() {
        for (text, shown) in [
            ("beta", "beta:7716"),
            ("beta.example:1", "beta.example:1"),
            ("10.1.0.2", "10.1.0.2:7716"),
            ("10.1.0.2:65535", "10.1.0.2:65535"),
            ("[fd00::2]:80", "[fd00::2]:80"),
            ("[fd00::2]", "[fd00::2]:7716"),
            ("fd00::2", "[fd00::2]:7716"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        let long = "x".repeat(254);
        for text in [
            "",
            ":1",
            "beta:",
            "beta:0",
            "beta:65536",
            "beta:x",
            "be ta",
            "https://beta",
            "beta/x",
            "[fd00::2",
            "[beta]:1",
            "[fd00::2]1",
            "a:b:1",
            "b\u{e9}ta",
            &long,
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
