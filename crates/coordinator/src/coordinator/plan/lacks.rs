//! Pairs for which the destination has no VF, by its own answer: Reserve would say so next.

use godwit_api::v1 as api;
use godwit_migration::{Brief, Cause, HostRefusal, Policy, Refusal};

use crate::{Refused, words};

/// Each pool that has none for a pair, once. None where no VF is wanted.
pub(super) fn of(brief: &Brief, pairs: &[api::PairPlan]) -> Vec<Refused> {
    let fits = |pair: &api::PairPlan| pair.candidates.iter().any(|candidate| candidate.fits);
    let wanted = pairs.iter().filter(|_| brief.policy != Policy::StandbyOnly);
    let mut pools = Vec::new();
    let mut lacks = Vec::new();
    for pair in wanted.filter(|pair| !fits(pair)) {
        if !pools.contains(&&pair.pool) {
            pools.push(&pair.pool);
            lacks.push(lack(&brief.destination, pair));
        }
    }
    lacks
}

/// The same as findings: without a VF the policy decides.
pub(super) fn findings(brief: &Brief, pairs: &[api::PairPlan]) -> Vec<api::Finding> {
    let (severity, why, or) = match brief.policy {
        Policy::Require => (
            api::Severity::Error,
            "its policy is `require`: without a VF that was held for it there the guest does not move",
            "; or let it wait there on its standby: --policy prefer",
        ),
        Policy::Prefer | Policy::StandbyOnly => (
            api::Severity::Warning,
            "its policy is `prefer`: it moves, and is on its standby there until there is a VF for it",
            "",
        ),
    };
    let found = |refused: Refused| {
        let mut found = words::refused(&brief.destination, refused.failure());
        found.severity = severity.into();
        found.why = why.into();
        found.fix.push_str(or);
        found
    };
    of(brief, pairs).into_iter().map(found).collect()
}

fn lack(host: &str, pair: &api::PairPlan) -> Refused {
    let (host, pool) = (host.to_owned(), pair.pool.clone());
    if pair.candidates.is_empty() {
        return Refusal::from(HostRefusal::NoPool { host, pool }).into();
    }
    let is_known = pair.candidates.iter().all(|candidate| candidate.free.is_some());
    let unfit = pair.candidates.iter().filter(|candidate| candidate.free());
    let unfit = unfit.map(|candidate| format!("{}: {}", candidate.vf, candidate.reasons.join(", ")));
    let message = format!(
        "no VF of pool `{pool}` on {host} would do for the pair {}",
        pair.mac
    );
    let no = Refusal::from(HostRefusal::NoFreeVf {
        host,
        pool,
        total: pair.candidates.len(),
        unfit: unfit.collect(),
    });
    match is_known {
        true => no.into(),
        // One that is older does not say which of them are free.
        false => Refused::Cause(Cause {
            reason: no.reason().into(),
            hint: no.hint(),
            message,
            ..Cause::default()
        }),
    }
}
