//! What `godwit plan` prints for people.

use godwit_api::v1::{PairPlan, PlanMigrationResponse, VfCandidate};

use super::table::{Fit, Table};
use super::words;

/// What a migration would begin, and of each pair every VF with its reasons.
pub(crate) fn answer(answer: &PlanMigrationResponse, width: Option<usize>) -> Vec<String> {
    let PlanMigrationResponse {
        guest,
        source,
        destination,
        ..
    } = answer;
    let policy = words::policy(answer.policy()).unwrap_or_else(|| "?".into());
    let lacks = answer.pairs.iter().any(|pair| pair.vf.is_empty()) || answer.pairs.is_empty();
    let would = match (answer.moves, lacks) {
        (true, false) => format!("{guest} would move from {source} to {destination} (policy {policy})"),
        (true, true) => {
            format!("{guest} would move from {source} to {destination} without a VF (policy {policy})")
        }
        (false, _) => {
            format!("{guest} would not move from {source} to {destination}: no VF would do (policy {policy})")
        }
    };
    let mut lines = vec![would];
    for pair in &answer.pairs {
        lines.push(String::new());
        lines.push(format!("pair {}, pool {}", pair.mac, pair.pool));
        lines.extend(table(pair, width));
    }
    lines
}

fn table(pair: &PairPlan, width: Option<usize>) -> Vec<String> {
    if pair.candidates.is_empty() {
        return vec![format!("no VF in a pool named {}", pair.pool)];
    }
    let mut table = Table::new([
        ("", Fit::Keep),
        ("VF", Fit::Keep),
        ("PF", Fit::Keep),
        ("BECAUSE", Fit::Wrap),
    ]);
    for candidate in &pair.candidates {
        table.row([
            word(pair, candidate).into(),
            candidate.vf.as_str().into(),
            candidate.pf.as_str().into(),
            candidate.reasons.join(", ").into(),
        ]);
    }
    table.lines(width)
}

fn word(pair: &PairPlan, candidate: &VfCandidate) -> &'static str {
    match candidate.fits {
        true if candidate.vf == pair.vf => "gets",
        true => "fits",
        false => "no",
    }
}
