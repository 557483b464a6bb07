//! What an examination found, as the wire has it.

use godwit_api::v1 as api;
use godwit_migration::{
    doctor::{Diagnosis, Finding, Severity},
    plan::Estimated,
};

/// The findings, and what could not be looked at.
pub fn diagnosis(value: Diagnosis) -> (Vec<api::Finding>, Vec<api::NotChecked>) {
    let not_checked = value.not_checked.into_iter().map(|skipped| api::NotChecked {
        check: skipped.check,
        why: skipped.why,
    });
    (
        value.findings.into_iter().map(finding).collect(),
        not_checked.collect(),
    )
}

/// What a host, or the way to it, would refuse a guest for.
pub(crate) fn refused(about: &str, failure: api::Failure) -> api::Finding {
    let why = match failure.causes.is_empty() {
        true => "a migration is refused for it".into(),
        false => failure.causes.join(": "),
    };
    api::Finding {
        severity: api::Severity::Error.into(),
        reason: failure.reason,
        about: about.into(),
        what: failure.message,
        why,
        fix: failure.hint,
    }
}

fn finding(found: Finding) -> api::Finding {
    let severity = match found.severity {
        Severity::Hint => api::Severity::Hint,
        Severity::Warning => api::Severity::Warning,
        Severity::Error => api::Severity::Error,
    };
    api::Finding {
        severity: severity.into(),
        reason: found.reason.into(),
        about: found.about,
        what: found.what,
        why: found.why,
        fix: found.fix,
    }
}

/// How long the parts of a move may take.
pub fn estimates(parts: &[Estimated]) -> Vec<api::StepEstimate> {
    let part = |part: &Estimated| api::StepEstimate {
        step: part.step.into(),
        least_ms: part.least_ms,
        most_ms: part.most_ms,
        because: part.because.clone(),
    };
    parts.iter().map(part).collect()
}
