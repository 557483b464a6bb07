//! The table's graph and its readable form stand in docs/workflow.md; a test keeps them as the table is.

use std::{env, fs, path::PathBuf};

use godwit_migration::{Role, State};

use crate::{reachable, rows, told, word};

const BEGIN: &str = "<!-- table:begin -->";
const END: &str = "<!-- table:end -->";

/// `GODWIT_REGENERATE=1 cargo test -p godwit-migration --test table` writes it anew.
#[test]
fn the_page_shows_the_table_as_it_is() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflow.md");
    let page = fs::read_to_string(&path).expect("docs/workflow.md");
    let (before, rest) = page.split_once(BEGIN).expect("the marker of the begin");
    let (_, after) = rest.split_once(END).expect("the marker of the end");
    let wanted = format!("{before}{BEGIN}\n{}{END}{after}", generated());
    if env::var_os("GODWIT_REGENERATE").is_some() {
        fs::write(&path, wanted).expect("docs/workflow.md is written");
        return;
    }
    assert!(
        page == wanted,
        "docs/workflow.md is not the table's: run with GODWIT_REGENERATE=1"
    );
}

fn generated() -> String {
    let mut text = String::new();
    for (role, name) in [
        (Role::Source, "The source"),
        (Role::Destination, "The destination, and a guest that stays"),
    ] {
        text.push_str(&format!("\n### {name}\n\n```mermaid\n{}```\n\n", graph(role)));
        text.push_str(&format!("```text\n{}```\n", told(role)));
    }
    text.push('\n');
    text
}

/// A mermaid diagram: one arrow for each pair of states, with everything that leads along it.
fn graph(role: Role) -> String {
    let mut text = String::from("stateDiagram-v2\n    direction TB\n");
    let states = reachable(role);
    for state in &states {
        text.push_str(&format!("    state \"{state}\" as {}\n", id(*state)));
    }
    text.push_str(&format!("    [*] --> {}\n", id(role.start())));
    for state in states {
        let rows = rows(state);
        let mut drawn = Vec::new();
        for (_, next) in &rows {
            if drawn.contains(next) || *next == state {
                continue;
            }
            drawn.push(*next);
            let words = rows.iter().filter(|(_, to)| to == next);
            let words: Vec<String> = words.map(|(happening, _)| word(*happening)).collect();
            text.push_str(&format!(
                "    {} --> {}: {}\n",
                id(state),
                id(*next),
                words.join(", ")
            ));
        }
        if rows.is_empty() {
            text.push_str(&format!("    {} --> [*]\n", id(state)));
        }
    }
    text
}

fn id(state: State) -> String {
    match state {
        State::Work(course, phase) => format!("{course:?}{phase:?}"),
        State::Rest(course, phase) => format!("Rest{course:?}{phase:?}"),
        State::Done(outcome) => format!("Done{outcome:?}"),
    }
}
