//! Sizes, and what production code must not contain.

use crate::{
    exceptions::{Measured, Rule, counted, judge},
    rust::{self, Kind, RustFile, SOURCES, Token, What},
};

const FILE: Rule = Rule {
    name: "file",
    limit: 400,
    advice: "lines of production code; is there a second noun in it?",
};
const TEST_FILE: Rule = Rule {
    name: "test-file",
    limit: 500,
    advice: "lines of a file of tests",
};
const FUNCTION: Rule = Rule {
    name: "function",
    limit: 70,
    advice: "lines of a function",
};
const TEST_FUNCTION: Rule = Rule {
    name: "test-function",
    limit: 100,
    advice: "lines of a function in tests",
};
const PARAMETERS: Rule = Rule {
    name: "parameters",
    limit: 5,
    advice: "parameters, `self` included",
};
const FIELDS: Rule = Rule {
    name: "fields",
    limit: 10,
    advice: "fields of a struct",
};
const VARIANTS: Rule = Rule {
    name: "variants",
    limit: 8,
    advice: "variants of an error",
};
const METHODS: Rule = Rule {
    name: "methods",
    limit: 6,
    advice: "methods of a trait",
};
const SURPRISE: Rule = Rule {
    name: "surprise",
    limit: 0,
    advice: "no `unwrap` or `expect` outside of tests: every failure is an error value",
};
const UNSAFE: Rule = Rule {
    name: "unsafe",
    limit: 0,
    advice: "only libvirt/ffi.rs and keep/ffi.rs of crates/daemon/src have any",
};
const LEFT_OPEN: Rule = Rule {
    name: "left-open",
    limit: 0,
    advice: "finish it, or make it an issue",
};

pub(crate) const RULES: [Rule; 11] = [
    FILE,
    TEST_FILE,
    FUNCTION,
    TEST_FUNCTION,
    PARAMETERS,
    FIELDS,
    VARIANTS,
    METHODS,
    SURPRISE,
    UNSAFE,
    LEFT_OPEN,
];

const FFI: [&str; 2] = [
    "crates/daemon/src/libvirt/ffi.rs",
    "crates/daemon/src/keep/ffi.rs",
];

#[test]
fn files_are_short() {
    let of = |test: bool| {
        let files = SOURCES.iter().filter(move |file| file.test == test);
        let lines = files.map(|file| Measured {
            place: file.path.clone(),
            number: file.lines,
            detail: "lines".into(),
        });
        lines.collect::<Vec<_>>()
    };
    judge(&FILE, &of(false));
    judge(&TEST_FILE, &of(true));
}

#[test]
fn functions_are_short() {
    judge(&FUNCTION, &sizes(What::FunctionLines, false));
    judge(&TEST_FUNCTION, &sizes(What::FunctionLines, true));
}

#[test]
fn items_have_few_parts() {
    judge(&PARAMETERS, &sizes(What::Parameters, false));
    judge(&FIELDS, &sizes(What::Fields, false));
    judge(&VARIANTS, &sizes(What::ErrorVariants, false));
    judge(&METHODS, &sizes(What::TraitMethods, false));
}

#[test]
fn production_does_not_end_on_a_surprise() {
    let found = rust::production().flat_map(|file| places(file, surprises(file)));
    judge(&SURPRISE, &counted(found));
}

#[test]
fn unsafe_code_is_in_two_files() {
    let elsewhere = SOURCES.iter().filter(|file| !FFI.contains(&file.path.as_str()));
    let found = elsewhere.flat_map(|file| {
        let words = file
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Word && token.text == "unsafe");
        places(file, words.collect())
    });
    judge(&UNSAFE, &counted(found));
    for path in FFI {
        let ffi = SOURCES.iter().find(|file| file.path == path);
        let ffi = ffi.expect("the FFI is where it was");
        assert!(
            ffi.tokens.iter().any(|token| token.text == "unsafe"),
            "{path} has no unsafe code: forbid it"
        );
    }
}

#[test]
fn nothing_is_left_open() {
    let code = SOURCES.iter().flat_map(|file| places(file, left_open(file)));
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    let suffixes = [".rs", ".proto", ".toml", ".sh", ".md", ".yaml"];
    let files = crate::tree::FILES
        .iter()
        .filter(|file| suffixes.iter().any(|suffix| file.path.ends_with(suffix)));
    let text = files.flat_map(|file| {
        let lines = file.text.lines().zip(1..);
        let marked = lines.filter(|(line, _)| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| marks.iter().any(|mark| word == mark))
        });
        marked.map(|(_, line)| (file.path.clone(), format!("line {line}")))
    });
    judge(&LEFT_OPEN, &counted(code.chain(text)));
}

fn sizes(what: What, test: bool) -> Vec<Measured> {
    let of = |file: &'static RustFile| {
        let sizes = file
            .sizes
            .iter()
            .filter(move |size| size.what == what && size.test == test);
        sizes.map(move |size| Measured {
            place: format!("{} {}", file.path, size.name),
            number: size.number,
            detail: format!("line {}", size.line),
        })
    };
    SOURCES.iter().flat_map(of).collect()
}

fn places(file: &RustFile, tokens: Vec<&Token>) -> Vec<(String, String)> {
    tokens
        .into_iter()
        .map(|token| (file.path.clone(), format!("line {}", token.line)))
        .collect()
}

fn surprises(file: &RustFile) -> Vec<&Token> {
    let calls = file.tokens.windows(3).filter(|three| {
        let [dot, name, open] = three else { return false };
        let named = matches!(
            name.text.as_str(),
            "unwrap" | "expect" | "unwrap_err" | "expect_err"
        );
        !name.test && dot.text == "." && name.kind == Kind::Word && named && open.text == "("
    });
    calls.map(|three| &three[1]).collect()
}

fn left_open(file: &RustFile) -> Vec<&Token> {
    let calls = file.tokens.windows(2).filter(|two| {
        let [name, mark] = two else { return false };
        name.kind == Kind::Word && matches!(name.text.as_str(), "todo" | "unimplemented") && mark.text == "!"
    });
    calls.map(|two| &two[0]).collect()
}

#[test]
fn surprises_are_seen_also_in_macros_and_not_in_tests_or_texts() {
    let file = rust::sample(
        r#"
fn one() {
    a.unwrap();
    println!("{}", b.expect("it"));
    c.unwrap_or_default();
    say("x.unwrap()"); // d.unwrap()
    todo!();
}
#[cfg(test)]
mod tests {
    fn two() { e.unwrap(); }
}
"#,
    );
    let lines = |tokens: Vec<&Token>| tokens.iter().map(|token| token.line).collect::<Vec<_>>();
    assert_eq!(lines(surprises(&file)), [3, 4]);
    assert_eq!(lines(left_open(&file)), [7]);
}
