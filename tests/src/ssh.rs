//! Commands on a host. One connection per host is shared by all of them: a key exchange takes a second there.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Host, Place, command};

/// The command that runs `line` in a shell on the host; without one, a shell.
pub fn command(place: &Place, host: Host, line: &str) -> Command {
    let mut ssh = base(place, host);
    ssh.arg(format!("root@{}", host.address()));
    if !line.is_empty() {
        ssh.arg(line);
    }
    ssh
}

/// What `line` writes to standard output; an error when it fails.
pub fn output(place: &Place, host: Host, line: &str) -> Result<String> {
    command::output(&mut command(place, host, line)).with_context(|| format!("on {host}"))
}

/// Runs `line`; an error when it fails.
pub fn run(place: &Place, host: Host, line: &str) -> Result<()> {
    output(place, host, line).map(drop)
}

/// Runs `line` with `input` as its standard input.
pub fn run_with(place: &Place, host: Host, line: &str, input: &[u8]) -> Result<()> {
    let mut child = command(place, host, line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ssh")?;
    if let Some(mut stdin) = child.stdin.take() {
        // The error of a command that did not read to the end is told by its status.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "on {host}: {line}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

/// Whether the host answers; one that hangs keeps nobody waiting.
pub fn answers(place: &Place, host: Host) -> bool {
    command::succeeds(&mut bounded(&command(place, host, "true"), 30))
}

/// Opens the shared connection.
pub fn connect(place: &Place, host: Host) -> Result<()> {
    command::wait_for("ssh", Duration::from_secs(60), || {
        run(place, host, "true").map(Some)
    })
}

/// Closes the shared connection, if there is one; one that hangs keeps nobody waiting.
pub fn forget(place: &Place, host: Host) {
    let mut exit = base(place, host);
    exit.args(["-O", "exit"]).arg(format!("root@{}", host.address()));
    command::succeeds(&mut bounded(&exit, 10));
    let _ = std::fs::remove_file(place.run().join(format!("{host}.ssh")));
}

/// The same command for so many seconds at most.
pub(crate) fn bounded(inner: &Command, seconds: u32) -> Command {
    let mut bounded = command::command("timeout", [seconds.to_string()]);
    bounded.arg(inner.get_program()).args(inner.get_args());
    bounded
}

fn base(place: &Place, host: Host) -> Command {
    let socket = place.run().join(format!("{host}.ssh"));
    let mut ssh = command::command("ip", ["netns", "exec", &place.namespace(), "ssh", "-i"]);
    ssh.arg(place.key())
        .arg("-o")
        .arg(format!("ControlPath={}", socket.display()));
    for option in [
        "ControlMaster=auto",
        "ControlPersist=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=10",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=6",
    ] {
        ssh.args(["-o", option]);
    }
    ssh
}
