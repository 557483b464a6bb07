//! `cargo xtask test`: everything a change must pass. The first failure ends it; nothing is skipped in silence.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use godwit_rig::command::{command, output};
use godwit_rig::part::Part;
use godwit_rig::rig::Up;
use godwit_rig::{Rig, images, logs, room, setup};

use crate::beside::Beside;
use crate::dated::Verdict;
use crate::steps::{Steps, say};
use crate::tools;
use crate::{clients, corpus};

/// Storms of a quick run; enough that a rare defect shows in one of a few commits.
const STORMS: u64 = 10_000;
/// Storms of a whole run.
const MANY_STORMS: usize = 100_000;

/// Seconds of each fuzz test in a quick run, and in a whole one.
const FUZZ: &str = "3";
const MUCH_FUZZ: &str = "120";

/// Tests named `fuzz_...`, as they were built for the unit tests: in libraries, programs, and files of tests named `fuzz`. No other of these files has
/// one: they are neither built nor started for it.
const FUZZERS: [&str; 10] = [
    "test",
    "--workspace",
    "--locked",
    "--lib",
    "--bins",
    "--test",
    "fuzz",
    "fuzz_",
    "--",
    "--nocapture",
];

/// So many there are at least: cargo calls it a success if no test has that name.
const READERS: usize = 10;

/// Tests of the daemon that a plain `cargo test` leaves out: they want root, a dbus-daemon and dbusmock.
const ON_A_BUS: [&str; 7] = [
    "test",
    "--locked",
    "--package",
    "godwitd",
    "bus::tests",
    "--",
    "--ignored",
];

#[derive(Args)]
pub(crate) struct Arguments {
    /// The long run: every story, many more storms, measured moves; writes a dated report under docs/reports.
    #[arg(long, conflicts_with = "no_rig")]
    all: bool,
    /// Leave out what needs root and the rig.
    #[arg(long)]
    no_rig: bool,
    /// Let the rig stay up afterwards.
    #[arg(long)]
    keep_rig: bool,
    /// One part of the long run, the K-th of N, with a report of its own: the parts together leave nothing out.
    #[arg(long, value_name = "K/N", requires = "all", default_value = "1/1")]
    part: Part,
    /// The commit whose slice of the stories is told, and whose storms are run [default: the one checked out].
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    slice: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let rig = Rig::from_environment()?;
    let commit = match &arguments.slice {
        Some(commit) => commit.clone(),
        None => output(command("git", ["rev-parse", "HEAD"]).current_dir(&rig.place.checkout))?
            .trim()
            .to_owned(),
    };
    let mut steps = Steps::begin(rig);
    if arguments.all {
        steps.report(arguments.part)?;
    }
    let passed = everything(&mut steps, arguments, &commit);
    steps.tell();
    if arguments.no_rig {
        say("Not tested: everything that needs root or the rig, D-Bus too (--no-rig).");
    }
    let verdict = match passed {
        Ok(()) => Verdict::Passed,
        Err(_) => Verdict::Failed,
    };
    if let Some(report) = &steps.report {
        report.write(&steps, verdict)?;
        say(&format!("The report: {}", report.path.display()));
    }
    passed.map(|()| ExitCode::SUCCESS)
}

fn everything(steps: &mut Steps, arguments: &Arguments, commit: &str) -> Result<()> {
    checks(steps, arguments)?;
    if arguments.all {
        steps.go_on();
    }
    let mut beside = storms(steps, arguments, commit)?;
    steps.step("clients in Python, and buf curl", |steps| clients::python(steps))?;
    if arguments.all && arguments.part.is_first() {
        steps.step("a client in Go", |steps| clients::go(steps))?;
    }
    if !arguments.all || arguments.part.is_first() {
        fuzz(steps, arguments)?;
    }
    if arguments.all && arguments.part.is_first() {
        beside.push(Beside::begin(steps, "mutants", &["xtask", "mutants"])?);
    }
    // Its checker takes longer to build than all else that is built without the rig's tests.
    beside.push(Beside::begin(
        steps,
        "crates: licences, sources, versions",
        &["xtask", "deny"],
    )?);
    if !arguments.no_rig {
        on_the_rig(steps, arguments, commit, &mut beside)?;
    }
    join(steps, &mut beside)?;
    steps.verdict()
}

fn checks(steps: &mut Steps, arguments: &Arguments) -> Result<()> {
    steps.step("room on the disks", |steps| {
        room::check(&steps.rig.place, !arguments.no_rig)
    })?;
    if !arguments.no_rig {
        // First of all, because the daemon does not build without libvirt's headers.
        steps.step("packages", |_| setup::install())?;
    }
    steps.cargo("formatting", &["fmt", "--all", "--check"], &[])?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ];
    steps.cargo("clippy", &clippy, &[])?;
    // `--all-targets` leaves out those that `cargo test` is not to run by itself.
    let rig_clippy = [
        "clippy",
        "--locked",
        "--package",
        "godwit-rig",
        "--test",
        "e2e",
        "--test",
        "flat",
        "--test",
        "conformance",
        "--",
        "--deny",
        "warnings",
        "--allow",
        "clippy::print_stdout",
    ];
    steps.cargo("clippy of the rig's tests", &rig_clippy, &[])?;
    let doc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    steps.cargo("documentation", &doc, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    steps.cargo("unit tests", &["test", "--workspace", "--locked"], &[])?;
    if !arguments.no_rig {
        let heard = steps.heard.len();
        steps.heard("D-Bus, a real one", &ON_A_BUS)?;
        // Cargo calls it a success if no test has that name.
        let ran = steps.heard[heard..]
            .iter()
            .any(|line| line.starts_with("test bus::tests::"));
        steps.step("D-Bus, there were tests", |_| {
            ensure!(ran, "no test of the daemon is named bus::tests");
            Ok(())
        })?;
    }
    // Fetched once; then it takes some seconds.
    if !arguments.no_rig {
        corpus::step(steps, arguments.all)?;
    }
    steps.heard("conformance, simulator", &conformance("sim"))?;
    steps.step("protocols: rules and form", |steps| tools::buf(&steps.rig.place))
}

/// The scenarios that simulator and rig have in common, on one of the two.
fn conformance(arm: &str) -> Vec<&str> {
    let test = [
        "test",
        "--locked",
        "--package",
        "godwit-rig",
        "--test",
        "conformance",
        "--",
    ];
    test.into_iter().chain([arm]).collect()
}

/// Storms of a debug build in a quick run: there is one. An optimised one takes 235 s to make from nothing and 84 s for
/// 10,000 storms, which is no less. They go on beside what follows: on the rig there is much waiting.
fn storms(steps: &mut Steps, arguments: &Arguments, commit: &str) -> Result<Vec<Beside>> {
    let (runs, seed) = match arguments.all {
        true => {
            let share = arguments.part.share(MANY_STORMS);
            (share.len() as u64, 1 + share.start as u64)
        }
        false => (STORMS, first_seed(commit)),
    };
    let (runs, seed) = (runs.to_string(), seed.to_string());
    let mut words = vec!["--quiet", "--locked", "--package", "godwit-sim"];
    if arguments.all {
        words.extend(["--profile", "storm"]);
    }
    steps.cargo("the storms' simulator", &[&["build"], &words[..]].concat(), &[])?;
    let storm = [&["run"], &words[..], &["--", "storm"]].concat();
    let random = [&storm[..], &["--runs", &runs, "--seed", &seed]].concat();
    let mut begun = vec![Beside::begin(steps, "storms", &random)?];
    if arguments.all && arguments.part.is_first() {
        let pairs = [&storm[..], &["--pairs"]].concat();
        begun.push(Beside::begin(steps, "all pairs of faults", &pairs)?);
    }
    Ok(begun)
}

/// Hostile bytes for all that reads bytes of others.
fn fuzz(steps: &mut Steps, arguments: &Arguments) -> Result<()> {
    let seconds = if arguments.all { MUCH_FUZZ } else { FUZZ };
    let heard = steps.heard.len();
    steps.heard_with("hostile bytes", &FUZZERS, &[("GODWIT_FUZZ_SECONDS", seconds)])?;
    let told = steps.heard[heard..]
        .iter()
        .filter(|line| line.starts_with("  fuzz "))
        .count();
    steps.step("hostile bytes, all of them", |_| {
        ensure!(told >= READERS, "{told} readers were tried, and not {READERS}");
        Ok(())
    })
}

fn join(steps: &mut Steps, begun: &mut Vec<Beside>) -> Result<()> {
    begun.drain(..).try_for_each(|beside| beside.join(steps))
}

/// Other storms for every commit, the same for the same one.
fn first_seed(commit: &str) -> u64 {
    let digits: String = commit.chars().take(8).collect();
    u64::from_str_radix(&digits, 16).unwrap_or_default()
}

fn on_the_rig(
    steps: &mut Steps,
    arguments: &Arguments,
    commit: &str,
    beside: &mut Vec<Beside>,
) -> Result<()> {
    steps.step("images", |steps| {
        let _lock = steps.rig.place.lock()?;
        images::build(&steps.rig.place).map(drop)
    })?;
    let before = steps.done.len();
    let tested = rig_tests(steps, arguments, commit, beside);
    if steps.done[before..].iter().any(|step| !step.passed) {
        logs::after_failure(&steps.rig.place, "test");
    }
    if arguments.keep_rig {
        return tested;
    }
    let down = steps.step("rig down", |steps| steps.rig.down());
    tested.and(down)
}

fn rig_tests(steps: &mut Steps, arguments: &Arguments, commit: &str, beside: &mut Vec<Beside>) -> Result<()> {
    let mut flat = vec![
        "test",
        "--locked",
        "--package",
        "godwit-rig",
        "--test",
        "flat",
        "--",
    ];
    if !arguments.all {
        flat.extend(["--slice", commit]);
    }
    steps.heard("agent and bond, flat", &flat)?;
    steps.step("rig up", |steps| {
        steps.rig.up(Up {
            fresh: true,
            ..Up::default()
        })
    })?;
    let part = arguments.part.to_string();
    let which = match arguments.all {
        true => ["--part", &part],
        false => ["--slice", commit],
    };
    let mut conformance = conformance("rig");
    conformance.extend(which);
    steps.heard("conformance, rig", &conformance)?;
    let mut e2e = vec![
        "test",
        "--locked",
        "--package",
        "godwit-rig",
        "--test",
        "e2e",
        "--",
    ];
    e2e.extend(which);
    steps.heard("end-to-end tests", &e2e)?;
    if arguments.all && arguments.part.is_last() {
        // What is measured has the machine for itself.
        join(steps, beside)?;
        steps.heard("five measured moves", &["xtask", "demo", "--moves", "5"])?;
        steps.heard("benchmarks", &["xtask", "bench", "--moves", "4"])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_seed;

    #[test]
    fn a_commit_has_its_own_storms() {
        assert_eq!(first_seed("0000000a1234"), 10);
        assert_ne!(first_seed("effc487"), first_seed("8a4a251"));
        // Whatever git may say one day, there is a seed.
        assert_eq!(first_seed("not hex"), 0);
    }
}
