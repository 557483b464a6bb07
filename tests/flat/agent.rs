//! The host's end of the agent's channel, as small as it can be.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use godwit_api::agent::v1::{
    AdoptPrimary, FailBack, FailOver, GuestFrame, Hello, HostFrame, Inspect, Inspected, Measure, Measured,
    PairRef, ReleasePrimary, Switched, guest_frame, host_frame,
};
use godwit_rig::guest::WEB_1;
use godwit_wire::Decoder;

/// How long a hello waits for its answer before it is said again.
const HELLO_AGAIN: Duration = Duration::from_millis(500);
/// What a request may take: everything is slow on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// One session.
pub(crate) struct Agent {
    stream: UnixStream,
    decoder: Decoder,
    session: u64,
    requests: u64,
}

impl Agent {
    /// Opens the channel and says hello until the agent answers.
    pub(crate) fn open(channel: &Path) -> Result<Agent> {
        let mut agent = Agent::silent(channel)?;
        agent.hello()?;
        Ok(agent)
    }

    /// Opens the channel and says nothing.
    pub(crate) fn silent(channel: &Path) -> Result<Agent> {
        let stream = UnixStream::connect(channel).context("the agent's channel")?;
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Agent {
            stream,
            decoder: Decoder::new(),
            session: (clock.as_nanos() as u64) | 1,
            requests: 0,
        })
    }

    pub(crate) fn hello(&mut self) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        let hello = Hello {
            nonce: self.session,
            protocol_min: 1,
            protocol_max: 1,
            daemon_version: "flat".into(),
        };
        while Instant::now() < end {
            let asked = self.send(host_frame::Body::Hello(hello.clone()))?;
            match self.answer(asked, HELLO_AGAIN)? {
                Some(guest_frame::Body::Welcome(welcome)) => {
                    ensure!(welcome.protocol == 1, "{welcome:?}");
                    return Ok(());
                }
                Some(other) => bail!("instead of a welcome: {other:?}"),
                None => {}
            }
        }
        bail!("the agent does not answer")
    }

    pub(crate) fn inspect(&mut self) -> Result<Inspected> {
        match self.request(host_frame::Body::Inspect(Inspect::default()))? {
            guest_frame::Body::Inspected(inspected) => Ok(inspected),
            other => bail!("instead of what it sees: {other:?}"),
        }
    }

    /// Confirmed by the agent: the port is active and a frame came on it.
    pub(crate) fn fail_over(&mut self) -> Result<Switched> {
        self.fail_over_by("")
    }

    /// The same, with somebody who proves the port.
    pub(crate) fn fail_over_by(&mut self, target: &str) -> Result<Switched> {
        let (pair, target) = (pair(), target.into());
        self.switch(host_frame::Body::FailOver(FailOver { pair, target }))
    }

    pub(crate) fn fail_back(&mut self) -> Result<Switched> {
        let (pair, target) = (pair(), String::new());
        self.switch(host_frame::Body::FailBack(FailBack { pair, target }))
    }

    pub(crate) fn release(&mut self) -> Result<()> {
        match self.request(host_frame::Body::ReleasePrimary(ReleasePrimary { pair: pair() }))? {
            guest_frame::Body::Released(_) => Ok(()),
            other => bail!("it was not released: {other:?}"),
        }
    }

    /// The name of the interface that it took into the pair.
    pub(crate) fn adopt(&mut self) -> Result<String> {
        let adopt = AdoptPrimary {
            pair: pair(),
            primary_mac: WEB_1.mac.into(),
        };
        match self.request(host_frame::Body::AdoptPrimary(adopt))? {
            guest_frame::Body::Adopted(adopted) => Ok(adopted.primary),
            other => bail!("it was not adopted: {other:?}"),
        }
    }

    /// What it has counted. What it sends from now on, a hundred a second, counts for that part.
    pub(crate) fn measure(&mut self, part: &str, end: bool) -> Result<Measured> {
        let measure = Measure {
            pair: pair(),
            record: format!("flat-{}", std::process::id()),
            part: part.into(),
            per_second: 100,
            end,
            ..Measure::default()
        };
        match self.request(host_frame::Body::Measure(measure))? {
            guest_frame::Body::Measured(measured) => Ok(measured),
            other => bail!("instead of its counts: {other:?}"),
        }
    }

    /// Writes these bytes, whatever they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The frame of a request, not sent.
    pub(crate) fn frame(&mut self, body: host_frame::Body) -> Result<(u64, Vec<u8>)> {
        self.requests += 1;
        let frame = HostFrame {
            request_id: self.requests,
            session: self.session,
            deadline_ms: DEADLINE.as_millis() as u32,
            body: Some(body),
        };
        Ok((self.requests, godwit_wire::encode(&frame)?))
    }

    fn switch(&mut self, body: host_frame::Body) -> Result<Switched> {
        match self.request(body)? {
            guest_frame::Body::Switched(switched) => {
                ensure!(
                    switched.frames_received > 0,
                    "confirmed by no frame: {switched:?}"
                );
                Ok(switched)
            }
            other => bail!("the traffic did not move: {other:?}"),
        }
    }

    fn request(&mut self, body: host_frame::Body) -> Result<guest_frame::Body> {
        let asked = self.send(body)?;
        // The agent gives up first, and says why.
        let answer = self.answer(asked, DEADLINE + Duration::from_secs(10))?;
        answer.context("the agent does not answer")
    }

    fn send(&mut self, body: host_frame::Body) -> Result<u64> {
        let (asked, frame) = self.frame(body)?;
        self.write(&frame)?;
        Ok(asked)
    }

    /// The answer to a request of this session; none within the limit. What belongs to others is passed over.
    fn answer(&mut self, asked: u64, limit: Duration) -> Result<Option<guest_frame::Body>> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the channel was closed"),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    continue;
                }
                Err(error) => return Err(error).context("the agent's channel"),
            };
            let mut input = &buffer[..count];
            while let Some(frame) = self.decoder.take_message::<GuestFrame>(&mut input) {
                let Ok(frame) = frame else { continue };
                if frame.session == self.session && frame.request_id == asked {
                    return Ok(frame.body);
                }
            }
        }
    }
}

fn pair() -> Option<PairRef> {
    Some(PairRef {
        standby_mac: WEB_1.mac.into(),
    })
}
