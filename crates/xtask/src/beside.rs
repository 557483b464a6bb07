//! Work that goes on beside the steps that follow, with what processor time these leave.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::steps::{Steps, say};

/// In a session of its own the kernel shares the processors out among sessions before it looks at what is in them
/// (sched_autogroup), and each host of the rig has one: so the session gets the lowest priority, too. The process id stays
/// the same throughout.
const LOWEST: &str = "echo 19 >/proc/self/autogroup; exec nice -n 19 \"$@\"";

/// Of its output, so many lines are told at its end.
const LINES: usize = 40;

/// A process of the lowest priority; it ends with this.
pub(crate) struct Beside {
    name: &'static str,
    started: Instant,
    process: Child,
    log: PathBuf,
}

impl Beside {
    /// Begins it. What it prints is told at the end.
    pub(crate) fn begin(steps: &Steps, name: &'static str, words: &[&str]) -> Result<Beside> {
        say(&format!("== {name}, beside what follows"));
        fs::create_dir_all(&steps.rig.place.dir)?;
        let log = steps
            .rig
            .place
            .dir
            .join(format!("{}.log", name.replace(' ', "-")));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", LOWEST, "sh"])
            .arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(words)
            .current_dir(&steps.rig.place.checkout)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out);
        let process = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Beside {
            name,
            started: Instant::now(),
            process,
            log,
        })
    }

    /// Waits for its end: a step of its own, as long as it took.
    pub(crate) fn join(mut self, steps: &mut Steps) -> Result<()> {
        let (name, started) = (self.name, self.started);
        steps.step_since(name, started, |_| {
            let status = self.process.wait()?;
            let told = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = told.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                say(line);
            }
            ensure!(status.success(), "{status}");
            Ok(())
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Nothing to end, or nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.log);
    }
}

#[cfg(test)]
mod tests {
    use godwit_rig::Rig;

    use super::*;

    #[test]
    fn what_fails_beside_the_steps_is_told_at_its_end() {
        let mut steps = Steps::begin(Rig::from_environment().unwrap());
        let good = Beside::begin(&steps, "a version", &["--version"]).unwrap();
        let bad = Beside::begin(&steps, "no command", &["no-such-command"]).unwrap();
        good.join(&mut steps).unwrap();
        bad.join(&mut steps).unwrap_err();
        let passed: Vec<(&str, bool)> = steps.done.iter().map(|step| (step.name, step.passed)).collect();
        assert_eq!(passed, [("a version", true), ("no command", false)]);
    }
}
