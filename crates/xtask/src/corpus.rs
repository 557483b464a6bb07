//! Domain XML of every shape, to try Godwit's edits on: what libvirt tests itself with, out of Debian's source package. It is
//! fetched by this machine's own apt from where that installs from, into folders of the rig's, and never kept in this tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use godwit_rig::command::{command, output, run};
use godwit_rig::{Place, images};

use crate::steps::{Steps, say};

/// The test of the daemon that reads it.
const TEST: [&str; 8] = [
    "test",
    "--locked",
    "--package",
    "godwitd",
    "libvirt::edit::corpus",
    "--",
    "--ignored",
    "--nocapture",
];

/// Where the test is told to look.
const FOLDER: &str = "GODWIT_DOMAIN_XML";

/// The daemon's edits over all of it. Without a network it could not be fetched, which a quick run (`needed`: false) only says.
pub(crate) fn step(steps: &mut Steps, needed: bool) -> Result<()> {
    const NAME: &str = "edits, over libvirt's own domains";
    let place = steps.rig.place.clone();
    let folder = match fetched(&place) {
        Ok(folder) => folder,
        Err(error) if !needed => {
            say(&format!("Not tested: {NAME}: {error:#}"));
            return Ok(());
        }
        Err(error) => return steps.step(NAME, |_| Err(error)),
    };
    let heard = steps.step(NAME, |steps| {
        let mut cargo = steps.command(&TEST);
        let told = cargo
            .env(FOLDER, folder)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        let told = (
            told.status.success(),
            String::from_utf8_lossy(&told.stdout).into_owned(),
        );
        // Every file is named before it is tried; the last ones say where it ended.
        let lines: Vec<&str> = told.1.lines().collect();
        let end = &lines[lines.len().saturating_sub(25)..];
        end.iter().for_each(|line| say(line));
        ensure!(told.0, "an edit did not come out as meant");
        // Cargo calls it a success if no test has that name.
        ensure!(
            told.1.contains(" 1 passed"),
            "no test of the daemon is named {}",
            TEST[4]
        );
        Ok(())
    });
    heard.context("cargo xtask test fetches libvirt's source by apt-get")
}

/// The folder with the files: fetched once for each version that apt knows.
fn fetched(place: &Place) -> Result<PathBuf> {
    let root = place.dir.join("domain-xml");
    let done = root.join("tests");
    if done.is_dir() {
        return Ok(root);
    }
    let work = place.dir.join("domain-xml.making");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    for folder in ["lists/partial", "cache/archives/partial", "out"] {
        fs::create_dir_all(work.join(folder))?;
    }
    let (uri, codename) = images::archive()?;
    fs::write(
        work.join("sources.list"),
        format!("deb-src {uri} {codename} main\n"),
    )?;
    run(&mut apt(&work, &["update"])).context("apt-get update")?;
    run(apt(&work, &["source", "--download-only", "libvirt"]).current_dir(&work))
        .context("apt-get source libvirt")?;
    let source = fs::read_dir(&work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(".orig.tar."));
    let Some(source) = source else {
        bail!("apt-get brought no source of libvirt");
    };
    let mut tar = command(
        "tar",
        ["--extract", "--strip-components=1", "--wildcards", "--file"],
    );
    run(tar
        .arg(source)
        .arg("--directory")
        .arg(work.join("out"))
        .arg("*/tests/*.xml"))?;
    fs::rename(work.join("out"), &root)?;
    fs::remove_dir_all(&work)?;
    let files = output(command("find", [&root]).args(["-name", "*.xml"]))?;
    say(&format!("{} files of libvirt's", files.lines().count()));
    Ok(root)
}

/// With folders of its own: this machine's lists stay as they are.
fn apt(work: &Path, words: &[&str]) -> std::process::Command {
    let mut apt = command("apt-get", ["-q"]);
    for (key, value) in [
        ("Dir::Etc::SourceList", work.join("sources.list")),
        ("Dir::Etc::SourceParts", PathBuf::from("-")),
        ("Dir::State::Lists", work.join("lists")),
        ("Dir::Cache", work.join("cache")),
    ] {
        apt.arg("-o").arg(format!("{key}={}", value.display()));
    }
    apt.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]);
    apt.args(words);
    apt
}
