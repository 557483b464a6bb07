//! Asks an agent by hand, from the host's end of its channel:
//!
//! ```text
//! cargo run -p godwit-agent --example ask -- /run/.../org.godwit.agent.0 inspect
//! cargo run -p godwit-agent --example ask -- SOCKET fail-over|fail-back|release STANDBY-MAC [MILLISECONDS]
//! cargo run -p godwit-agent --example ask -- SOCKET adopt STANDBY-MAC PRIMARY-MAC [MILLISECONDS]
//! ```
//!
//! The socket is the one that QEMU or libvirt made for the channel; it has one client at a time, so
//! godwitd must not be connected. Each run opens a session of its own.
#![allow(clippy::print_stdout)]

use std::io::{Error, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use godwit_api::agent::v1::host_frame::Body;
use godwit_api::agent::v1::{
    AdoptPrimary, FailBack, FailOver, GuestFrame, Hello, HostFrame, Inspect, PairRef, ReleasePrimary,
};
use godwit_wire::Decoder;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [socket, verb, rest @ ..] = words.as_slice() else {
        return Err(Error::other("ask SOCKET VERB ..."));
    };
    let pair = |mac: &str| {
        Some(PairRef {
            standby_mac: mac.to_owned(),
        })
    };
    let target = String::new();
    let (body, rest) = match (*verb, rest) {
        ("hello", rest) => (None, rest),
        ("inspect", rest) => (Some(Body::Inspect(Inspect::default())), rest),
        ("fail-over", [mac, rest @ ..]) => {
            let pair = pair(mac);
            (Some(Body::FailOver(FailOver { pair, target })), rest)
        }
        ("fail-back", [mac, rest @ ..]) => {
            let pair = pair(mac);
            (Some(Body::FailBack(FailBack { pair, target })), rest)
        }
        ("release", [mac, rest @ ..]) => (
            Some(Body::ReleasePrimary(ReleasePrimary { pair: pair(mac) })),
            rest,
        ),
        ("adopt", [mac, primary, rest @ ..]) => {
            let primary_mac = (*primary).to_owned();
            (
                Some(Body::AdoptPrimary(AdoptPrimary {
                    pair: pair(mac),
                    primary_mac,
                })),
                rest,
            )
        }
        _ => {
            return Err(Error::other(
                "verbs: hello inspect fail-over fail-back release adopt",
            ));
        }
    };
    let deadline_ms = rest
        .first()
        .map_or(Ok(10_000), |text| text.parse())
        .map_err(Error::other)?;
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(Error::other)?;
    let session = clock.as_nanos().try_into().unwrap_or(1_u64) | 1;

    let mut stream = UnixStream::connect(socket)?;
    let nonce = session;
    let hello = Hello {
        nonce,
        protocol_min: 1,
        protocol_max: 1,
        daemon_version: "ask".to_owned(),
    };
    let bodies = [Some(Body::Hello(hello)), body.clone()];
    for (body, request_id) in bodies.into_iter().flatten().zip(1..) {
        let frame = HostFrame {
            request_id,
            session,
            deadline_ms,
            body: Some(body),
        };
        stream.write_all(&godwit_wire::encode(&frame).map_err(Error::other)?)?;
    }
    let last = if body.is_some() { 2 } else { 1 };
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(u64::from(deadline_ms) + 5000)))?;
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(Error::other("the channel was closed"));
        }
        let mut input = &buffer[..length];
        while let Some(frame) = decoder.take_message::<GuestFrame>(&mut input) {
            let frame = frame.map_err(Error::other)?;
            if frame.session == session {
                println!("after {} ms: {:#?}", start.elapsed().as_millis(), frame.body);
            }
            if frame.session == session && frame.request_id == last {
                return Ok(());
            }
        }
    }
}
