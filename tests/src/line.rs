//! The rig's own line into the guest: a serial port behind a TCP port of the host that runs it. It works
//! whatever state the guest's network is in, which is the point of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Host, Place, network};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What the guest answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The command's exit code.
    pub status: i32,
    /// What it wrote.
    pub text: String,
}

/// One request: `state`, `prefer-vf` or `sh COMMAND`. `limit` bounds every wait for a line of the answer; what
/// is sent before the guest listens is lost, so while it boots the limit should be short.
pub fn ask(place: &Place, (host, port): (Host, u16), request: &str, limit: Duration) -> Result<Answer> {
    let address: SocketAddr = format!("{}:{port}", host.address()).parse()?;
    let stream = network::connect(place, address, CONNECT_LIMIT)
        .with_context(|| format!("the guest's line on {host}"))?;
    stream.set_read_timeout(Some(limit))?;
    talk(stream, request).with_context(|| format!("the guest's line on {host}"))
}

/// The same on a line that is open, with a limit set.
pub(crate) fn talk(mut stream: impl Read + Write, request: &str) -> Result<Answer> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another process may have talked on this line before: its ids must not be ours.
    let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    // The empty line ends what an earlier conversation may have left half said.
    stream.write_all(format!("\n{id} {request}\n").as_bytes())?;

    let (begin, end) = (format!("<{id}"), format!(">{id} "));
    let mut text = String::new();
    let mut begun = false;
    for line in BufReader::new(stream).lines() {
        let line = line.context("the guest does not answer")?;
        let line = line.trim_end_matches('\r');
        if let Some(status) = line.strip_prefix(&end) {
            return Ok(Answer {
                status: status.trim().parse()?,
                text,
            });
        }
        if begun {
            text.push_str(line);
            text.push('\n');
        }
        begun |= line == begin;
    }
    bail!("the line was closed")
}
