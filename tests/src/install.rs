//! Puts this checkout's binaries, the configuration and the keys into the running hosts. Only what changed is
//! copied: the hosts are slow.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::build::{Parts, stripped};
use crate::command::{command, output, run};
use crate::images::{Images, Key};
use crate::{Host, Place, say, ssh, tls};

/// On the host: what was installed, by name and key.
const MANIFEST: &str = "/var/lib/rig-installed";

/// Installs on both hosts and starts the daemon there, or starts it anew if something it uses changed.
pub fn install(place: &Place, images: &Images, parts: &Parts) -> Result<()> {
    let common = place.dir.join("install/common");
    start_again(&common)?;
    let mut programs = vec![parts.probe.as_path()];
    programs.extend(
        parts
            .godwit
            .iter()
            .flat_map(|godwit| [&*godwit.agent, &*godwit.liar]),
    );
    guest_initramfs(&common, images, &programs)?;
    if let Some(godwit) = &parts.godwit {
        // Before the hosts are served at once, each of which would make the authority they share.
        tls::make(place)?;
        fs::create_dir_all(common.join("usr/local/bin"))?;
        stripped(&godwit.godwitd, &common.join("usr/local/bin/godwitd"))?;
        stripped(&godwit.godwit, &common.join("usr/local/bin/godwit"))?;
        // Static, and stripped as it was built.
        fs::copy(&godwit.hook, common.join("usr/local/bin/godwit-hook"))?;
    }
    std::thread::scope(|scope| {
        let common = &common;
        let each = Host::ALL
            .map(|host| scope.spawn(move || install_on(place, host, common, parts.godwit.is_some())));
        each.into_iter()
            .try_for_each(|done| done.join().map_err(|_| anyhow::anyhow!("panicked"))?)
    })
}

fn install_on(place: &Place, host: Host, common: &Path, with_godwit: bool) -> Result<()> {
    let tree = place.dir.join("install").join(host.name());
    start_again(&tree)?;
    run(command("cp", ["-al"])
        .arg(format!("{}/.", common.display()))
        .arg(&tree))?;
    if with_godwit {
        configuration(place, host, &tree.join("etc/godwit"))?;
    }
    let changed = changed(place, host, &tree)?;
    if !changed.is_empty() {
        let mut tar = command("tar", ["--create", "--owner=0", "--group=0", "--directory"]);
        tar.arg(&tree).args(changed.iter().map(|(file, _)| file));
        let bytes = tar.output().context("cannot run tar")?.stdout;
        say(format!(
            "installing on {host}: {} files, {} KiB",
            changed.len(),
            bytes.len() / 1024
        ));
        ssh::run_with(place, host, "tar --extract --directory /", &bytes)?;
        remember(place, host, &changed)?;
    }
    if !with_godwit {
        return Ok(());
    }
    let daemon_changed = changed.iter().any(|(file, _)| !file.starts_with("srv"));
    let action = if daemon_changed { "restart" } else { "start" };
    ssh::run(place, host, &format!("rig-service {action} godwitd"))
}

/// All files of a tree, in an order that is always the same.
fn files_below(tree: &Path) -> Result<Vec<PathBuf>> {
    let list = output(command("find", [tree]).args(["-type", "f"]))?;
    let mut files: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
    files.sort();
    Ok(files)
}

/// Files of the tree whose key the host does not have, with their keys.
fn changed(place: &Place, host: Host, tree: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let known = ssh::output(place, host, &format!("cat {MANIFEST} 2>/dev/null || true"))?;
    let known: HashMap<&str, &str> = known.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut changed = Vec::new();
    for path in files_below(tree)? {
        let file = path.strip_prefix(tree)?;
        let key = Key::new().files([&path])?.0;
        if known.get(file.to_string_lossy().as_ref()) != Some(&format!("{key:016x}").as_str()) {
            changed.push((file.to_owned(), key));
        }
    }
    Ok(changed)
}

/// Appends to the host's list; of two lines for one file the later counts.
fn remember(place: &Place, host: Host, changed: &[(PathBuf, u64)]) -> Result<()> {
    let lines: String = changed
        .iter()
        .map(|(file, key)| format!("{} {key:016x}\n", file.display()))
        .collect();
    ssh::run_with(
        place,
        host,
        &format!("cat >>{MANIFEST} && sync"),
        lines.as_bytes(),
    )
}

fn configuration(place: &Place, host: Host, dir: &Path) -> Result<()> {
    let identity = tls::identity(place, host);
    fs::create_dir_all(dir)?;
    fs::copy(identity.ca, dir.join("ca.pem"))?;
    fs::copy(identity.certificate, dir.join("host.pem"))?;
    fs::copy(identity.key, dir.join("host.key"))?;
    let template = fs::read_to_string(place.assets().join("godwitd.toml"))?;
    let peer = host.other();
    let text = template
        .replace("@HOST@", host.name())
        .replace("@ADDRESS@", &host.address())
        .replace("@PEER@", peer.name())
        .replace("@PEER_ADDRESS@", &peer.address());
    Ok(fs::write(dir.join("godwitd.toml"), text)?)
}

/// The guest's kernel unpacks one archive after the other, so the binaries need no new image. A guest that runs
/// keeps what it started with: the file `build`, there and beside the archive, tells whether that is this image with
/// these binaries.
pub(crate) fn guest_initramfs(common: &Path, images: &Images, programs: &[&Path]) -> Result<()> {
    let tree = common.join("overlay");
    fs::create_dir_all(tree.join("bin"))?;
    for program in programs {
        let name = program.file_name().context("a program has a name")?;
        fs::copy(program, tree.join("bin").join(name))?;
    }
    let base = fs::read(images.guest_initramfs())?;
    let key = Key::new().bytes(&base).files(files_below(&tree)?)?;
    let key = format!("{:016x}\n", key.0);
    fs::write(tree.join("build"), &key)?;
    // Without times and inode numbers, equal binaries give an equal archive.
    let pack =
        "find . -exec touch -d @0 {} + && find . | sort | cpio --quiet --owner 0:0 --reproducible -o -H newc";
    let packed = command("sh", ["-c", pack]).current_dir(&tree).output()?;
    ensure!(
        packed.status.success(),
        "cpio: {}",
        String::from_utf8_lossy(&packed.stderr).trim_end()
    );
    fs::remove_dir_all(tree)?;

    let mut bytes = base;
    bytes.extend(packed.stdout);
    let dir = common.join("srv/guest");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("build"), key)?;
    Ok(fs::write(dir.join("guest.cpio"), bytes)?)
}

pub(crate) fn start_again(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
