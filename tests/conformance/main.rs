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

use godwit_rig::told;

use crate::body::{Arm, SCENARIOS, Scenario};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let arm = if words.is_empty() {
        "sim".into()
    } else {
        words.remove(0)
    };
    let names = SCENARIOS.map(|(name, _)| ("scenario", name));
    let begun = told::wanted(&names, &words).and_then(|wanted| Ok((wanted, armed(&arm)?)));
    let (wanted, mut arm) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            println!("nothing was tested: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("\nrunning {} tests", wanted.len());
    let started = Instant::now();
    let scenarios = wanted.iter().map(|index| &SCENARIOS[*index]);
    let failed: Vec<&str> = scenarios
        .filter(|scenario| !passes(arm.as_mut(), scenario))
        .map(|(name, _)| *name)
        .collect();
    let (text, code) = told::conclude(wanted.len(), &failed, SCENARIOS.len(), started.elapsed());
    println!("{text}");
    code
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
