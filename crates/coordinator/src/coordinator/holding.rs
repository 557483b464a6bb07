//! VFs of this host for a guest that is, or will be, here: chosen, and set aside before anybody else chooses.

use godwit_migration::{
    Brief, Cause, Event, HostRefusal, MacAddress, Migration, PciAddress, Policy, Refusal,
};
use godwit_migration::{Report, Role, choose};

use super::Coordinator;
use crate::{Refused, World, words};

/// So often another VF is taken instead of one that does not work; then it is no longer the VF's fault.
const MOST_SWAPS: usize = 3;

type Held = Vec<(MacAddress, PciAddress)>;

impl<W: World> Coordinator<W> {
    /// One free VF for each pair of a guest. The caller holds the lock until it has written them down.
    pub(crate) async fn choose(&self, pairs: &[(MacAddress, String)]) -> Result<Held, Refused> {
        let chosen = choose(self.host(), pairs, &self.vfs().await?);
        chosen.map_err(|no| Refusal::Host(no).into())
    }

    /// The same for a guest that is to come: with a policy that needs none, none is no refusal.
    pub(crate) async fn choose_by(
        &self,
        policy: Policy,
        pairs: &[(MacAddress, String)],
    ) -> Result<Held, Refused> {
        if policy == Policy::StandbyOnly {
            return Ok(Vec::new());
        }
        let lacks = |no: &Refused| {
            let Refused::Refusal(Refusal::Host(no)) = no else {
                return false;
            };
            matches!(no, HostRefusal::NoFreeVf { .. } | HostRefusal::NoPool { .. })
        };
        match self.choose(pairs).await {
            Err(no) if policy == Policy::Prefer && lacks(&no) => Ok(Vec::new()),
            chosen => chosen,
        }
    }

    /// The work of Hold, by the coordinator itself: every pair of the guest holds a VF of this host, or none is wanted.
    pub(crate) async fn held(&self, brief: &Brief) -> Event {
        let missing = brief.pairs.iter().filter(|pair| brief.vf_here(pair).is_none());
        let missing: Vec<_> = missing.map(|pair| (pair.mac, pair.pool.clone())).collect();
        if missing.is_empty() {
            return Event::Done(Report::of("held"));
        }
        let by_policy = brief.role == Role::Destination && brief.policy == Policy::StandbyOnly;
        if by_policy && missing.len() == brief.pairs.len() {
            return Event::Unwanted;
        }
        match self.choose(&missing).await {
            Ok(held) => {
                let vfs: Vec<String> = held.iter().map(|(_, vf)| vf.to_string()).collect();
                let detail = format!("{} holds {}", self.host(), vfs.join(", "));
                Event::Done(Report {
                    held,
                    ..Report::of(detail)
                })
            }
            Err(refused) => Event::Failed(cause_of(&refused)),
        }
    }

    /// Another VF for the pair whose VF did not work, if there is one.
    pub(crate) async fn swapped(&self, migration: &Migration, cause: &Cause) -> Option<Event> {
        let bad = cause.vf?;
        let brief = &migration.brief;
        let pair = brief.pairs.iter().find(|pair| brief.vf_here(pair) == Some(bad))?;
        if migration.swaps() >= MOST_SWAPS {
            return None;
        }
        let held = self.choose(&[(pair.mac, pair.pool.clone())]).await.ok()?;
        let (_, other) = held.first()?;
        Some(Event::Swapped {
            because: format!("{other} instead of {bad}: {}", cause.message),
            held,
        })
    }
}

fn cause_of(refused: &Refused) -> Cause {
    words::cause_of(refused.failure())
}
