//! The JSON of `godwit doctor`: the API's message.

use godwit_api::v1 as api;
use serde::Serialize;

use crate::view::words;

/// `godwit doctor`.
#[derive(Debug, Serialize)]
pub(crate) struct Doctor<'a> {
    host: &'a str,
    guest: &'a str,
    findings: Vec<Finding<'a>>,
    not_checked: Vec<NotChecked<'a>>,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    severity: Option<String>,
    reason: &'a str,
    about: &'a str,
    what: &'a str,
    why: &'a str,
    fix: &'a str,
}

#[derive(Debug, Serialize)]
struct NotChecked<'a> {
    check: &'a str,
    why: &'a str,
}

impl<'a> From<&'a api::DoctorResponse> for Doctor<'a> {
    fn from(answer: &'a api::DoctorResponse) -> Doctor<'a> {
        let finding = |found: &'a api::Finding| Finding {
            severity: words::severity(found.severity()),
            reason: &found.reason,
            about: &found.about,
            what: &found.what,
            why: &found.why,
            fix: &found.fix,
        };
        let not_checked = |skipped: &'a api::NotChecked| NotChecked {
            check: &skipped.check,
            why: &skipped.why,
        };
        Doctor {
            host: &answer.host,
            guest: &answer.guest,
            findings: answer.findings.iter().map(finding).collect(),
            not_checked: answer.not_checked.iter().map(not_checked).collect(),
        }
    }
}
