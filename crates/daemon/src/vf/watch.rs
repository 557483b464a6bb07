//! Tells when something happened to the PFs and VFs of the pools. The kernel's messages (uevents, and those of links) wake,
//! and what sysfs shows then decides: nothing is looked at while the kernel says nothing.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use tokio::{io::unix::AsyncFd, time::sleep};

use super::{
    Vfs,
    sysfs::{Function, Sysfs},
};

/// The kernel's own uevents (lib/kobject_uevent.c); udev's are in another group.
const UEVENTS: u32 = 1;
/// `RTMGRP_LINK` of `NETLINK_ROUTE`, protocol 0 (include/uapi/linux/rtnetlink.h, netlink.h).
const LINKS: u32 = 1;

/// Messages come in bursts: seven VFs are made with some fifty.
const BURST: Duration = Duration::from_millis(200);

/// Waits for changes.
pub(crate) struct Watch {
    vfs: Vfs,
    uevents: AsyncFd<OwnedFd>,
    links: AsyncFd<OwnedFd>,
    seen: Vec<Seen>,
    /// The kernel said something since the last look.
    told: bool,
}

/// What of a PF makes a difference to who may have its VFs.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    pf: String,
    up: Option<bool>,
    functions: Vec<Function>,
}

impl Watch {
    /// From now on. Must be called within the runtime.
    ///
    /// # Errors
    /// The kernel's, when it gives no such socket.
    pub(crate) async fn begin(vfs: Vfs) -> io::Result<Watch> {
        let mut watch = Watch {
            vfs,
            uevents: listen(Some(netlink::KOBJECT_UEVENT), UEVENTS)?,
            links: listen(None, LINKS)?,
            seen: Vec::new(),
            told: false,
        };
        watch.seen = watch.look().await;
        Ok(watch)
    }

    /// Until something is not as it was. May be dropped at any await: what the kernel said meanwhile is looked at by the next
    /// call.
    pub(crate) async fn changed(&mut self) {
        loop {
            while !self.told {
                tokio::select! {
                    () = message(&self.uevents) => self.told = true,
                    () = message(&self.links) => self.told = true,
                }
            }
            sleep(BURST).await;
            let now = self.look().await;
            self.told = false;
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    async fn look(&self) -> Vec<Seen> {
        let pfs: Vec<String> = self.vfs.pfs().await.into_iter().map(|(pf, _)| pf).collect();
        let seen = self
            .vfs
            .blocking(move |sysfs| Ok(pfs.into_iter().map(|pf| seen(sysfs, pf)).collect()));
        seen.await.unwrap_or_default()
    }
}

fn seen(sysfs: &Sysfs, pf: String) -> Seen {
    Seen {
        up: sysfs.is_up(&pf),
        functions: sysfs.functions(&pf).unwrap_or_default(),
        pf,
    }
}

fn listen(protocol: Option<rustix::net::Protocol>, groups: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    watched(socket)
}

// AsyncFd::new is deprecated because an `AsRawFd` may lie about its descriptor. OwnedFd does not, and the function that
// replaces it is unsafe.
#[expect(deprecated)]
fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(socket)
}

/// Until a message comes; takes all that there are.
async fn message(socket: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = socket.readable().await else {
            return std::future::pending().await;
        };
        let mut some = false;
        let mut buffer = [0_u8; 4096];
        loop {
            match recv(socket.get_ref(), &mut buffer, RecvFlags::empty()) {
                Ok(_) | Err(Errno::INTR) => some = true,
                // More came than was kept: then something happened.
                Err(Errno::NOBUFS) => some = true,
                Err(_) => break,
            }
        }
        ready.clear_ready();
        if some {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::{super::PoolSpec, super::sysfs::tests::Machine, *};

    fn vfs(machine: &Machine) -> Vfs {
        let pool = PoolSpec {
            name: "fabric".into(),
            pfs: vec!["pf0".into()],
            ..PoolSpec::default()
        };
        Vfs::at(machine.root(), vec![pool])
    }

    /// A socket that says something once.
    async fn wake(watch: &mut Watch) {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.send(b"add@/devices").unwrap();
        watch.uevents = watched(OwnedFd::from(theirs)).unwrap();
    }

    #[tokio::test]
    async fn the_kernel_wakes_and_sysfs_decides() {
        let machine = Machine::new();
        let mut watch = Watch::begin(vfs(&machine)).await.unwrap();
        let soon = Duration::from_millis(800);
        wake(&mut watch).await;
        assert!(
            timeout(soon, watch.changed()).await.is_err(),
            "nothing has changed"
        );
        machine.file("sys/class/net/pf0/flags", "0x1002\n");
        wake(&mut watch).await;
        timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
        machine.remove("sys/bus/pci/devices/0000:01:10.2/net");
        wake(&mut watch).await;
        timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    }

    /// Whoever waits for it may wait for something else as well.
    #[tokio::test]
    async fn what_the_kernel_said_is_not_lost_with_the_wait() {
        let machine = Machine::new();
        let mut watch = Watch::begin(vfs(&machine)).await.unwrap();
        machine.file("sys/class/net/pf0/flags", "0x1002\n");
        wake(&mut watch).await;
        let dropped = timeout(BURST / 2, watch.changed()).await;
        assert!(dropped.is_err(), "it did not wait for the end of the burst");
        timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_looked_at_while_the_kernel_says_nothing() {
        let machine = Machine::new();
        let mut watch = Watch::begin(vfs(&machine)).await.unwrap();
        let (_silent, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        watch.uevents = watched(OwnedFd::from(theirs)).unwrap();
        let (_silent, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        watch.links = watched(OwnedFd::from(theirs)).unwrap();
        machine.file("sys/class/net/pf0/flags", "0x1002\n");
        let waited = timeout(Duration::from_millis(500), watch.changed()).await;
        assert!(waited.is_err(), "it polls");
    }
}
