//! The kernel's network configuration, over netlink: what is read, and the few things that are changed.

mod decode;

use std::io;
use std::net::IpAddr;
use std::pin::pin;

use futures_util::stream::{Stream, StreamExt, TryStreamExt};
use godwit_wire::Mac;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::link::{BondAllPortActive, InfoBond, InfoKind, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkBond, LinkMessageBuilder, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::task::AbortHandle;

use crate::pair::Link;

/// The kernel did not do it; in its own words.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub(crate) struct KernelError {
    what: &'static str,
    why: String,
}

/// The kernel's routing netlink.
///
/// Each request has a connection of its own, which costs next to nothing: the kernel refuses a second list
/// on one connection (EBUSY) while several tasks want lists, and a connection that broke would stay broken
/// for the years that this program runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel;

/// A connection for one request.
struct Connection {
    handle: rtnetlink::Handle,
    task: AbortHandle,
}

/// A change to a bond.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BondChange {
    Active(u32),
    Primary(u32),
    AllPortsActive(bool),
}

/// A change of a link, as far as it matters who it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The driver of this interface wants its neighbours told where it is: of virtio, after the guest was moved.
    Announce(u32),
    /// Of one that has another above it.
    Port,
    Other,
}

/// An address of an interface, fit to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) interface: u32,
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

/// Somebody on the network of an interface: a gateway or a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Somebody {
    pub(crate) interface: u32,
    pub(crate) ip: IpAddr,
    /// Its address there, of a neighbour.
    pub(crate) mac: Option<Mac>,
    /// A neighbour that was heard from just now.
    pub(crate) fresh: bool,
}

impl Somebody {
    /// Nothing else is known.
    pub(crate) fn at(interface: u32, ip: IpAddr) -> Self {
        Self {
            interface,
            ip,
            mac: None,
            fresh: false,
        }
    }
}

/// Changes of links, as the kernel announces them.
pub(crate) struct LinkEvents {
    messages: futures_util::stream::BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
    connection: AbortHandle,
}

impl Kernel {
    /// All interfaces, without their devices (sysfs knows those).
    pub(crate) async fn links(self) -> Result<Vec<Link>, KernelError> {
        const WHAT: &str = "list the interfaces";
        let connection = Connection::open(WHAT)?;
        let links = connection.handle.link().get().execute();
        collect(WHAT, links, |message| decode::link(&message)).await
    }

    pub(crate) async fn addresses(self) -> Result<Vec<Address>, KernelError> {
        const WHAT: &str = "list the addresses";
        let connection = Connection::open(WHAT)?;
        let addresses = connection.handle.address().get().execute();
        collect(WHAT, addresses, |message| decode::address(&message)).await
    }

    /// The gateways of default routes, IPv4 and IPv6.
    pub(crate) async fn gateways(self) -> Result<Vec<Somebody>, KernelError> {
        const WHAT: &str = "list the routes";
        let connection = Connection::open(WHAT)?;
        let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        let mut all = Vec::new();
        for ask in [v4, v6] {
            let routes = connection.handle.route().get(ask).execute();
            let gateways = collect(WHAT, routes, |message| Some(decode::gateways(&message))).await?;
            all.extend(gateways.into_iter().flatten());
        }
        Ok(all)
    }

    /// Those whose address the kernel has resolved.
    pub(crate) async fn neighbours(self) -> Result<Vec<Somebody>, KernelError> {
        const WHAT: &str = "list the neighbours";
        let connection = Connection::open(WHAT)?;
        let all = connection
            .handle
            .neighbours()
            .get()
            .set_address_family(AddressFamily::Unspec)
            .execute();
        collect(WHAT, all, |message| decode::neighbour(&message)).await
    }

    pub(crate) async fn change_bond(self, bond: u32, change: BondChange) -> Result<(), KernelError> {
        let (what, info) = match change {
            BondChange::Active(port) => ("set the active port", InfoBond::ActivePort(port)),
            BondChange::Primary(port) => ("set the preferred port", InfoBond::Primary(port)),
            BondChange::AllPortsActive(on) => {
                let value = if on {
                    BondAllPortActive::Delivered
                } else {
                    BondAllPortActive::Dropped
                };
                ("set all_slaves_active", InfoBond::AllPortsActive(value))
            }
        };
        let message = LinkMessageBuilder::<LinkBond>::new_with_info_kind(InfoKind::Bond);
        self.change(what, message.index(bond).append_info_data(info).build())
            .await
    }

    pub(crate) async fn set_up(self, link: u32, up: bool) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(link);
        if up {
            self.change("set the port up", message.up().build()).await
        } else {
            self.change("set the port down", message.down().build()).await
        }
    }

    pub(crate) async fn put_into(self, port: u32, bond: u32) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(port).controller(bond).build();
        self.change("put the port into the bond", message).await
    }

    pub(crate) async fn take_out(self, port: u32) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(port).nocontroller().build();
        self.change("take the port out of the bond", message).await
    }

    async fn change(self, what: &'static str, message: LinkMessage) -> Result<(), KernelError> {
        let connection = Connection::open(what)?;
        let change = connection.handle.link().change(message).execute();
        change.await.map_err(|error| KernelError::new(what, error))
    }
}

impl Connection {
    fn open(what: &'static str) -> Result<Self, KernelError> {
        let connection = rtnetlink::new_connection();
        let (connection, handle, _) = connection.map_err(|error| KernelError {
            what,
            why: error.to_string(),
        })?;
        Ok(Self {
            handle,
            task: tokio::spawn(connection).abort_handle(),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LinkEvents {
    /// Announcements from now on.
    pub(crate) fn subscribe() -> io::Result<Self> {
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        let connection = tokio::spawn(connection).abort_handle();
        Ok(Self {
            messages: messages.map(|(message, _)| message).boxed(),
            connection,
        })
    }

    /// The next change. None when nothing is told any more.
    pub(crate) async fn next(&mut self) -> Option<LinkEvent> {
        let message = self.messages.next().await?;
        Some(match decode::announced(&message) {
            Some(index) => LinkEvent::Announce(index),
            None if decode::is_port(&message) => LinkEvent::Port,
            None => LinkEvent::Other,
        })
    }

    /// Waits for an announcement and takes those that came with it. Which links they are about does not
    /// matter to anyone here: whoever waits looks at all of them again.
    pub(crate) async fn changed(&mut self) {
        if self.messages.next().await.is_none() {
            // The connection is gone, which only a lack of memory explains. The caller has a deadline.
            std::future::pending::<()>().await;
        }
        while futures_util::future::FutureExt::now_or_never(self.messages.next())
            .flatten()
            .is_some()
        {}
    }
}

impl Drop for LinkEvents {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl KernelError {
    fn new(what: &'static str, error: rtnetlink::Error) -> Self {
        let why = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
            other => other.to_string(),
        };
        Self { what, why }
    }
}

async fn collect<M, T>(
    what: &'static str,
    stream: impl Stream<Item = Result<M, rtnetlink::Error>>,
    decode: impl Fn(M) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    let mut stream = pin!(stream);
    let mut all = Vec::new();
    while let Some(message) = stream
        .try_next()
        .await
        .map_err(|error| KernelError::new(what, error))?
    {
        all.extend(decode(message));
    }
    Ok(all)
}

/// An address as netlink carries it.
fn mac(bytes: &[u8]) -> Option<Mac> {
    Mac::from_bytes(bytes)
}
