//! Whom pretend guests know, and who answers at pretend hosts: a gateway that all have, if nothing ails them.

use godwit_migration::{
    doctor::Fact,
    plan::{Heard, Needs, Neighbour},
};

use crate::{ills::Ill, model::Host};

const GATEWAY: &str = "10.77.0.1";
const ITS_MAC: &str = "52:54:00:77:00:01";
const ANOTHER: &str = "52:54:00:77:00:99";
/// Bytes of the longest frames that it answers.
const LONG: u32 = 1500;

/// Whom a guest of that host knows, by its agent's word.
///
/// # Errors
/// Its agent tells nobody.
pub(super) fn known(host: &Host) -> Fact<Vec<Neighbour>> {
    match host.ills.contains(&Ill::OldAgents) {
        true => Err("the guest's agent is older than this, and does not tell whom the guest knows".into()),
        false => Ok(Vec::from_iter(Neighbour::new(GATEWAY, ITS_MAC, Vec::new()))),
    }
}

/// What comes of asking for them at that host.
pub(super) fn asked(host: &Host, needs: &Needs) -> Vec<Vec<Fact<Heard>>> {
    let ails = |ill| host.ills.contains(&ill);
    if ails(Ill::BridgeMissing) || ails(Ill::BridgeKind) {
        return Vec::new();
    }
    let other = ANOTHER.parse().map_or(Heard::Nobody, Heard::Other);
    let heard = match (ails(Ill::OtherNetwork), ails(Ill::SilentNetwork)) {
        (true, _) => other,
        (false, true) => Heard::Nobody,
        (false, false) => Heard::Same {
            long: Some((LONG, true)),
        },
    };
    let each = needs.nics.iter().map(|nic| vec![Ok(heard); nic.neighbours.len()]);
    each.collect()
}
