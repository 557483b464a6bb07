//! The only place that writes to the terminal: whole lines, one line redrawn in place, JSON, errors.
//!
//! Everything passes [`clean`] here, whoever said it: a guest's words must not be able to command the
//! operator's terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use godwit_api::v1::Failure;
use serde::Serialize;

use crate::failure::{self, Error};
use crate::view::json;

/// Standard output and error of the command.
pub(crate) struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    json: bool,
    /// Only failures are told.
    quiet: bool,
    /// What says which daemon is asked, where that was typed.
    again: String,
    terminal: bool,
    /// Errors are read at a terminal that shows colours.
    colours: bool,
    /// The live line stands on the terminal without its newline.
    drawn: bool,
}

impl Output {
    pub(crate) fn stdio(json: bool, quiet: bool) -> Output {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Output {
            out: Box::new(stdout),
            err: Box::new(io::stderr()),
            json,
            quiet,
            again: String::new(),
            terminal,
            colours: io::stderr().is_terminal() && may_colour(),
            drawn: false,
        }
    }

    /// With what was typed to say which daemon is asked.
    pub(crate) fn asking(self, again: String) -> Output {
        Output { again, ..self }
    }

    /// A command that is to be typed, for the same daemon.
    pub(crate) fn command(&self, what: &str) -> String {
        format!("godwit{} {what}", self.again)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A person watches: the live line makes sense.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal && !self.json && !self.quiet
    }

    /// A person can be asked, and can answer.
    pub(crate) fn can_ask(&self) -> bool {
        self.is_terminal() && io::stdin().is_terminal()
    }

    /// A question, which stands alone on its line until it is answered.
    pub(crate) fn prompt(&mut self, text: &str) -> Result<(), Error> {
        self.erase()
            .and_then(|()| write!(self.out, "{}", clean(text)))
            .and_then(|()| self.out.flush())
            .map_err(Error::Output)
    }

    /// Columns of the terminal; none when the output goes elsewhere and may be as wide as it likes.
    pub(crate) fn width(&self) -> Option<usize> {
        // Some terminals do not know, and say 0.
        let columns = || rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
        match self.terminal.then(columns)? {
            0 => Some(80),
            columns => Some(usize::from(columns).max(20)),
        }
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Error> {
        if self.quiet {
            return Ok(());
        }
        self.erase()
            .and_then(|()| put_line(&mut self.out, text))
            .map_err(Error::Output)
    }

    /// A text of our own, as it is: a completion script, a manual page.
    pub(crate) fn ours(&mut self, text: &str) -> Result<(), Error> {
        if self.quiet {
            return Ok(());
        }
        write!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .map_err(Error::Output)
    }

    /// Several lines of text.
    pub(crate) fn lines<T: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = T>) -> Result<(), Error> {
        lines.into_iter().try_for_each(|line| self.line(line.as_ref()))
    }

    /// A word aside for the person: not part of the result, so in JSON mode it goes to standard error.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Error> {
        if !self.json || self.quiet {
            return self.line(text);
        }
        // Whoever closed standard error does not want to know; the objects go on.
        let _ = put_line(&mut self.err, text);
        Ok(())
    }

    /// Puts `text` in the place of the last live line. Without a terminal there is no such place.
    pub(crate) fn live(&mut self, text: &str) -> Result<(), Error> {
        if !self.is_terminal() {
            return Ok(());
        }
        let width = self.width().unwrap_or(80);
        // The last column stays free: some terminals wrap as soon as it is written.
        let text: String = clean(text).chars().take(width - 1).collect();
        self.drawn = true;
        write!(self.out, "\r\x1b[K{text}")
            .and_then(|()| self.out.flush())
            .map_err(Error::Output)
    }

    /// One JSON object on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        match self.quiet {
            true => Ok(()),
            false => self.object(value),
        }
    }

    fn object(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(|error| Error::Output(error.into()))?;
        let text = escape(&text);
        writeln!(self.out, "{text}")
            .and_then(|()| self.out.flush())
            .map_err(Error::Output)
    }

    /// Tells why the command failed, and gives its exit code.
    pub(crate) fn error(&mut self, error: &Error) -> u8 {
        if !error.is_broken_pipe() {
            let failure = error.to_failure();
            self.failure(&failure);
            if self.json {
                self.json_error(&failure);
            }
        }
        error.exit_code()
    }

    /// `Error:` / `Caused by:` / `Hint:` on standard error. A standard error that cannot be written is nobody's
    /// to hear, so its own failure is dropped.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let _ = self.erase();
        for line in failure::lines(failure) {
            let line = clean(&line);
            let line = if self.colours { coloured(&line) } else { line };
            let _ = writeln!(self.err, "{line}").and_then(|()| self.err.flush());
        }
    }

    /// The failure as an object on standard output; the exit code tells the same if that fails.
    pub(crate) fn json_error(&mut self, failure: &Failure) {
        let _ = self.object(&json::Refusal::from(failure));
    }

    /// Leaves the live line as it stands and goes to the next one.
    pub(crate) fn leave(&mut self) -> Result<(), Error> {
        let drawn = std::mem::take(&mut self.drawn);
        if drawn {
            self.out.write_all(b"\n").map_err(Error::Output)
        } else {
            Ok(())
        }
    }

    fn erase(&mut self) -> io::Result<()> {
        let drawn = std::mem::take(&mut self.drawn);
        if drawn {
            write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush())
        } else {
            Ok(())
        }
    }
}

/// What no-color.org asks for, and terminals that know no colours.
fn may_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty())
}

/// With its first word in colour.
fn coloured(line: &str) -> Cow<'_, str> {
    for (word, colour) in [("Error:", "1;31"), ("Caused by:", "33"), ("Hint:", "36")] {
        if let Some(rest) = line.strip_prefix(word) {
            return Cow::Owned(format!("\x1b[{colour}m{word}\x1b[0m{rest}"));
        }
    }
    Cow::Borrowed(line)
}

fn put_line(to: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(to, "{}", clean(text)).and_then(|()| to.flush())
}

/// The text without what a terminal would obey: control characters, and marks that turn or hide text.
/// White space becomes one blank, the rest is left out.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let kept = text.chars().filter_map(|c| match c {
        '\n' | '\t' | '\r' => Some(' '),
        c if is_hostile(c) => None,
        c => Some(c),
    });
    Cow::Owned(kept.collect())
}

/// JSON text with the same characters escaped, so that a program still gets exactly what was said.
/// They can only stand inside strings.
fn escape(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hostile) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        // All of them lie below U+10000: four digits are enough.
        if is_hostile(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            escaped.push(c)
        }
    }
    Cow::Owned(escaped)
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Paper(Rc<RefCell<Vec<u8>>>);

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(json: bool, terminal: bool) -> (Output, Paper, Paper) {
        let (out, err) = (Paper::default(), Paper::default());
        let output = Output {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            json,
            quiet: false,
            again: String::new(),
            terminal,
            colours: false,
            drawn: false,
        };
        (output, out, err)
    }

    #[test]
    fn a_guests_words_cannot_command_the_terminal() {
        assert_eq!(clean("all is well"), "all is well");
        assert_eq!(
            clean("\x1b]0;root\x07\x1b[2Jgone\r\nError: x\u{9b}31m\u{202e}\x7f"),
            "]0;root[2Jgone  Error: x31m"
        );
        assert_eq!(clean("vögel\tfly"), "vögel fly");
    }

    #[test]
    fn json_keeps_what_was_said_and_harms_no_terminal() {
        let (mut output, out, _) = output(true, false);
        let said = "\x1b[2J\u{9b}31m\u{202e}é\"\\";
        output.json(&serde_json::json!({ "said": said })).unwrap();
        let text = out.text();
        assert!(
            text.trim_end_matches('\n').chars().all(|c| !is_hostile(c)),
            "{text:?}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["said"], said);
    }

    #[test]
    fn the_live_line_is_redrawn_in_place_and_gives_way_to_lines() {
        let (mut output, out, _) = output(false, true);
        output.live("one").unwrap();
        output.live("two\n").unwrap();
        output.line("done").unwrap();
        output.line("again").unwrap();
        assert_eq!(out.text(), "\r\x1b[Kone\r\x1b[Ktwo \r\x1b[Kdone\nagain\n");
    }

    #[test]
    fn there_is_no_live_line_without_a_terminal_or_in_json() {
        for (json, terminal) in [(false, false), (true, true), (true, false)] {
            let (mut output, out, _) = output(json, terminal);
            output.live("one").unwrap();
            assert_eq!(out.text(), "");
        }
    }

    #[test]
    fn the_quiet_one_tells_failures_alone() {
        for json in [false, true] {
            let (mut output, out, err) = output(json, true);
            output.quiet = true;
            output.line("a line").unwrap();
            output.note("a note").unwrap();
            output.live("live").unwrap();
            output.ours("a page").unwrap();
            output.json(&1).unwrap();
            assert_eq!((out.text(), err.text()), (String::new(), String::new()));
            output.error(&Error::Ended("it was told"));
            assert!(err.text().starts_with("Error: "), "{:?}", err.text());
            assert_eq!(out.text().contains("ANSWER_INCOMPLETE"), json);
        }
    }

    #[test]
    fn colours_are_ours_and_never_a_guests() {
        let (mut output, _, err) = output(false, true);
        output.colours = true;
        output.failure(&Failure {
            message: "web-1 said \x1b[31mred".into(),
            hint: "godwit guests".into(),
            ..Failure::default()
        });
        assert_eq!(
            err.text(),
            "\x1b[1;31mError:\x1b[0m web-1 said [31mred\n\x1b[36mHint:\x1b[0m godwit guests\n"
        );
    }

    #[test]
    fn notes_stay_out_of_the_way_of_json() {
        let (mut output, out, err) = output(true, false);
        output.note("by the way").unwrap();
        assert_eq!((out.text().as_str(), err.text().as_str()), ("", "by the way\n"));
    }
}
