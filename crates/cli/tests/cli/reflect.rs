//! `godwit reflect`: the real binary, asked over loopback.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use godwit_wire::reflect::{Answer, LENGTH, Question};
use rustix::process::{Pid, Signal, kill_process};

use crate::story::{command, run};

struct Reflects {
    child: Child,
    at: SocketAddr,
}

impl Reflects {
    fn start() -> Reflects {
        let mut child = command(Path::new("/nowhere"), &["reflect", "--listen", "127.0.0.1:0"])
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        let at = first
            .strip_prefix("Answering at ")
            .and_then(|rest| rest.split_once(','));
        let at = at.unwrap_or_else(|| panic!("{first}")).0.parse().unwrap();
        Reflects { child, at }
    }

    fn end(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

/// Somebody who asks, and what comes back within half a second.
fn heard(socket: &UdpSocket) -> Option<Answer> {
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut datagram = [0; 2 * LENGTH];
    let (length, _) = socket.recv_from(&mut datagram).ok()?;
    assert_eq!(length, LENGTH);
    Some(Answer::decode(&datagram[..length]).unwrap())
}

#[test]
fn what_it_has_received_is_told_with_each_answer() {
    let reflects = Reflects::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ask = |number| {
        let question = Question { session: 7, number }.encode();
        socket.send_to(&question, reflects.at).unwrap();
        heard(&socket)
    };
    let _ = (ask(0).unwrap(), ask(1).unwrap());
    // Two is lost on its way.
    let told = ask(3).unwrap();
    let told = [0, 1, 2, 3].map(|number| told.tells(number));
    assert_eq!(told, [Some(true), Some(true), Some(false), Some(true)]);
    assert_eq!(reflects.end(Signal::TERM), Some(0));
}

#[test]
fn what_is_no_question_gets_no_answer() {
    let reflects = Reflects::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let question = Question {
        session: 7,
        number: 0,
    }
    .encode();
    socket.send_to(&question[..LENGTH - 1], reflects.at).unwrap();
    socket.send_to(b"", reflects.at).unwrap();
    let mut other = question;
    other[4] = 2;
    socket.send_to(&other, reflects.at).unwrap();
    assert_eq!(heard(&socket), None);
    // A longer one is a question, and its answer is no longer than any.
    socket
        .send_to(&[&question[..], &[0; 500]].concat(), reflects.at)
        .unwrap();
    let answer = heard(&socket).unwrap();
    // Nor is an answer a question.
    socket.send_to(&answer.encode(), reflects.at).unwrap();
    assert_eq!(heard(&socket), None);
    assert_eq!(reflects.end(Signal::INT), Some(0));
}

#[test]
fn a_place_where_it_cannot_listen_is_named_with_what_to_look_at() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let told = run(Path::new("/nowhere"), &["reflect", "--listen", &at]);
    assert_eq!(told.code, 1);
    insta::assert_snapshot!(told.err.replace(&at, "IP:PORT"), @"
    Error: nobody can be answered at IP:PORT
    Caused by: Address already in use (os error 98)
    Hint: who has it? ss --udp --listening --numeric --processes
    ");
    let told = run(
        Path::new("/nowhere"),
        &["reflect", "--listen", "192.0.2.1:7007", "--json"],
    );
    assert_eq!(told.code, 1);
    assert_eq!(told.json()[0]["error"]["reason"], "REFLECT");
}
