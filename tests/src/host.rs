//! The two hosts: who they are, and their power switch.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::images::Images;
use crate::{Place, command, qemu, ssh};

/// How long a host may take to start; in practice 20 to 30 s, on a busy machine more.
const START_LIMIT: Duration = Duration::from_secs(300);

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Where the guest starts.
    Alpha,
    /// Where it goes.
    Beta,
}

impl Host {
    /// Both.
    pub const ALL: [Host; 2] = [Host::Alpha, Host::Beta];

    /// Its name, also in Godwit's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Host::Alpha => "alpha",
            Host::Beta => "beta",
        }
    }

    /// Last byte of its addresses.
    pub fn id(self) -> u8 {
        match self {
            Host::Alpha => 1,
            Host::Beta => 2,
        }
    }

    /// Its address on the management network.
    pub fn address(self) -> String {
        format!("10.78.0.{}", self.id())
    }

    /// The one it is not.
    pub fn other(self) -> Host {
        match self {
            Host::Alpha => Host::Beta,
            Host::Beta => Host::Alpha,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Host, String> {
        let found = Host::ALL.into_iter().find(|host| host.name() == text);
        found.ok_or_else(|| format!("{text:?} is no host; they are alpha and beta"))
    }
}

/// Its process, if it is on.
pub fn process(place: &Place, host: Host) -> Option<Pid> {
    process_of(&pid_file(place, host))
}

/// The machine that wrote its process id into the file, if it runs.
pub(crate) fn process_of(file: &Path) -> Option<Pid> {
    let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    // Ids are used again: only a process that was told of this very file is the machine.
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let name = file.to_string_lossy();
    line.split(|byte| *byte == 0)
        .any(|word| word == name.as_bytes())
        .then(|| Pid::from_raw(pid))
        .flatten()
}

/// Switches it on, on the disk it had, with more words for its kernel; [`wait`] says when it is ready.
///
/// `true` if it was off before.
pub fn power_on(place: &Place, images: &Images, host: Host, words: &str) -> Result<bool> {
    let disk = place.host(host).join("disk.qcow2");
    if process(place, host).is_some() {
        return Ok(false);
    }
    fs::create_dir_all(place.host(host))?;
    if !disk.exists() {
        new_disk(place, images, host)?;
    }
    ssh::forget(place, host);
    let _ = fs::rename(
        console(place, host),
        place.run().join(format!("{host}.console.previous")),
    );
    qemu::host(place, images, host, words)?;
    Ok(true)
}

/// Pulls its plug: nothing is written back, as with a real one.
pub fn power_off(place: &Place, host: Host) -> Result<()> {
    end(place, host, Signal::KILL)
}

/// Lets it write back what it has, then switches it off.
pub fn shut_down(place: &Place, host: Host) -> Result<()> {
    if process(place, host).is_some() {
        let sync = ssh::command(place, host, "rig-service stop godwitd; sync");
        command::succeeds(&mut ssh::bounded(&sync, 10));
    }
    end(place, host, Signal::TERM)
}

/// Returns when its services run.
pub fn wait(place: &Place, host: Host) -> Result<()> {
    let end = Instant::now() + START_LIMIT;
    loop {
        let bytes = fs::read(console(place, host)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let tail = || {
            text.lines()
                .rev()
                .take(15)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        };
        if text.contains("RIG-FAILED") {
            bail!("{host} did not start:\n{}", tail());
        }
        if text.contains("RIG-READY") {
            return Ok(());
        }
        if process(place, host).is_none() {
            bail!("{host} went away while it started:\n{}", tail());
        }
        if Instant::now() > end {
            bail!(
                "{host} was not ready within {} s:\n{}",
                START_LIMIT.as_secs(),
                tail()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Gives it an empty disk on top of the image.
pub fn new_disk(place: &Place, images: &Images, host: Host) -> Result<()> {
    let dir = place.host(host);
    fs::create_dir_all(&dir)?;
    let making = dir.join("disk.making");
    let mut create = qemu::tool(images, "qemu-img");
    create
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(images.host_disk())
        .arg(&making);
    command::run(&mut create)?;
    fs::write(
        dir.join("disk.base"),
        images.host_disk().to_string_lossy().as_bytes(),
    )?;
    fs::rename(making, dir.join("disk.qcow2"))?;
    Ok(())
}

/// Whether its disk was made on this image.
pub fn disk_is_current(place: &Place, images: &Images, host: Host) -> bool {
    let base = fs::read_to_string(place.host(host).join("disk.base")).unwrap_or_default();
    base == images.host_disk().to_string_lossy()
}

/// What it writes while it starts.
pub fn console(place: &Place, host: Host) -> PathBuf {
    place.run().join(format!("{host}.console"))
}

/// The file that holds its process id.
pub fn pid_file(place: &Place, host: Host) -> PathBuf {
    place.run().join(format!("{host}.pid"))
}

fn end(place: &Place, host: Host, signal: Signal) -> Result<()> {
    ssh::forget(place, host);
    if let Some(pid) = process(place, host) {
        kill_process(pid, signal).with_context(|| format!("cannot end {host}"))?;
        let gone = || Ok(process(place, host).is_none().then_some(()));
        if command::wait_for("the host's end", Duration::from_secs(10), gone).is_err() {
            kill_process(pid, Signal::KILL).with_context(|| format!("cannot end {host}"))?;
            command::wait_for("the host's end", Duration::from_secs(10), gone)?;
        }
    }
    let _ = fs::remove_file(pid_file(place, host));
    Ok(())
}
