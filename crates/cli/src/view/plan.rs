//! What `godwit plan` prints for people.

use godwit_api::v1::{
    Finding, NicPlan, NotChecked, PairPlan, PlanMigrationResponse, Policy, Severity, StepEstimate, Versions,
    VfCandidate,
};

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
            let why = why_not(answer, lacks);
            format!("{guest} would not move from {source} to {destination}: {why} (policy {policy})")
        }
    };
    let mut lines = vec![would];
    lines.extend(versions(answer));
    if !answer.findings.is_empty() {
        lines.push(String::new());
        lines.extend(findings(&answer.findings, width));
    }
    if !answer.not_checked.is_empty() {
        lines.push(String::new());
        lines.extend(not_known(&answer.not_checked));
    }
    if !answer.estimate.is_empty() {
        lines.push(String::new());
        lines.push("About how long, by figures of others and not exact:".into());
        lines.extend(estimate(&answer.estimate, width));
    }
    if !answer.nics.is_empty() {
        lines.push(String::new());
        lines.push("What arrives in the pause:".into());
        lines.extend(kept(&answer.nics, width));
    }
    if answer.nics.iter().any(|nic| !nic.proved.is_empty()) {
        lines.push(String::new());
        lines.push("The same network, proved:".into());
        lines.extend(proved(&answer.nics, width));
    }
    for pair in &answer.pairs {
        lines.push(String::new());
        lines.push(format!("pair {}, pool {}", pair.mac, pair.pool));
        lines.extend(table(pair, width));
    }
    lines
}

/// Where both are known, and one line where they are the same.
fn versions(answer: &PlanMigrationResponse) -> Vec<String> {
    let (Some(here), Some(there)) = (&answer.source_versions, &answer.destination_versions) else {
        return Vec::new();
    };
    let of = |versions: &Versions| format!("libvirt {}, QEMU {}", versions.libvirt, versions.qemu);
    match here == there {
        true => vec![format!("both hosts have {}", of(here))],
        false => vec![
            format!("{} has {}", answer.source, of(here)),
            format!("{} has {}", answer.destination, of(there)),
        ],
    }
}

/// What could not be looked at, a line for each.
pub(crate) fn not_known(skipped: &[NotChecked]) -> Vec<String> {
    let line = |skipped: &NotChecked| format!("not known: {}: {}", skipped.check, skipped.why);
    skipped.iter().map(line).collect()
}

fn why_not(answer: &PlanMigrationResponse, lacks: bool) -> String {
    // A lack of VFs is one of them, unless the daemon is older; it has a sentence of its own.
    let others = |found: &&Finding| !["NO_FREE_VF", "NO_POOL"].contains(&found.reason.as_str());
    let errors = answer.findings.iter();
    let errors = errors.filter(|found| found.severity() == Severity::Error);
    let errors = errors.filter(others).count();
    let those = match errors {
        0 => return "no VF would do".into(),
        1 => "1 error stands in its way".to_owned(),
        n => format!("{n} errors stand in its way"),
    };
    let wants_one = lacks && answer.policy() == Policy::Require;
    if wants_one {
        format!("no VF would do, and {those}")
    } else {
        those
    }
}

fn findings(findings: &[Finding], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("", Fit::Keep),
        ("REASON", Fit::Keep),
        ("FOUND", Fit::Wrap),
        ("WHAT TO DO", Fit::Wrap),
    ]);
    for found in findings {
        table.row([
            words::severity(found.severity()).unwrap_or_default().into(),
            found.reason.as_str().into(),
            found.what.as_str().into(),
            found.fix.as_str().into(),
        ]);
    }
    table.lines(width)
}

fn kept(nics: &[NicPlan], width: Option<usize>) -> Vec<String> {
    let columns = [
        ("", Fit::Keep),
        ("NIC", Fit::Keep),
        ("LOSS", Fit::Keep),
        ("BECAUSE", Fit::Wrap),
    ];
    let mut table = Table::new(columns);
    for nic in nics {
        let (word, why) = match nic.not_kept.as_str() {
            "" => ("kept", "it goes where the guest runs next"),
            why => ("lost", why),
        };
        let because = Some(nic.loss_because.as_str()).filter(|because| !because.is_empty());
        let why = [Some(why), because]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; ");
        table.row([word.into(), nic.mac.as_str().into(), loss(nic).into(), why.into()]);
    }
    table.lines(width)
}

/// Who of those whom the guest knows answered at the destination.
fn proved(nics: &[NicPlan], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([("NIC", Fit::Keep), ("BY", Fit::Wrap)]);
    for nic in nics {
        for by in &nic.proved {
            table.row([nic.mac.as_str().into(), by.as_str().into()]);
        }
    }
    table.lines(width)
}

/// By what arrives now, and by how long the guest may stand still.
fn loss(nic: &NicPlan) -> String {
    match (nic.loss_least_bytes, nic.loss_most_bytes) {
        _ if nic.not_kept.is_empty() => "0".into(),
        (Some(0), Some(0)) => "0".into(),
        (Some(least), Some(most)) => format!("{} to {}", size(least), size(most)),
        _ => "not known".into(),
    }
}

/// Rounded: more would say that it is exact.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn estimate(parts: &[StepEstimate], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([("PART", Fit::Keep), ("TAKES", Fit::Keep), ("BECAUSE", Fit::Wrap)]);
    for part in parts {
        let takes = match part.most_ms {
            Some(most) => format!("{} to {}", length(part.least_ms), length(most)),
            None => format!("{} or longer: no end is foreseen", length(part.least_ms)),
        };
        table.row([
            part.step.as_str().into(),
            takes.into(),
            part.because.as_str().into(),
        ]);
    }
    table.lines(width)
}

/// Rounded: more would say that it is exact.
fn length(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
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
