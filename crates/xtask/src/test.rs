//! `cargo xtask test`: everything a change must pass. The first failure ends it; nothing is skipped in silence.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use godwit_rig::rig::Up;
use godwit_rig::{Rig, images, logs, setup};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Also do what a quick run leaves out; now, that is five measured moves.
    #[arg(long, conflicts_with = "no_rig")]
    all: bool,
    /// Leave out what needs root and the rig.
    #[arg(long)]
    no_rig: bool,
    /// Let the rig stay up afterwards.
    #[arg(long)]
    keep_rig: bool,
}

/// Names and times of what is done.
struct Steps {
    started: Instant,
    done: Vec<(&'static str, f64)>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let rig = Rig::from_environment()?;
    let mut steps = Steps {
        started: Instant::now(),
        done: Vec::new(),
    };
    let passed = checks(&mut steps, &rig, arguments.no_rig).and_then(|()| match arguments.no_rig {
        true => Ok(()),
        false => on_the_rig(&mut steps, &rig, arguments),
    });
    steps.tell(arguments.no_rig);
    passed.map(|()| ExitCode::SUCCESS)
}

fn checks(steps: &mut Steps, rig: &Rig, no_rig: bool) -> Result<()> {
    if !no_rig {
        // First of all, because the daemon does not build without libvirt's headers.
        steps.step("packages", setup::install)?;
    }
    steps.cargo(rig, "formatting", &["fmt", "--all", "--check"], &[])?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ];
    steps.cargo(rig, "clippy", &clippy, &[])?;
    let doc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    steps.cargo(rig, "documentation", &doc, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    steps.cargo(rig, "unit tests", &["test", "--workspace", "--locked"], &[])
}

fn on_the_rig(steps: &mut Steps, rig: &Rig, arguments: &Arguments) -> Result<()> {
    steps.step("images", || {
        let _lock = rig.place.lock()?;
        images::build(&rig.place).map(drop)
    })?;
    let tested = rig_tests(steps, rig, arguments);
    if tested.is_err() {
        logs::after_failure(&rig.place, "test");
    }
    if arguments.keep_rig {
        return tested;
    }
    let down = steps.step("rig down", || rig.down());
    tested.and(down)
}

fn rig_tests(steps: &mut Steps, rig: &Rig, arguments: &Arguments) -> Result<()> {
    steps.step("rig up", || {
        rig.up(Up {
            fresh: true,
            ..Up::default()
        })
    })?;
    let e2e = ["test", "--locked", "--package", "godwit-rig", "--test", "e2e"];
    steps.cargo(rig, "end-to-end tests", &e2e, &[])?;
    if arguments.all {
        steps.cargo(
            rig,
            "five measured moves",
            &["xtask", "demo", "--moves", "5"],
            &[],
        )?;
    }
    Ok(())
}

impl Steps {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        say(&format!("== {name}"));
        let started = Instant::now();
        let done = work().with_context(|| format!("{name} failed"));
        self.done.push((name, started.elapsed().as_secs_f64()));
        done
    }

    fn cargo(
        &mut self,
        rig: &Rig,
        name: &'static str,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        self.step(name, || {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command
                .current_dir(&rig.place.checkout)
                .args(words)
                .envs(variables.iter().copied());
            let status = command
                .stdin(Stdio::null())
                .status()
                .context("cannot run cargo")?;
            ensure!(status.success(), "cargo {}: {status}", words.join(" "));
            Ok(())
        })
    }

    fn tell(&self, no_rig: bool) {
        say("== times");
        for (name, seconds) in &self.done {
            say(&format!("{seconds:>8.1} s  {name}"));
        }
        say(&format!(
            "{:>8.1} s  in all",
            self.started.elapsed().as_secs_f64()
        ));
        if no_rig {
            say("Not tested: everything that needs the rig (--no-rig).");
        }
    }
}

#[expect(clippy::print_stdout, reason = "progress for whoever reads the run's log")]
fn say(text: &str) {
    println!("{text}");
}
