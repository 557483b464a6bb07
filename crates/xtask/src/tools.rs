//! Checkers that are not Rust's own: `cargo deny` and `buf`. Each is installed once beside the rig's images, in
//! the version that this tree was checked with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use godwit_rig::Place;
use godwit_rig::command::{command, succeeds};

use crate::steps::run;

const DENY: &str = "0.20.2";
const BUF: &str = "1.75.0";

/// Licences, sources, banned crates and second versions. It needs the network once, to fetch.
pub(crate) fn deny(place: &Place) -> Result<()> {
    let root = place.dir.join(format!("tools/cargo-deny-{DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        // Debug is half the time to build, and it runs for seconds.
        let mut install = cargo(place);
        install.args([
            "install",
            "--locked",
            "--debug",
            "--quiet",
            "--version",
            DENY,
            "--root",
        ]);
        run(install.arg(&root).arg("cargo-deny")).context("cargo-deny could not be installed")?;
    }
    // It reads the crates of other systems too, which no build has fetched.
    run(cargo(place).args(["fetch", "--locked", "--quiet"]))?;
    let mut kinds = vec!["bans", "licenses", "sources"];
    // Only where somebody has put a database: a test fetches none (deny.toml says how).
    if advisories().is_some_and(|database| database.exists()) {
        kinds.push("advisories");
    }
    let mut deny = command(&program, ["--offline", "--locked", "check"]);
    run(deny.args(kinds).current_dir(&place.checkout))
}

/// The protocol files' rules and form.
pub(crate) fn buf(place: &Place) -> Result<()> {
    let program = buf_program(place)?;
    for words in [&["lint"][..], &["format", "--diff", "--exit-code"]] {
        run(command(&program, words).current_dir(&place.checkout))?;
    }
    Ok(())
}

/// Installed, if it is not yet.
pub(crate) fn buf_program(place: &Place) -> Result<PathBuf> {
    let root = place.dir.join(format!("tools/buf-{BUF}"));
    let program = root.join("node_modules/.bin/buf");
    if !program.exists() {
        if !succeeds(&mut command("npm", ["--version"])) {
            let mut install = command(
                "apt-get",
                ["-q", "install", "-y", "--no-install-recommends", "npm"],
            );
            run(install.env("DEBIAN_FRONTEND", "noninteractive")).context("buf needs npm")?;
        }
        std::fs::create_dir_all(&root)?;
        let mut install = command(
            "npm",
            ["install", "--silent", "--no-audit", "--no-fund", "--prefix"],
        );
        run(install.arg(&root).arg(format!("@bufbuild/buf@{BUF}"))).context("buf could not be installed")?;
    }
    Ok(program)
}

fn cargo(place: &Place) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&place.checkout);
    cargo
}

/// Where `cargo deny` looks for its database of advisories.
fn advisories() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("advisory-dbs/advisory-db-3157b0e258782691/.git/FETCH_HEAD"))
}
