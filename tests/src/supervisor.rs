//! What starts a daemon again that has died: a host has no systemd to do it.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Host, Place, clock, command, ssh};

/// Watches one process, the daemon that runs when it is asked for; writes when that died, and starts another.
const WATCH: &str = "pid=$(cat /run/rig/godwitd.pid); while [ -e /proc/$pid/exe ]; do sleep 0.1; done; \
                     echo $EPOCHREALTIME; rig-service start godwitd >/dev/null 2>&1";

/// Waits for the death of a host's daemon.
#[derive(Debug)]
pub struct Supervisor<'a> {
    place: &'a Place,
    host: Host,
    child: Child,
}

impl<'a> Supervisor<'a> {
    /// Of the daemon that runs now.
    pub fn watch(place: &'a Place, host: Host) -> Result<Supervisor<'a>> {
        let child = ssh::command(place, host, WATCH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run ssh")?;
        Ok(Supervisor { place, host, child })
    }

    /// Waits until the daemon has died and the next one answers; when it died, in seconds since 1970 by this
    /// machine's clock, some 100 ms late at most.
    pub fn died(mut self, limit: Duration) -> Result<f64> {
        let what = format!("the death of {}'s daemon", self.host);
        let status = command::wait_for(&what, limit, || Ok(self.child.try_wait()?))?;
        anyhow::ensure!(status.success(), "{}'s daemon does not start again", self.host);
        let mut text = String::new();
        let out = self.child.stdout.as_mut().context("no output")?;
        std::io::Read::read_to_string(out, &mut text)?;
        let at: f64 = text.trim().parse().with_context(|| format!("{text:?}"))?;
        Ok(at - clock::offset(self.place, self.host)?)
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
