//! QEMU's monitor, one JSON object per line: commands with their answers, and events between them.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const ANSWER: Duration = Duration::from_secs(60);

/// A conversation with one QEMU.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    /// The beginning of a line that has not come to its end.
    line: String,
    /// Not yet asked for.
    events: Vec<Value>,
}

impl Qmp {
    pub(super) fn open(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket)?;
        let mut qmp = Qmp {
            reader: BufReader::new(stream.try_clone()?),
            stream,
            line: String::new(),
            events: Vec::new(),
        };
        qmp.read(Instant::now() + ANSWER)?
            .context("QEMU does not greet")?;
        qmp.run("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returns.
    pub(super) fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let line = json!({"execute": command, "arguments": arguments});
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        let end = Instant::now() + ANSWER;
        loop {
            let answer = self.read(end)?;
            let mut answer = answer.with_context(|| format!("QEMU does not answer {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {}", error["desc"]);
            }
            match answer.get_mut("return") {
                Some(value) => return Ok(value.take()),
                None => self.events.push(answer),
            }
        }
    }

    /// Waits for an event, one that came earlier included.
    pub(super) fn event(
        &mut self,
        name: &str,
        limit: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let wanted = |event: &Value| event["event"] == name && is_it(&event["data"]);
            if let Some(at) = self.events.iter().position(wanted) {
                self.events.remove(at);
                return Ok(());
            }
            let next = self.read(end)?;
            let next = next.with_context(|| format!("no {name} within {} s", limit.as_secs()))?;
            self.events.push(next);
        }
    }

    /// The next line; none when time is up.
    fn read(&mut self, end: Instant) -> Result<Option<Value>> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.reader.read_line(&mut self.line) {
                Ok(0) => bail!("QEMU has ended"),
                Ok(_) => return Ok(Some(serde_json::from_str(&std::mem::take(&mut self.line))?)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("QEMU's monitor"),
            }
        }
    }
}
