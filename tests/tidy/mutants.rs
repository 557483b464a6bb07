//! The document names the breaks of the list, and each of them a test that is there.

use std::fs;

use crate::tree::{self, FILES};

const LIST: &str = "tests/mutants.toml";
const DOCUMENT: &str = "docs/mutations.md";
const HEAD: &str = "| what is broken | where | found by |\n|---|---|---|\n";

fn rows() -> String {
    let list: toml::Table = tree::text(LIST).parse().expect("TOML");
    let mutants = list["mutant"].as_array().expect("a list");
    let row = |mutant: &toml::Value| {
        let part = |name| mutant[name].as_str().expect("a text");
        format!("| {} | `{}` | `{}` |\n", part("what"), part("file"), part("test"))
    };
    mutants.iter().map(row).collect()
}

#[test]
fn the_document_has_every_break_of_the_list() {
    let text = tree::text(DOCUMENT);
    let (before, rest) = text.split_once(HEAD).expect("the table");
    let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
    // An empty table ends at once.
    let end = if rest.starts_with('\n') { 0 } else { end };
    let (there, after) = rest.split_at(end);
    if std::env::var_os("GODWIT_REGENERATE").is_some() {
        let made = format!("{before}{HEAD}{}{after}", rows());
        fs::write(tree::root().join(DOCUMENT), made).expect("the document is writable");
        return;
    }
    assert_eq!(
        there,
        rows(),
        "GODWIT_REGENERATE=1 cargo test -p godwit-tidy mutants"
    );
}

#[test]
fn the_tests_of_the_list_are_there() {
    let list: toml::Table = tree::text(LIST).parse().expect("TOML");
    for mutant in list["mutant"].as_array().expect("a list") {
        let test = mutant["test"].as_str().expect("a text");
        let name = test.rsplit("::").next().unwrap_or(test);
        let function = format!("fn {name}(");
        let there = FILES
            .iter()
            .any(|file| file.path.ends_with(".rs") && file.text.contains(&function));
        assert!(there, "{LIST}: no file has a {function}...)");
    }
}
