//! The guest's side: sends when told to, notes what comes, tells it when asked.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::numbers::{Beat, Numbers};
use crate::stream;
use crate::wire::{self, Datagram, RANGES};

/// Without a word from its client for so long, a measurement is over.
const SILENCE: Duration = Duration::from_secs(120);

/// One measurement.
struct Session {
    run: u64,
    arrived: Numbers,
    sender: Arc<Sender>,
    heard: Instant,
}

/// What the sending thread shares.
struct Sender {
    stop: AtomicBool,
    sent: AtomicU64,
}

/// Serves one client after the other, for ever.
pub(crate) fn serve() -> io::Result<()> {
    // IPv4 comes to it as well, where the kernel has both.
    let both = wire::socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, wire::PORT)));
    let socket = both.or_else(|_| wire::socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, wire::PORT))))?;
    // What the datagrams say is worth having without it.
    thread::spawn(stream::serve);
    let mut session: Option<Session> = None;
    loop {
        let received = wire::receive(&socket);
        if session
            .as_ref()
            .is_some_and(|session| session.heard.elapsed() > SILENCE)
        {
            session = None;
        }
        let Some((datagram, from)) = received else {
            continue;
        };
        if let Datagram::Start { run, rate } = datagram
            && session.as_ref().is_none_or(|session| session.run != run)
        {
            session = Some(Session::begin(&socket, from, run, rate)?);
        }
        let answer = session.as_mut().and_then(|session| session.hear(&datagram));
        if let Some(answer) = answer {
            // A lost answer is asked for again.
            let _ = socket.send_to(&answer.bytes(), from);
        }
    }
}

impl Session {
    fn begin(socket: &UdpSocket, client: SocketAddr, run: u64, rate: u32) -> io::Result<Session> {
        let sender = Arc::new(Sender {
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        });
        let (socket, theirs) = (socket.try_clone()?, Arc::clone(&sender));
        thread::spawn(move || theirs.send(&socket, client, run, rate));
        Ok(Session {
            run,
            arrived: Numbers::default(),
            sender,
            heard: Instant::now(),
        })
    }

    fn hear(&mut self, datagram: &Datagram) -> Option<Datagram> {
        let run = self.run;
        self.heard = Instant::now();
        match *datagram {
            Datagram::Start { run: theirs, .. } if theirs == run => Some(Datagram::Started { run }),
            Datagram::Data { run: theirs, number } if theirs == run => {
                self.arrived.arrived(number);
                None
            }
            Datagram::Stop { run: theirs } if theirs == run => {
                self.sender.stop.store(true, Ordering::Release);
                Some(Datagram::Stopped {
                    run,
                    sent: self.sender.sent.load(Ordering::Acquire),
                })
            }
            Datagram::Query {
                run: theirs,
                sent,
                skip,
            } if theirs == run => {
                let ranges = self.arrived.missing(sent);
                let from = usize::try_from(skip).map_or(ranges.len(), |skip| skip.min(ranges.len()));
                let missing = ranges[from..].iter().take(RANGES).copied().collect();
                Some(Datagram::Report {
                    run,
                    skip,
                    all: ranges.len() as u64,
                    duplicates: self.arrived.duplicates(),
                    reordered: self.arrived.reordered(),
                    missing,
                })
            }
            _ => None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sender.stop.store(true, Ordering::Release);
    }
}

impl Sender {
    fn send(&self, socket: &UdpSocket, client: SocketAddr, run: u64, rate: u32) {
        let mut beat = Beat::new(rate);
        loop {
            beat.wait();
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let number = self.sent.load(Ordering::Acquire);
            // A datagram that could not even be sent is a loss like any other.
            let _ = socket.send_to(&Datagram::Data { run, number }.bytes(), client);
            self.sent.store(number + 1, Ordering::Release);
        }
    }
}
