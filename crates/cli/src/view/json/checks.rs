//! The JSON of `godwit vfs check`: that of `godwit vfs`, and what was found.

use godwit_api::v1 as api;
use serde::Serialize;

use super::hosts::Vf;

/// `godwit vfs check`.
#[derive(Debug, Serialize)]
pub(crate) struct Checks<'a> {
    vfs: Vec<Check<'a>>,
}

#[derive(Debug, Serialize)]
struct Check<'a> {
    #[serde(flatten)]
    vf: Option<Vf<'a>>,
    mac: &'a str,
    wrong: &'a [String],
    fix: &'a str,
    not_checked: &'a str,
}

impl<'a> From<&'a [api::VfCheck]> for Checks<'a> {
    fn from(checks: &'a [api::VfCheck]) -> Checks<'a> {
        let check = |check: &'a api::VfCheck| Check {
            vf: check.vf.as_ref().map(Vf::from),
            mac: &check.mac,
            wrong: &check.wrong,
            fix: &check.fix,
            not_checked: &check.not_checked,
        };
        Checks {
            vfs: checks.iter().map(check).collect(),
        }
    }
}
