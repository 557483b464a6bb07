//! A VF's profile as the wires have it.

use godwit_api::v1 as api;
use godwit_migration::{
    Profile,
    profile::{BadProfile, LinkState, Rate, Vlan},
};

/// A profile for the wire.
pub fn profile(value: &Profile) -> api::VfProfile {
    let Profile { vlan, rate, .. } = value;
    api::VfProfile {
        vlan: vlan.id.into(),
        vlan_priority: vlan.priority.into(),
        vlan_service_tag: vlan.service_tag,
        spoofchk: value.spoofchk,
        trust: value.trust,
        min_tx_rate: rate.min,
        max_tx_rate: rate.max,
        link_state: match value.link {
            LinkState::Auto => api::VfLinkState::Auto,
            LinkState::Up => api::VfLinkState::Up,
            LinkState::Down => api::VfLinkState::Down,
        }
        .into(),
        rss_query: value.rss_query,
    }
}

/// A profile from the wire. A link state that is not known here is auto.
///
/// # Errors
/// A number is out of its range.
pub fn profile_of(wire: &api::VfProfile) -> Result<Profile, BadProfile> {
    Ok(Profile {
        vlan: Vlan::new(wire.vlan, wire.vlan_priority, wire.vlan_service_tag)?,
        spoofchk: wire.spoofchk,
        trust: wire.trust,
        rate: Rate {
            min: wire.min_tx_rate,
            max: wire.max_tx_rate,
        },
        link: match wire.link_state() {
            api::VfLinkState::Unspecified | api::VfLinkState::Auto => LinkState::Auto,
            api::VfLinkState::Up => LinkState::Up,
            api::VfLinkState::Down => LinkState::Down,
        },
        rss_query: wire.rss_query,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_comes_back_from_the_wire() {
        let neutral = Profile::default();
        let whole = Profile {
            vlan: Vlan::new(100, 3, true).unwrap(),
            spoofchk: false,
            trust: true,
            rate: Rate { min: 10, max: 500 },
            link: LinkState::Down,
            rss_query: true,
        };
        let up = Profile {
            link: LinkState::Up,
            ..neutral
        };
        for value in [neutral, whole, up] {
            assert_eq!(profile_of(&profile(&value)), Ok(value));
        }
        let newer = api::VfProfile {
            link_state: 77,
            ..profile(&neutral)
        };
        assert_eq!(profile_of(&newer), Ok(neutral));
        let wrong = api::VfProfile {
            vlan: 4096,
            ..profile(&neutral)
        };
        assert_eq!(profile_of(&wrong), Err(BadProfile::Vlan(4096)));
    }
}
