//! `godwit-sim`: Godwit's API over pretend hosts, without root; storms; and a bench.

#![forbid(unsafe_code)]

mod args;
mod say;

use std::process::ExitCode;

use clap::Parser;
use godwit_sim::{
    bench,
    serve::{Options, Sim},
    storm,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Args, Command},
    say::say,
};

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match &args.command {
        Some(Command::Storm(options)) => storms(options),
        Some(Command::Bench(options)) => bench(&options.options()),
        None => {
            say::log();
            serve(&args)
        }
    };
    ended.unwrap_or_else(|error| {
        say::error(&error);
        ExitCode::FAILURE
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build()
}

fn bench(options: &bench::Options) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let report = runtime.block_on(bench::run(options))?;
    runtime.shutdown_background();
    say(&serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}

fn serve(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let ended = runtime.block_on(serve_until_told(args.options(), args));
    runtime.shutdown_background();
    ended
}

async fn serve_until_told(options: Options, args: &Args) -> anyhow::Result<ExitCode> {
    // Before anything is made that has to be removed.
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let sim = Sim::start(options).await?;
    args.greet(&sim)?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let (broken, first) = sim.broken();
    sim.stop();
    if broken > 0 {
        say(&format!(
            "{broken} rules were broken; the first: {}",
            first.first().map_or("", |rule| rule)
        ))?;
    }
    Ok(if args.check && broken > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn storms(options: &args::Storm) -> anyhow::Result<ExitCode> {
    let wanted = options.wanted();
    if wanted.trace {
        say::trace();
    }
    let report = storm::run(&wanted, &|line| drop(say(line)));
    say(&report.to_string())?;
    let Some((seed, wrong)) = report.failures.first_key_value() else {
        return Ok(ExitCode::SUCCESS);
    };
    if !wanted.trace && !wanted.all {
        say::trace();
        // Once more, to show what happens in it; and it must go wrong in the same way.
        let again = storm::one(wanted.kind, *seed);
        let same = again.err().as_ref() == Some(wrong);
        say(if same {
            ""
        } else {
            "It did not go wrong in the same way again: that is a defect of the simulator."
        })?;
        say(&report.to_string())?;
        say(&format!("To see it again: {}", options.replay(*seed)))?;
    }
    Ok(ExitCode::FAILURE)
}
