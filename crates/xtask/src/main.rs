//! `cargo xtask`: the project's own commands. Needs neither libvirt nor protoc.

mod bench;
mod beside;
mod clients;
mod corpus;
mod dated;
mod demo;
mod mutants;
mod report;
mod rig;
mod steps;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use godwit_rig::Rig;

/// Tests, the demo, the bench and the rig.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// From a fresh machine to a measured move of a guest with a VF.
    Demo(demo::Arguments),
    /// What Godwit costs, beside what was aimed at.
    Bench(bench::Arguments),
    /// Everything a change must pass.
    Test(test::Arguments),
    /// Breaks of the code, each with the test that must then fail (tests/mutants.toml).
    Mutants(mutants::Arguments),
    /// The crates' licences, sources and versions, one step of a test.
    #[command(hide = true)]
    Deny,
    /// Two hosts with real SR-IOV on this machine, and a guest.
    #[command(subcommand)]
    Rig(rig::Task),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Mutants(arguments) => mutants::run(&arguments),
        Task::Deny => Rig::from_environment()
            .and_then(|rig| tools::deny(&rig.place))
            .map(|()| ExitCode::SUCCESS),
        Task::Rig(task) => rig::run(task),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "xtask's own words for a failure")]
fn complain(error: &anyhow::Error) {
    eprintln!("Error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("Caused by: {cause}");
    }
}
