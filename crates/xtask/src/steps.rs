//! The steps of a run: each is told when it begins, timed, and kept for the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use godwit_rig::Rig;
use godwit_rig::part::Part;

use crate::dated::{Report, Verdict};

/// What a run has done so far.
pub(crate) struct Steps {
    pub(crate) rig: Rig,
    started: Instant,
    pub(crate) done: Vec<Step>,
    /// Lines of the steps' own output that a report keeps.
    pub(crate) heard: Vec<String>,
    /// What failed first, in a run that goes on over it.
    failure: Option<anyhow::Error>,
    goes_on: bool,
    /// Written after each step, if one is wanted: a run that is broken off leaves what it had.
    pub(crate) report: Option<Report>,
}

/// One step that has ended.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    pub(crate) passed: bool,
}

impl Steps {
    pub(crate) fn begin(rig: Rig) -> Steps {
        Steps {
            rig,
            started: Instant::now(),
            done: Vec::new(),
            heard: Vec::new(),
            failure: None,
            goes_on: false,
            report: None,
        }
    }

    /// From now on a step that fails is told and kept, and keeps no other from being made: hours of stories are not to be
    /// lost to one of them.
    pub(crate) fn go_on(&mut self) {
        self.goes_on = true;
    }

    /// What failed first.
    pub(crate) fn verdict(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// From now on there is a report of today.
    pub(crate) fn report(&mut self, part: Part) -> Result<()> {
        self.report = Some(Report::begin(&self.rig.place, part)?);
        Ok(())
    }

    /// Seconds since the run began.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(crate) fn step(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Steps) -> Result<()>,
    ) -> Result<()> {
        self.step_since(name, Instant::now(), work)
    }

    /// The same of one that has begun before.
    pub(crate) fn step_since(
        &mut self,
        name: &'static str,
        started: Instant,
        work: impl FnOnce(&mut Steps) -> Result<()>,
    ) -> Result<()> {
        say(&format!("== {name}"));
        let done = work(self).with_context(|| format!("{name} failed"));
        self.done.push(Step {
            name,
            seconds: started.elapsed().as_secs_f64(),
            passed: done.is_ok(),
        });
        if let Some(report) = &self.report {
            report.write(self, Verdict::Unfinished)?;
        }
        match done {
            Err(failure) if self.goes_on => {
                say(&format!("{failure:#}"));
                self.failure.get_or_insert(failure);
                Ok(())
            }
            done => done,
        }
    }

    /// A step that is one call of cargo, with variables of its own.
    pub(crate) fn cargo(
        &mut self,
        name: &'static str,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        let mut command = self.command(words);
        command.envs(variables.iter().copied());
        self.step(name, |_| run(&mut command))
    }

    /// The same; of what it prints, the lines that say what was tested are kept for the report.
    pub(crate) fn heard(&mut self, name: &'static str, words: &[&str]) -> Result<()> {
        self.heard_with(name, words, &[])
    }

    /// The same, with variables of its own.
    pub(crate) fn heard_with(
        &mut self,
        name: &'static str,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        let mut command = self.command(words);
        command.envs(variables.iter().copied());
        self.step(name, |steps| {
            let mut child = command
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {command:?}"))?;
            let out = child.stdout.take().context("no output")?;
            for line in BufReader::new(out).lines() {
                let line = line?;
                say(&line);
                if ["test ", "figure ", "  ", "{"]
                    .iter()
                    .any(|begin| line.starts_with(begin))
                {
                    steps.heard.push(line);
                }
            }
            let status = child.wait()?;
            ensure!(status.success(), "{command:?}: {status}");
            Ok(())
        })
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(&self.rig.place.checkout)
            .args(words)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn tell(&self) {
        say("== times");
        for Step { name, seconds, .. } in &self.done {
            say(&format!("{seconds:>8.1} s  {name}"));
        }
        say(&format!("{:>8.1} s  in all", self.seconds()));
    }
}

/// Runs it with its output going where this process' goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "progress for whoever reads the run's log")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use godwit_rig::Rig;

    use super::Steps;

    #[test]
    fn a_step_that_fails_ends_a_run_unless_it_is_to_go_on() {
        let mut steps = Steps::begin(Rig::from_environment().unwrap());
        steps.step("one", |_| bail!("no")).unwrap_err();
        steps.verdict().unwrap();
        steps.go_on();
        steps.step("two", |_| bail!("the first")).unwrap();
        steps.step("three", |_| bail!("the second")).unwrap();
        steps.step("four", |_| Ok(())).unwrap();
        let passed: Vec<bool> = steps.done.iter().map(|step| step.passed).collect();
        assert_eq!(passed, [false, false, false, true]);
        let told = format!("{:#}", steps.verdict().unwrap_err());
        assert_eq!(told, "two failed: the first");
    }
}
