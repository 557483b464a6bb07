//! What a Reserve would hold now.

use godwit_api::{peer::v1 as peer, v1 as api};
use godwit_migration::{
    Guest, Policy,
    choice::{Candidate, Ranking, Verdict},
};

use super::{MOST_NODES, PeerDesk, wanted};
use crate::{Planning, Refused, World, service::name, words};

impl<W: World> PeerDesk<W> {
    /// What it would hold, and what stands in the way here.
    pub(super) async fn plan_for(
        &self,
        asked: peer::PlanRequest,
        caller: &str,
    ) -> Result<peer::PlanResponse, Refused> {
        let reserve = asked.reserve.unwrap_or_default();
        let planned = self.planned(&reserve).await;
        let mut objections = self.0.objections().await;
        let Some(needs) = asked.needs else {
            let pairs = planned?;
            let refused = Refused::all(objections);
            return refused.map_or(
                Ok(peer::PlanResponse {
                    pairs,
                    ..Default::default()
                }),
                Err,
            );
        };
        let pairs = match planned {
            Ok(pairs) => pairs,
            // That is a fault of who asks, and none of the guest's.
            Err(wrong @ (Refused::Invalid(_) | Refused::NotAllowed(_))) => return Err(wrong),
            Err(refused) => {
                objections.push(refused);
                Vec::new()
            }
        };
        let refused = !objections.is_empty();
        let told = objections.iter().map(|refused| self.0.finding(refused));
        let needs = words::needs_of(&reserve.guest, needs);
        let seen = self.0.world().plan(Planning::Arriving(&needs, caller)).await?;
        let (port, host_name) = seen.port.unwrap_or_default();
        Ok(peer::PlanResponse {
            pairs,
            refused,
            findings: told.chain(seen.findings).collect(),
            not_checked: seen.not_checked,
            port: port.into(),
            host_name,
            keep: seen.offer,
            versions: seen.versions.0,
            pages_seen: true,
            proofs: words::proofs(seen.proved),
        })
    }

    /// Refused for what [`PeerDesk::hold`] is refused for of that guest, but for a lack of VFs.
    async fn planned(&self, asked: &peer::ReserveRequest) -> Result<Vec<api::PairPlan>, Refused> {
        let guest = Guest {
            name: asked.guest.clone(),
            uuid: asked.guest_uuid.clone(),
        };
        name("guest", &guest.name)?;
        self.check_version(asked)?;
        let pairs = wanted(asked)?;
        self.check_absent(&guest).await?;
        self.0.check_idle(&guest, None)?;
        let rankings = self.0.rank(&pairs, &wanted_nodes(asked)).await?;
        let policy = words::policy_of(asked.policy()).unwrap_or_default();
        // A VF for each pair is held, or none at all.
        let complete = rankings.iter().all(|ranking| ranking.chosen().is_some());
        let holds = complete && policy != Policy::StandbyOnly;
        Ok(rankings.iter().map(|ranking| plan(ranking, holds)).collect())
    }
}

fn plan(ranking: &Ranking, holds: bool) -> api::PairPlan {
    let gets = ranking.chosen().filter(|_| holds);
    api::PairPlan {
        mac: ranking.mac.to_string(),
        pool: ranking.pool.clone(),
        vf: gets.map(|vf| vf.to_string()).unwrap_or_default(),
        candidates: ranking.candidates.iter().map(candidate).collect(),
    }
}

fn candidate(candidate: &Candidate) -> api::VfCandidate {
    let (fits, reasons) = match &candidate.verdict {
        Verdict::Fits(notes) => (true, notes.clone()),
        Verdict::Refused(why) => (false, vec![why.clone()]),
    };
    api::VfCandidate {
        vf: candidate.vf.to_string(),
        pf: candidate.pf.clone(),
        fits,
        reasons,
        free: Some(candidate.free),
    }
}

pub(super) fn wanted_nodes(asked: &peer::ReserveRequest) -> Vec<u32> {
    asked.memory_nodes.iter().copied().take(MOST_NODES).collect()
}
