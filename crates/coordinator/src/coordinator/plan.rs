//! What a migration would begin now: which VFs the guest would get, and why not others.

use godwit_api::v1 as api;
use godwit_migration::{Brief, Policy, Refusal, Role, preflight};

use super::{Coordinator, Wanted, stays::is_resting};
use crate::{Refused, World, words};

impl<W: World> Coordinator<W> {
    /// Refused for what [`Coordinator::create`] is refused for, but for a lack of VFs, which the answer tells. Changes
    /// nothing.
    pub(crate) async fn plan(&self, wanted: &Wanted) -> Result<api::PlanMigrationResponse, Refused> {
        let destination = wanted.destination.as_str();
        let facts = self.guest(&wanted.guest).await?;
        self.check_destination(&facts.guest, destination)?;
        // What rests would be put on its standby first.
        let rests = self
            .stays(&facts.guest.uuid)
            .is_some_and(|open| is_resting(&open));
        if !rests {
            self.check_idle(&facts.guest, Some(destination))?;
        }
        let brief = Brief {
            id: String::new(),
            role: Role::Source,
            pairs: preflight::movable(&facts).map_err(Refusal::from)?,
            guest: facts.guest,
            source: self.host().into(),
            destination: destination.into(),
            policy: wanted.policy.unwrap_or(facts.policy),
            sticky: false,
            teamed: false,
            nodes: facts.nodes,
            probes: 0,
            unkept: false,
        };
        let pairs = self.0.world.plan(&brief).await.map_err(Refused::Cause)?;
        let complete = pairs.len() == brief.pairs.len() && pairs.iter().all(|pair| !pair.vf.is_empty());
        Ok(api::PlanMigrationResponse {
            guest: brief.guest.name,
            source: brief.source,
            destination: brief.destination,
            policy: words::policy(brief.policy).into(),
            moves: complete || brief.policy != Policy::Require,
            pairs,
        })
    }
}
