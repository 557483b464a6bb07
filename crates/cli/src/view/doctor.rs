//! What `godwit doctor` prints for people.

use godwit_api::v1::{DoctorResponse, Finding, NotChecked, Severity};

use super::table::wrap;
use super::words;

/// Narrower than this nothing can be read.
const NARROWEST: usize = 20;

/// `godwit doctor`: each finding, what was not checked, and how many there are.
pub(crate) fn answer(answer: &DoctorResponse, width: Option<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &answer.findings {
        lines.extend(told(finding, width));
        lines.push(String::new());
    }
    for NotChecked { check, why } in &answer.not_checked {
        lines.extend(folded("not checked: ", &format!("{check}: {why}"), width));
    }
    if !answer.not_checked.is_empty() {
        lines.push(String::new());
    }
    lines.extend(folded("", &summary(answer), width));
    lines
}

/// What was found and keeps nothing from going on: a line for each, hints left out.
pub(crate) fn warnings(findings: &[Finding]) -> Vec<String> {
    let those = findings.iter().filter(|found| found.severity() != Severity::Hint);
    those
        .map(|found| format!("Warning: {} [{}]; {}", found.what, found.reason, found.fix))
        .collect()
}

fn told(finding: &Finding, width: Option<usize>) -> Vec<String> {
    let severity = words::severity(finding.severity()).unwrap_or_else(|| "finding".into());
    let Finding {
        reason,
        what,
        why,
        fix,
        ..
    } = finding;
    let mut lines = folded(&format!("{severity}: "), &format!("{what} [{reason}]"), width);
    for (word, text) in [("  why: ", why), ("  fix: ", fix)] {
        if !text.is_empty() {
            lines.extend(folded(word, text, width));
        }
    }
    lines
}

/// What follows the word goes on under its beginning.
fn folded(word: &str, text: &str, width: Option<usize>) -> Vec<String> {
    let indent = word.chars().count();
    let Some(width) = width else {
        return vec![format!("{word}{text}")];
    };
    let lines = wrap(text, width.saturating_sub(indent).max(NARROWEST)).into_iter();
    let blank = " ".repeat(indent);
    lines
        .enumerate()
        .map(|(at, line)| format!("{}{line}", if at == 0 { word } else { &blank }))
        .collect()
}

fn summary(answer: &DoctorResponse) -> String {
    let count = |severity: Severity| {
        let those = answer
            .findings
            .iter()
            .filter(|found| found.severity() == severity);
        match (those.count(), words::severity(severity)) {
            (0, _) | (_, None) => None,
            (1, Some(word)) => Some(format!("1 {word}")),
            (n, Some(word)) => Some(format!("{n} {word}s")),
        }
    };
    let counts = [Severity::Error, Severity::Warning, Severity::Hint].map(count);
    let mut counts: Vec<String> = counts.into_iter().flatten().collect();
    if counts.is_empty() {
        counts.push("nothing found".into());
    }
    match answer.not_checked.len() {
        0 => {}
        1 => counts.push("1 check not made".into()),
        n => counts.push(format!("{n} checks not made")),
    }
    let whom = match answer.guest.as_str() {
        "" => answer.host.clone(),
        guest => format!("{guest} on {}", answer.host),
    };
    format!("{whom}: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn findings_and_what_was_not_checked() {
        insta::assert_snapshot!(answer(&sample::doctor(), None).join("\n"), @"
        error: pf0 has no VFs (0 of 7) [PF_WITHOUT_VFS]
          why: there is no VF of it that a guest could be given
          fix: echo 7 >/sys/class/net/pf0/device/sriov_numvfs; for each boot: `vfs = 7` in its [[pool]]

        warning: the clock of beta is 90.0 s behind that of alpha [PEER_CLOCK]
          why: a migration's timeline is of both hosts' clocks, and certificates are judged by them
          fix: on both: chronyc tracking; timedatectl set-ntp true

        hint: the configuration has no `listen` [NO_LISTENER]
          why: this host sends guests and receives none
          fix: add `listen` with address and port to godwitd.toml

        not checked: pools, clock and certificate of gamma: it does not answer

        alpha: 1 error, 1 warning, 1 hint, 1 check not made
        ");
        insta::assert_snapshot!(answer(&sample::doctor(), Some(60)).join("\n"), @"
        error: pf0 has no VFs (0 of 7) [PF_WITHOUT_VFS]
          why: there is no VF of it that a guest could be given
          fix: echo 7 >/sys/class/net/pf0/device/sriov_numvfs; for
               each boot: `vfs = 7` in its [[pool]]

        warning: the clock of beta is 90.0 s behind that of alpha
                 [PEER_CLOCK]
          why: a migration's timeline is of both hosts' clocks, and
               certificates are judged by them
          fix: on both: chronyc tracking; timedatectl set-ntp true

        hint: the configuration has no `listen` [NO_LISTENER]
          why: this host sends guests and receives none
          fix: add `listen` with address and port to godwitd.toml

        not checked: pools, clock and certificate of gamma: it does
                     not answer

        alpha: 1 error, 1 warning, 1 hint, 1 check not made
        ");
    }

    #[test]
    fn every_width_is_kept_as_far_as_possible() {
        for width in 0..100 {
            let lines = answer(&sample::doctor(), Some(width));
            let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            let least = "not checked: ".len() + NARROWEST;
            assert!(widest <= width.max(least), "{widest} in {width}");
        }
    }

    #[test]
    fn nothing_is_said_so() {
        let well = DoctorResponse {
            host: "alpha".into(),
            guest: "web-1".into(),
            ..DoctorResponse::default()
        };
        assert_eq!(answer(&well, Some(80)), ["web-1 on alpha: nothing found"]);
    }
}
