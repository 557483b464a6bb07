//! What one daemon asks of another, of what both know.

use godwit_api::peer::v1 as peer;
use godwit_migration::{Brief, Pair};

use super::{policy, profile};

/// The version of `godwit.peer.v1` that this program speaks. It grows with a field of a request that a destination must not leave unheeded; such a request
/// then asks for it by `needs_version`. What may be left unheeded is only added.
pub const PEER_VERSION: u32 = 1;

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
        needs_version: 0,
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
