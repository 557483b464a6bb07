//! Packet sockets: whole Ethernet frames, past the kernel's stacks.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use godwit_wire::Mac;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto, socket,
};
use tokio::io::unix::AsyncFd;

use crate::frames;
use crate::neighbourhood::Outgoing;

/// Puts frames on interfaces. It receives nothing.
pub(crate) struct Sender {
    socket: OwnedFd,
    interfaces: HashMap<usize, LinkAddr>,
}

/// Receives every frame that arrives on one port.
pub(crate) struct Listener {
    socket: AsyncFd<OwnedFd>,
    interface: usize,
}

/// A frame that a [`Listener`] received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) how: Arrival,
    /// The sender's address in the frame.
    pub(crate) from: Option<Mac>,
    /// Who answers a probe with it.
    pub(crate) answers: Option<IpAddr>,
}

/// Whom a frame was for, as the port's driver saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    ToUs,
    /// Broadcast or multicast.
    ToMany,
    /// To another host, or sent by this one.
    Neither,
}

impl Sender {
    pub(crate) fn open() -> io::Result<Self> {
        // Without a protocol a packet socket is given nothing to receive.
        Ok(Self {
            socket: open(None)?,
            interfaces: link_addresses()?,
        })
    }

    /// Sends as many as the interfaces take. What one does not take now is not worth waiting for: every
    /// frame is sent again soon.
    pub(crate) fn send<'a>(&self, frames: impl IntoIterator<Item = &'a Outgoing>) {
        for Outgoing { interface, frame } in frames {
            let interface = usize::try_from(*interface).unwrap_or_default();
            if let Some(address) = self.interfaces.get(&interface) {
                let _ = sendto(self.socket.as_raw_fd(), frame, address, MsgFlags::MSG_DONTWAIT);
            }
        }
    }
}

impl Listener {
    pub(crate) fn open(interface: u32) -> io::Result<Self> {
        let interface = usize::try_from(interface).unwrap_or_default();
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the port is gone");
        let address = *link_addresses()?.get(&interface).ok_or_else(gone)?;
        let socket = open(Some(SockProtocol::EthAll))?;
        // The address says protocol 0; the kernel then keeps the socket's own (packet_bind()).
        bind(socket.as_raw_fd(), &address)?;
        Ok(Self {
            socket: watch(socket)?,
            interface,
        })
    }

    /// Throws away what has arrived so far.
    pub(crate) fn drain(&self) {
        while let Ok(Some(_)) = self.take() {}
    }

    /// The next frame.
    pub(crate) async fn next(&self) -> io::Result<Arrived> {
        loop {
            let mut ready = self.socket.readable().await?;
            match self.take() {
                Ok(Some(arrived)) => return Ok(arrived),
                Ok(None) => ready.clear_ready(),
                // The port went down: said once, and it may come up again.
                Err(nix::Error::ENETDOWN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A frame that is there already.
    pub(crate) fn take(&self) -> nix::Result<Option<Arrived>> {
        loop {
            // The rest is cut off.
            let mut begin = [0; frames::ANSWER];
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut begin) {
                // Between socket() and bind() it listened everywhere.
                Ok((_, Some(address))) if address.ifindex() != self.interface => {}
                Ok((length, address)) => {
                    let kind = address.map(|address| address.pkttype());
                    return Ok(Some(arrived(kind, begin.get(..length).unwrap_or(&begin))));
                }
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// `PACKET_HOST`, `PACKET_BROADCAST` and `PACKET_MULTICAST` of the kernel's if_packet.h.
fn arrived(kind: Option<u8>, begin: &[u8]) -> Arrived {
    let how = match kind {
        Some(0) => Arrival::ToUs,
        Some(1 | 2) => Arrival::ToMany,
        _ => Arrival::Neither,
    };
    Arrived {
        how,
        from: begin.get(6..12).and_then(Mac::from_bytes),
        answers: frames::answer(begin),
    }
}

fn open(protocol: Option<SockProtocol>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?)
}

/// Each interface's address for packet sockets. There is no safe way to make a `sockaddr_ll`; the C
/// library's list of interfaces has them ready.
pub(crate) fn link_addresses() -> io::Result<HashMap<usize, LinkAddr>> {
    let all = getifaddrs()?.filter_map(|entry| entry.address?.as_link_addr().copied());
    Ok(all.map(|address| (address.ifindex(), address)).collect())
}

/// A descriptor in the runtime's hands.
// AsyncFd::new is deprecated because an `AsRawFd` may lie about its descriptor. OwnedFd does not, and the
// function that replaces it is unsafe, which this program forbids itself.
#[expect(deprecated)]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_a_frame_was_for() {
        let mut header = [0xff; 14];
        header[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        let from = Some(Mac([2, 0, 0, 0, 0, 1]));
        for (kind, how) in [
            (0, Arrival::ToUs),
            (1, Arrival::ToMany),
            (2, Arrival::ToMany),
            (3, Arrival::Neither),
            (4, Arrival::Neither),
        ] {
            let answers = None;
            assert_eq!(arrived(Some(kind), &header), Arrived { how, from, answers });
        }
        assert_eq!(arrived(Some(0), &header[..9]).from, None);
    }
}
