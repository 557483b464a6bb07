//! The prober beside the hosts, running while a guest moves; and what it wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::guest::{Guest, WEB_1};
use crate::{Place, command};

/// One line of its record. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// A number went to the guest.
    Sent {
        /// Which.
        number: u64,
        /// When it was sent.
        at: f64,
        /// Whether the guest saw it.
        arrived: bool,
    },
    /// A number of the guest came.
    Received {
        /// Which.
        number: u64,
        /// When it came.
        at: f64,
    },
    /// A number of the guest that never came.
    Missing {
        /// Which.
        number: u64,
    },
    /// The TCP connection beside the datagrams.
    Stream {
        /// Bytes written.
        sent: u64,
        /// Bytes that the guest sent back.
        echoed: u64,
        /// The longest time without any, milliseconds.
        stall_ms: f64,
        /// When that began.
        stall_at: f64,
        /// Segments that the client's kernel sent again.
        retransmitted: u64,
    },
    /// The sums.
    Total {
        /// Numbers sent to the guest.
        sent: u64,
        /// Of these, seen more than once there.
        duplicates: u64,
        /// Seen there behind a greater one.
        reordered: u64,
        /// Numbers the guest sent.
        guest_sent: u64,
        /// Of these, seen more than once here.
        guest_duplicates: u64,
    },
}

/// A measurement under way.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    /// It measures until this is closed, so it cannot outlive this process.
    input: Option<ChildStdin>,
    record: PathBuf,
}

impl Prober {
    /// Begins to send `rate` datagrams a second each way.
    pub fn start(place: &Place, binary: &Path, rate: u32) -> Result<Prober> {
        Prober::start_at(place, binary, WEB_1.address, rate)
    }

    /// The same to any address of a guest.
    pub fn start_at(place: &Place, binary: &Path, address: &str, rate: u32) -> Result<Prober> {
        Prober::start_to(place, binary, address, &["--rate", &rate.to_string()])
    }

    /// The same to any guest, with a TCP connection beside it of so many records a second.
    pub fn start_with_stream(
        place: &Place,
        binary: &Path,
        guest: Guest,
        rate: u32,
        stream: u32,
    ) -> Result<Prober> {
        let (rate, stream) = (rate.to_string(), stream.to_string());
        let options = ["--rate", &rate, "--stream", &stream];
        Prober::start_to(place, binary, guest.address, &options)
    }

    fn start_to(place: &Place, binary: &Path, address: &str, options: &[&str]) -> Result<Prober> {
        let record = place.run().join("probe.jsonl");
        let _ = fs::remove_file(&record);
        let errors = fs::File::create(place.run().join("probe.log"))?;
        let mut command = command::command("ip", ["netns", "exec", &place.namespace()]);
        command
            .arg(binary)
            .args(["run", "--to", address])
            .args(options)
            .arg("--out")
            .arg(&record);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("cannot run the prober")?;
        let input = child.stdin.take();
        Ok(Prober { child, input, record })
    }

    /// Ends it, waits for what is late and gives its record.
    pub fn stop(mut self, place: &Place) -> Result<Vec<Line>> {
        drop(self.input.take());
        let child = &mut self.child;
        let ended = || Ok(child.try_wait()?);
        let status = command::wait_for("the prober's end", Duration::from_secs(240), ended)?;
        if !status.success() {
            bail!(
                "{}",
                fs::read_to_string(place.run().join("probe.log"))?.trim_end()
            );
        }
        let text = fs::read_to_string(&self.record)?;
        let lines: Result<Vec<Line>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines.context("the prober's record")?;
        ensure!(
            matches!(lines.last(), Some(Line::Total { .. })),
            "the prober's record is not whole"
        );
        Ok(lines)
    }
}

/// How many numbers were sent, both ways, and how many of them never came.
pub fn sent_and_lost(record: &[Line]) -> (u64, u64) {
    let (mut sent, mut lost) = (0, 0);
    for line in record {
        match line {
            Line::Sent { arrived: false, .. } | Line::Missing { .. } => lost += 1,
            Line::Total {
                sent: here,
                guest_sent: there,
                ..
            } => sent += here + there,
            Line::Sent { .. } | Line::Received { .. } | Line::Stream { .. } => {}
        }
    }
    (sent, lost)
}

impl Drop for Prober {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
