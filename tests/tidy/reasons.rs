//! The stable words of failures: those in code and those in docs/specification.md are the same.

use std::collections::BTreeSet;

use crate::{
    exceptions::{Measured, Rule, judge},
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

pub(crate) const RULES: [Rule; 2] = [UNDOCUMENTED, UNUSED];

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
    let text = tree::text("docs/specification.md");
    let (_, section) = text.split_once("\n## Reasons\n").expect("a section of reasons");
    let section = section.split("\n## ").next().unwrap_or(section);
    section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| is_reason(word))
        .collect()
}

fn is_reason(text: &str) -> bool {
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_uppercase()) && {
        text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    }
}
