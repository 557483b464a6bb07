//! A TCP connection beside the datagrams: records at one rate to the guest, which sends back what it gets. What is of
//! interest is how long nothing came back, and how often the kernels had to send something again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::numbers::Beat;
use crate::wire;

/// Bytes of a record: less than any path's MTU.
const RECORD: usize = 1000;
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// How often a thread that waits for bytes, or for room, looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);
/// What is on its way in the end has so long to come.
const LATE: Duration = Duration::from_secs(4);
/// Connections that the guest serves at once.
const MOST: usize = 4;

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Bytes written.
    pub(crate) sent: u64,
    /// Bytes that came back.
    pub(crate) echoed: u64,
    /// The longest time without any byte from the guest, milliseconds.
    pub(crate) stall_ms: f64,
    /// When that began, seconds since 1970.
    pub(crate) stall_at: f64,
    /// Segments that this namespace's kernel sent again, of all its connections.
    pub(crate) retransmitted: u64,
}

/// A connection under way.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    writer: JoinHandle<()>,
    reader: JoinHandle<(u64, Stall)>,
    retransmitted: u64,
}

impl Stream {
    /// Begins to write so many records a second.
    pub(crate) fn begin(guest: SocketAddr, rate: u32) -> io::Result<Stream> {
        let retransmitted = retransmitted()?;
        let socket = TcpStream::connect_timeout(&guest, CONNECT_LIMIT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_write_timeout(Some(LOOK))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reading = socket.try_clone()?;
        let (write_stop, write_sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let written = Arc::new(AtomicBool::new(false));
        let (read_stop, read_sent) = (Arc::clone(&written), Arc::clone(&sent));
        Ok(Stream {
            writer: thread::spawn(move || write(socket, rate, &write_stop, &write_sent)),
            reader: thread::spawn(move || read(reading, &read_stop, &read_sent)),
            stop,
            written,
            sent,
            retransmitted,
        })
    }

    /// Ends it.
    pub(crate) fn end(self) -> io::Result<Told> {
        self.stop.store(true, Ordering::Release);
        let gone = |_| io::Error::other("a thread of the stream panicked");
        self.writer.join().map_err(gone)?;
        // What came last is waited for, too.
        self.written.store(true, Ordering::Release);
        let (echoed, stall) = self.reader.join().map_err(gone)?;
        Ok(Told {
            sent: self.sent.load(Ordering::Acquire),
            echoed,
            stall_ms: stall.took.as_secs_f64() * 1000.0,
            stall_at: seconds(stall.began),
            retransmitted: retransmitted()?.saturating_sub(self.retransmitted),
        })
    }
}

fn write(mut socket: TcpStream, rate: u32, stop: &AtomicBool, sent: &AtomicU64) {
    let mut beat = Beat::new(rate);
    while !stop.load(Ordering::Acquire) {
        beat.wait();
        match socket.write(&[0x47; RECORD]) {
            Ok(count) => _ = sent.fetch_add(count as u64, Ordering::AcqRel),
            Err(error) if waits(&error) => {}
            // The reader sees the same.
            Err(_) => return,
        }
    }
}

/// A time without a byte.
#[derive(Clone, Copy)]
struct Stall {
    took: Duration,
    began: SystemTime,
}

impl Stall {
    /// The longer of this and what has gone by since the last byte.
    fn or_since(self, last: (Instant, SystemTime)) -> Stall {
        let took = last.0.elapsed();
        if took > self.took {
            Stall { took, began: last.1 }
        } else {
            self
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Bytes that came, and the longest time without any until the last one was written.
fn read(mut socket: TcpStream, written: &AtomicBool, sent: &AtomicU64) -> (u64, Stall) {
    let mut bytes = [0; 16 * RECORD];
    let now = || (Instant::now(), SystemTime::now());
    let (mut echoed, mut last) = (0, now());
    let mut longest = Stall {
        took: Duration::ZERO,
        began: last.1,
    };
    let mut stopped: Option<Instant> = None;
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => {
                echoed += count as u64;
                longest = longest.or_since(last);
                last = now();
            }
            Err(error) if waits(&error) => {}
            Err(_) => break,
        }
        if written.load(Ordering::Acquire) {
            let since = *stopped.get_or_insert_with(Instant::now);
            if echoed >= sent.load(Ordering::Acquire) || since.elapsed() > LATE {
                break;
            }
        }
    }
    if echoed < sent.load(Ordering::Acquire) {
        longest = longest.or_since(last);
    }
    (echoed, longest)
}

fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// The guest's side: sends back what comes, for ever.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, wire::PORT))?;
    let served = Arc::new(AtomicUsize::new(0));
    for socket in listener.incoming() {
        let Ok(socket) = socket else { continue };
        let served = Arc::clone(&served);
        if served.load(Ordering::Acquire) < MOST {
            served.fetch_add(1, Ordering::AcqRel);
            thread::spawn(move || {
                send_back(socket);
                served.fetch_sub(1, Ordering::AcqRel);
            });
        }
    }
    Ok(())
}

fn send_back(mut socket: TcpStream) {
    let mut bytes = [0; RECORD];
    let _ = socket.set_nodelay(true);
    // Whoever was moved away from has left nothing else to notice.
    let _ = socket.set_read_timeout(Some(CONNECT_LIMIT * 6));
    while let Ok(count) = socket.read(&mut bytes) {
        if count == 0 || socket.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// Of all connections of this process' network, since it is there.
fn retransmitted() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/snmp")?;
    counter(&text, "RetransSegs").ok_or_else(|| io::Error::other("/proc/net/snmp has no RetransSegs"))
}

/// A counter of TCP's in the text of `/proc/net/snmp`: a line of names, and one of numbers.
fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let index = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let text = "Udp: RetransSegs\nUdp: 9\nTcp: InSegs OutSegs RetransSegs InErrs\nTcp: 1 2 3 4\n";
        assert_eq!(counter(text, "RetransSegs"), Some(3));
        assert_eq!(counter(text, "No"), None);
    }

    #[test]
    fn what_is_sent_comes_back_and_a_stall_is_seen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let guest = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut bytes = [0; RECORD];
            socket.read_exact(&mut bytes).unwrap();
            thread::sleep(Duration::from_millis(700));
            socket.write_all(&bytes).unwrap();
            send_back(socket);
        });
        let stream = Stream::begin(address, 50).unwrap();
        thread::sleep(Duration::from_millis(1500));
        let told = stream.end().unwrap();
        guest.join().unwrap();
        assert!(told.sent > 0 && told.echoed == told.sent, "{told:?}");
        assert!(told.stall_ms >= 690.0, "{told:?}");
    }
}
