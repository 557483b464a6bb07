//! What a host says to a source that gives up what it asked for.

use godwit_migration::{Brief, Event, Guest, Sighting, State};

use super::PeerDesk;
use crate::{Refused, World};

impl<W: World> PeerDesk<W> {
    /// As [`PeerDesk::seen`], after closing the migration here for good if the guest is not here. Durable when
    /// it answers `Outcome::Closed`: also for a migration that this host has not heard of, whose Reserve may
    /// still be on its way.
    pub(super) async fn close(
        &self,
        id: &str,
        guest: &str,
        caller: &str,
    ) -> Result<(Sighting, Option<State>), Refused> {
        // What is seen must not be older than the promise, so it is looked for under the lock.
        let _alone = self.0.alone().await;
        let (sighting, state) = self.seen(id, guest, caller).await?;
        if !matches!(sighting, Sighting::Absent | Sighting::ShutOff) {
            return Ok((sighting, state));
        }
        match state {
            Some(State::Done(_)) => {}
            Some(_) => {
                self.0.tell(id, Event::Closed).await?;
            }
            None => {
                self.0.begin_closed(self.unheard(id, guest, caller)).await?;
            }
        }
        let record = self.record(id, caller).await?;
        Ok((sighting, record.map(|view| view.migration.state())))
    }

    /// A migration that this host has not heard of holds nothing here, wherever its guest runs by now. A Reserve of it that is still on its
    /// way is refused from now on.
    pub(super) async fn forestall(&self, id: &str, guest: &str, caller: &str) -> Result<(), Refused> {
        let _alone = self.0.alone().await;
        match self.record_of(id, guest, caller).await? {
            None => Ok(self.0.begin_closed(self.unheard(id, guest, caller)).await?),
            Some(view) => Err(self.at(id, Some(view.migration.state()))),
        }
    }

    /// Its name was never told; the UUID names it as well.
    fn unheard(&self, id: &str, guest: &str, caller: &str) -> Brief {
        let guest = Guest {
            name: guest.into(),
            uuid: guest.into(),
        };
        self.brief(id.into(), guest, caller.into(), Vec::new())
    }
}
