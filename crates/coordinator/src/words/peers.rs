//! What one daemon asks of another, of what both know.

use godwit_api::peer::v1 as peer;
use godwit_migration::{Brief, Pair};

use super::{policy, profile};

/// The version of `godwit.peer.v1` that this program speaks. It grows with a field of a request that a destination must not leave unheeded; such a request
/// then asks for it by `needs_version`. What may be left unheeded is only added.
pub const PEER_VERSION: u32 = 2;

/// From this one on a guest may have no pair.
const WITHOUT_PAIRS: u32 = 2;

/// What a guest wants of its destination.
pub fn reserve_request(brief: &Brief) -> peer::ReserveRequest {
    let wanted = |(index, pair): (usize, &Pair)| peer::WantedPair {
        mac: pair.mac.to_string(),
        pool: pair.pool.clone(),
        alias: plug_alias(&pair.primary, index),
        primary_mac: pair.primary_mac.to_string(),
        profile: pair.profile.as_ref().map(profile),
    };
    peer::ReserveRequest {
        migration_id: brief.id.clone(),
        guest: brief.guest.name.clone(),
        guest_uuid: brief.guest.uuid.clone(),
        pairs: brief.pairs.iter().enumerate().map(wanted).collect(),
        policy: policy(brief.policy).into(),
        memory_nodes: brief.nodes.clone(),
        probes_per_second: brief.probes,
        needs_version: if brief.pairs.is_empty() { WITHOUT_PAIRS } else { 0 },
    }
}

/// The alias that a VF gets when it is plugged: the one it has, if it is a user's own (libvirt keeps only those).
pub fn plug_alias(current: &str, index: usize) -> String {
    if current.starts_with("ua-") {
        current.into()
    } else {
        format!("ua-godwit-{index}")
    }
}

#[cfg(test)]
mod tests {
    use godwit_migration::Guest;

    use super::*;

    #[test]
    fn only_a_guest_without_a_pair_asks_for_a_destination_that_knows_such() {
        let guest = Guest {
            name: "web-1".into(),
            uuid: "u".into(),
        };
        let hosts = ("alpha".into(), "beta".into());
        let mut brief = Brief::arrival("m".into(), guest, hosts, Vec::new());
        assert_eq!(reserve_request(&brief).needs_version, 2);
        brief.pairs.push(Pair {
            mac: "52:54:00:aa:00:10".parse().unwrap(),
            primary_mac: "52:54:00:aa:00:10".parse().unwrap(),
            standby: "ua-standby0".into(),
            primary: "ua-primary0".into(),
            pool: "fabric".into(),
            source_vf: None,
            destination_vf: None,
            profile: None,
        });
        assert_eq!(reserve_request(&brief).needs_version, 0);
    }
}
