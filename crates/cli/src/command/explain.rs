//! `godwit explain REASON`. What it says is docs/reasons.md: there is one text.

use godwit_api::v1::Failure;
use serde::Serialize;

use crate::exit;
use crate::failure::Error;
use crate::output::Output;

const PAGE: &str = include_str!("../../../../docs/reasons.md");

/// What stands before a reason that is explained.
const HEAD: &str = "### ";

pub(super) fn explain(reason: Option<&str>, out: &mut Output) -> Result<u8, Error> {
    let Some(named) = reason else {
        return list(out);
    };
    let wanted = named.to_uppercase().replace('-', "_");
    let found = explained().find(|explained| explained.reason == wanted);
    let Some(found) = found else {
        return Err(unknown(&wanted));
    };
    if out.is_json() {
        out.json(&found)?;
    } else {
        out.ours(&format!(
            "{}\n{}\nTo do: {}\n",
            found.reason, found.meaning, found.to_do
        ))?;
    }
    Ok(exit::DONE)
}

/// The words alone.
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    explained().map(|each| each.reason)
}

/// All of them, with the first sentence of each.
fn list(out: &mut Output) -> Result<u8, Error> {
    for each in explained() {
        if out.is_json() {
            out.json(&each)?;
        } else {
            let first = each.meaning.split_inclusive(". ").next().unwrap_or_default();
            out.ours(&format!("{:<28} {}\n", each.reason, first.trim_end()))?;
        }
    }
    Ok(exit::DONE)
}

fn unknown(wanted: &str) -> Error {
    let named: String = wanted.chars().filter(|c| !c.is_control()).take(64).collect();
    let failure = Failure {
        reason: "USAGE".into(),
        message: format!("there is no reason `{named}`"),
        causes: Vec::new(),
        hint: match near(wanted) {
            Some(near) => format!("godwit explain {near}"),
            None => "godwit explain lists them".into(),
        },
    };
    Error::Refused {
        failure: Box::new(failure),
    }
}

/// A reason with what it means, and what is to be done.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Explained {
    reason: &'static str,
    meaning: String,
    to_do: String,
}

fn explained() -> impl Iterator<Item = Explained> {
    PAGE.split(HEAD).skip(1).map(|section| {
        let (reason, text) = section.split_once('\n').unwrap_or((section, ""));
        let text = text.split("\n## ").next().unwrap_or_default();
        let (meaning, remedy) = text.split_once("To do: ").unwrap_or((text, ""));
        let plain = |text: &str| text.replace(['`', '*'], "").trim().to_owned();
        Explained {
            reason: reason.trim(),
            meaning: plain(meaning),
            to_do: plain(remedy.split("\n\n").next().unwrap_or_default()),
        }
    })
}

/// The one that was meant, if that can be told: with the most beginning letters in common.
fn near(wanted: &str) -> Option<&'static str> {
    let common = |reason: &str| {
        let same = reason.bytes().zip(wanted.bytes());
        same.take_while(|(one, other)| one == other).count()
    };
    let best = explained().max_by_key(|each| common(each.reason))?;
    (common(best.reason) >= 3).then_some(best.reason)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The words of docs/specification.md under "Reasons".
    fn promised() -> BTreeSet<&'static str> {
        const SPECIFICATION: &str = include_str!("../../../../docs/specification.md");
        let section = SPECIFICATION.split("## Reasons").nth(1).unwrap();
        let quoted = section.split('`').skip(1).step_by(2);
        let is_reason = |word: &&str| {
            word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        quoted.filter(is_reason).collect()
    }

    #[test]
    fn every_reason_is_explained_once_and_no_other() {
        let all: Vec<&str> = explained().map(|each| each.reason).collect();
        let set: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), set.len(), "one is explained twice");
        assert_eq!(set, promised());
    }

    #[test]
    fn each_says_what_it_means_and_what_to_do() {
        for each in explained() {
            assert!(
                each.meaning.ends_with('.') && each.to_do.ends_with('.'),
                "{each:?}"
            );
            assert!(!each.to_do.contains("\n#"), "{each:?}");
        }
    }

    #[test]
    fn what_was_meant_is_found() {
        assert_eq!(near("NO_FREE_VFS"), Some("NO_FREE_VF"));
        assert_eq!(near("UNPLUG_PENDNIG"), Some("UNPLUG_PENDING"));
        assert_eq!(near("XYZ"), None);
    }
}
