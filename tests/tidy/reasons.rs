//! The stable words of failures: those in code and those in docs/specification.md are the same.

use std::collections::BTreeSet;

use crate::{
    exceptions::{Measured, Rule, counted, judge},
    rust::{self, Kind, RustFile},
    tree,
};

const UNDOCUMENTED: Rule = Rule {
    name: "reason-in-code",
    limit: 0,
    advice: "add it under Reasons in docs/specification.md",
};
const UNUSED: Rule = Rule {
    name: "reason-in-docs",
    limit: 0,
    advice: "no code has it: docs/specification.md, Reasons",
};

const DOUBLED: Rule = Rule {
    name: "doubled-in-specification",
    limit: 1,
    advice: "docs/specification.md says it once: keep the fuller row, or the union of the lines",
};

pub(crate) const RULES: [Rule; 3] = [UNDOCUMENTED, UNUSED, DOUBLED];

/// Where every literal in capital letters is a reason; elsewhere only behind `reason:`.
const SPEAKERS: [&str; 5] = [
    "crates/coordinator/src/",
    "crates/daemon/src/",
    "crates/migration/src/",
    "crates/cli/src/failure",
    "crates/server/src/gate.rs",
];

/// Literals in capital letters that are none.
const OTHERS: [&str; 9] = [
    "BEGIN", "COMMIT", "FULL", "GB", "KB", "MB", "ROLLBACK", "TLS", "WAL",
];

#[test]
fn reasons_in_code_and_in_the_specification_are_the_same() {
    let (code, docs) = (in_code(), in_docs());
    assert!(
        code.len() > 30 && docs.len() > 30,
        "{} in code, {} in docs",
        code.len(),
        docs.len()
    );
    let only = |these: &BTreeSet<&'static str>, those: &BTreeSet<&'static str>| {
        let only = these.difference(those).map(|word| Measured {
            place: (*word).to_owned(),
            number: 1,
            detail: "missing".into(),
        });
        only.collect::<Vec<_>>()
    };
    judge(&UNDOCUMENTED, &only(&code, &docs));
    judge(&UNUSED, &only(&docs, &code));
}

fn in_code() -> BTreeSet<&'static str> {
    let of = |file: &'static RustFile| {
        let speaker = SPEAKERS.iter().any(|path| file.path.starts_with(path));
        let texts = file.tokens.windows(3).filter(move |three| {
            let behind = three[0].text == "reason" && three[1].text == ":";
            let literal = three[2].kind == Kind::Text && !three[2].test;
            // `env!("...")`
            let variable = three[0].text == "!" && three[1].text == "(";
            literal && (behind || speaker && !variable)
        });
        texts.map(|three| three[2].text.as_str())
    };
    let words = rust::production().flat_map(of).filter(|text| is_reason(text));
    words
        .filter(|word| !OTHERS.contains(word) && !word.starts_with("SIG"))
        .collect()
}

fn in_docs() -> BTreeSet<&'static str> {
    reasons(tree::text("docs/specification.md")).collect()
}

/// The words under Reasons, as often as they stand there.
fn reasons(text: &str) -> impl Iterator<Item = &str> {
    let (_, section) = text.split_once("\n## Reasons\n").expect("a section of reasons");
    let section = section.split("\n## ").next().unwrap_or(section);
    let quoted = section.split('`').skip(1).step_by(2);
    quoted.filter(|word| is_reason(word))
}

/// The ids of the rows of promises.
fn promises(text: &str) -> impl Iterator<Item = &str> {
    let first = text
        .lines()
        .filter_map(|line| line.strip_prefix("| P")?.split_once(" |"));
    first
        .map(|(number, _)| number)
        .filter(|number| number.chars().all(|c| c.is_ascii_digit()))
}

/// A merge of two branches leaves both lines where both changed one.
fn doubled(text: &str) -> Vec<Measured> {
    let promises = promises(text).map(|number| (format!("P{number}"), "a row".to_owned()));
    let reasons = reasons(text).map(|word| (word.to_owned(), "a word".to_owned()));
    counted(promises.chain(reasons))
}

#[test]
fn nothing_stands_twice_in_the_specification() {
    let text = tree::text("docs/specification.md");
    let found = doubled(text);
    assert!(found.len() > 100, "{} rows and words", found.len());
    judge(&DOUBLED, &found);
}

#[test]
fn what_stands_twice_is_found() {
    let text = "| P1 | a | b |\n| P2 | a | b |\n| P1 | more | b |\n\n## Reasons\n\n`BUSY`, `LEFT`,\n`BUSY`, `WAL`.\n";
    let twice = doubled(text)
        .into_iter()
        .filter(|found| found.number > DOUBLED.limit);
    let places: Vec<_> = twice.map(|found| found.place).collect();
    assert_eq!(places, ["BUSY", "P1"]);
}

fn is_reason(text: &str) -> bool {
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_uppercase()) && {
        text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    }
}
