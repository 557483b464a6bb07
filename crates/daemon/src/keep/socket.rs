//! Packet sockets at a guest's tap: one that sees what goes to the guest, one that puts something in its way.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    ifaddrs::getifaddrs,
    libc,
    sys::socket::{
        AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
        recvmsg, sendto, setsockopt, socket, sockopt,
    },
};
use tokio::io::unix::AsyncFd;

use super::{
    ffi::{self, Only},
    frame::{Frame, HEADER, LONGEST},
};

/// So many bytes may wait to be read, the kernel's own of each frame with them.
const WAITING: u32 = 32 * 1024 * 1024;

/// Sees frames that pass an interface.
#[derive(Debug)]
pub(crate) struct Watcher {
    socket: AsyncFd<OwnedFd>,
    address: LinkAddr,
    buffer: Vec<u8>,
}

/// What a [`Watcher`] has next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Frame(Frame),
    /// Nothing for now.
    Nothing,
    /// The tap is gone, or down.
    Gone,
}

impl Watcher {
    /// On its way to the tap of that name.
    pub(super) fn open(tap: &str) -> io::Result<Watcher> {
        Watcher::of(tap, &Only::Leaving)
    }

    /// On the interface of that name.
    pub(crate) fn of(name: &str, what: &Only<'_>) -> io::Result<Watcher> {
        let address = link_address(name)?;
        let socket = open(Some(SockProtocol::EthAll))?;
        ffi::only(&socket, what)?;
        ffi::with_header(&socket)?;
        ffi::with_tag(&socket)?;
        let room = what.room(WAITING);
        // Without the right to exceed it, the host's own limit counts.
        if ffi::with_room(&socket, room).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &(room as usize));
        }
        // The address says protocol 0; the kernel then keeps the socket's own (packet_bind()).
        bind(socket.as_raw_fd(), &address)?;
        // AsyncFd::new is deprecated because an `AsRawFd` may lie about its descriptor. OwnedFd does not.
        #[expect(deprecated)]
        let socket = AsyncFd::new(socket)?;
        Ok(Watcher {
            socket,
            address,
            buffer: vec![0; HEADER + LONGEST],
        })
    }

    /// The interface's own address; none: it has none.
    pub(crate) fn mac(&self) -> Option<[u8; 6]> {
        self.address.addr().filter(|mac| *mac != [0; 6])
    }

    /// Waits until there may be something.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        self.socket.readable().await?.retain_ready();
        Ok(())
    }

    /// What is there now. After [`Next::Nothing`], [`Watcher::ready`] waits.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let interface = self.address.ifindex();
        loop {
            // The kernel is asked itself: of what came just now the runtime need not have heard, and then says that nothing is there.
            let mut taken = take(self.socket.get_ref(), interface, &mut self.buffer).map_err(io::Error::from);
            if matches!(&taken, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                taken = self.socket.try_io(tokio::io::Interest::READABLE, |socket| {
                    take(socket, interface, &mut self.buffer).map_err(io::Error::from)
                });
            }
            return match taken {
                Ok(Some(frame)) => Ok(Next::Frame(frame)),
                // Before the socket was bound it saw every interface.
                Ok(None) => continue,
                Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                    Errno::ENETDOWN | Errno::ENODEV | Errno::ENXIO => Ok(Next::Gone),
                    _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Next::Nothing),
                    _ => Err(error),
                },
            };
        }
    }

    /// Puts a frame on the same way. It is not seen here: the kernel shows a socket nothing of its own (`skb_loop_sk()`).
    pub(crate) fn send(&self, frame: &Frame) -> io::Result<()> {
        send(self.socket.get_ref(), &self.address, frame)
    }

    /// How many frames were lost since this was asked last: nobody read them in time.
    pub(super) fn lost(&self) -> u32 {
        ffi::lost(self.socket.get_ref())
    }
}

/// A frame of that interface.
fn take(socket: &OwnedFd, interface: usize, buffer: &mut [u8]) -> nix::Result<Option<Frame>> {
    let mut control = cmsg_space!(libc::tpacket_auxdata);
    let (length, vlan, from) = {
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<LinkAddr>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let vlan = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Unknown(unknown) => tag(&unknown.data_bytes),
            _ => None,
        });
        (
            received.bytes,
            vlan,
            received.address.map(|address| address.ifindex()),
        )
    };
    if from != Some(interface) {
        return Ok(None);
    }
    Ok(buffer.get(..length).and_then(|bytes| Frame::read(bytes, vlan)))
}

/// The VLAN tag (TPID, TCI) in a `struct tpacket_auxdata` of if_packet.h.
fn tag(auxiliary: &[u8]) -> Option<(u16, u16)> {
    let number = |at: usize| -> Option<u16> {
        let bytes = auxiliary.get(at..at + 2)?;
        Some(u16::from_ne_bytes([bytes[0], bytes[1]]))
    };
    let status = u32::from_ne_bytes(*auxiliary.first_chunk::<4>()?);
    let has = |flag: u32| status & flag != 0;
    if !has(libc::TP_STATUS_VLAN_VALID) {
        return None;
    }
    let (tci, protocol) = (number(16)?, number(18)?);
    let protocol = match has(libc::TP_STATUS_VLAN_TPID_VALID) {
        true => protocol,
        false => 0x8100,
    };
    Some((protocol, tci))
}

/// Whether this daemon may have packet sockets at all.
pub(super) fn allowed() -> io::Result<()> {
    // Without a protocol one is given nothing to receive.
    open(None).map(drop)
}

fn send(socket: &OwnedFd, address: &LinkAddr, frame: &Frame) -> io::Result<()> {
    sendto(
        socket.as_raw_fd(),
        &frame.written(),
        address,
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(())
}

fn open(protocol: Option<SockProtocol>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Packet, SockType::Raw, flags, protocol)?)
}

/// The interface's address for packet sockets. There is no safe way to make a `sockaddr_ll`; the C library's list of
/// interfaces has them ready.
fn link_address(name: &str) -> io::Result<LinkAddr> {
    let mut all = getifaddrs()?;
    let found = all.find_map(|entry| match entry.interface_name == name {
        true => entry.address?.as_link_addr().copied(),
        false => None,
    });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}")))
}
