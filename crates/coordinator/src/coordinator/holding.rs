//! VFs of this host for a guest that is, or will be, here: chosen, and set aside before anybody else chooses.

use godwit_migration::{
    Brief, Cause, Event, HostRefusal, MacAddress, Migration, Pair, PciAddress, Policy, Refusal, Report, Role,
    Vf,
    choice::{Demand, Ranking, Wanted, choose, rank},
};

use super::Coordinator;
use crate::{Refused, World, words};

/// So often another VF is taken instead of one that does not work; then it is no longer the VF's fault.
const MOST_SWAPS: usize = 3;

pub(super) type Held = Vec<(MacAddress, PciAddress)>;

impl<W: World> Coordinator<W> {
    /// One free VF for each of the pairs of a guest. The caller holds the lock until it has written them down.
    pub(crate) async fn choose(&self, pairs: &[&Pair], nodes: &[u32]) -> Result<Held, Refused> {
        self.choose_of(pairs, nodes, &self.vfs().await?)
    }

    /// The same, of these.
    pub(super) fn choose_of(&self, pairs: &[&Pair], nodes: &[u32], vfs: &[Vf]) -> Result<Held, Refused> {
        let wanted: Vec<Wanted> = pairs.iter().map(|pair| wanted(pair)).collect();
        let chosen = choose(self.host(), self.demand(&wanted, nodes), vfs);
        chosen.map_err(|no| Refusal::Host(no).into())
    }

    /// What would be chosen now, and why nothing else. Nothing is held.
    pub(crate) async fn rank(&self, pairs: &[Pair], nodes: &[u32]) -> Result<Vec<Ranking>, Refused> {
        let wanted: Vec<Wanted> = pairs.iter().map(wanted).collect();
        Ok(rank(self.demand(&wanted, nodes), &self.vfs().await?))
    }

    fn demand<'a>(&'a self, pairs: &'a [Wanted], nodes: &'a [u32]) -> Demand<'a> {
        Demand {
            pairs,
            nodes,
            must_match: &self.settings().must_match,
        }
    }

    /// The same for a guest that is to come: with a policy that needs none, none is no refusal.
    pub(crate) async fn choose_by(
        &self,
        policy: Policy,
        pairs: &[Pair],
        nodes: &[u32],
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
        match self.choose(&Vec::from_iter(pairs), nodes).await {
            Err(no) if policy == Policy::Prefer && lacks(&no) => Ok(Vec::new()),
            chosen => chosen,
        }
    }

    /// The work of Hold, by the coordinator itself: every pair of the guest holds a VF of this host, or none is wanted.
    pub(crate) async fn held(&self, brief: &Brief) -> Event {
        let missing = brief.pairs.iter().filter(|pair| brief.vf_here(pair).is_none());
        let missing: Vec<&Pair> = missing.collect();
        let by_policy = brief.role == Role::Destination && brief.policy == Policy::StandbyOnly;
        if by_policy && missing.len() == brief.pairs.len() {
            return Event::Unwanted;
        }
        if missing.is_empty() {
            return Event::Done(Report::of("held"));
        }
        match self.choose(&missing, &brief.nodes).await {
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
        let held = self.choose(&[pair], &brief.nodes).await.ok()?;
        let (_, other) = held.first()?;
        Some(Event::Swapped {
            because: format!("{other} instead of {bad}: {}", cause.message),
            held,
        })
    }
}

fn wanted(pair: &Pair) -> Wanted {
    Wanted {
        mac: pair.mac,
        pool: pair.pool.clone(),
        profile: pair.profile.unwrap_or_default(),
    }
}

fn cause_of(refused: &Refused) -> Cause {
    words::cause_of(refused.failure())
}
