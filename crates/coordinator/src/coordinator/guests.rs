//! Guests of this host, and making them managed ones.

use std::sync::Arc;

use godwit_migration::{
    Course, GuestRefusal, Migration, Phase, Policy, Refusal, State,
    preflight::{self, GuestFacts},
};
use tokio::sync::MutexGuard;

use super::Coordinator;
use crate::{Refused, World};

/// So often a guest is looked at again because an operation ended meanwhile; after that it is said to be busy.
const LOOKS: usize = 4;

/// What is known of a guest, and which of its operations the journal had before it was looked at: those that were open, and the newest.
pub(super) struct Known {
    pub(super) facts: GuestFacts,
    before: Vec<(String, bool)>,
}

impl<W: World> Coordinator<W> {
    /// As [`Coordinator::guest`], for whoever means to begin something.
    pub(super) async fn known(&self, named: &str) -> Result<Known, Refused> {
        let before = self.0.journal.ids_of(named).await?;
        let facts = self.guest(named).await?;
        Ok(Known { facts, before })
    }

    /// The lock of those who begin, and a guest that is idle, as it is. Where an operation has ended since the guest was looked at, its
    /// VF may have come or gone: it is looked at again. libvirt and the agent may take their time for that, and nobody waits for them
    /// behind the lock.
    pub(super) async fn alone_with(
        &self,
        mut known: Known,
        destination: Option<&str>,
    ) -> Result<(MutexGuard<'_, ()>, GuestFacts), Refused> {
        for _ in 0..LOOKS {
            let guest = &known.facts.guest;
            let alone = self.alone().await;
            self.check_idle(guest, destination)?;
            if self.0.journal.ids_of(&guest.uuid).await? == known.before {
                return Ok((alone, known.facts));
            }
            drop(alone);
            let uuid = guest.uuid.clone();
            known = self.known(&uuid).await?;
        }
        let busy = GuestRefusal::Busy {
            guest: known.facts.guest.name,
            migration: known.before.pop().unwrap_or_default().0,
            phase: "its end".into(),
        };
        Err(Refusal::from(busy).into())
    }

    /// The guest of that name or UUID.
    pub(crate) async fn guest(&self, named: &str) -> Result<GuestFacts, Refused> {
        let found = self.0.world.guests(Some(named)).await.map_err(Refused::Cause)?;
        let unknown = || GuestRefusal::Unknown {
            guest: named.into(),
            host: self.host().into(),
        };
        found
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::from(unknown()).into())
    }

    /// All guests, each with the migration that is under way.
    pub(crate) async fn guests(&self) -> Result<Vec<(GuestFacts, Option<Arc<Migration>>)>, Refused> {
        let facts = self.0.world.guests(None).await.map_err(Refused::Cause)?;
        let newest = |facts: GuestFacts| {
            let open = self.open_of(&facts.guest.uuid);
            let newest = open
                .into_iter()
                .max_by_key(|open| (open.begun_ms, open.brief.id.clone()));
            (facts, newest)
        };
        Ok(facts.into_iter().map(newest).collect())
    }

    /// The operations of a guest.
    pub(super) fn open_of(&self, uuid: &str) -> Vec<Arc<Migration>> {
        let operations = self.operations();
        let all = operations
            .values()
            .map(|handle| handle.view.borrow().migration.clone());
        all.filter(|open| open.brief.guest.uuid == uuid).collect()
    }

    /// Whether another operation than this one is at work on its guest.
    pub(crate) fn is_shared(&self, migration: &Migration) -> bool {
        self.open_of(&migration.brief.guest.uuid)
            .iter()
            .any(|open| open.brief.id != migration.brief.id && occupies(open, None))
    }

    /// Makes a guest a managed one.
    pub(crate) async fn adopt(&self, named: &str, policy: Option<Policy>) -> Result<GuestFacts, Refused> {
        let known = self.known(named).await?;
        let guest = known.facts.guest.uuid.clone();
        {
            let (_alone, facts) = self.alone_with(known, None).await?;
            let policy = policy.unwrap_or(facts.policy);
            let pairs = match facts.managed && !facts.pairs.is_empty() {
                // Adopted again, while it is on standby, it keeps its pairs.
                true => preflight::movable(&facts),
                false => preflight::adoptable(&facts, policy),
            };
            let pairs = pairs.map_err(Refusal::from)?;
            let adopted = self.0.world.adopt(&facts.guest, &pairs, policy).await;
            adopted.map_err(Refused::Cause)?;
        }
        self.guest(&guest).await
    }
}

/// Whether it stands in the way of another operation of its guest, to `destination` if that is a move.
pub(super) fn occupies(open: &Migration, destination: Option<&str>) -> bool {
    match open.state() {
        State::Done(_) => false,
        // A source that only watches the destination finish has no more part in the guest.
        State::Work(Course::Leave, Phase::Follow) => false,
        State::Rest(Course::Return | Course::Quit, Phase::Unreserve) => {
            destination == Some(open.brief.destination.as_str())
        }
        _ => true,
    }
}
