//! Text for people: documents, comments of the wires, what the programs say.

use crate::{
    rust::{self, Kind},
    tree,
};

/// A line of it, without what is quoted in it.
pub(crate) struct Line {
    pub(crate) path: &'static str,
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// All of it.
pub(crate) fn all() -> Vec<Line> {
    let mut lines = Vec::new();
    for file in tree::ending(".md") {
        let numbered = markdown(&file.text).into_iter();
        lines.extend(numbered.map(|(number, text)| Line {
            path: &file.path,
            number,
            text,
        }));
    }
    for file in tree::ending(".proto") {
        let comments = file.text.lines().zip(1..).filter_map(|(line, number)| {
            let (_, comment) = line.split_once("//")?;
            Some(Line {
                path: &file.path,
                number,
                text: unquoted(comment),
            })
        });
        lines.extend(comments);
    }
    for file in rust::production() {
        // clap prints the comments of the command line's definition.
        let help = file.path.starts_with("crates/cli/src/args");
        let said = file.tokens.iter().filter(|token| {
            !token.test
                && (token.kind == Kind::Text && is_sentence(&token.text) || token.kind == Kind::Doc && help)
        });
        let unquoted = |token: &rust::Token| unquoted(&without(&token.text, '{', '}'));
        lines.extend(said.map(|token| Line {
            path: &file.path,
            number: token.line,
            text: unquoted(token),
        }));
    }
    lines
}

/// Numbered lines of a document without code and without targets of links.
pub(crate) fn markdown(text: &str) -> Vec<(usize, String)> {
    let mut code = false;
    let prose = text.lines().zip(1..).filter(|(line, _)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    prose
        .map(|(line, number)| {
            (
                number,
                unquoted(&without(&line.replace("](", "]\u{1}("), '\u{1}', ')')),
            )
        })
        .collect()
}

/// Not a mere name, and neither XML nor SQL.
fn is_sentence(text: &str) -> bool {
    let sql = ["CREATE ", "DELETE ", "INSERT ", "PRAGMA ", "SELECT ", "UPDATE "];
    let text = text.trim();
    text.contains(' ')
        && !text.starts_with('<')
        && !text.contains("='")
        && !sql.iter().any(|sql| text.starts_with(sql))
}

/// Without what stands between backticks.
fn unquoted(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Without what stands between these marks, and without the marks.
fn without(text: &str, open: char, close: char) -> String {
    let mut inside = false;
    let kept = text.chars().filter(|c| {
        let was = inside;
        inside = *c == open || inside && *c != close;
        !was && !inside
    });
    kept.collect()
}

#[test]
fn what_is_quoted_is_no_prose() {
    let text = "One `two` [three](four.md).\n```text\nfive\n```\nsix";
    assert_eq!(
        markdown(text),
        [(1, "One   [three].".to_owned()), (5, "six".to_owned())]
    );
    assert_eq!(without("no VF {address:?} left", '{', '}'), "no VF  left");
}
