//! The side outside the hosts: begins, sends, notes what comes, and asks the guest in the end.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::numbers::Beat;
use crate::record::Record;
use crate::stream::Stream;
use crate::wire::{self, Datagram};

/// How long to wait in the end for what is late, not lost.
const LATE: Duration = Duration::from_secs(4);
/// How long to ask before giving up, and how often.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(300);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) guest: SocketAddr,
    pub(crate) rate: u32,
    /// Records a second of a TCP connection beside the datagrams.
    pub(crate) stream: Option<u32>,
    pub(crate) out: PathBuf,
    pub(crate) limit: Option<Duration>,
}

/// The measurement's socket and name.
struct Client {
    socket: UdpSocket,
    guest: SocketAddr,
    run: u64,
    record: Mutex<Record>,
    over: AtomicBool,
}

/// Measures and writes the record.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let own = match options.guest {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let client = Client {
        socket: wire::socket(SocketAddr::new(own, 0))?,
        guest: options.guest,
        // Different from any earlier measurement's.
        run: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64),
        record: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let (answers, answered) = channel();
    thread::scope(|scope| {
        scope.spawn(|| client.read(answers));
        let done = client.measure(options, &answered);
        client.over.store(true, Ordering::Release);
        done
    })?;
    let record = client
        .record
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    record.write(&options.out)
}

impl Client {
    fn measure(&self, options: &Options, answers: &Receiver<Datagram>) -> io::Result<()> {
        let run = self.run;
        self.ask(
            answers,
            &Datagram::Start {
                run,
                rate: options.rate,
            },
            |answer| matches!(answer, Datagram::Started { .. }).then_some(()),
        )?;
        let stream = options
            .stream
            .map(|rate| Stream::begin(self.guest, rate))
            .transpose()?;
        self.send_until_end(options);
        if let Some(stream) = stream {
            let told = stream.end()?;
            self.note(|record| record.stream = Some(told));
        }
        let guest_sent = self.ask(answers, &Datagram::Stop { run }, |answer| match answer {
            Datagram::Stopped { sent, .. } => Some(*sent),
            _ => None,
        })?;
        self.note(|record| record.guest_sent = guest_sent);
        thread::sleep(LATE);
        self.fetch_report(answers)
    }

    fn send_until_end(&self, options: &Options) {
        let end = options.limit.map(|limit| Instant::now() + limit);
        let stdin_ended = match end {
            Some(_) => channel().1,
            None => end_of_input(),
        };
        let mut beat = Beat::new(options.rate);
        for number in 0.. {
            beat.wait();
            if end.is_some_and(|end| Instant::now() > end) || stdin_ended.try_recv().is_ok() {
                return;
            }
            let bytes = Datagram::Data {
                run: self.run,
                number,
            }
            .bytes();
            self.note(|record| record.sent.push(now()));
            // What the system refuses to send, for want of a neighbour for example, is a loss like any other.
            let _ = self.socket.send_to(&bytes, self.guest);
        }
    }

    fn fetch_report(&self, answers: &Receiver<Datagram>) -> io::Result<()> {
        let run = self.run;
        let mut sent = 0;
        self.note(|record| sent = record.sent.len() as u64);
        let mut found = Vec::new();
        loop {
            let skip = found.len() as u64;
            let (all, counts, missing) = self.ask(
                answers,
                &Datagram::Query { run, sent, skip },
                |answer| match answer {
                    Datagram::Report {
                        skip: theirs,
                        all,
                        duplicates,
                        reordered,
                        missing,
                        ..
                    } if *theirs == skip => Some((*all, (*duplicates, *reordered), missing.clone())),
                    _ => None,
                },
            )?;
            let ended = missing.is_empty();
            found.extend(missing);
            if ended || found.len() as u64 >= all {
                self.note(|record| {
                    record.missing = found;
                    (record.duplicates, record.reordered) = counts;
                });
                return Ok(());
            }
        }
    }

    /// Asks again and again until the fitting answer comes.
    fn ask<T>(
        &self,
        answers: &Receiver<Datagram>,
        question: &Datagram,
        fits: impl Fn(&Datagram) -> Option<T>,
    ) -> io::Result<T> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let _ = self.socket.send_to(&question.bytes(), self.guest);
            let again = Instant::now() + AGAIN;
            loop {
                match answers.recv_timeout(again.saturating_duration_since(Instant::now())) {
                    Ok(answer) => {
                        if let Some(found) = fits(&answer) {
                            return Ok(found);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the reader ended")),
                }
            }
        }
        let what = match question {
            Datagram::Start { .. } => "to begin",
            Datagram::Stop { .. } => "to stop",
            _ => "what it has seen",
        };
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the guest was asked {what} and did not answer"),
        ))
    }

    /// Reads without pause: numbers into the record, everything else to whom it may concern.
    fn read(&self, answers: Sender<Datagram>) {
        while !self.over.load(Ordering::Acquire) {
            match wire::receive(&self.socket) {
                Some((Datagram::Data { run, number }, _)) if run == self.run => {
                    let at = now();
                    self.note(|record| {
                        if record.numbers.arrived(number) == 1 {
                            record.received.push((number, at));
                        }
                    });
                }
                Some((answer, _)) => drop(answers.send(answer)),
                None => {}
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        change(
            &mut self
                .record
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }
}

/// Says something when standard input has ended: with whoever started this process, at the latest.
fn end_of_input() -> Receiver<()> {
    let (say, said) = channel();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = say.send(());
    });
    said
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
