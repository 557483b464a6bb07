//! The datagrams, and the socket they travel through.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Where the guest listens.
pub(crate) const PORT: u16 = 7717;

/// A pause of the guest may end in a burst of everything that was queued meanwhile; with the system's usual
/// 208 KiB such a burst overflows the socket and looks exactly like loss on the way.
const BUFFER: usize = 32 << 20;

/// Ranges in one datagram of a report; with the header they stay below any path's MTU.
pub(crate) const RANGES: usize = 60;

/// What a datagram says. `run` names one measurement: what is left of an earlier one is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// Client: begin to send at this rate per second. Repeated until `Started`.
    Start { run: u64, rate: u32 },
    /// Guest: it has begun.
    Started { run: u64 },
    /// Both: a number.
    Data { run: u64, number: u64 },
    /// Client: send no more. Repeated until `Stopped`.
    Stop { run: u64 },
    /// Guest: it has sent so many.
    Stopped { run: u64, sent: u64 },
    /// Client: which of my `sent` numbers are missing, after the first `skip` ranges?
    Query { run: u64, sent: u64, skip: u64 },
    /// Guest: these, of so many ranges; so many numbers came more than once, and so many behind a greater one.
    Report {
        run: u64,
        skip: u64,
        all: u64,
        duplicates: u64,
        reordered: u64,
        missing: Vec<(u64, u64)>,
    },
}

/// A socket with room for a burst.
pub(crate) fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

/// The next datagram, or nothing for a while; what makes no sense is nothing too.
pub(crate) fn receive(socket: &UdpSocket) -> Option<(Datagram, SocketAddr)> {
    let mut bytes = [0; 2048];
    let (length, from) = socket.recv_from(&mut bytes).ok()?;
    Some((Datagram::read(&bytes[..length])?, from))
}

impl Datagram {
    /// As bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (kind, words): (u64, Vec<u64>) = match self {
            Datagram::Start { run, rate } => (1, vec![*run, u64::from(*rate)]),
            Datagram::Started { run } => (2, vec![*run]),
            Datagram::Data { run, number } => (3, vec![*run, *number]),
            Datagram::Stop { run } => (4, vec![*run]),
            Datagram::Stopped { run, sent } => (5, vec![*run, *sent]),
            Datagram::Query { run, sent, skip } => (6, vec![*run, *sent, *skip]),
            Datagram::Report {
                run,
                skip,
                all,
                duplicates,
                reordered,
                missing,
            } => {
                let mut words = vec![*run, *skip, *all, *duplicates, *reordered];
                words.extend(missing.iter().flat_map(|(first, last)| [*first, *last]));
                (7, words)
            }
        };
        std::iter::once(kind)
            .chain(words)
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Datagram> {
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| word.try_into().map(u64::from_le_bytes))
            .collect::<Result<_, _>>()
            .ok()?;
        Some(match *words.as_slice() {
            [1, run, rate] => Datagram::Start {
                run,
                rate: rate.try_into().ok()?,
            },
            [2, run] => Datagram::Started { run },
            [3, run, number] => Datagram::Data { run, number },
            [4, run] => Datagram::Stop { run },
            [5, run, sent] => Datagram::Stopped { run, sent },
            [6, run, sent, skip] => Datagram::Query { run, sent, skip },
            [7, run, skip, all, duplicates, reordered, ref ranges @ ..] => {
                let missing = ranges.chunks_exact(2).map(|range| (range[0], range[1])).collect();
                Datagram::Report {
                    run,
                    skip,
                    all,
                    duplicates,
                    reordered,
                    missing,
                }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Datagram, RANGES};

    #[test]
    fn datagrams_are_read_as_written() {
        for datagram in [
            Datagram::Start { run: 1, rate: 100 },
            Datagram::Started { run: 1 },
            Datagram::Data {
                run: 1,
                number: u64::MAX,
            },
            Datagram::Stop { run: 1 },
            Datagram::Stopped { run: 1, sent: 3 },
            Datagram::Query {
                run: 1,
                sent: 3,
                skip: 0,
            },
            Datagram::Report {
                run: 1,
                skip: 0,
                all: 2,
                duplicates: 1,
                reordered: 4,
                missing: vec![(1, 2), (9, 9)],
            },
        ] {
            assert_eq!(Datagram::read(&datagram.bytes()), Some(datagram));
        }
        assert_eq!(Datagram::read(b"noise"), None);
    }

    #[test]
    fn a_full_report_fits_into_a_datagram() {
        let missing = vec![(0, 0); RANGES];
        let report = Datagram::Report {
            run: 0,
            skip: 0,
            all: 0,
            duplicates: 0,
            reordered: 0,
            missing,
        };
        assert!(report.bytes().len() <= 1200);
    }
}
