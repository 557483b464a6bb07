//! One operation as an object: `org.godwit.Migration1`.

use std::collections::BTreeMap;

use godwit_api::v1 as api;
use prost_types::Timestamp;
use zbus::{OwnedVariant, Variant, interface};

/// An operation as it was seen last.
pub(crate) struct Migration(pub(crate) api::Migration);

/// `PHASE_FAIL_OVER` is `fail-over`: the first word is the enum's.
fn word(name: &str) -> String {
    let (_, name) = name.split_once('_').unwrap_or(("", name));
    name.to_ascii_lowercase().replace('_', "-")
}

fn milliseconds(at: Option<&Timestamp>) -> u64 {
    let ms = at.map_or(0, |at| {
        at.seconds.saturating_mul(1000) + i64::from(at.nanos) / 1_000_000
    });
    u64::try_from(ms).unwrap_or(0)
}

/// `working`, `resting` or `ended`.
pub(crate) fn state(migration: &api::Migration) -> &'static str {
    match (migration.ended, migration.settled) {
        (true, _) => "ended",
        (false, true) => "resting",
        (false, false) => "working",
    }
}

/// What came of it in one word; empty until it has ended.
pub(crate) fn outcome(migration: &api::Migration) -> String {
    if !migration.ended {
        return String::new();
    }
    let stays = matches!(migration.role(), api::Role::Accelerate | api::Role::Decelerate);
    match migration.moved() {
        api::Moved::Gone => "gone".into(),
        _ if stays => word(migration.acceleration().as_str_name()),
        api::Moved::Yes => "moved".into(),
        api::Moved::No => "stayed".into(),
        _ => "unknown".into(),
    }
}

/// One operation of this host: a migration on one of its hosts, or the accelerating or decelerating of a guest that stays.
#[interface(name = "org.godwit.Migration1")]
impl Migration {
    /// Its id, as in all of Godwit.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.0.id.clone()
    }

    /// The guest's name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn guest(&self) -> String {
        self.0.guest.clone()
    }

    /// The guest's UUID.
    #[zbus(property(emits_changed_signal = "const"), name = "GuestUUID")]
    fn guest_uuid(&self) -> String {
        self.0.guest_uuid.clone()
    }

    /// `source`, `destination`, `accelerate` or `decelerate`: this host's part.
    #[zbus(property(emits_changed_signal = "const"))]
    fn role(&self) -> String {
        word(self.0.role().as_str_name())
    }

    /// The host that the guest leaves.
    #[zbus(property(emits_changed_signal = "const"))]
    fn source(&self) -> String {
        self.0.source.clone()
    }

    /// The host that it reaches.
    #[zbus(property(emits_changed_signal = "const"))]
    fn destination(&self) -> String {
        self.0.destination.clone()
    }

    /// When it began here, milliseconds since 1970.
    #[zbus(property(emits_changed_signal = "const"))]
    fn started(&self) -> u64 {
        milliseconds(self.0.created.as_ref())
    }

    /// `working`; `resting`: the guest is safe, and it is tried again by itself; `ended`.
    #[zbus(property)]
    fn state(&self) -> String {
        state(&self.0).into()
    }

    /// The phase at work, or the last one: `transfer`.
    #[zbus(property)]
    fn phase(&self) -> String {
        word(self.0.phase().as_str_name())
    }

    /// Empty until it has ended; then `moved`, `stayed`, `gone` or `unknown`, and of a guest that stays `accelerated` or `standby`.
    #[zbus(property)]
    fn outcome(&self) -> String {
        outcome(&self.0)
    }

    /// `accelerated`, `standby` or `unknown`.
    #[zbus(property)]
    fn acceleration(&self) -> String {
        word(self.0.acceleration().as_str_name())
    }

    /// While the guest is on its standby: why, one sentence.
    #[zbus(property)]
    fn because(&self) -> String {
        self.0.because.clone()
    }

    /// Cancel was asked for.
    #[zbus(property)]
    fn cancelled(&self) -> bool {
        self.0.cancelled
    }

    /// A person is needed.
    #[zbus(property)]
    fn needs_person(&self) -> bool {
        self.0.needs_person
    }

    /// While it waits for other transfers: its place, from 1; 0: it does not wait.
    #[zbus(property)]
    fn queue_place(&self) -> u32 {
        self.0.queue_place
    }

    /// Of the transfer, bytes: the whole memory, and what is still to be sent. Both 0 before it.
    #[zbus(property)]
    fn memory(&self) -> (u64, u64) {
        let figures = self.0.progress.as_ref();
        figures.map_or((0, 0), |figures| {
            (figures.memory_total_bytes, figures.memory_remaining_bytes)
        })
    }

    /// When something failed: the reason's word, the sentence, and what to type. All empty when nothing did.
    #[zbus(property)]
    fn failure(&self) -> (String, String, String) {
        let failure = self.0.failure.clone().unwrap_or_default();
        (failure.reason, failure.message, failure.hint)
    }
}

impl Migration {
    /// All properties by their names.
    pub(crate) fn properties(&self) -> BTreeMap<&'static str, Variant<'static>> {
        BTreeMap::from([
            ("Id", self.id().into()),
            ("Guest", self.guest().into()),
            ("GuestUUID", self.guest_uuid().into()),
            ("Role", self.role().into()),
            ("Source", self.source().into()),
            ("Destination", self.destination().into()),
            ("Started", self.started().into()),
            ("State", self.state().into()),
            ("Phase", self.phase().into()),
            ("Outcome", self.outcome().into()),
            ("Acceleration", self.acceleration().into()),
            ("Because", self.because().into()),
            ("Cancelled", self.cancelled().into()),
            ("NeedsPerson", self.needs_person().into()),
            ("QueuePlace", self.queue_place().into()),
            ("Memory", self.memory().into()),
            ("Failure", self.failure().into()),
        ])
    }

    /// The same, to be sent.
    pub(crate) fn owned(&self) -> BTreeMap<String, OwnedVariant> {
        let all = self.properties().into_iter();
        // None of them has a file descriptor, which alone cannot be had twice.
        all.filter_map(|(name, value)| Some((name.to_owned(), OwnedVariant::try_from(value).ok()?)))
            .collect()
    }

    /// What is not as `before` had it.
    pub(crate) fn changed(&self, before: &Migration) -> BTreeMap<&'static str, Variant<'static>> {
        let mut now = self.properties();
        let before = before.properties();
        now.retain(|name, value| before.get(name) != Some(value));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_workflow() {
        let mut migration = api::Migration {
            phase: api::Phase::FailOver.into(),
            role: api::Role::Source.into(),
            ..Default::default()
        };
        let shown = Migration(migration.clone());
        assert_eq!(
            (shown.phase(), shown.role()),
            ("fail-over".into(), "source".into())
        );
        assert_eq!(
            (state(&migration), outcome(&migration)),
            ("working", String::new())
        );
        migration.settled = true;
        assert_eq!(state(&migration), "resting");
        (migration.ended, migration.moved) = (true, api::Moved::No.into());
        assert_eq!(
            (state(&migration), outcome(&migration).as_str()),
            ("ended", "stayed")
        );
        migration.role = api::Role::Accelerate.into();
        migration.acceleration = api::Acceleration::Accelerated.into();
        assert_eq!(outcome(&migration), "accelerated");
        let changed = Migration(migration).changed(&shown);
        let names: Vec<_> = changed.keys().copied().collect();
        assert_eq!(names, ["Acceleration", "Outcome", "Role", "State"]);
    }
}
