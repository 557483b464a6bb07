//! `cargo xtask bench`: what Godwit costs, beside what was aimed at. A bench is not a test: it fails only where
//! nothing can be measured. What each figure has in it is told in `docs/benchmarks.md`.

mod compare;
mod native;
mod rig;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use godwit_rig::{Rig, command, say};
use serde_json::{Value, json};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Leave out what needs root and the rig.
    #[arg(long)]
    no_rig: bool,
    /// Moves on the rig, by Godwit and by a script alternately: so many of each.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    moves: u32,
    /// Migrations in the simulator.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    migrations: u32,
}

#[derive(Subcommand)]
enum What {
    /// Moves by Godwit beside moves in the other ways there are, measured alike, on the rig. Ten moves each take hours.
    Compare(compare::Arguments),
}

/// One part of the bench: what people read, and what programs read.
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// A figure beside what was aimed at.
pub(crate) struct Aim {
    /// What is to be small.
    pub(crate) what: &'static str,
    pub(crate) measured: f64,
    pub(crate) most: f64,
    pub(crate) unit: &'static str,
}

impl Aim {
    pub(crate) fn text(&self) -> String {
        let verdict = if self.reached() { "reached" } else { "MISSED" };
        let Aim {
            what,
            measured,
            most,
            unit,
        } = self;
        format!("aim: {what}: {measured:.1} {unit}, at most {most} {unit} wanted: {verdict}\n")
    }

    pub(crate) fn json(&self) -> Value {
        json!({"what": self.what, "measured": self.measured, "most": self.most, "unit": self.unit,
            "reached": self.reached()})
    }

    fn reached(&self) -> bool {
        self.measured <= self.most
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(What::Compare(arguments)) = &arguments.what {
        return compare::run(arguments);
    }
    let rig = Rig::from_environment()?;
    let before = load()?;
    say("building godwit-sim and godwit, optimised");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(&rig.place.checkout).args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "godwit-sim",
        "--package",
        "godwit",
    ]);
    command::show(&mut build)?;
    let coordinator = native::coordinator(&rig.place, arguments.migrations)?;
    print(&coordinator.text);
    let memory = native::memory(&rig.place)?;
    print(&memory.text);
    let guests = native::guests(&rig.place)?;
    print(&guests.text);
    let moves = match arguments.no_rig {
        true => None,
        false => Some(rig::moves(&rig, arguments.moves)?),
    };
    match &moves {
        Some(moves) => print(&moves.text),
        None => print("Not measured: moves on the rig (--no-rig).\n"),
    }
    let machine = json!({
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "load_before": before,
        "load_after": load()?,
    });
    print(&format!("machine: {machine}\n"));
    let all = json!({
        "machine": machine,
        "coordinator": coordinator.json,
        "memory": memory.json,
        "guests": guests.json,
        "moves": moves.map_or(Value::Null, |moves| moves.json),
    });
    print(&format!("{all}\n"));
    Ok(ExitCode::SUCCESS)
}

/// How many processes wanted to run in the last minute: figures of a busy machine are worth less.
fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().context("no load")?;
    Ok(first.parse()?)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[expect(clippy::print_stdout, reason = "the bench's result")]
fn print(text: &str) {
    print!("{text}");
}

#[cfg(test)]
mod tests {
    use super::{Aim, median};

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn an_aim_says_whether_it_was_reached() {
        let aim = |measured| Aim {
            what: "memory",
            measured,
            most: 30.0,
            unit: "MB",
        };
        assert!(aim(30.0).text().ends_with("reached\n"));
        assert_eq!(aim(30.1).json()["reached"], false);
        // What was not measured is not reached.
        assert_eq!(aim(f64::NAN).json()["reached"], false);
    }
}
