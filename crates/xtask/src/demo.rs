//! `cargo xtask demo`: a guest with a VF moves under traffic, and what that cost.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use godwit_rig::godwit::Migration;
use godwit_rig::measure::{self, Measured};
use godwit_rig::rig::Up;
use godwit_rig::{Host, Rig, build, logs, ready, say};

use crate::report;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many moves, there and back alternately.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    moves: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let rig = Rig::from_environment()?;
    rig.up(Up::default())?;
    let done = moves(&rig, arguments.moves);
    let good = done.as_ref().is_ok_and(|all| all.iter().all(is_good));
    if !good {
        logs::after_failure(&rig.place, "demo");
    }
    let all = done?;
    print(&report::text(&all));
    print(&report::json(&all));
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Stops at the first that went wrong: what follows would start from an unknown place.
fn moves(rig: &Rig, count: u32) -> Result<Vec<Measured>> {
    let place = &rig.place;
    let probe = build::build_static(place, "godwit-probe")?;
    ready::on(place, Host::Alpha)?;
    let mut all = Vec::new();
    let mut from = Host::Alpha;
    for number in 1..=count {
        say(format!("move {number} of {count}: {from} to {}", from.other()));
        let measured = measure::one_move(place, &probe, from, tell)?;
        let good = is_good(&measured);
        all.push(measured);
        if !good {
            break;
        }
        from = from.other();
    }
    Ok(all)
}

fn is_good(measured: &Measured) -> bool {
    measured.code == 0 && measured.moved && measured.accelerated && measured.answered
}

fn tell(migration: &Migration) {
    say(format!("  {}", migration.phase));
}

#[expect(clippy::print_stdout, reason = "the demo's result")]
fn print(text: &str) {
    println!("{text}");
}
