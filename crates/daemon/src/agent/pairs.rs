//! A guest's pairs, as its agent tells of them.

use std::collections::BTreeSet;

use godwit_api::agent::v1 as api;
use godwit_migration::{MacAddress, preflight::PairSeen};

/// More VLANs of a pair do not count.
const MOST_VLANS: usize = 64;

/// The agent's pairs as the preflight wants them. Pairs whose standby has no readable address are left out.
pub(crate) fn seen(pairs: &[api::Pair]) -> Vec<PairSeen> {
    pairs.iter().filter_map(seen_pair).collect()
}

/// Which standby each VF is tied to in the guest, by their permanent addresses: a bond may have a port of each address, and only the
/// guest knows of it. What is not readable is left out.
pub(crate) fn ties(pairs: &[api::Pair]) -> Vec<Tie> {
    let port = |pair: &api::Pair, role| -> Option<MacAddress> {
        let port = pair.ports.iter().find(|port| port.role() == role)?;
        port.permanent_mac.parse().ok()
    };
    let tie = |pair| {
        Some(Tie {
            primary: port(pair, api::PortRole::Primary)?,
            standby: port(pair, api::PortRole::Standby)?,
        })
    };
    pairs.iter().filter_map(tie).collect()
}

/// The same, of bonds whose VF is up, has a link, and does not carry the traffic.
pub(crate) fn idle_primaries(pairs: &[api::Pair]) -> Vec<Tie> {
    let idles = |pair: &&api::Pair| {
        let primaries = || {
            pair.ports
                .iter()
                .filter(|port| port.role() == api::PortRole::Primary)
        };
        let standby = |port: &api::Port| port.role() == api::PortRole::Standby && port.name == pair.active;
        pair.kind() == api::PairKind::Bond
            && pair.ports.iter().any(standby)
            && primaries().count() == 1
            && primaries().all(|port| port.up && port.carrier)
    };
    ties(&Vec::from_iter(pairs.iter().filter(idles).cloned()))
}

/// The two ports of a pair, by the guest's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tie {
    /// The VF's permanent MAC.
    pub(crate) primary: MacAddress,
    /// The standby's.
    pub(crate) standby: MacAddress,
}

fn seen_pair(pair: &api::Pair) -> Option<PairSeen> {
    let standby = pair
        .ports
        .iter()
        .find(|port| port.role() == api::PortRole::Standby)?;
    let primary = pair
        .ports
        .iter()
        .find(|port| port.role() == api::PortRole::Primary);
    let failover = pair.kind() == api::PairKind::NetFailover;
    let problem = match pair.kind() {
        api::PairKind::Unspecified => {
            Some("it is neither a bond in active-backup mode nor net_failover".into())
        }
        _ if !standby.carrier => Some("its standby has no carrier".into()),
        _ => None,
    };
    // net_failover names none active: it takes the primary whenever that has a link.
    let uses = |primary: &api::Port| match failover {
        true => primary.up && primary.carrier,
        false => primary.name == pair.active,
    };
    Some(PairSeen {
        mac: standby.permanent_mac.parse().ok()?,
        on_primary: primary.is_some_and(uses),
        has_primary: primary.is_some(),
        failover,
        problem,
        unmonitored: pair.kind() == api::PairKind::Bond && pair.miimon_ms == 0,
        vlans: vlans(&pair.vlans),
    })
}

/// Those that can be one, each once.
fn vlans(told: &[u32]) -> Vec<u16> {
    let told = told
        .iter()
        .take(MOST_VLANS)
        .filter_map(|told| u16::try_from(*told).ok());
    let vlans: BTreeSet<u16> = told.filter(|vlan| (1..4095).contains(vlan)).collect();
    vlans.into_iter().collect()
}
