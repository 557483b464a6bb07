//! `godwit reflect --listen IP:PORT`: answers to guests that measure. What is answered is decided in `godwit_wire::reflect`.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use godwit_api::v1::Failure;
use godwit_wire::reflect::{LENGTH, Reflector};
use tokio::net::UdpSocket;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Reflect;
use crate::exit;
use crate::failure::Error;
use crate::output::Output;
use crate::view::json;

pub(super) async fn reflect(wanted: &Reflect, out: &mut Output) -> Result<u8, Error> {
    let mut term = signal(SignalKind::terminate()).map_err(Error::Start)?;
    let mut int = signal(SignalKind::interrupt()).map_err(Error::Start)?;
    let failed = |error| failed(wanted.listen, &error);
    let socket = UdpSocket::bind(wanted.listen).await.map_err(failed)?;
    let listens = socket.local_addr().map_err(failed)?;
    match out.is_json() {
        true => out.json(&json::Reflects {
            listen: &listens.to_string(),
        })?,
        false => out.line(&format!("Answering at {listens}, until ctrl-C."))?,
    }
    tokio::select! {
        error = answer(&socket) => Err(failed(error)),
        _ = term.recv() => Ok(exit::DONE),
        _ = int.recv() => Ok(exit::DONE),
    }
}

/// Until nothing can be heard any more.
async fn answer(socket: &UdpSocket) -> io::Error {
    let (mut reflector, begun) = (Reflector::default(), Instant::now());
    // What is longer is cut, and a question all the same.
    let mut datagram = [0; LENGTH];
    loop {
        let (length, from) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(error) => return error,
        };
        let question = datagram.get(..length).unwrap_or_default();
        if let Some(answer) = reflector.answer(begun.elapsed(), from.ip(), question) {
            // One that cannot be sent is lost like any other.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn failed(at: SocketAddr, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "who has it? ss --udp --listening --numeric --processes",
        io::ErrorKind::AddrNotAvailable => "which addresses has this machine? ip -brief address",
        io::ErrorKind::PermissionDenied => "a port of 1024 or more needs no privilege: godwit reflect --help",
        _ => "godwit reflect --help",
    };
    let failure = Failure {
        reason: "REFLECT".into(),
        message: format!("nobody can be answered at {at}"),
        causes: vec![error.to_string()],
        hint: hint.into(),
    };
    Error::Refused {
        failure: Box::new(failure),
    }
}
