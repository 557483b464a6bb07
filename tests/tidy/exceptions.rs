//! `exceptions.txt`: what may be over a rule's limit, by how much, and why. A ratchet: numbers only go down.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Mutex};

/// A limit on a number.
pub(crate) struct Rule {
    /// As `exceptions.txt` names it.
    pub(crate) name: &'static str,
    pub(crate) limit: usize,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

/// Every rule that a line of `exceptions.txt` may name.
const RULES: [&[Rule]; 6] = [
    &crate::arrows::RULES,
    &crate::budgets::RULES,
    &crate::foreign::RULES,
    &crate::links::RULES,
    &crate::reasons::RULES,
    &crate::words::RULES,
];

/// What was measured at one place.
pub(crate) struct Measured {
    /// A path, and the name of the item after a blank.
    pub(crate) place: String,
    pub(crate) number: usize,
    /// For the reader: lines, words.
    pub(crate) detail: String,
}

/// A line of `exceptions.txt`.
struct Exception {
    rule: String,
    place: String,
    number: usize,
}

/// Of several that were found at one place, their number and details.
pub(crate) fn counted(found: impl IntoIterator<Item = (String, String)>) -> Vec<Measured> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, detail) in found {
        places.entry(place).or_default().push(detail);
    }
    let measured = |(place, details): (String, Vec<String>)| Measured {
        place,
        number: details.len(),
        detail: details.join(", "),
    };
    places.into_iter().map(measured).collect()
}

/// Panics with everything that is over, and with exceptions that are larger than what they except.
pub(crate) fn judge(rule: &Rule, measured: &[Measured]) {
    // Tests of one process share the file.
    static FILE: Mutex<()> = Mutex::new(());
    let _alone = FILE.lock();
    let text = fs::read_to_string(file()).expect("exceptions.txt is readable");
    let judged = judged(rule, measured, &text);
    if std::env::var_os("GODWIT_REGENERATE").is_some() {
        fs::write(file(), &judged.text).expect("exceptions.txt is writable");
    } else {
        let stale = judged.stale.iter();
        let hint = "GODWIT_REGENERATE=1 cargo test -p godwit-tidy, and commit tests/tidy/exceptions.txt";
        let stale: Vec<_> = stale.map(|said| format!("  {said}\n")).collect();
        assert!(
            stale.is_empty(),
            "{}, less than excepted:\n{}{hint}",
            rule.name,
            stale.concat()
        );
    }
    let over: Vec<_> = judged.over.iter().map(|said| format!("  {said}\n")).collect();
    assert!(
        over.is_empty(),
        "{} over {}:\n{}{}",
        rule.name,
        rule.limit,
        over.concat(),
        rule.advice
    );
}

struct Judged {
    /// Over the limit and over the exception.
    over: Vec<String>,
    /// Exceptions that are too large or not needed.
    stale: Vec<String>,
    /// The file without them.
    text: String,
}

fn judged(rule: &Rule, measured: &[Measured], exceptions: &str) -> Judged {
    let mut judged = Judged {
        over: Vec::new(),
        stale: Vec::new(),
        text: String::new(),
    };
    let mut excepted: BTreeMap<String, usize> = BTreeMap::new();
    for line in exceptions.lines() {
        let mut kept = format!("{line}\n");
        if let Some(exception) = Exception::read(line).filter(|exception| exception.rule == rule.name) {
            let Exception { place, number, .. } = exception;
            let found = measured.iter().filter(|found| found.place == place);
            let now = found.map(|found| found.number).max().unwrap_or(0);
            if now <= rule.limit {
                judged
                    .stale
                    .push(format!("{place}: is not needed any more, remove it"));
                kept.clear();
            } else if now < number {
                judged
                    .stale
                    .push(format!("{place}: can be lowered from {number} to {now}"));
                kept = kept.replacen(&format!("| {number} |"), &format!("| {now} |"), 1);
            }
            excepted.insert(place, number);
        }
        judged.text.push_str(&kept);
    }
    for Measured {
        place,
        number,
        detail,
    } in measured
    {
        match excepted.get(place) {
            _ if *number <= rule.limit => {}
            Some(allowed) if number <= allowed => {}
            Some(allowed) => judged
                .over
                .push(format!("{place}: {number}, excepted {allowed} ({detail})")),
            None => judged.over.push(format!("{place}: {number} ({detail})")),
        }
    }
    judged
}

impl Exception {
    /// `rule | place | number | reason`; nothing for a blank line or a comment.
    fn read(line: &str) -> Option<Exception> {
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [rule, place, number, reason] = fields[..] else {
            panic!("exceptions.txt: not `rule | place | number | reason`: {line}");
        };
        assert!(reason.len() > 10, "exceptions.txt: no reason: {line}");
        let number = number
            .parse()
            .unwrap_or_else(|_| panic!("exceptions.txt: no number: {line}"));
        Some(Exception {
            rule: rule.to_owned(),
            place: place.to_owned(),
            number,
        })
    }
}

fn file() -> PathBuf {
    crate::tree::root().join("tests/tidy/exceptions.txt")
}

#[test]
fn every_exception_is_of_a_rule_and_stands_once() {
    let text = fs::read_to_string(file()).expect("exceptions.txt is readable");
    let mut seen = std::collections::BTreeSet::new();
    for exception in text.lines().filter_map(Exception::read) {
        let known = RULES
            .iter()
            .copied()
            .flatten()
            .any(|rule| rule.name == exception.rule);
        assert!(known, "exceptions.txt names no rule: {}", exception.rule);
        let new = seen.insert((exception.rule, exception.place.clone()));
        assert!(new, "exceptions.txt has {} twice", exception.place);
    }
}

#[test]
fn a_number_over_its_limit_needs_an_exception_that_is_not_too_large() {
    let rule = Rule {
        name: "long",
        limit: 10,
        advice: "",
    };
    let measured = |place: &str, number| Measured {
        place: place.into(),
        number,
        detail: String::new(),
    };
    let now = [
        measured("a", 10),
        measured("b", 11),
        measured("c", 12),
        measured("d", 13),
        measured("e", 9),
    ];
    let text = "\
# why
long | c | 12 | it is what it is
long | d | 15 | it is what it is
long | e | 11 | it is what it is
long | gone | 11 | it is what it is
other | d | 99 | it is what it is
";
    let judged = judged(&rule, &now, text);
    assert_eq!(judged.over, ["b: 11 ()"]);
    assert_eq!(
        judged.stale,
        [
            "d: can be lowered from 15 to 13",
            "e: is not needed any more, remove it",
            "gone: is not needed any more, remove it",
        ]
    );
    let kept = "\
# why
long | c | 12 | it is what it is
long | d | 13 | it is what it is
other | d | 99 | it is what it is
";
    assert_eq!(judged.text, kept);
    assert_eq!(
        super::exceptions::judged(&rule, &[measured("c", 13)], kept).over,
        ["c: 13, excepted 12 ()"]
    );
}
