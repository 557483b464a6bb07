//! What a migration would begin now: which VFs the guest would get, and why not others; and what stands in its way.

use std::time::Duration;

use godwit_api::v1 as api;
use godwit_migration::{
    Brief, Cause, Keep, Options, Policy, Refusal, Role, doctor::Severity, plan::blocks, preflight,
    preflight::GuestFacts,
};
use tracing::debug;

use super::{Coordinator, Wanted, stays::is_resting};
use crate::{Planned, Planning, Refused, World, doctor::old_agent, words};

/// The world has deadlines of its own for each thing that it looks at; this is for one that does not keep them.
const LOOK: Duration = Duration::from_secs(20);

impl<W: World> Coordinator<W> {
    /// Refused for what [`Coordinator::create`] is refused for, but for a lack of VFs and for findings, which the answer
    /// tells. Changes nothing.
    pub(crate) async fn plan(&self, wanted: &Wanted) -> Result<api::PlanMigrationResponse, Refused> {
        let options = self.options(wanted)?;
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
        let brief = self.brief_of(wanted, facts.clone(), options);
        let brief = brief.map_err(Refusal::from)?;
        let Planned {
            pairs,
            findings,
            not_checked,
            estimate,
            nics,
            ..
        } = self.seen(&brief, &facts).await.map_err(Refused::Cause)?;
        let complete = pairs.len() == brief.pairs.len() && pairs.iter().all(|pair| !pair.vf.is_empty());
        let blocked = findings.iter().any(|found| is_blocker(found, &wanted.ignore));
        Ok(api::PlanMigrationResponse {
            guest: brief.guest.name,
            source: brief.source,
            destination: brief.destination,
            policy: words::policy(brief.policy).into(),
            moves: !blocked && (complete || brief.policy != Policy::Require),
            pairs,
            findings,
            not_checked,
            estimate,
            keep: words::keep(brief.keep).into(),
            nics,
        })
    }

    /// What is found before a migration begins, and does not keep it from that. What cannot be asked now is told by Reserve.
    ///
    /// # Errors
    /// Whatever blocks, all of it; the first gives its word.
    pub(super) async fn look_ahead(
        &self,
        wanted: &Wanted,
        facts: &GuestFacts,
        options: &Options,
    ) -> Result<Vec<api::Finding>, Refused> {
        let rests = self
            .stays(&facts.guest.uuid)
            .is_some_and(|open| is_resting(&open));
        let idle = rests || self.check_idle(&facts.guest, Some(&wanted.destination)).is_ok();
        let brief = self.brief_of(wanted, facts.clone(), options.clone());
        let Some(brief) = brief.ok().filter(|_| idle) else {
            // It is refused in a moment.
            return Ok(Vec::new());
        };
        let seen = match tokio::time::timeout(LOOK, self.seen(&brief, facts)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(cause)) => return unseen(&brief, wanted, cause),
            Err(_) => {
                let (guest, destination) = (&brief.guest.name, &brief.destination);
                let late = Cause {
                    reason: "DEADLINE".into(),
                    message: format!(
                        "guest `{guest}` and {destination} were not looked at within {} s; the guest is where it was",
                        LOOK.as_secs()
                    ),
                    hint: format!("godwit plan {guest} {destination}"),
                    ..Cause::default()
                };
                return unseen(&brief, wanted, late);
            }
        };
        let (blocking, others): (Vec<_>, Vec<_>) = seen
            .findings
            .into_iter()
            .partition(|found| is_blocker(found, &wanted.ignore));
        match blocked(blocking) {
            Some(cause) => Err(Refused::Cause(cause)),
            None => Ok(others),
        }
    }

    /// Both hosts and the guest's domain, looked at together; the worst first.
    async fn seen(&self, brief: &Brief, facts: &GuestFacts) -> Result<Planned, Cause> {
        let world = &self.0.world;
        let seen = facts.agent.as_deref().unwrap_or_default();
        let both = world.plan(Planning::Leaving(brief, seen));
        let (planned, mut domain) = tokio::join!(both, world.doctor(Some(facts)));
        let mut planned = planned?;
        domain.findings.extend(old_agent(facts));
        let (findings, not_checked) = words::diagnosis(domain);
        planned.findings.extend(findings);
        planned
            .findings
            .sort_by_key(|found| std::cmp::Reverse(found.severity));
        planned.not_checked.extend(not_checked);
        Ok(planned)
    }

    pub(super) fn brief_of(
        &self,
        wanted: &Wanted,
        facts: GuestFacts,
        options: Options,
    ) -> Result<Brief, godwit_migration::GuestRefusal> {
        Ok(Brief {
            id: String::new(),
            role: Role::Source,
            pairs: preflight::movable(&facts)?,
            guest: facts.guest,
            source: self.host().into(),
            destination: wanted.destination.clone(),
            policy: wanted.policy.unwrap_or(facts.policy),
            sticky: false,
            teamed: false,
            nodes: facts.nodes,
            probes: self.probes(wanted.probes),
            options,
            keep: self.keep(wanted.keep),
        })
    }
}

/// Nobody could look. It keeps a move from nothing, but from one that is to be made only where frames are kept.
fn unseen(brief: &Brief, wanted: &Wanted, cause: Cause) -> Result<Vec<api::Finding>, Refused> {
    let ignored = wanted.ignore.iter().any(|word| word == "FRAMES_NOT_KEPT");
    if brief.keep == Keep::On && !ignored {
        return Err(Refused::Cause(cause));
    }
    debug!(guest = %brief.guest.name, "looking ahead: {}", cause.message);
    Ok(Vec::new())
}

fn is_blocker(found: &api::Finding, ignored: &[String]) -> bool {
    let severity = match found.severity() {
        api::Severity::Error => Severity::Error,
        api::Severity::Warning => Severity::Warning,
        api::Severity::Hint | api::Severity::Unspecified => Severity::Hint,
    };
    blocks(severity, &found.reason, ignored)
}

/// All of them as one: the first with its reason and what is to be done, the others as sentences.
fn blocked(findings: Vec<api::Finding>) -> Option<Cause> {
    let mut findings = findings.into_iter();
    let first = findings.next()?;
    let others = findings.map(|found| format!("and {} [{}]: {}", found.what, found.reason, found.fix));
    Some(Cause {
        reason: first.reason,
        message: first.what,
        causes: Some(first.why)
            .filter(|why| !why.is_empty())
            .into_iter()
            .chain(others)
            .collect(),
        hint: first.fix,
        vf: None,
    })
}
