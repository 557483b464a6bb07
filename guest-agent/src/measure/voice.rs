//! How a target is asked, and how its answers are heard: ARP or neighbour discovery for one on the link, ICMP echo for one
//! behind a router, UDP for a reflector.
//!
//! Each kind has a socket that is given nothing but its own protocol: this runs beside the guest's traffic at full speed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use godwit_api::agent::v1::ProbeKind;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind,
    recvfrom, sendto, setsockopt, socket, sockopt::BindToDevice,
};
use rustix::net::{AddressFamily as Family, SocketFlags, SocketType, eth, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::echo::{self, Echo};
use super::record::{Which, low};
use godwit_wire::Mac;
use godwit_wire::reflect::{self, Answer, Question};

use crate::frames;
use crate::neighbourhood::{Outgoing, Target};
use crate::packet::{Sender, link_addresses, watch};

/// How much of what arrives is looked at: a neighbour advertisement with its option, an echo reply behind the longest
/// IPv4 header, or a reflector's answer and whether there is more.
const BEGIN: usize = reflect::LENGTH + 1;

/// How a reflector is tried: so many questions, and how long each is waited for.
const TRIES: u64 = 4;
const TRY: Duration = Duration::from_millis(50);

/// Asks one target and hears its answers.
pub(super) struct Voice {
    target: Target,
    kind: ProbeKind,
    socket: AsyncFd<OwnedFd>,
    frames: Sender,
    echo: Echo,
    /// With a reflector.
    session: u64,
    /// The target's MAC, once an answer gave it.
    whom: Option<Mac>,
}

/// What a probe to that target is.
pub(super) fn kind(target: &Target) -> ProbeKind {
    match (target.near, target.ip) {
        _ if target.reflector.is_some() => ProbeKind::Reflector,
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
            (ProbeKind::Reflector, IpAddr::V4(_)) => udp(AddressFamily::Inet)?,
            (ProbeKind::Reflector, IpAddr::V6(_)) => udp(AddressFamily::Inet6)?,
            (_, IpAddr::V4(_)) => raw(AddressFamily::Inet, SockProtocol::Icmp)?,
            (_, IpAddr::V6(_)) => raw(AddressFamily::Inet6, SockProtocol::IcmpV6)?,
        };
        if matches!(kind, ProbeKind::Echo | ProbeKind::Reflector) {
            setsockopt(&socket, BindToDevice, &target.name.clone().into())?;
        }
        let chance = RandomState::new().build_hasher().finish();
        Ok(Self {
            target,
            kind,
            socket: watch(socket)?,
            frames: Sender::open()?,
            echo: Echo::new(chance),
            session: chance,
            whom: None,
        })
    }

    /// Whether somebody answers, within a fifth of a second.
    pub(super) async fn answers(mut self) -> bool {
        for number in 0..TRIES {
            self.ask(number, self.target.mac, false);
            if let Ok(heard) = timeout(TRY, self.hear()).await {
                return heard.is_ok();
            }
        }
        false
    }

    /// Whether an answer says which probe it is for.
    pub(super) fn is_numbered(&self) -> bool {
        matches!(self.kind, ProbeKind::Echo | ProbeKind::Reflector)
    }

    /// Asks once. What cannot be sent is a probe that gets no answer. `anybody`: by broadcast, because who was asked may
    /// have another MAC by now.
    pub(super) fn ask(&self, number: u64, own: Mac, anybody: bool) {
        if self.kind == ProbeKind::Echo {
            return self.send(&self.echo.request(self.target.ip, low(number)), 0);
        }
        if let Some(port) = self.target.reflector {
            let session = self.session;
            return self.send(&Question { session, number }.encode(), port);
        }
        let whom = self.whom.filter(|_| !anybody);
        self.frames.send(&[Outgoing {
            interface: self.target.link,
            frame: frames::direct(own, self.target.from, self.target.ip, whom),
        }]);
    }

    fn send(&self, message: &[u8], port: u16) {
        let socket = self.socket.as_raw_fd();
        let _ = match self.target.ip {
            IpAddr::V4(ip) => {
                let to = SockaddrIn::from(SocketAddrV4::new(ip, port));
                sendto(socket, message, &to, MsgFlags::MSG_DONTWAIT)
            }
            IpAddr::V6(ip) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(ip, port, 0, 0));
                sendto(socket, message, &to, MsgFlags::MSG_DONTWAIT)
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
            // Whoever it came from: nobody else knows the session.
            ProbeKind::Reflector => {
                let answer = Answer::decode(begin).filter(|answer| answer.session == self.session);
                answer.map(Which::Reflected)
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

fn udp(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Datagram, flags, SockProtocol::Udp)?)
}
