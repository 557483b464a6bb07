//! Godwit from outside: its command line on a host, and what it prints.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::kept::Kept;
use crate::{Host, Place, command, ssh};

/// How a command of `godwit` ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0 done, 1 refused or failed, 2 usage, 3 moved but on standby, 4 rolled back, 5 needs a person. Of the doctor:
    /// 0 nothing or hints, 3 warnings, 5 errors.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Answer {
    /// It was done.
    ///
    /// # Errors
    /// With what was said instead.
    pub fn done(&self) -> Result<()> {
        let Answer { code, out, err } = self;
        ensure!(*code == 0, "exit code {code} instead of 0: {out}{err}");
        Ok(())
    }
}

/// A migration, as `--json` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Migration {
    /// Names it.
    pub id: String,
    /// The guest's name.
    pub guest: String,
    /// The host it leaves.
    pub source: String,
    /// The host it goes to.
    pub destination: String,
    /// Which of the two the answering host is.
    pub role: String,
    /// What it is doing.
    pub phase: String,
    /// undecided, yes, no, unknown or gone.
    pub moved: String,
    /// accelerated, standby or unknown.
    pub acceleration: String,
    /// Whether somebody asked to cancel it.
    pub cancelled: bool,
    /// Whether its outcome is known.
    pub settled: bool,
    /// Whether nothing is left to do.
    pub ended: bool,
    /// Whether it waits for a person.
    pub needs_person: bool,
    /// What both hosts did, and when.
    pub timeline: Vec<Step>,
    /// The transfer's progress.
    pub progress: Option<Progress>,
    /// What failed, if something did.
    pub failure: Option<Failure>,
    /// What the guest's own probes came to.
    pub measurement: Option<Measurement>,
    /// What became of the frames of the pause.
    pub kept: Option<Kept>,
}

/// What the guest's agent counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Measurement {
    /// Of each pair.
    pub pairs: Vec<PairMeasurement>,
    /// Why it was not measured.
    pub not_measured: String,
}

/// Of one pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PairMeasurement {
    /// Whom it asked.
    pub target: String,
    /// By phase.
    pub phases: Vec<PhaseMeasurement>,
}

/// In one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PhaseMeasurement {
    /// Its name.
    pub phase: String,
    /// Probes.
    pub sent: u64,
    /// Of them.
    pub lost: u64,
    /// Without an answer, by the guest's clock.
    pub longest_gap_ms: u64,
}

/// Why something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// For programs, as `NO_FREE_VF`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What to type next.
    pub hint: String,
}

/// One phase on one host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// By whose clock.
    pub host: String,
    /// Its name.
    pub phase: String,
    /// When its work began, RFC 3339.
    pub started: String,
    /// When it was done.
    pub ended: Option<String>,
    /// Whether it failed.
    pub failed: bool,
    /// More, for people.
    pub detail: Option<String>,
}

/// How far the transfer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Bytes copied so far.
    pub memory_processed_bytes: u64,
    /// How long the guest stood still, by QEMU.
    pub downtime_ms: Option<u64>,
}

impl Migration {
    /// Whether the guest has moved and where it is then, or stays; none while that is not known.
    pub fn final_host(&self) -> Option<&str> {
        match self.moved.as_str() {
            "yes" => Some(&self.destination),
            "no" => Some(&self.source),
            _ => None,
        }
    }

    /// For programs: why it failed, if it did.
    pub fn reason(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.reason.as_str())
    }

    /// How often a phase has failed.
    pub fn failures(&self, phase: &str) -> usize {
        let failed = |step: &&Step| step.phase == phase && step.failed;
        self.timeline.iter().filter(failed).count()
    }

    /// Whether the phase has begun, now or earlier: updates come in bursts and may leave some out.
    pub fn has_begun(&self, phase: &str) -> bool {
        self.phase == phase || self.timeline.iter().any(|step| step.phase == phase)
    }
}

/// Runs `godwit ARGUMENTS` on a host to its end.
pub fn run(place: &Place, host: Host, arguments: &str) -> Result<Answer> {
    let mut ssh = ssh::command(place, host, &format!("godwit {arguments}"));
    let output = command::finish(&mut ssh)?;
    let code = output.status.code().context("ssh was killed")?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(code != 255, "ssh to {host} failed: {err}");
    Ok(Answer {
        code,
        out: out.into_owned(),
        err: err.into_owned(),
    })
}

/// What `godwit --json doctor` tells.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Examination {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub not_checked: Vec<NotChecked>,
}

/// One finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// error, warning or hint.
    pub severity: String,
    /// For programs, as `PF_DOWN`.
    pub reason: String,
    /// A PF, a peer, a guest ...
    pub about: String,
    /// For people.
    pub what: String,
    /// What to type.
    pub fix: String,
}

/// One check that was not made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NotChecked {
    /// What would have been looked at.
    pub check: String,
    /// Why it was not.
    pub why: String,
}

impl Examination {
    /// The finding of that reason about that thing, if there is one.
    pub fn finding(&self, reason: &str, about: &str) -> Option<&Finding> {
        let mut findings = self.findings.iter();
        findings.find(|found| found.reason == reason && found.about == about)
    }
}

/// Lets a host, or with a name a guest of it, be examined; the exit code and what was found.
pub fn doctor(place: &Place, host: Host, guest: &str) -> Result<(i32, Examination)> {
    let answer = run(place, host, &format!("--json doctor {guest}"))?;
    let found = serde_json::from_str(&answer.out).with_context(|| {
        format!(
            "godwit doctor {guest} on {host}: {}{}",
            answer.out,
            answer.err.trim_end()
        )
    })?;
    Ok((answer.code, found))
}

/// Writes what the guest should have into its domain; again is no harm.
pub fn adopt(place: &Place, host: Host, guest: &str) -> Result<()> {
    let answer = run(place, host, &format!("adopt {guest}"))?;
    ensure!(
        answer.code == 0,
        "godwit adopt {guest} on {host}: {}",
        answer.err.trim_end()
    );
    Ok(())
}

/// One migration, asked for on any of its hosts.
pub fn status(place: &Place, host: Host, id: &str) -> Result<Migration> {
    let answer = run(place, host, &format!("--json status {id}"))?;
    serde_json::from_str(&answer.out).with_context(|| {
        format!(
            "godwit status {id} on {host}: {}{}",
            answer.out,
            answer.err.trim_end()
        )
    })
}

/// All migrations a host knows.
pub fn migrations(place: &Place, host: Host) -> Result<Vec<Migration>> {
    #[derive(Deserialize)]
    struct All {
        migrations: Vec<Migration>,
    }
    let answer = run(place, host, "--json status")?;
    let all: All = serde_json::from_str(&answer.out)
        .with_context(|| format!("godwit status on {host}: {}{}", answer.out, answer.err.trim_end()))?;
    Ok(all.migrations)
}

/// A running `godwit migrate GUEST HOST --wait --json`.
#[derive(Debug)]
pub struct Move {
    child: Child,
    updates: Receiver<Migration>,
    errors: Option<JoinHandle<String>>,
    /// What it said last.
    pub last: Migration,
}

impl Move {
    /// Begins it on the guest's host.
    pub fn begin(place: &Place, from: Host, guest: &str, to: &str) -> Result<Move> {
        let line = format!("godwit --json migrate {guest} {to} --wait");
        let mut child = ssh::command(place, from, &line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ssh")?;
        let out = child.stdout.take().context("no output")?;
        let mut err = child.stderr.take().context("no error output")?;
        let (say, updates) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            for migration in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                if say.send(migration).is_err() {
                    return;
                }
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Ok(Move {
            child,
            updates,
            errors: Some(errors),
            last: Migration::default(),
        })
    }

    /// Follows it until `reached` holds; an error if it ends before.
    pub fn until(&mut self, what: &str, limit: Duration, reached: impl Fn(&Migration) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            if reached(&self.last) {
                return Ok(());
            }
            match self
                .updates
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(next) => self.last = next,
                Err(why) => {
                    if why == RecvTimeoutError::Disconnected {
                        self.child.wait()?;
                    }
                    let (phase, said) = (self.last.phase.clone(), self.complaint());
                    bail!("the migration did not come to {what}; its last phase was {phase:?}. {said}");
                }
            }
        }
    }

    /// Waits for its end and gives the command's exit code and what it complained of.
    pub fn finish(&mut self, limit: Duration) -> Result<(i32, String)> {
        self.follow(limit, |_| {})
    }

    /// The same; `tell` hears of every new phase.
    pub fn follow(&mut self, limit: Duration, mut tell: impl FnMut(&Migration)) -> Result<(i32, String)> {
        let end = Instant::now() + limit;
        // The channel closes with the command's output.
        while let Ok(next) = self
            .updates
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if next.phase != self.last.phase {
                tell(&next);
            }
            self.last = next;
        }
        if Instant::now() > end {
            let _ = self.child.kill();
            bail!(
                "the migration did not end within {} s; it is in {:?}",
                limit.as_secs(),
                self.last.phase
            );
        }
        let code = self.child.wait()?.code().context("ssh was killed")?;
        Ok((code, self.complaint()))
    }

    fn complaint(&mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(_)) => self
                .errors
                .take()
                .and_then(|text| text.join().ok())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Migration, Step};

    #[test]
    fn what_failed_is_counted_by_its_phase() {
        let step = |phase: &str, failed| Step {
            phase: phase.into(),
            failed,
            ..Step::default()
        };
        let migration = Migration {
            timeline: vec![step("plug", true), step("plug", false), step("fail-back", true)],
            ..Migration::default()
        };
        assert_eq!((migration.failures("plug"), migration.reason()), (1, None));
    }

    #[test]
    fn only_code_0_is_done() {
        let answer = |code| Answer {
            code,
            out: String::new(),
            err: "Error: no".into(),
        };
        answer(0).done().unwrap();
        assert!(answer(3).done().unwrap_err().to_string().contains("Error: no"));
    }

    #[test]
    fn reads_a_migration_and_ignores_what_it_does_not_know() {
        let text = r#"{"id":"m1","phase":"transfer","moved":"undecided","new":1,"failure":null,
            "timeline":[{"host":"alpha","phase":"reserve","started":"2026-01-01T00:00:00Z","ended":null}],
            "progress":{"downtime_ms":null}}"#;
        let migration: Migration = serde_json::from_str(text).unwrap();
        assert_eq!((migration.id.as_str(), migration.timeline.len()), ("m1", 1));
        assert_eq!(migration.progress.unwrap().downtime_ms, None);
    }
}
