//! `cargo xtask`: the project's own commands. Needs neither libvirt nor protoc.

mod rig;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests, the demo and the rig.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Two hosts with real SR-IOV on this machine, and a guest.
    #[command(subcommand)]
    Rig(rig::Task),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
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
