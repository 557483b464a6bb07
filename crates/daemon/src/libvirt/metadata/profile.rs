//! A VF's profile as an element of its pair. An attribute that is absent is neutral.

use godwit_migration::{
    Profile,
    profile::{LinkState, Rate, Vlan},
};
use roxmltree::Node;

const PROTOCOL: &str = "802.1Q";
const SERVICE_PROTOCOL: &str = "802.1ad";

/// The element, with the prefix of the pair.
pub(super) fn element(prefix: &str, profile: &Profile) -> String {
    let Profile { vlan, rate, .. } = profile;
    let on = |on: bool| if on { "on" } else { "off" };
    let protocol = match vlan.service_tag {
        true => SERVICE_PROTOCOL,
        false => PROTOCOL,
    };
    let attributes = [
        ("vlan", vlan.id.to_string()),
        ("vlan-priority", vlan.priority.to_string()),
        ("vlan-protocol", protocol.into()),
        ("spoofchk", on(profile.spoofchk).into()),
        ("trust", on(profile.trust).into()),
        ("min-tx-rate", rate.min.to_string()),
        ("max-tx-rate", rate.max.to_string()),
        ("link-state", profile.link.name().into()),
        ("rss-query", on(profile.rss_query).into()),
    ];
    let attributes = attributes.map(|(name, value)| format!(" {name}=\"{value}\""));
    format!("<{prefix}profile{}/>", attributes.concat())
}

/// What the element says; the error names the attribute and its value.
pub(super) fn read(node: Node<'_, '_>) -> Result<Profile, String> {
    let neutral = Profile::default();
    let protocol = |text: &str| match text {
        PROTOCOL => Some(false),
        SERVICE_PROTOCOL => Some(true),
        _ => None,
    };
    let link = |text: &str| LinkState::ALL.into_iter().find(|state| state.name() == text);
    let number = |text: &str| text.parse().ok();
    let id = value(node, "vlan", 0, number)?;
    let priority = value(node, "vlan-priority", 0, number)?;
    let service_tag = value(node, "vlan-protocol", false, protocol)?;
    Ok(Profile {
        vlan: Vlan::new(id, priority, service_tag).map_err(|error| error.to_string())?,
        spoofchk: value(node, "spoofchk", neutral.spoofchk, on_or_off)?,
        trust: value(node, "trust", neutral.trust, on_or_off)?,
        rate: Rate {
            min: value(node, "min-tx-rate", neutral.rate.min, number)?,
            max: value(node, "max-tx-rate", neutral.rate.max, number)?,
        },
        link: value(node, "link-state", neutral.link, link)?,
        rss_query: value(node, "rss-query", neutral.rss_query, on_or_off)?,
    })
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn value<T>(
    node: Node<'_, '_>,
    name: &str,
    neutral: T,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    match node.attribute(name) {
        None => Ok(neutral),
        Some(text) => read(text).ok_or_else(|| format!("{name} cannot be `{text}`")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use roxmltree::Document;

    use super::*;

    pub(in super::super) fn whole() -> Profile {
        Profile {
            vlan: Vlan::new(100, 3, true).unwrap(),
            spoofchk: false,
            trust: true,
            rate: Rate { min: 10, max: 500 },
            link: LinkState::Up,
            rss_query: true,
        }
    }

    fn parsed(text: &str) -> Result<Profile, String> {
        read(Document::parse(text).unwrap().root_element())
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(
            element("", &whole()),
            "<profile vlan=\"100\" vlan-priority=\"3\" vlan-protocol=\"802.1ad\" spoofchk=\"off\" trust=\"on\" \
             min-tx-rate=\"10\" max-tx-rate=\"500\" link-state=\"up\" rss-query=\"on\"/>"
        );
        let down = Profile {
            link: LinkState::Down,
            ..Profile::default()
        };
        for profile in [whole(), down, Profile::default()] {
            assert_eq!(parsed(&element("", &profile)), Ok(profile));
        }
    }

    #[test]
    fn what_is_absent_is_neutral_and_what_is_unknown_ignored() {
        assert_eq!(parsed("<profile/>"), Ok(Profile::default()));
        assert_eq!(
            parsed("<profile colour='red'><mirror/></profile>"),
            Ok(Profile::default())
        );
    }

    #[test]
    fn a_value_that_no_vf_can_have_is_named() {
        let says = |attribute: &str| parsed(&format!("<profile {attribute}/>")).unwrap_err();
        assert_eq!(says("vlan='4096'"), "VLAN 4096 is not 0 to 4095");
        assert_eq!(says("vlan='-1'"), "vlan cannot be `-1`");
        assert_eq!(says("vlan-priority='8'"), "VLAN priority 8 is not 0 to 7");
        assert_eq!(says("vlan-protocol='8021q'"), "vlan-protocol cannot be `8021q`");
        assert_eq!(says("spoofchk=''"), "spoofchk cannot be ``");
        assert_eq!(
            says("max-tx-rate='4294967296'"),
            "max-tx-rate cannot be `4294967296`"
        );
        assert_eq!(says("link-state='enable'"), "link-state cannot be `enable`");
    }
}
