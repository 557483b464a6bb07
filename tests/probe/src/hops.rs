//! Where the measurement's datagrams pass: each that is seen on an interface of this network, as it comes and as it goes.
//!
//! One that never arrives was lost behind the last place that saw it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::wire::{Datagram, PORT};

/// How often it is looked for taps that have come or gone.
const LOOK: Duration = Duration::from_millis(100);
/// Longer than what is wanted of a frame.
const BEGINNING: usize = 256;

/// What to look at.
#[derive(Debug)]
pub(crate) struct Options {
    /// How the interfaces' names begin.
    pub(crate) only: Vec<String>,
    /// One line per sight: `INTERFACE to|from NUMBER SECONDS`, seconds since 1970.
    pub(crate) out: PathBuf,
    pub(crate) limit: Duration,
}

/// Looks until the limit, or until it is killed: what was seen so far is in the file.
pub(crate) fn watch(options: &Options) -> io::Result<()> {
    let end = Instant::now() + options.limit;
    let mut out = BufWriter::new(File::create(&options.out)?);
    let mut hops: BTreeMap<String, OwnedFd> = BTreeMap::new();
    while Instant::now() < end {
        follow(&mut hops, &options.only)?;
        let mut ready: Vec<PollFd<'_>> = hops
            .values()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let look = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        poll(&mut ready, Some(&look))?;
        for (name, socket) in &hops {
            for (to_guest, number) in seen(socket) {
                let way = if to_guest { "to" } else { "from" };
                let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                writeln!(out, "{name} {way} {number} {:.6}", at.as_secs_f64())?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// One socket for each interface of these that there is now.
fn follow(hops: &mut BTreeMap<String, OwnedFd>, only: &[String]) -> io::Result<()> {
    let mut there = Vec::new();
    for entry in getifaddrs()? {
        let wanted = only.iter().any(|begin| entry.interface_name.starts_with(begin));
        if let (true, Some(address)) = (wanted, entry.address.as_ref().and_then(|any| any.as_link_addr())) {
            if !hops.contains_key(&entry.interface_name) {
                // It may have gone since.
                if let Ok(socket) = open(address) {
                    hops.insert(entry.interface_name.clone(), socket);
                }
            }
            there.push(entry.interface_name);
        }
    }
    hops.retain(|name, _| there.contains(name));
    Ok(())
}

fn open(address: &LinkAddr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    bind(socket.as_raw_fd(), address)?;
    Ok(socket)
}

/// Those that have passed since: whether it goes to the guest, and its number.
fn seen(socket: &OwnedFd) -> Vec<(bool, u64)> {
    let mut all = Vec::new();
    let mut bytes = [0; BEGINNING];
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut bytes) {
            Ok((length, _)) => all.extend(number(&bytes[..length.min(BEGINNING)])),
            // The interface is down, which is said once.
            Err(nix::Error::ENETDOWN) => {}
            Err(_) => return all,
        }
    }
}

/// Of an Ethernet frame with a UDP datagram of the measurement.
fn number(frame: &[u8]) -> Option<(bool, u64)> {
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    let kind = if tagged { 16 } else { 12 };
    let (kind, packet) = frame.get(kind..)?.split_at_checked(2)?;
    let udp = Some(&17);
    let header = match kind {
        [0x08, 0x00] if packet.get(9) == udp => usize::from(packet[0] & 0x0f) * 4,
        [0x86, 0xdd] if packet.get(6) == udp => 40,
        _ => return None,
    };
    let datagram = packet.get(header..)?;
    let port = |at: usize| {
        let port = datagram.get(at..at + 2)?;
        Some(u16::from_be_bytes([port[0], port[1]]) == PORT)
    };
    let (from_guest, to_guest) = (port(0)?, port(2)?);
    match Datagram::read(datagram.get(8..)?)? {
        Datagram::Data { number, .. } if from_guest != to_guest => Some((to_guest, number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::number;
    use crate::wire::{Datagram, PORT};

    fn frame(tag: &[u8], ports: (u16, u16), protocol: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend_from_slice(tag);
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([10, 77, 0, 1, 10, 77, 0, 2]);
        frame.extend(ports.0.to_be_bytes());
        frame.extend(ports.1.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(Datagram::Data { run: 1, number: 300 }.bytes());
        frame
    }

    #[test]
    fn a_datagram_is_known_in_either_direction_and_with_a_tag() {
        assert_eq!(number(&frame(&[], (40_000, PORT), 17)), Some((true, 300)));
        assert_eq!(number(&frame(&[], (PORT, 40_000), 17)), Some((false, 300)));
        let tagged = frame(&[0x81, 0, 0, 5], (40_000, PORT), 17);
        assert_eq!(number(&tagged), Some((true, 300)));
    }

    #[test]
    fn so_it_is_by_ipv6() {
        let mut frame = vec![2; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 17, 64]);
        frame.extend([0xfd; 32]);
        frame.extend(40_000_u16.to_be_bytes());
        frame.extend(PORT.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(Datagram::Data { run: 1, number: 300 }.bytes());
        assert_eq!(number(&frame), Some((true, 300)));
        frame[20] = 6;
        assert_eq!(number(&frame), None);
    }

    #[test]
    fn other_frames_are_none_of_them() {
        assert_eq!(number(&frame(&[], (40_000, 53), 17)), None);
        assert_eq!(number(&frame(&[], (40_000, PORT), 6)), None);
        let whole = frame(&[], (40_000, PORT), 17);
        for length in 0..whole.len() {
            assert_eq!(number(&whole[..length]), None, "cut after {length}");
        }
    }
}
