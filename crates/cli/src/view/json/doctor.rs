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
pub(super) struct Finding<'a> {
    severity: Option<String>,
    reason: &'a str,
    about: &'a str,
    what: &'a str,
    why: &'a str,
    fix: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct NotChecked<'a> {
    check: &'a str,
    why: &'a str,
}

impl<'a> From<&'a api::Finding> for Finding<'a> {
    fn from(found: &'a api::Finding) -> Self {
        Finding {
            severity: words::severity(found.severity()),
            reason: &found.reason,
            about: &found.about,
            what: &found.what,
            why: &found.why,
            fix: &found.fix,
        }
    }
}

impl<'a> From<&'a api::NotChecked> for NotChecked<'a> {
    fn from(skipped: &'a api::NotChecked) -> Self {
        NotChecked {
            check: &skipped.check,
            why: &skipped.why,
        }
    }
}

impl<'a> From<&'a api::DoctorResponse> for Doctor<'a> {
    fn from(answer: &'a api::DoctorResponse) -> Doctor<'a> {
        Doctor {
            host: &answer.host,
            guest: &answer.guest,
            findings: answer.findings.iter().map(Finding::from).collect(),
            not_checked: answer.not_checked.iter().map(NotChecked::from).collect(),
        }
    }
}
