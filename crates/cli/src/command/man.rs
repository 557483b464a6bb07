//! `godwit man [DIR]`.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Args;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

pub(super) fn man(directory: Option<&Path>, out: &mut Output) -> Result<u8, Error> {
    let pages = pages().map_err(Error::Output)?;
    match directory {
        Some(directory) => write(&pages, directory, out)?,
        None => print(&pages[0], out)?,
    }
    Ok(exit::DONE)
}

/// A page: the name of its file, and what is in it.
struct Page {
    name: String,
    text: String,
}

/// The page of `godwit` first, then one for each command.
fn pages() -> io::Result<Vec<Page>> {
    // clap's own `help` is no command of ours.
    let mut godwit = Args::command().disable_help_subcommand(true);
    godwit.build();
    std::iter::once(&godwit)
        .chain(godwit.get_subcommands().filter(|command| !command.is_hide_set()))
        .map(page)
        .collect()
}

fn page(command: &Command) -> io::Result<Page> {
    let source = format!("godwit {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Godwit");
    let mut text = Vec::new();
    man.render(&mut text)?;
    // Examples and exit codes stay as they were written, line by line, in a section with a name that says something.
    let text = String::from_utf8_lossy(&text)
        .replace(".SH EXTRA\n", ".SH NOTES\n.nf\n")
        .replace(".SH VERSION\n", ".fi\n.SH VERSION\n");
    Ok(Page {
        name: man.get_filename(),
        text,
    })
}

fn print(page: &Page, out: &mut Output) -> Result<(), Error> {
    if !out.is_json() {
        return out.ours(&page.text);
    }
    out.json(&json::Page {
        name: &page.name,
        text: &page.text,
    })
}

fn write(pages: &[Page], directory: &Path, out: &mut Output) -> Result<(), Error> {
    let mut written = Vec::new();
    for page in pages {
        let path = directory.join(&page.name);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::write(&path, &page.text).map_err(|error| Error::Output(named(error)))?;
        written.push(path.display().to_string());
    }
    if out.is_json() {
        return out.json(&json::Written { written: &written });
    }
    out.lines(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_is_named_in_the_main_one() {
        let pages = pages().unwrap();
        assert_eq!(pages[0].name, "godwit.1");
        let notes = pages[0]
            .text
            .split_once("\n.SH NOTES\n.nf\n")
            .expect("no notes")
            .1;
        let (notes, _version) = notes.split_once("\n.fi\n.SH VERSION\n").expect("no version");
        assert!(
            notes.contains("Examples:\n") && notes.contains("Exit codes:\n"),
            "{notes}"
        );
        let commands = Args::command();
        let shown = commands
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        let commands: Vec<_> = shown.collect();
        assert_eq!(pages.len(), commands.len() + 1);
        for command in commands {
            let name = command.get_name();
            let page = pages.iter().find(|page| page.name == format!("godwit-{name}.1"));
            let page = page.unwrap_or_else(|| panic!("no page for {name}"));
            // In the words of its help. The page writes a hyphen as \- and an apostrophe as \*(Aq.
            let about = command.get_about().unwrap().to_string();
            assert!(
                page.text
                    .replace("\\*(Aq", "'")
                    .replace('\\', "")
                    .contains(&about),
                "{}",
                page.text
            );
            assert!(
                pages[0]
                    .text
                    .contains(&format!("godwit\\-{}(1)", name.replace('-', "\\-"))),
                "{}",
                pages[0].text
            );
        }
    }
}
