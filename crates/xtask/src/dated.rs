//! The dated report of a whole run: what was tested, on what, and what came of it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use godwit_rig::Place;
use godwit_rig::command::{command, output};
use godwit_rig::part::Part;

use crate::steps::{Step, Steps};

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// It goes on, or was broken off.
    Unfinished,
}

/// The report of a run: of which day and commit.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) path: PathBuf,
    date: String,
    commit: String,
    part: Part,
}

impl Report {
    /// Of today and of what is checked out, under `docs/reports/`.
    ///
    /// # Errors
    /// A commit that git does not know.
    pub(crate) fn begin(place: &Place, part: Part) -> Result<Report> {
        let date = output(&mut command("date", ["-u", "+%Y-%m-%d"]))?;
        let describe = ["describe", "--always", "--dirty", "--abbrev=12"];
        let commit = output(command("git", describe).current_dir(&place.checkout))?;
        let date = date.trim().to_owned();
        Ok(Report {
            path: place.checkout.join("docs/reports").join(name(&date, part)),
            date,
            commit: commit.trim().into(),
            part,
        })
    }

    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn write(&self, steps: &Steps, verdict: Verdict) -> Result<()> {
        let told = text(steps, verdict, self, &machine());
        fs::write(&self.path, told).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn name(date: &str, part: Part) -> String {
    match part == Part::WHOLE {
        true => format!("{date}.md"),
        false => format!("{date}-{}.md", part.to_string().replace('/', "-of-")),
    }
}

fn text(steps: &Steps, verdict: Verdict, report: &Report, machine: &str) -> String {
    let verdict = match verdict {
        Verdict::Passed => "everything passed",
        Verdict::Failed => "NOT everything passed",
        Verdict::Unfinished => "NOT finished",
    };
    let Report {
        date, commit, part, ..
    } = report;
    let (title, option) = match *part == Part::WHOLE {
        true => (String::new(), String::new()),
        false => (format!(", part {part}"), format!(" --part {part}")),
    };
    let mut text = format!(
        "# Whole run of {date}{title}\n\n`cargo xtask test --all{option}` of {commit}: {verdict}, in {:.0} minutes.\nMachine: {machine}.\n\n\
         | step | seconds | |\n|---|---|---|\n",
        steps.seconds() / 60.0
    );
    for Step {
        name,
        seconds,
        passed,
    } in &steps.done
    {
        let mark = if *passed { "passed" } else { "**failed**" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {name} | {seconds:.1} | {mark} |");
    }
    let _ = write!(text, "\n```text\n{}\n```\n", steps.heard.join("\n"));
    text
}

/// What a reader must know of the machine to compare.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo");
    let kilobytes = memory
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u64>().ok());
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!(
        "{processors} processors, {} GiB, load {} at the end",
        kilobytes.unwrap_or_default() / 1024 / 1024,
        load.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use godwit_rig::Rig;

    use super::{Report, Verdict, name, text};
    use crate::steps::{Step, Steps};

    fn report(part: &str) -> Report {
        let part = part.parse().unwrap();
        Report {
            path: name("2026-01-02", part).into(),
            date: "2026-01-02".into(),
            commit: "0123abc".into(),
            part,
        }
    }

    #[test]
    fn a_part_has_a_report_of_its_own() {
        let steps = Steps::begin(Rig::from_environment().unwrap());
        let part = report("2/3");
        assert_eq!(part.path.to_str(), Some("2026-01-02-2-of-3.md"));
        let text = text(&steps, Verdict::Passed, &part, "");
        assert!(
            text.starts_with("# Whole run of 2026-01-02, part 2/3\n"),
            "{text}"
        );
        assert!(
            text.contains("`cargo xtask test --all --part 2/3` of 0123abc: "),
            "{text}"
        );
        assert_eq!(report("1/1").path.to_str(), Some("2026-01-02.md"));
    }

    #[test]
    fn a_report_says_what_failed_and_what_was_heard() {
        let mut steps = Steps::begin(Rig::from_environment().unwrap());
        steps.done = [("storms", true), ("end-to-end tests", false)]
            .map(|(name, passed)| Step {
                name,
                seconds: 12.34,
                passed,
            })
            .into();
        steps.heard = vec!["test there_and_back_again ... FAILED (1.0 s)".into()];
        let text = text(&steps, Verdict::Failed, &report("1/1"), "2 processors, 24 GiB");
        assert!(text.starts_with("# Whole run of 2026-01-02\n"), "{text}");
        for line in [
            "`cargo xtask test --all` of 0123abc: NOT everything passed, in 0 minutes.",
            "Machine: 2 processors, 24 GiB.",
            "| storms | 12.3 | passed |",
            "| end-to-end tests | 12.3 | **failed** |",
            "test there_and_back_again ... FAILED (1.0 s)",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
