//! Guests of which libvirt's hook says that they come, by another tool, with VFs in libvirt's own pairs: VFs of this host are
//! chosen and set aside before libvirt looks for those of the source.
//!
//! libvirt calls once, and never again if something later stops the guest. So such a hold ends by itself: a guest that
//! libvirt does not show here in time does not come. It is a record like that of any arrival, in Await, and ends as one that
//! is closed. While libvirt waits for the answer nobody here may wait for libvirt: how the VFs are looked at is the
//! caller's.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use godwit_migration::{
    Brief, Cause, Course, Event, Guest, MacAddress, Migration, Pair, PciAddress, Phase, Role, Sighting,
    State, Vf,
};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::{Coordinator, holding::Held};
use crate::{Refused, World, clock::new_id};

/// How long libvirt has to show the guest here after it told of it: it does so within milliseconds, once all of its hooks
/// have answered.
const SHOWS: Duration = Duration::from_secs(60);

/// A guest that is on its way, or a libvirt that does not answer, is looked for again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A guest that libvirt says is coming, and what it is to get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Who.
    pub guest: Guest,
    /// Its pairs, each with the pool that its VF is to come from; of different MACs.
    pub pairs: Vec<Pair>,
    /// NUMA nodes that its memory is bound to; none where it may be anywhere.
    pub nodes: Vec<u32>,
    /// When nobody waits for the answer any more.
    pub until: Instant,
}

impl<W: World> Coordinator<W> {
    /// Sets a VF aside for each of the guest's pairs; the id of the operation that holds them, and the VFs. Asked again while
    /// that waits it answers the same. `vfs`: this host's VFs, looked at without libvirt.
    ///
    /// Not to be given up on half way: what is written down would be held by nobody.
    ///
    /// # Errors
    /// See [`Refused`]; nothing is held then.
    pub async fn hold_for(
        &self,
        expected: Expected,
        vfs: impl Future<Output = Result<Vec<Vf>, Cause>> + Send,
    ) -> Result<(String, Vec<(MacAddress, PciAddress)>), Refused> {
        let late = |_| Refused::Cause(late());
        let _alone = timeout_at(expected.until, self.alone()).await.map_err(late)?;
        if let Some((id, held)) = self.awaited(&expected).await? {
            return Ok((id, held));
        }
        self.check_idle(&expected.guest, None)?;
        let (vfs, ..) = timeout_at(expected.until, self.held_over(vfs))
            .await
            .map_err(late)??;
        let chosen = self.choose_of(&Vec::from_iter(&expected.pairs), &expected.nodes, &vfs)?;
        let brief = self.expected_brief(expected, &chosen);
        let (id, guest) = (brief.id.clone(), brief.guest.name.clone());
        self.told_of(&id);
        self.begin(brief, None).await?;
        info!(migration = %id, guest, "expected by another tool: its VFs are held");
        Ok((id, chosen))
    }

    /// The guest of that operation does not come, or not with what was held for it: its VFs are cleaned, and free. What a
    /// move of Godwit's own holds stays held.
    pub async fn give_up(&self, id: &str) {
        let teamed = self
            .watch(id)
            .is_some_and(|watch| watch.borrow().migration.brief.teamed);
        if !teamed {
            return;
        }
        if let Err(refused) = self.tell(id, Event::Closed).await {
            warn!(migration = %id, "what was held for a guest that does not come is still held: {refused}");
        }
    }

    /// What is held already for this arrival: libvirt was asked again, or a move of Godwit's own brings the guest.
    async fn awaited(&self, expected: &Expected) -> Result<Option<(String, Held)>, Refused> {
        let mut open = self.open_of(&expected.guest.uuid).into_iter();
        let Some(open) = open.find(|open| is_awaited(open)) else {
            return Ok(None);
        };
        let id = open.brief.id.clone();
        let held = |wanted: &Pair| {
            let pair = open.brief.pairs.iter().find(|pair| pair.mac == wanted.mac)?;
            Some((pair.mac, pair.destination_vf?))
        };
        let held: Option<Held> = expected.pairs.iter().map(held).collect();
        match held {
            Some(held) if held.len() == open.brief.pairs.len() => {
                if open.brief.teamed {
                    self.told_of(&id);
                }
                Ok(Some((id, held)))
            }
            // It was to come with other pairs, and does not.
            _ if open.brief.teamed => {
                self.tell(&id, Event::Closed).await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn expected_brief(&self, expected: Expected, chosen: &Held) -> Brief {
        let mut pairs = expected.pairs;
        for (pair, (_, vf)) in pairs.iter_mut().zip(chosen) {
            pair.destination_vf = Some(*vf);
        }
        let hosts = (Brief::ELSEWHERE.into(), self.host().into());
        Brief {
            teamed: true,
            nodes: expected.nodes,
            ..Brief::arrival(new_id(), expected.guest, hosts, pairs)
        }
    }

    /// Ends the operation if its guest does not show. After a restart its time begins anew.
    pub(super) fn give_up_in_time(&self, id: &str) {
        let (coordinator, id) = (self.clone(), id.to_owned());
        self.told().entry(id.clone()).or_insert_with(Instant::now);
        tokio::spawn(async move {
            coordinator.wait_for(&id).await;
            coordinator.told().remove(&id);
        });
    }

    /// Until the guest is here, or was given up.
    async fn wait_for(&self, id: &str) {
        while let Some(told) = self.last_told(id) {
            sleep_until(told + SHOWS).await;
            // Whoever asks again waits for the lock, and is told then that nothing is held.
            let alone = self.alone().await;
            let Some(watch) = self.watch(id) else { return };
            let open = watch.borrow().migration.clone();
            if !is_awaited(&open) {
                return;
            }
            let again = self.last_told(id) != Some(told);
            let sighting = self.world().sight(&open.brief.guest.uuid).await;
            if !again && matches!(sighting, Sighting::Absent | Sighting::ShutOff) {
                info!(migration = %id, guest = %open.brief.guest.name, "it did not come: its VFs are free");
                return self.give_up(id).await;
            }
            drop(alone);
            sleep(LOOK_AGAIN).await;
        }
    }

    fn last_told(&self, id: &str) -> Option<Instant> {
        self.told().get(id).copied()
    }

    fn told_of(&self, id: &str) {
        self.told().insert(id.to_owned(), Instant::now());
    }

    fn told(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Nothing that holds this lock can panic half way through a change.
        self.0.passing.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn is_awaited(open: &Migration) -> bool {
    open.brief.role == Role::Destination && open.state() == State::Work(Course::Arrive, Phase::Await)
}

fn late() -> Cause {
    Cause {
        reason: "DEADLINE".into(),
        message: "godwitd was busy until nobody waited for its answer any more".into(),
        hint: "journalctl -u godwitd".into(),
        ..Cause::default()
    }
}
