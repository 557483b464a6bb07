//! One conversation over a guest's channel: open, hello, request, answer.
//!
//! The guest may send anything. At most [`MOST_BYTES`] are read in a conversation, frames of other sessions are passed
//! over, and the caller's deadline is around all of it.

use std::path::Path;

use godwit_api::agent::v1::{GuestFrame, Hello, HostFrame, Welcome, guest_frame, host_frame};
use godwit_wire::Decoder;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tracing::debug;

use super::AgentError;

/// Read in one conversation: the answers, and what older conversations may have left in the channel.
const MOST_BYTES: usize = 1024 * 1024;

/// The protocol that this daemon speaks.
const PROTOCOL: u32 = 1;

/// How often a hello is said again while nobody answers: the agent may not have opened its end yet, or read half a
/// frame of another host's daemon before ours.
const HELLO_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Channel {
    stream: UnixStream,
    decoder: Decoder,
    session: u64,
    next_request: u64,
    left: usize,
    path: std::path::PathBuf,
}

impl Channel {
    pub(super) async fn open(path: &Path) -> Result<Channel, AgentError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| AgentError::Closed {
                path: path.to_owned(),
                source,
            })?;
        // Never zero, and not to be guessed by whatever an earlier conversation left in the channel.
        let session = (uuid::Uuid::new_v4().as_u128() as u64) | 1;
        let decoder = Decoder::new();
        Ok(Channel {
            stream,
            decoder,
            session,
            next_request: 1,
            left: MOST_BYTES,
            path: path.to_owned(),
        })
    }

    /// Opens a session; said again until it is answered.
    pub(super) async fn hello(&mut self) -> Result<Welcome, AgentError> {
        loop {
            let hello = Hello {
                nonce: self.session,
                protocol_min: PROTOCOL,
                protocol_max: PROTOCOL,
                daemon_version: env!("CARGO_PKG_VERSION").into(),
            };
            let asked = self.send(host_frame::Body::Hello(hello), HELLO_AGAIN).await?;
            match tokio::time::timeout(HELLO_AGAIN, self.answer(asked)).await {
                Err(_) => continue,
                Ok(Ok(guest_frame::Body::Welcome(welcome))) if welcome.protocol != PROTOCOL => {
                    return Err(AgentError::Version {
                        agent: super::printable(&welcome.agent_version, 32),
                        version: welcome.protocol,
                    });
                }
                Ok(Ok(guest_frame::Body::Welcome(welcome))) => {
                    debug!(path = %self.path.display(), agent = super::printable(&welcome.agent_version, 32), "welcome");
                    return Ok(welcome);
                }
                Ok(Ok(guest_frame::Body::Refused(refused))) => {
                    return Err(super::refused("Hello", &refused));
                }
                Ok(Ok(_)) => return Err(AgentError::Odd { verb: "Hello" }),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// One request and its answer.
    pub(super) async fn request(
        &mut self,
        body: host_frame::Body,
        deadline: Duration,
    ) -> Result<guest_frame::Body, AgentError> {
        let asked = self.send(body, deadline).await?;
        self.answer(asked).await
    }

    async fn send(&mut self, body: host_frame::Body, deadline: Duration) -> Result<u64, AgentError> {
        let request_id = self.next_request;
        self.next_request += 1;
        let deadline_ms = deadline.as_millis().clamp(1, 600_000) as u32;
        let frame = HostFrame {
            request_id,
            session: self.session,
            deadline_ms,
            body: Some(body),
        };
        let bytes = godwit_wire::encode(&frame).map_err(|_| AgentError::Odd { verb: "encode" })?;
        self.stream
            .write_all(&bytes)
            .await
            .map_err(|source| self.closed(source))?;
        Ok(request_id)
    }

    async fn answer(&mut self, request_id: u64) -> Result<guest_frame::Body, AgentError> {
        let mut buffer = [0; 4096];
        loop {
            let count = self
                .stream
                .read(&mut buffer)
                .await
                .map_err(|source| self.closed(source))?;
            if count == 0 {
                return Err(self.closed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.left = self
                .left
                .checked_sub(count)
                .ok_or(AgentError::Flood { what: "bytes" })?;
            let mut input = &buffer[..count];
            // A torn frame, or one that an earlier host's daemon asked for: passed over.
            while let Some(frame) = self.decoder.take_message::<GuestFrame>(&mut input) {
                let Ok(GuestFrame {
                    request_id: of,
                    session,
                    body: Some(body),
                    ..
                }) = frame
                else {
                    continue;
                };
                if of == request_id && session == self.session {
                    return Ok(body);
                }
            }
        }
    }

    fn closed(&self, source: std::io::Error) -> AgentError {
        AgentError::Closed {
            path: self.path.clone(),
            source,
        }
    }
}
