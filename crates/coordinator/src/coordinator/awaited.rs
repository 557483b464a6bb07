//! The guest that another host sends to this one right now.

use godwit_migration::{Brief, Outcome, Phase, State};

use super::Coordinator;
use crate::{Refused, World, peer_service::is_of};

/// What a source may know of its own guest here.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// What this host's record is about.
    pub brief: Brief,
    /// Its guest has not come yet.
    pub waits: bool,
    /// It will not come any more.
    pub closed: bool,
}

impl<W: World> Coordinator<W> {
    /// How it stands with a migration that `caller`, a host, sends here.
    ///
    /// # Errors
    /// [`NotNow::Unknown`](crate::NotNow::Unknown); [`Refused::NotAllowed`] if it is not one from that host to this.
    pub async fn on_its_way(&self, id: &str, caller: &str) -> Result<Awaited, Refused> {
        let migration = self.get(id).await?.migration;
        if !is_of(&migration, caller) {
            return Err(Refused::NotAllowed(format!(
                "migration {id} is not one from {caller} to this host"
            )));
        }
        let state = migration.state();
        Ok(Awaited {
            brief: migration.brief.clone(),
            waits: state.phase() == Some(Phase::Await),
            closed: matches!(state, State::Done(Outcome::Closed | Outcome::Left)),
        })
    }
}
