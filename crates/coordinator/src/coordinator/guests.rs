//! Guests of this host, and making them managed ones.

use std::sync::Arc;

use godwit_migration::{
    Course, GuestRefusal, Migration, Phase, Policy, Refusal, State,
    preflight::{self, GuestFacts},
};

use super::Coordinator;
use crate::{Refused, World};

impl<W: World> Coordinator<W> {
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
        let facts = self.guest(named).await?;
        {
            let _alone = self.alone().await;
            self.check_idle(&facts.guest, None)?;
            let pairs = match facts.managed {
                // Adopted again, while it is on standby, it keeps its pairs.
                true => preflight::movable(&facts),
                false => preflight::pairs(&facts),
            };
            let pairs = pairs.map_err(Refusal::from)?;
            let policy = policy.unwrap_or(facts.policy);
            let adopted = self.0.world.adopt(&facts.guest, &pairs, policy).await;
            adopted.map_err(Refused::Cause)?;
        }
        self.guest(named).await
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
