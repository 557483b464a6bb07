//! One body of scenarios, two arms: the simulator and the rig. A simulator is believed only as far as that goes.
//!
//! `cargo test -p godwit-rig --test conformance -- sim` (seconds, without root) or `-- rig`; a part of a name after it
//! tells only those scenarios, `--slice COMMIT` those of a commit's slice. `cargo xtask test` runs both.

mod body;
mod rig;
mod sim;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use godwit_rig::slice;

use crate::body::{Arm, SCENARIOS, Scenario};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arm = words.first().map_or("sim", String::as_str);
    let wanted = wanted(&words);
    println!("\nrunning {} tests", wanted.len());
    let mut arm = match armed(arm) {
        Ok(arm) => arm,
        Err(error) => {
            println!("the arm cannot be had, so nothing was tested: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let started = Instant::now();
    let failed = wanted
        .iter()
        .filter(|scenario| !passes(arm.as_mut(), scenario))
        .count();
    let verdict = if failed == 0 && !wanted.is_empty() {
        "ok"
    } else {
        "FAILED"
    };
    println!(
        "\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        wanted.len() - failed,
        SCENARIOS.len() - wanted.len(),
        started.elapsed().as_secs_f64()
    );
    match verdict {
        "ok" => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Those of a commit's slice, or those with one of the words in their name, or all.
fn wanted(words: &[String]) -> Vec<&'static Scenario> {
    let slice = words.iter().position(|word| word == "--slice");
    if let Some(commit) = slice.and_then(|at| words.get(at + 1)) {
        let told = slice::of(commit, &["scenario"; SCENARIOS.len()]);
        return told.into_iter().map(|index| &SCENARIOS[index]).collect();
    }
    let parts: Vec<&String> = words
        .iter()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let fits = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()));
    SCENARIOS.iter().filter(|(name, _)| fits(name)).collect()
}

fn armed(name: &str) -> Result<Box<dyn Arm>> {
    Ok(match name {
        "sim" => Box::new(sim::Sim::new()?),
        "rig" => Box::new(rig::OnRig::new()?),
        other => bail!("no such arm: {other}; there are sim and rig"),
    })
}

fn passes(arm: &mut dyn Arm, (name, scenario): &Scenario) -> bool {
    let started = Instant::now();
    let mut told = scenario(arm).and_then(|()| arm.end());
    if let (Err(error), Some(why)) = (&told, arm.broke()) {
        println!("test {name} ... is told again, for {why}\n  {error:#}");
        told = scenario(arm).and_then(|()| arm.end());
    }
    let seconds = started.elapsed().as_secs_f64();
    match told {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
        Err(ref error) => println!("test {name} ... FAILED ({seconds:.1} s)\n  {error:#}"),
    }
    told.is_ok()
}
