//! An agent that lies: of every switch it says that it is made, confirmed by frames, and it makes none. Its guest's traffic stays
//! where it is.
//!
//! `godwit-liar PORT MAC`: PORT is the agent's port, which the agent must have left; MAC the standby's of the guest's pair. For the
//! stories of a hostile guest: it is no part of the real agent, and in no image but the rig's.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use godwit_api::agent::v1::guest_frame::Body as Answer;
use godwit_api::agent::v1::host_frame::Body;
use godwit_api::agent::v1::{
    Adopted, GuestFrame, HostFrame, Inspected, Pair, PairKind, Port, PortRole, RefusalReason, Refused,
    Released, Switched, Welcome,
};
use godwit_wire::Decoder;

/// Between two looks at a port that nobody is at the other end of.
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, mac] = arguments.as_slice() else {
        return Err(Error::other("godwit-liar PORT MAC"));
    };
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mut port = open(port)?;
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
    loop {
        let length = port.read(&mut buffer)?;
        if length == 0 {
            sleep(PAUSE);
            continue;
        }
        let mut input = buffer.get(..length).unwrap_or_default();
        while let Some(frame) = decoder.take_message::<HostFrame>(&mut input) {
            let Ok(frame) = frame else { continue };
            let answer = GuestFrame {
                request_id: frame.request_id,
                session: frame.session,
                boot_id: boot_id.trim_end().to_owned(),
                body: frame.body.as_ref().map(|body| lie(body, mac)),
            };
            let bytes = godwit_wire::encode(&answer).map_err(Error::other)?;
            port.write_all(&bytes)?;
        }
    }
}

/// One process has the port at a time: the agent, which is ending, may have it for a moment yet.
fn open(port: &str) -> Result<File, Error> {
    let mut tries = 0;
    loop {
        match OpenOptions::new().read(true).write(true).open(port) {
            Err(_) if tries < 100 => tries += 1,
            opened => return opened,
        }
        sleep(PAUSE);
    }
}

fn lie(body: &Body, mac: &str) -> Answer {
    let switched = |active: &str| {
        Answer::Switched(Switched {
            pair: Some(pair(mac)),
            active: active.to_owned(),
            frames_received: 3,
            first_frame_ms: 4,
            already: false,
        })
    };
    match body {
        Body::Hello(hello) => Answer::Welcome(Welcome {
            protocol: hello.protocol_max,
            agent_version: "liar".to_owned(),
        }),
        Body::Inspect(_) => Answer::Inspected(Inspected {
            pairs: vec![pair(mac)],
            ..Inspected::default()
        }),
        Body::FailOver(_) => switched("eth0"),
        Body::FailBack(_) => switched("eth1"),
        Body::ReleasePrimary(_) => Answer::Released(Released { had_primary: true }),
        Body::AdoptPrimary(_) => Answer::Adopted(Adopted {
            pair: Some(pair(mac)),
            primary: "eth1".to_owned(),
        }),
        Body::Measure(_) => Answer::Refused(Refused {
            reason: RefusalReason::Unsupported.into(),
            detail: "it counts nothing".to_owned(),
            pair: None,
        }),
    }
}

/// As a healthy guest would show it.
fn pair(mac: &str) -> Pair {
    let port = |role: PortRole, name: &str, driver: &str| Port {
        role: role.into(),
        name: name.to_owned(),
        mac: mac.to_owned(),
        permanent_mac: mac.to_owned(),
        driver: driver.to_owned(),
        carrier: true,
        up: true,
        ..Port::default()
    };
    Pair {
        kind: PairKind::Bond.into(),
        name: "bond0".to_owned(),
        mac: mac.to_owned(),
        active: "eth1".to_owned(),
        ports: vec![
            port(PortRole::Standby, "eth0", "virtio_net"),
            port(PortRole::Primary, "eth1", "igbvf"),
        ],
        mtu: 1500,
        ..Pair::default()
    }
}
