//! What a migration would begin now: which VFs the guest would get, and why not others; and what stands in its way.

mod carried;
mod lacks;

use std::time::Duration;

use godwit_api::v1 as api;
use godwit_migration::{
    Brief, Cause, HostRefusal, Keep, Options, Phase, Policy, Refusal, Role,
    doctor::{self, Diagnosis, Severity},
    plan::{Carried, blocks},
    preflight,
    preflight::GuestFacts,
};

use tokio::time::{Instant, timeout, timeout_at};

use super::{Coordinator, Wanted, stays::is_resting};
use crate::{
    Planned, Planning, Refused, World,
    doctor::{innermost, old_agent},
    retry, words,
};

/// The world has deadlines of its own for each thing that it looks at; this is for one that does not keep them.
const LOOK: Duration = Duration::from_secs(20);

/// What there is to tell of a migration that begins.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// What was found and keeps it from nothing, the worst first.
    pub(crate) warnings: Vec<api::Finding>,
    /// What could not be looked at.
    pub(crate) not_checked: Vec<api::NotChecked>,
}

impl<W: World> Coordinator<W> {
    /// Whatever [`Coordinator::create`] would be refused for is a finding. Refused where there is nothing to look at. Changes nothing.
    pub(crate) async fn plan(&self, wanted: &Wanted) -> Result<api::PlanMigrationResponse, Refused> {
        let options = self.options(wanted)?;
        let destination = wanted.destination.as_str();
        let facts = self.guest(&wanted.guest).await?;
        self.check_destination(&facts.guest, destination)?;
        // What rests would be put on its standby first.
        if !self.rests(&facts) {
            self.check_idle(&facts.guest, Some(destination))?;
        }
        let brief = self.planned_brief(wanted, facts.clone(), options);
        let Planned {
            pairs,
            findings,
            mut not_checked,
            estimate,
            nics,
            refused,
            unasked,
            versions: (here, there),
            ..
        } = self.seen(&brief, &facts, self.carried(&brief).await).await;
        let complete = pairs.len() == brief.pairs.len() && pairs.iter().all(|pair| !pair.vf.is_empty());
        let blocked = findings.iter().any(|found| is_blocker(found, &wanted.ignore));
        let mut all = self.refusals(&facts).await;
        let never = refused || unasked.is_some() || !all.is_empty();
        if let Some(cause) = unasked {
            not_checked.push(unknown(destination, "it did not answer".into()));
            all.push(words::refused(destination, Refused::Cause(cause).failure()));
        }
        all.extend(findings);
        all.extend(lacks::findings(&brief, &pairs));
        all.sort_by_key(|found| std::cmp::Reverse(found.severity));
        Ok(api::PlanMigrationResponse {
            guest: brief.guest.name,
            source: brief.source,
            destination: brief.destination,
            policy: words::policy(brief.policy).into(),
            moves: !never && !blocked && (complete || brief.policy != Policy::Require),
            pairs,
            findings: all,
            not_checked,
            estimate,
            keep: words::keep(brief.keep).into(),
            nics,
            source_versions: here,
            destination_versions: there,
        })
    }

    /// What is found before a migration begins, and does not keep it from that. One that lacks a VF alone is Reserve's to tell, and so is a
    /// destination that is there and does not tell of the guest. One that cannot be reached is waited for here, as long as Reserve would
    /// wait: a daemon that is starting is looked at once more, and for one that is away nothing is begun, so that no record of it and no
    /// debt to it is left.
    ///
    /// # Errors
    /// Whatever blocks, all of it; the first gives its word. Or the destination cannot be reached.
    pub(super) async fn look_ahead(
        &self,
        wanted: &Wanted,
        facts: &GuestFacts,
        options: &Options,
    ) -> Result<Ahead, Refused> {
        let of_guest = preflight::objections(facts);
        let rests = self.rests(facts);
        let idle = rests || self.check_idle(&facts.guest, Some(&wanted.destination)).is_ok();
        if !idle || (rests && !of_guest.is_empty()) {
            // It is refused in a moment, or looked at again on its standby.
            return Ok(Ahead::default());
        }
        let mut objections = self.objections().await;
        let of_guest = of_guest.into_iter();
        objections.extend(of_guest.map(|refusal| Refused::Refusal(refusal.into())));
        let brief = self.planned_brief(wanted, facts.clone(), options.clone());
        let end = Instant::now() + self.deadline(Phase::Reserve);
        let carried = self.carried(&brief).await;
        let look = timeout(LOOK, self.seen(&brief, facts, carried.clone()));
        let mut seen = look.await.unwrap_or_else(|_| late(&brief));
        let blocks = |seen: &Planned| {
            seen.findings
                .iter()
                .any(|found| is_blocker(found, &wanted.ignore))
        };
        if objections.is_empty() && !blocks(&seen) && seen.unasked.as_ref().is_some_and(is_away) {
            self.greeted(&brief.destination, end).await?;
            let again = timeout_at(end, self.seen(&brief, facts, carried)).await;
            seen = again.unwrap_or(seen);
        }
        let (blocking, warnings): (Vec<_>, Vec<_>) = seen
            .findings
            .into_iter()
            .partition(|found| is_blocker(found, &wanted.ignore));
        let ignored = wanted.ignore.iter().any(|word| word == "FRAMES_NOT_KEPT");
        let has_to_know = brief.keep == Keep::On && !ignored && seen.unasked.is_some();
        if objections.is_empty() && blocking.is_empty() && !has_to_know {
            let mut not_checked = seen.not_checked;
            not_checked.extend(
                seen.unasked
                    .map(|cause| unknown(&brief.destination, cause.message)),
            );
            let lacks = lacks::findings(&brief, &seen.pairs).into_iter();
            let lacks = lacks.filter(|found| found.severity() != api::Severity::Error);
            return Ok(Ahead {
                warnings: warnings.into_iter().chain(lacks).collect(),
                not_checked,
            });
        }
        let mut all = objections;
        all.extend(seen.unasked.map(Refused::Cause));
        all.extend(blocking.into_iter().map(blocker));
        let lacks = lacks::of(&brief, &seen.pairs).into_iter();
        all.extend(lacks.filter(|_| brief.policy == Policy::Require));
        Refused::all(all).map_or_else(|| Ok(Ahead::default()), Err)
    }

    /// Waits until a destination that could not be reached answers at all: its daemon may be starting again.
    ///
    /// # Errors
    /// It cannot be reached.
    async fn greeted(&self, destination: &str, end: Instant) -> Result<(), Refused> {
        let greet = || async {
            match timeout_at(end, self.0.world.greet(destination)).await {
                Ok(Err(cause)) if is_away(&cause) => Err(innermost(destination, cause)),
                // Whatever it says, it is there.
                Ok(_) => Ok(()),
                Err(_) => Err("it did not answer in time".to_owned()),
            }
        };
        let left = end.saturating_duration_since(Instant::now());
        let answered = retry::Policy::NEAR.retry(left, |_| true, greet).await;
        answered.map_err(|detail| {
            let host = destination.into();
            Refusal::from(HostRefusal::Unreachable { host, detail }).into()
        })
    }

    /// Both hosts and the guest's domain, looked at together; the worst first.
    async fn seen(&self, brief: &Brief, facts: &GuestFacts, carried: Option<Carried>) -> Planned {
        let world = &self.0.world;
        let seen = facts.agent.as_deref().unwrap_or_default();
        let mut asked = brief.clone();
        if asked.pairs.is_empty() {
            // No pair of it is whole: nothing is asked for it, but what else it needs.
            asked.policy = Policy::StandbyOnly;
        }
        let both = world.plan(Planning::Leaving {
            brief: &asked,
            seen,
            carried: carried.as_ref(),
        });
        let clock = self.clock_of(&brief.destination);
        let (planned, mut domain, clock) = tokio::join!(both, world.doctor(Some(facts)), clock);
        let mut planned = planned.unwrap_or_else(|cause| Planned {
            unasked: Some(cause),
            ..Planned::default()
        });
        domain.findings.extend(old_agent(facts));
        domain.findings.extend(doctor::bonds(facts));
        domain.findings.extend(doctor::teamed(facts));
        if planned.unasked.is_none() {
            domain = domain.and(clock);
        }
        let (findings, not_checked) = words::diagnosis(domain);
        planned.findings.extend(findings);
        planned
            .findings
            .sort_by_key(|found| std::cmp::Reverse(found.severity));
        planned.not_checked.extend(not_checked);
        planned
    }

    /// What a migration of the guest is refused for here, as findings.
    async fn refusals(&self, facts: &GuestFacts) -> Vec<api::Finding> {
        let own = self.objections().await;
        let mut all: Vec<_> = own.iter().map(|refused| self.finding(refused)).collect();
        let of_guest = Diagnosis {
            findings: doctor::refusals(facts),
            ..Diagnosis::default()
        };
        all.extend(words::diagnosis(of_guest).0);
        all
    }

    fn rests(&self, facts: &GuestFacts) -> bool {
        self.stays(&facts.guest.uuid)
            .is_some_and(|open| is_resting(&open))
    }

    pub(super) fn brief_of(
        &self,
        wanted: &Wanted,
        facts: GuestFacts,
        options: Options,
    ) -> Result<Brief, godwit_migration::GuestRefusal> {
        preflight::movable(&facts)?;
        Ok(self.planned_brief(wanted, facts, options))
    }

    /// Of the pairs that are whole, whatever stands in the guest's way.
    fn planned_brief(&self, wanted: &Wanted, facts: GuestFacts, options: Options) -> Brief {
        Brief {
            id: String::new(),
            role: Role::Source,
            pairs: preflight::whole_pairs(&facts),
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
        }
    }
}

/// Nobody could look in time.
fn late(brief: &Brief) -> Planned {
    let (guest, destination) = (&brief.guest.name, &brief.destination);
    let cause = Cause {
        reason: "DEADLINE".into(),
        message: format!(
            "guest `{guest}` and {destination} were not looked at within {} s; the guest is where it was",
            LOOK.as_secs()
        ),
        hint: format!("godwit plan {guest} {destination}"),
        ..Cause::default()
    };
    Planned {
        unasked: Some(cause),
        ..Planned::default()
    }
}

fn is_away(cause: &Cause) -> bool {
    cause.reason == "HOST_UNREACHABLE"
}

fn unknown(destination: &str, why: String) -> api::NotChecked {
    api::NotChecked {
        check: format!("what {destination} has for it"),
        why,
    }
}

fn is_blocker(found: &api::Finding, ignored: &[String]) -> bool {
    let severity = match found.severity() {
        api::Severity::Error => Severity::Error,
        api::Severity::Warning => Severity::Warning,
        api::Severity::Hint | api::Severity::Unspecified => Severity::Hint,
    };
    blocks(severity, &found.reason, ignored)
}

fn blocker(found: api::Finding) -> Refused {
    Refused::Cause(Cause {
        reason: found.reason,
        message: found.what,
        causes: Some(found.why)
            .filter(|why| !why.is_empty())
            .into_iter()
            .collect(),
        hint: found.fix,
        vf: None,
        kept: None,
    })
}
