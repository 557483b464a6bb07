//! What a guest should have, as it travels in its own domain's metadata.
//!
//! ```xml
//! <godwit:guest xmlns:godwit="urn:godwit:domain:1" version="1" policy="require">
//!   <godwit:pair pool="fabric">
//!     <godwit:standby mac="52:54:00:aa:00:10" alias="ua-net0"/>
//!     <godwit:primary mac="52:54:00:aa:00:10" alias="ua-godwit-0" address="0000:05:00.0"/>
//!     <godwit:profile vlan="100" vlan-priority="0" vlan-protocol="802.1Q" spoofchk="on" .../>
//!   </godwit:pair>
//! </godwit:guest>
//! ```
//!
//! libvirt puts prefix and namespace on by itself when the element is set, refuses an element that has them already, and
//! takes them off again when it is read. So there are two forms: the bare element for libvirt's metadata calls, and the
//! one above for a place inside a domain's XML. Both are read. Elements and attributes of a later Godwit are ignored.

mod profile;

use std::{collections::BTreeSet, fmt::Write, str::FromStr};

use godwit_migration::{BadAddress, MacAddress, PciAddress, Policy, Profile};
use roxmltree::{Document, Node};

use super::xml::escape;

/// Namespace of Godwit's element in a domain's `<metadata>`.
pub(crate) const NAMESPACE: &str = "urn:godwit:domain:1";
/// Its prefix.
pub(crate) const PREFIX: &str = "godwit";

const VERSION: &str = "1";
/// More pairs than any guest has.
const MOST_PAIRS: usize = 32;

/// What a guest should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestWish {
    /// What to do when there is no VF for it.
    pub policy: Policy,
    /// Its pairs; none only where it wants no VF.
    pub pairs: Vec<WishedPair>,
}

/// One pair that a guest should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WishedPair {
    /// MAC of the standby.
    pub standby_mac: MacAddress,
    /// libvirt's alias of the standby.
    pub standby_alias: String,
    /// Alias that the primary gets when it is plugged; begins with `ua-`, or libvirt would choose another.
    pub primary_alias: String,
    /// MAC of the primary.
    pub primary_mac: MacAddress,
    /// Pool that its VF comes from.
    pub pool: String,
    /// Where the primary is in the guest, so that its name there stays the same; libvirt chooses when absent.
    pub guest_address: Option<PciAddress>,
    /// What its VF was set to as it was read last; absent as long as nobody has read it.
    pub profile: Option<Profile>,
}

/// Metadata that is not a wish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    /// Not XML.
    #[error("Godwit's metadata is not XML: {0}")]
    NotXml(#[from] roxmltree::Error),
    /// Another element.
    #[error("Godwit's metadata is `{0}`, not `guest`")]
    NotAGuest(String),
    /// Written by a Godwit that this one does not understand.
    #[error("Godwit's metadata has version `{0}`; this Godwit reads version {VERSION}")]
    Version(String),
    /// Something is missing.
    #[error("Godwit's metadata: pair {pair} has no {what}")]
    Missing {
        /// Which pair, from 1.
        pair: usize,
        /// Element and attribute.
        what: String,
    },
    /// A value is not one of its kind.
    #[error("Godwit's metadata: pair {pair}: {what}: {source}")]
    Address {
        /// Which pair, from 1.
        pair: usize,
        /// Element and attribute.
        what: String,
        /// Why.
        source: BadAddress,
    },
    /// A profile has a value that no VF can have.
    #[error("Godwit's metadata: pair {pair}: profile {what}")]
    Profile {
        /// Which pair, from 1.
        pair: usize,
        /// Which value, one sentence.
        what: String,
    },
    /// A value is impossible.
    #[error("Godwit's metadata: {0}")]
    Wrong(String),
}

impl GuestWish {
    /// The bare element, for [`Libvirt::set_metadata`](super::Libvirt::set_metadata).
    pub(crate) fn to_element(&self) -> String {
        self.write("", "")
    }

    /// The element with its namespace, for a domain's XML.
    pub(crate) fn to_namespaced(&self) -> String {
        self.write(&format!("{PREFIX}:"), &format!(" xmlns:{PREFIX}=\"{NAMESPACE}\""))
    }

    fn write(&self, prefix: &str, namespace: &str) -> String {
        let policy = self.policy.name();
        let mut text = format!("<{prefix}guest{namespace} version=\"{VERSION}\" policy=\"{policy}\">");
        for pair in &self.pairs {
            let WishedPair {
                standby_mac,
                primary_mac,
                ..
            } = pair;
            let (pool, standby) = (escape(&pair.pool), escape(&pair.standby_alias));
            let primary = escape(&pair.primary_alias);
            let address = pair
                .guest_address
                .map(|address| format!(" address=\"{address}\""))
                .unwrap_or_default();
            let profile = pair
                .profile
                .as_ref()
                .map(|profile| profile::element(prefix, profile))
                .unwrap_or_default();
            // Writing to a `String` cannot fail.
            let _ = write!(
                text,
                "<{prefix}pair pool=\"{pool}\">\
                 <{prefix}standby mac=\"{standby_mac}\" alias=\"{standby}\"/>\
                 <{prefix}primary mac=\"{primary_mac}\" alias=\"{primary}\"{address}/>\
                 {profile}</{prefix}pair>"
            );
        }
        let _ = write!(text, "</{prefix}guest>");
        text
    }

    fn check(self) -> Result<Self, MetadataError> {
        let wrong = |text: String| Err(MetadataError::Wrong(text));
        // Who wants no VF may have no standby for one.
        let lacks = self.pairs.is_empty() && self.policy != Policy::StandbyOnly;
        if lacks || self.pairs.len() > MOST_PAIRS {
            return wrong(format!(
                "{} pairs; 1 to {MOST_PAIRS} are possible",
                self.pairs.len()
            ));
        }
        let (mut macs, mut aliases) = (BTreeSet::new(), BTreeSet::new());
        for pair in &self.pairs {
            if !pair.primary_alias.starts_with("ua-") {
                return wrong(format!(
                    "primary alias `{}` does not begin with `ua-`",
                    pair.primary_alias
                ));
            }
            if !macs.insert(pair.standby_mac) {
                return wrong(format!("two pairs with the standby {}", pair.standby_mac));
            }
            for alias in [&pair.standby_alias, &pair.primary_alias] {
                if !aliases.insert(alias) {
                    return wrong(format!("alias `{alias}` twice"));
                }
            }
        }
        Ok(self)
    }
}

impl FromStr for GuestWish {
    type Err = MetadataError;

    /// Reads either form.
    fn from_str(text: &str) -> Result<Self, MetadataError> {
        let document = Document::parse(text)?;
        let guest = document.root_element();
        if !is_ours(guest, "guest") {
            return Err(MetadataError::NotAGuest(guest.tag_name().name().to_owned()));
        }
        match guest.attribute("version").unwrap_or_default() {
            VERSION => {}
            other => return Err(MetadataError::Version(other.to_owned())),
        }
        let policy = match guest.attribute("policy") {
            None => Policy::Require,
            Some(text) => text.parse().map_err(MetadataError::Wrong)?,
        };
        let pairs = guest.children().filter(|child| is_ours(*child, "pair")).zip(1..);
        let pairs: Vec<_> = pairs
            .map(|(node, number)| read_pair(node, number))
            .collect::<Result<_, _>>()?;
        GuestWish { policy, pairs }.check()
    }
}

fn is_ours(node: Node<'_, '_>, name: &str) -> bool {
    let namespace = node.tag_name().namespace();
    node.is_element() && node.tag_name().name() == name && namespace.is_none_or(|found| found == NAMESPACE)
}

fn read_pair(node: Node<'_, '_>, pair: usize) -> Result<WishedPair, MetadataError> {
    let field = Fields { node, pair };
    Ok(WishedPair {
        standby_mac: field.address(Some("standby"), "mac")?,
        standby_alias: field.text(Some("standby"), "alias")?,
        primary_alias: field.text(Some("primary"), "alias")?,
        primary_mac: field.address(Some("primary"), "mac")?,
        pool: field.text(None, "pool")?,
        guest_address: match field.find(Some("primary"), "address") {
            Some(_) => Some(field.address(Some("primary"), "address")?),
            None => None,
        },
        profile: match node.children().find(|child| is_ours(*child, "profile")) {
            Some(node) => Some(profile::read(node).map_err(|what| MetadataError::Profile { pair, what })?),
            None => None,
        },
    })
}

/// The attributes of a pair and its children.
struct Fields<'a, 'input> {
    node: Node<'a, 'input>,
    pair: usize,
}

impl<'a> Fields<'a, '_> {
    fn find(&self, child: Option<&str>, attribute: &str) -> Option<&'a str> {
        let holder = match child {
            Some(name) => self.node.children().find(|node| is_ours(*node, name))?,
            None => self.node,
        };
        holder.attribute(attribute).filter(|value| !value.is_empty())
    }

    fn text(&self, child: Option<&str>, attribute: &str) -> Result<String, MetadataError> {
        let missing = || MetadataError::Missing {
            pair: self.pair,
            what: what(child, attribute),
        };
        self.find(child, attribute).map(str::to_owned).ok_or_else(missing)
    }

    fn address<T>(&self, child: Option<&str>, attribute: &str) -> Result<T, MetadataError>
    where
        T: FromStr<Err = BadAddress>,
    {
        let text = self.text(child, attribute)?;
        let bad = |source| MetadataError::Address {
            pair: self.pair,
            what: what(child, attribute),
            source,
        };
        text.parse().map_err(bad)
    }
}

fn what(child: Option<&str>, attribute: &str) -> String {
    match child {
        Some(child) => format!("{child} {attribute}"),
        None => attribute.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> GuestWish {
        let pair = |number: u8| WishedPair {
            standby_mac: MacAddress::new([0x52, 0x54, 0, 0xaa, 0, number]).unwrap(),
            standby_alias: format!("ua-net{number}"),
            primary_alias: format!("ua-godwit-{number}"),
            primary_mac: MacAddress::new([0x52, 0x54, 0, 0xaa, 1, number]).unwrap(),
            pool: "fabric".into(),
            guest_address: (number == 0).then(|| "0000:05:00.0".parse().unwrap()),
            // Of the other nobody has seen a VF.
            profile: (number == 0).then(profile::tests::whole),
        };
        GuestWish {
            policy: Policy::Require,
            pairs: vec![pair(0), pair(1)],
        }
    }

    #[test]
    fn both_forms_read_back_the_same() {
        let mut wish = wish();
        // Every character that XML or an attribute could trip over, in every text.
        for nasty in [
            "fabric",
            "a&b",
            "<x>",
            "it's \"so\"",
            "]]>",
            "ünïcödé 网络",
            "a\tb\nc",
            "&amp;",
            "--",
        ] {
            wish.pairs[0].pool = nasty.into();
            wish.pairs[0].standby_alias = format!("s{nasty}");
            wish.pairs[1].primary_alias = format!("ua-{nasty}");
            assert_eq!(wish.to_element().parse::<GuestWish>().unwrap(), wish, "{nasty}");
            assert_eq!(
                wish.to_namespaced().parse::<GuestWish>().unwrap(),
                wish,
                "{nasty}"
            );
        }
    }

    #[test]
    fn what_a_later_godwit_adds_is_ignored() {
        let text = wish().to_namespaced();
        let newer = text
            .replace(" version=", " colour=\"red\" version=")
            .replace(
                "</godwit:guest>",
                "<godwit:steering kind=\"x\"/><other xmlns=\"urn:x\"/>text</godwit:guest>",
            )
            .replace(
                "<godwit:standby ",
                "<godwit:vlan id=\"7\"/><godwit:standby speed=\"1\" ",
            );
        assert_ne!(newer, text);
        assert_eq!(newer.parse::<GuestWish>().unwrap(), wish());
    }

    #[test]
    fn a_wrong_value_is_named() {
        let says = |from: &str, to: &str| {
            let text = wish().to_element();
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
                .parse::<GuestWish>()
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            says("mac=\"52:54:00:aa:00:01\"", "mac=\"52:54:00:aa:00\""),
            "Godwit's metadata: pair 2: standby mac: `52:54:00:aa:00` is not a MAC address (expected 52:54:00:12:34:56)"
        );
        assert_eq!(
            says(" pool=\"fabric\"", ""),
            "Godwit's metadata: pair 1 has no pool"
        );
        assert_eq!(
            says("alias=\"ua-net1\"", "alias=\"\""),
            "Godwit's metadata: pair 2 has no standby alias"
        );
        assert_eq!(
            says("version=\"1\"", "version=\"2\""),
            "Godwit's metadata has version `2`; this Godwit reads version 1"
        );
        assert_eq!(
            says("\"require\"", "\"hope\""),
            "Godwit's metadata: `hope` is no policy; they are require, prefer and standby-only"
        );
        assert_eq!(
            says("ua-godwit-1", "hostdev0"),
            "Godwit's metadata: primary alias `hostdev0` does not begin with `ua-`"
        );
        assert_eq!(
            says("ua-godwit-1", "ua-godwit-0"),
            "Godwit's metadata: alias `ua-godwit-0` twice"
        );
        assert!(says("0000:05:00.0", "5:0").contains("primary address: `5:0` is not a PCI address"));
        assert!(
            "<guest version='1'/>"
                .parse::<GuestWish>()
                .unwrap_err()
                .to_string()
                .contains("0 pairs")
        );
        assert!(
            "<host/>"
                .parse::<GuestWish>()
                .unwrap_err()
                .to_string()
                .contains("`host`")
        );
        assert!("<guest xmlns='urn:x'/>".parse::<GuestWish>().is_err());
        assert!("nonsense".parse::<GuestWish>().is_err());
    }

    /// Cut and damaged texts are refused or read, and never panic.
    #[test]
    fn damage_never_panics() {
        let text = wish().to_namespaced();
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert!(text[..cut].parse::<GuestWish>().is_err());
            let mut without = text.clone();
            without.remove(cut);
            let _ = without.parse::<GuestWish>();
        }
    }
}
