//! This checkout's binaries, for the hosts and for the guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{output, show, succeeds};
use crate::{Place, say};

const MUSL: &str = "x86_64-unknown-linux-musl";
const GLIBC: &str = "x86_64-unknown-linux-gnu";

/// What the rig puts into hosts and guest.
#[derive(Clone, Debug)]
pub struct Parts {
    /// In the guest, and beside the hosts.
    pub probe: PathBuf,
    /// Godwit itself; the rig alone works without.
    pub godwit: Option<Godwit>,
}

/// Godwit's binaries.
#[derive(Clone, Debug)]
pub struct Godwit {
    /// The host service.
    pub godwitd: PathBuf,
    /// The command line.
    pub godwit: PathBuf,
    /// What libvirt runs, once `godwit hook install` has put it there.
    pub hook: PathBuf,
    /// In the guest.
    pub agent: PathBuf,
    /// In the guest too, for the story that runs it instead of the agent.
    pub liar: PathBuf,
}

/// Builds all of it. What belongs into the guest is built alone, package by package, so that another package's
/// features cannot make it larger.
///
/// `optimised` is for figures: it takes minutes from nothing.
pub fn build(place: &Place, optimised: bool) -> Result<Parts> {
    say("building godwitd, godwit, godwit-hook and godwit-agent");
    let mut build = cargo(place);
    build.args(["build", "--quiet", "--package", "godwitd", "--package", "godwit"]);
    if optimised {
        build.arg("--release");
    }
    show(&mut build)?;
    let host = place.target().join(if optimised { "release" } else { "debug" });
    let godwit = Godwit {
        godwitd: host.join("godwitd"),
        godwit: host.join("godwit"),
        hook: build_static(place, "godwit-hook")?,
        agent: build_static(place, "godwit-agent")?,
        liar: build_static(place, "godwit-liar")?,
    };
    Ok(Parts {
        godwit: Some(godwit),
        ..build_without_godwit(place)?
    })
}

/// Builds only the rig's own.
pub fn build_without_godwit(place: &Place) -> Result<Parts> {
    Ok(Parts {
        probe: build_static(place, "godwit-probe")?,
        godwit: None,
    })
}

/// Builds one package as a static binary.
pub fn build_static(place: &Place, package: &str) -> Result<PathBuf> {
    let target = static_target(place);
    let mut build = cargo(place);
    build.args([
        "build",
        "--quiet",
        "--profile",
        "agent",
        "--target",
        target,
        "--package",
        package,
    ]);
    if target == GLIBC {
        build.env("RUSTFLAGS", "-C target-feature=+crt-static");
    }
    show(&mut build)?;
    let binary = place.target().join(target).join("agent").join(package);
    ensure!(binary.exists(), "{} was not built", binary.display());
    Ok(binary)
}

/// The target of static binaries: musl where it is installed or installs by itself, else glibc linked statically.
pub fn static_target(place: &Place) -> &'static str {
    let mut list = rustup(place, &["target", "list", "--installed"]);
    let installed = output(&mut list).is_ok_and(|targets| targets.lines().any(|target| target == MUSL));
    match installed || succeeds(&mut rustup(place, &["target", "add", MUSL])) {
        true => MUSL,
        false => GLIBC,
    }
}

/// A copy without debugging information, which is most of a debug binary.
pub fn stripped(binary: &Path, copy: &Path) -> Result<()> {
    let mut strip = crate::command::command("strip", ["-o"]);
    crate::command::run(strip.arg(copy).arg(binary)).with_context(|| format!("strip {}", binary.display()))
}

fn cargo(place: &Place) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(&place.checkout);
    command
}

fn rustup(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(arguments).current_dir(&place.checkout);
    command
}
