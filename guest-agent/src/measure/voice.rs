//! How a target is asked, and how its answers are heard: ARP or neighbour discovery for one on the link, ICMP echo for one
//! behind a router.
//!
//! Each kind has a socket that is given nothing but its own protocol: this runs beside the guest's traffic at full speed.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use godwit_api::agent::v1::ProbeKind;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind,
    recvfrom, sendto, setsockopt, socket, sockopt::BindToDevice,
};
use rustix::net::{AddressFamily as Family, SocketFlags, SocketType, eth, socket_with};
use tokio::io::unix::AsyncFd;

use super::echo::{self, Echo};
use super::record::Which;
use godwit_wire::Mac;

use crate::frames;
use crate::neighbourhood::{Outgoing, Target};
use crate::packet::{Sender, link_addresses, watch};

/// How much of what arrives is looked at: a neighbour advertisement with its option, or an echo reply behind the longest
/// IPv4 header.
const BEGIN: usize = 128;

/// Asks one target and hears its answers.
pub(super) struct Voice {
    target: Target,
    kind: ProbeKind,
    socket: AsyncFd<OwnedFd>,
    frames: Sender,
    echo: Echo,
    /// The target's MAC, once an answer gave it.
    whom: Option<Mac>,
}

/// What a probe to that target is.
pub(super) fn kind(target: &Target) -> ProbeKind {
    match (target.near, target.ip) {
        (false, _) => ProbeKind::Echo,
        (true, IpAddr::V4(_)) => ProbeKind::Arp,
        (true, IpAddr::V6(_)) => ProbeKind::Nd,
    }
}

impl Voice {
    pub(super) fn open(target: Target) -> io::Result<Self> {
        let kind = kind(&target);
        let socket = match (kind, target.ip) {
            (ProbeKind::Arp, _) => arp(target.link)?,
            (_, IpAddr::V4(_)) => raw(AddressFamily::Inet, SockProtocol::Icmp)?,
            (_, IpAddr::V6(_)) => raw(AddressFamily::Inet6, SockProtocol::IcmpV6)?,
        };
        if kind == ProbeKind::Echo {
            setsockopt(&socket, BindToDevice, &target.name.clone().into())?;
        }
        Ok(Self {
            target,
            kind,
            socket: watch(socket)?,
            frames: Sender::open()?,
            echo: Echo::new(),
            whom: None,
        })
    }

    /// Whether an answer says which probe it is for.
    pub(super) fn is_numbered(&self) -> bool {
        self.kind == ProbeKind::Echo
    }

    /// Asks once. What cannot be sent is a probe that gets no answer. `anybody`: by broadcast, because who was asked may
    /// have another MAC by now.
    pub(super) fn ask(&self, number: u16, own: Mac, anybody: bool) {
        if self.kind == ProbeKind::Echo {
            return self.ask_far(number);
        }
        let whom = self.whom.filter(|_| !anybody);
        self.frames.send(&[Outgoing {
            interface: self.target.link,
            frame: frames::direct(own, self.target.from, self.target.ip, whom),
        }]);
    }

    fn ask_far(&self, number: u16) {
        let message = self.echo.request(self.target.ip, number);
        let socket = self.socket.as_raw_fd();
        let _ = match self.target.ip {
            IpAddr::V4(ip) => {
                let to = SockaddrIn::from(SocketAddrV4::new(ip, 0));
                sendto(socket, &message, &to, MsgFlags::MSG_DONTWAIT)
            }
            IpAddr::V6(ip) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(ip, 0, 0, 0));
                sendto(socket, &message, &to, MsgFlags::MSG_DONTWAIT)
            }
        };
    }

    /// The next answer of the target.
    ///
    /// # Errors
    /// The kernel's: nothing more can be heard.
    pub(super) async fn hear(&mut self) -> io::Result<Which> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut begin = [0; BEGIN];
            let taken = match self.kind {
                ProbeKind::Arp => recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut begin)
                    .map(|(length, from)| (length, from.map(|from| from.ifindex()))),
                _ => recvfrom::<()>(self.socket.as_raw_fd(), &mut begin).map(|(length, _)| (length, None)),
            };
            match taken {
                Ok((length, on)) => {
                    let begin = begin.get(..length).unwrap_or(&begin);
                    // Between socket() and bind() it listened everywhere.
                    let elsewhere = on.is_some_and(|on| u32::try_from(on) != Ok(self.target.link));
                    if let Some(which) = self.read(begin).filter(|_| !elsewhere) {
                        return Ok(which);
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR | Errno::ENETDOWN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&mut self, begin: &[u8]) -> Option<Which> {
        match self.kind {
            ProbeKind::Arp => {
                let who = frames::answer(begin)?;
                (who == self.target.ip).then(|| self.whom = frames::answerer(begin))?;
                Some(Which::Unnumbered)
            }
            ProbeKind::Nd => {
                let (_, mac) = frames::advertised(begin).filter(|(who, _)| *who == self.target.ip)?;
                self.whom = mac.or(self.whom);
                Some(Which::Unnumbered)
            }
            _ => self.echo.number(self.target.ip, begin).map(Which::Number),
        }
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.target.ip, echo::name(self.kind))
    }
}

fn arp(link: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(Family::PACKET, SocketType::RAW, flags, Some(eth::ARP))?;
    let link = usize::try_from(link).unwrap_or_default();
    let gone = || io::Error::new(io::ErrorKind::NotFound, "the interface is gone");
    // The address says protocol 0; the kernel then keeps the socket's own (packet_bind()).
    bind(socket.as_raw_fd(), link_addresses()?.get(&link).ok_or_else(gone)?)?;
    Ok(socket)
}

fn raw(family: AddressFamily, protocol: SockProtocol) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Raw, flags, protocol)?)
}
