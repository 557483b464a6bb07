//! Who asked for what, on what, from where, and what came of it: one JSON object on a line.
//!
//! Every request that changes something is written down, and every one that was refused, whatever it asked for; those that only look where
//! that is wanted. Names from
//! outside are clipped, and JSON escapes what could end a line, so nobody writes one of their own. Keys, certificates and
//! the contents of requests are never in it. A request is answered only when its line has been handed over: who floods
//! the log waits for it. Of one caller's refusals only so many are written down; the others are counted, and that is.

mod refusals;

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::{error, info};

use self::refusals::{COUNTED, Fate, Refusals};

/// More lines wait for the disk than this: the next request waits as well.
const QUEUE: usize = 256;

/// Longest name in a line, in characters.
const LONGEST: usize = 256;

/// Where the lines go, besides the daemon's own log.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The file; older ones are beside it as `NAME.1`, `NAME.2` ...
    pub file: PathBuf,
    /// A file is put aside when it has grown to this, in bytes.
    pub most: u64,
    /// So many older files are kept.
    pub kept: u32,
}

/// The log: of the daemon (target `audit`), and a file if there is one.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    lines: Option<mpsc::Sender<String>>,
    /// What only looks is written down as well.
    looks: bool,
    refusals: Arc<Refusals>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) time: String,
    pub(crate) who: String,
    pub(crate) role: &'static str,
    pub(crate) from: String,
    pub(crate) call: &'a str,
    /// `guest=web-1`, `migration=01a20918-...`
    pub(crate) on: Vec<String>,
    pub(crate) accepted: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) why: String,
    pub(crate) took_ms: u64,
}

/// A request that came in by a door that is not this crate's.
#[derive(Debug)]
pub struct Elsewhere<'a> {
    /// Who asked, as that door knows it.
    pub who: String,
    /// Where from.
    pub from: String,
    /// What was called.
    pub call: &'a str,
    /// `("guest", "web-1")`
    pub on: &'a [(&'a str, &'a str)],
    /// When it came.
    pub came: Instant,
}

impl Audit {
    /// Lines go to the daemon's log alone.
    pub fn to_log() -> Audit {
        Audit::default()
    }

    /// Lines go to a file as well, which is this user's alone.
    ///
    /// # Errors
    /// The file cannot be written: then nothing should be let in.
    pub fn to_file(keep: Keep) -> std::io::Result<Audit> {
        let mut kept = Kept::open(keep)?;
        let (sender, mut lines) = mpsc::channel::<String>(QUEUE);
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            while let Some(line) = lines.blocking_recv() {
                // A full disk stops no guest: the line is in the daemon's log all the same.
                if let Err(source) = kept.write(&line) {
                    error!(file = %kept.keep.file.display(), "the audit log cannot be written: {source}");
                }
            }
        })?;
        Ok(Audit {
            lines: Some(sender),
            ..Audit::default()
        })
    }

    /// Whether what only looks is written down as well.
    #[must_use]
    pub fn with_looks(self, looks: bool) -> Audit {
        Audit { looks, ..self }
    }

    /// As [`Audit::with_looks`] said.
    pub fn looks(&self) -> bool {
        self.looks
    }

    /// Writes down what another door let in, or with which reason and why it did not.
    pub async fn elsewhere(&self, asked: Elsewhere<'_>, refused: Option<(&str, &str)>) {
        let (reason, why) = refused.unwrap_or_default();
        let on = asked.on.iter().filter(|(_, value)| !value.is_empty());
        let line = Line {
            time: time(),
            who: clip(&asked.who),
            role: "",
            from: clip(&asked.from),
            call: asked.call,
            on: on.map(|(key, value)| clip(&format!("{key}={value}"))).collect(),
            accepted: refused.is_none(),
            reason: clip(reason),
            why: clip(why),
            took_ms: took_ms(asked.came),
        };
        self.note(&line).await;
    }

    /// Writes it down; of refusals only so many of one caller.
    pub(crate) async fn note(&self, line: &Line<'_>) {
        let fate = match line.accepted {
            true => Fate::Written,
            false => self.refusals.fate(&line.who),
        };
        match fate {
            Fate::Written => self.write(line).await,
            Fate::LeftOut => {}
            Fate::FirstLeftOut => drop(tokio::spawn(self.clone().tell_of_left_out(
                line.who.clone(),
                line.role,
                line.from.clone(),
            ))),
        }
    }

    /// When it is over, one line for all that were left out.
    async fn tell_of_left_out(self, who: String, role: &'static str, from: String) {
        tokio::time::sleep(COUNTED).await;
        let count = self.refusals.take(&who);
        let line = Line {
            time: time(),
            who,
            role,
            from,
            call: "",
            on: Vec::new(),
            accepted: false,
            reason: "TOO_MANY_REQUESTS".into(),
            why: format!("{count} more refusals of this caller are not written down"),
            took_ms: 0,
        };
        self.write(&line).await;
    }

    async fn write(&self, line: &Line<'_>) {
        let Ok(text) = serde_json::to_string(line) else {
            return error!("an audit line could not be made");
        };
        info!(target: "audit", "{text}");
        if let Some(lines) = &self.lines {
            // The thread ends with the last sender.
            let _ = lines.send(text).await;
        }
    }
}

/// Milliseconds since.
pub(crate) fn took_ms(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}

/// Now, in UTC.
pub(crate) fn time() -> String {
    format!("{:.3}", Timestamp::now())
}

/// As much of a name as a line takes.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// The open file.
#[derive(Debug)]
struct Kept {
    keep: Keep,
    file: File,
    inode: u64,
    size: u64,
}

impl Kept {
    fn open(keep: Keep) -> std::io::Result<Kept> {
        let file = open(&keep.file)?;
        let found = file.metadata()?;
        Ok(Kept {
            keep,
            file,
            inode: found.ino(),
            size: found.size(),
        })
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        // Another tool may have put the file aside (logrotate): then a new one is begun.
        let here = std::fs::metadata(&self.keep.file).ok().map(|found| found.ino());
        if here != Some(self.inode) {
            *self = Kept::open(self.keep.clone())?;
        }
        if self.size > 0 && self.size + line.len() as u64 > self.keep.most {
            self.put_aside()?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.size += line.len() as u64 + 1;
        Ok(())
    }

    fn put_aside(&mut self) -> std::io::Result<()> {
        let Keep { file, kept, .. } = &self.keep;
        for older in (1..*kept).rev() {
            // What is not there yet cannot be moved.
            let _ = std::fs::rename(numbered(file, older), numbered(file, older + 1));
        }
        match kept {
            0 => std::fs::remove_file(file)?,
            _ => std::fs::rename(file, numbered(file, 1))?,
        }
        *self = Kept::open(self.keep.clone())?;
        Ok(())
    }
}

fn numbered(file: &Path, number: u32) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// For this user alone, and never through a link that somebody put there.
fn open(path: &Path) -> std::io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let no_links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_links)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keep(directory: &Path, most: u64) -> Keep {
        Keep {
            file: directory.join("log/audit.jsonl"),
            most,
            kept: 2,
        }
    }

    fn line(on: &str) -> Line<'_> {
        Line {
            time: time(),
            who: "user eve".into(),
            role: "view",
            from: "uid 1000".into(),
            call: "/godwit.v1.GuestService/AdoptGuest",
            on: vec![clip(on)],
            accepted: false,
            reason: "NOT_ALLOWED".into(),
            why: String::new(),
            took_ms: 3,
        }
    }

    #[test]
    fn no_name_writes_a_line_of_its_own() {
        let hostile = "guest=web-1\n{\"who\":\"user root\",\"accepted\":true}\r\u{2028}\u{1b}[2J\0";
        let text = serde_json::to_string(&line(hostile)).unwrap();
        assert!(!text.contains(['\n', '\r', '\0', '\u{1b}']), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["on"][0], hostile);
        assert_eq!(read["who"], "user eve");
        let endless = line(&"x".repeat(1_000_000)).on;
        assert_eq!(endless[0].len(), LONGEST);
    }

    #[test]
    fn the_file_is_closed_to_others_and_put_aside_when_it_is_large() {
        let place = tempfile::tempdir().unwrap();
        let keep = keep(place.path(), 100);
        let mut kept = Kept::open(keep.clone()).unwrap();
        for number in 0..7 {
            kept.write(&format!("{number}{}", "-".repeat(59))).unwrap();
        }
        let text = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        assert!(text(keep.file.clone()).starts_with('6'));
        assert!(text(numbered(&keep.file, 1)).starts_with('5'));
        assert!(text(numbered(&keep.file, 2)).starts_with('4'));
        assert!(!numbered(&keep.file, 3).exists());
        let mode = std::fs::metadata(&keep.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_another_tool_put_aside_is_begun_anew() {
        let place = tempfile::tempdir().unwrap();
        let keep = keep(place.path(), 1000);
        let mut kept = Kept::open(keep.clone()).unwrap();
        kept.write("first").unwrap();
        std::fs::rename(&keep.file, place.path().join("old")).unwrap();
        kept.write("second").unwrap();
        assert_eq!(std::fs::read_to_string(&keep.file).unwrap(), "second\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let victim = place.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        let file = place.path().join("audit.jsonl");
        std::os::unix::fs::symlink(&victim, &file).unwrap();
        let refused = Audit::to_file(Keep {
            file,
            most: 1000,
            kept: 1,
        });
        assert!(refused.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_without_end_does_not_fill_the_log_and_that_is_said() {
        let place = tempfile::tempdir().unwrap();
        let keep = keep(place.path(), 1 << 20);
        let audit = Audit::to_file(keep.clone()).unwrap();
        let asked = |who: &str| Elsewhere {
            who: who.into(),
            from: "D-Bus :1.7".into(),
            call: "Migrate",
            on: &[],
            came: Instant::now(),
        };
        // Fewer lines than the queue takes: nobody waits, and the clock stands still.
        for _ in 0..120 {
            audit
                .elsewhere(asked("uid 1000"), Some(("NOT_ALLOWED", "no")))
                .await;
            audit.elsewhere(asked("uid 0"), None).await;
        }
        tokio::time::sleep(2 * COUNTED).await;
        drop(audit);
        // The writer has a thread of its own.
        let begun = Instant::now();
        let lines = loop {
            let lines = std::fs::read_to_string(&keep.file).unwrap();
            if lines.contains("not written down") || begun.elapsed().as_secs() > 20 {
                break lines;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        assert_eq!(
            lines.matches("\"uid 0\"").count(),
            120,
            "what was let in is all there"
        );
        assert_eq!(lines.matches("\"NOT_ALLOWED\"").count(), 100);
        assert!(
            lines.contains("\"why\":\"20 more refusals of this caller are not written down\""),
            "{lines}"
        );
    }
}
