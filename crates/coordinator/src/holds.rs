//! VFs set aside for guests, and when they are set free.

use godwit_migration::{Brief, Course, Event, Migration, Outcome, Phase, State, Vf, VfUse};

/// A VF set aside for one guest. It never expires by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// PCI address on this host.
    pub(crate) vf: String,
    /// The migration it belongs to.
    pub(crate) migration: String,
    /// Set when the VF could not be cleaned: why. Such a VF is given to nobody.
    pub(crate) quarantined: Option<String>,
}

/// What an entry does to the holds of its migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HoldChange {
    /// Nothing.
    Keep,
    /// They are free.
    Free,
    /// They are kept from everybody, because of this.
    Quarantine(String),
}

/// The VFs of this host that a migration holds from its start: at the source the guest's own, for the
/// way back; at the destination those it is to get.
pub(crate) fn of(brief: &Brief) -> Vec<String> {
    brief
        .pairs
        .iter()
        .filter_map(|pair| brief.vf_here(pair))
        .map(|vf| vf.to_string())
        .collect()
}

/// What the entry that was applied last does to the holds.
pub(crate) fn change(migration: &Migration, released: State) -> HoldChange {
    let last = migration.entries().last().map(|entry| &entry.event);
    match (released, last) {
        (State::Work(_, Phase::Release), Some(Event::Done(_))) => HoldChange::Free,
        (State::Work(_, Phase::Release), Some(Event::Failed(cause))) => {
            HoldChange::Quarantine(cause.message.clone())
        }
        _ if holds_nothing(migration.state()) => HoldChange::Free,
        _ => HoldChange::Keep,
    }
}

/// The guest has the VF, or will never come. A source that only owes its destination an Unreserve has its VF
/// back in the guest.
fn holds_nothing(state: State) -> bool {
    matches!(
        state,
        State::Work(Course::Return, Phase::Unreserve)
            | State::Done(Outcome::Aborted | Outcome::Accelerated | Outcome::Closed)
    )
}

/// The host's view of its VFs, with the holds on top.
pub(crate) fn overlay(mut vfs: Vec<Vf>, holds: &[Hold]) -> Vec<Vf> {
    for vf in &mut vfs {
        let address = vf.address.to_string();
        if let Some(hold) = holds.iter().find(|hold| hold.vf == address)
            && vf.usage == VfUse::Free
        {
            vf.usage = match &hold.quarantined {
                None => VfUse::Held(hold.migration.clone()),
                Some(why) => VfUse::Other(format!("quarantined: {why}")),
            };
        }
    }
    vfs
}
