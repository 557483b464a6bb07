//! What the Rust sources are made of: sizes of their items and all their tokens, each known to be code for
//! tests or not. Generated code is left out.

use std::sync::LazyLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::Visit;

use self::items::{Items, Ranges};
use crate::tree;

mod items;

pub(crate) struct RustFile {
    pub(crate) path: String,
    /// The whole file is for tests.
    pub(crate) test: bool,
    /// Lines without those of items that are for tests.
    pub(crate) lines: usize,
    pub(crate) sizes: Vec<Size>,
    pub(crate) tokens: Vec<Token>,
}

/// Something with a budget.
pub(crate) struct Size {
    pub(crate) what: What,
    /// With the type and module that it stands in.
    pub(crate) name: String,
    pub(crate) number: usize,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    FunctionLines,
    Parameters,
    Fields,
    ErrorVariants,
    TraitMethods,
}

pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Of a string and of a comment: what is inside.
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Mark,
    Number,
    Text,
    Doc,
}

/// All tracked ones.
pub(crate) static SOURCES: LazyLock<Vec<RustFile>> = LazyLock::new(|| {
    let hand_written = |file: &&tree::Text| !file.path.contains("/generated/");
    let parsed = tree::ending(".rs").filter(hand_written).map(|file| {
        let syntax = syn::parse_file(&file.text);
        (
            file,
            syntax.unwrap_or_else(|error| panic!("{}: {error}", file.path)),
        )
    });
    let parsed: Vec<_> = parsed.collect();
    let modules: Vec<String> = parsed
        .iter()
        .flat_map(|(file, syntax)| test_modules(&file.path, &syntax.items))
        .collect();
    let of = |(file, syntax): &(&tree::Text, syn::File)| {
        let test = for_tests(&file.path) || modules.iter().any(|module| is_in(&file.path, module));
        measured(&file.path, &file.text, syntax, test)
    };
    parsed.iter().map(of).collect()
});

/// Those that run in production: of files for tests and items for tests, nothing.
pub(crate) fn production() -> impl Iterator<Item = &'static RustFile> {
    SOURCES.iter().filter(|file| !file.test)
}

fn measured(path: &str, text: &str, syntax: &syn::File, test: bool) -> RustFile {
    let mut ranges = Ranges::default();
    ranges.visit_file(syntax);
    let is_test = |line: usize| test || ranges.0.iter().any(|(from, to)| (*from..=*to).contains(&line));
    let tests: usize = ranges.0.iter().map(|(from, to)| to - from + 1).sum();
    let mut items = Items::default();
    items.visit_file(syntax);
    let mut sizes = items.sizes;
    sizes.iter_mut().for_each(|size| size.test = is_test(size.line));
    let mut tokens = Vec::new();
    flatten(text.parse().expect("it parsed as a file"), &mut tokens);
    tokens
        .iter_mut()
        .for_each(|token| token.test = is_test(token.line));
    RustFile {
        path: path.to_owned(),
        test,
        lines: text.lines().count() - tests,
        sizes,
        tokens,
    }
}

/// By its place: Cargo's directories for tests and examples, and the whole of the rig.
fn for_tests(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "tests" | "benches" | "examples"))
}

/// `module` is a path without `.rs`: the module's file, or a file of a module inside it.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Modules in files of their own that this file declares with `#[cfg(test)]`.
fn test_modules(path: &str, items: &[syn::Item]) -> Vec<String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let below = match name {
        "main.rs" | "lib.rs" | "mod.rs" => directory.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let modules = items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some(format!("{below}/{}", module.ident))
        }
        _ => None,
    });
    modules.collect()
}

/// `#[cfg(test)]` and `#[test]` in all their kinds.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        syn::Meta::NameValue(_) => false,
    })
}

impl Token {
    fn new(kind: Kind, text: impl Into<String>, line: usize) -> Token {
        Token {
            kind,
            text: text.into(),
            line,
            test: false,
        }
    }

    fn literal(literal: proc_macro2::Literal, doc: bool, line: usize) -> Token {
        let string = match syn::Lit::new(literal.clone()) {
            syn::Lit::Str(string) => Some(string.value()),
            syn::Lit::ByteStr(bytes) => String::from_utf8(bytes.value()).ok(),
            _ => None,
        };
        match string {
            Some(string) if doc => Token::new(Kind::Doc, string, line),
            Some(string) => Token::new(Kind::Text, string, line),
            None => Token::new(Kind::Number, literal.to_string(), line),
        }
    }
}

/// Also what is inside of macro calls.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Ident(ident) => tokens.push(Token::new(Kind::Word, ident.to_string(), line)),
            TokenTree::Punct(mark) => tokens.push(Token::new(Kind::Mark, mark.as_char(), line)),
            TokenTree::Literal(literal) => {
                let doc = matches!(&tokens[..], [.., doc, is] if doc.text == "doc" && is.text == "=");
                tokens.push(Token::literal(literal, doc, line));
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token::new(Kind::Mark, open, line));
                flatten(group.stream(), tokens);
                tokens.push(Token::new(Kind::Mark, close, group.span_close().start().line));
            }
        }
    }
}

/// What `measured` finds in a piece of code, for the tests of rules.
pub(crate) fn sample(text: &str) -> RustFile {
    measured("sample.rs", text, &syn::parse_file(text).expect("Rust"), false)
}

#[test]
fn sizes_and_tests_are_seen() {
    let file = sample(
        "/// A word.
struct One {
    a: u8,
    b: u8,
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(\"it is\")]
    It,
}

impl One {
    fn three(&self, x: u8) {
        say(\"text\");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is() {}
}
",
    );
    assert_eq!(file.lines, 18);
    let sizes: Vec<_> = file
        .sizes
        .iter()
        .map(|s| (s.what, s.name.as_str(), s.number, s.test))
        .collect();
    assert_eq!(
        sizes,
        [
            (What::Fields, "One", 2, false),
            (What::ErrorVariants, "Wrong", 1, false),
            (What::Parameters, "One::three", 2, false),
            (What::FunctionLines, "One::three", 3, false),
            (What::Parameters, "tests::it_is", 0, true),
            (What::FunctionLines, "tests::it_is", 1, true),
        ]
    );
    let texts = file.tokens.iter().filter(|token| token.kind == Kind::Text);
    assert_eq!(
        texts
            .map(|token| (token.text.as_str(), token.line))
            .collect::<Vec<_>>(),
        [("it is", 9), ("text", 15)]
    );
    assert!(
        file.tokens
            .iter()
            .any(|token| token.kind == Kind::Doc && token.text == " A word.")
    );
}

#[test]
fn modules_for_tests_are_found_beside_the_file_that_declares_them() {
    let syntax =
        syn::parse_file("#[cfg(test)] mod tests; mod real; #[cfg(test)] mod inline {}").expect("Rust");
    assert_eq!(
        test_modules("crates/a/src/b.rs", &syntax.items),
        ["crates/a/src/b/tests"]
    );
    assert_eq!(
        test_modules("crates/a/src/b/mod.rs", &syntax.items),
        ["crates/a/src/b/tests"]
    );
    assert!(
        is_in("a/tests.rs", "a/tests")
            && is_in("a/tests/x.rs", "a/tests")
            && !is_in("a/tests_x.rs", "a/tests")
    );
}
