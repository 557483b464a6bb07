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

/// The address of a VF that could not be cleaned, and why, one sentence.
pub(crate) type Unclean = (String, String);

/// What an entry does to the holds of its migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HoldChange {
    /// Nothing.
    Keep,
    /// They are free.
    Free,
    /// They are free, but for these: they are kept from everybody.
    FreeBut(Vec<Unclean>),
    /// They are kept from everybody, because of this.
    Quarantine(String),
    /// These are taken too.
    Take(Vec<String>),
    /// These are taken, and one that did not work is kept from everybody, because of this.
    Swap {
        /// That did not work.
        bad: Vec<String>,
        /// Taken instead.
        taken: Vec<String>,
        /// Why, one sentence.
        because: String,
    },
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

/// What the entry that was applied last does to the holds; `before` is the migration without it.
pub(crate) fn change(migration: &Migration, before: &Migration) -> HoldChange {
    let last = migration.entries().last().map(|entry| &entry.event);
    match (before.state(), last) {
        (State::Work(_, Phase::Hold) | State::Rest(_, Phase::Hold), Some(Event::Done(_))) => {
            HoldChange::Take(of(&migration.brief))
        }
        (_, Some(Event::Swapped { because, .. })) => {
            let (old, new) = (of(&before.brief), of(&migration.brief));
            let only = |these: &[String], those: &[String]| {
                let only = these.iter().filter(|vf| !those.contains(vf));
                only.cloned().collect()
            };
            HoldChange::Swap {
                bad: only(&old, &new),
                taken: only(&new, &old),
                because: because.clone(),
            }
        }
        (State::Work(_, Phase::Release), Some(Event::Done(_))) => HoldChange::Free,
        (State::Work(_, Phase::Release), Some(Event::Failed(cause))) => {
            HoldChange::Quarantine(cause.message.clone())
        }
        // The copy here is stale: its VFs are to be nobody's else while it has them.
        (
            State::Work(_, Phase::Unreserve) | State::Rest(_, Phase::Unreserve),
            Some(Event::Located { .. }),
        ) => HoldChange::Take(of(&migration.brief)),
        _ if holds_nothing(migration.state()) => HoldChange::Free,
        _ => HoldChange::Keep,
    }
}

impl HoldChange {
    /// The same, where these could not be cleaned.
    pub(crate) fn but(self, unclean: Vec<Unclean>) -> HoldChange {
        match self {
            HoldChange::Free if !unclean.is_empty() => HoldChange::FreeBut(unclean),
            other => other,
        }
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

/// What people keep from everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// PFs that are worked on.
    pub(crate) pfs: Vec<String>,
    /// VFs in quarantine, and why.
    pub(crate) vfs: Vec<(String, String)>,
}

/// The host's view of its VFs, with the holds on top.
pub(crate) fn overlay(mut vfs: Vec<Vf>, holds: &[Hold], kept: &Kept) -> Vec<Vf> {
    for vf in vfs.iter_mut().filter(|vf| vf.usage == VfUse::Free) {
        let address = vf.address.to_string();
        let hold = holds.iter().find(|hold| hold.vf == address);
        let by_hand = kept.vfs.iter().find(|(vf, _)| *vf == address);
        let why = hold.and_then(|hold| hold.quarantined.as_ref());
        let why = why.or(by_hand.map(|(_, why)| why));
        vf.usage = match (why, hold) {
            (Some(why), _) => VfUse::Quarantined(why.clone()),
            (None, _) if kept.pfs.contains(&vf.pf) => {
                let pf = &vf.pf;
                VfUse::Other(format!("{pf} is set aside: godwit accelerate --pf {pf}"))
            }
            (None, Some(hold)) => VfUse::Held(hold.migration.clone()),
            (None, None) => VfUse::Free,
        };
    }
    vfs
}
