//! After this guest was moved, its virtio NICs want the network told where it is now, as QEMU asks of their driver
//! (`VIRTIO_NET_S_ANNOUNCE`). The kernel tells that to whoever listens, but a bond does not pass it on to what has
//! its address: that is done here, at the very resume, whether a host's daemon is there or not.

use std::sync::Arc;
use std::time::Duration;

use godwit_api::agent::v1::PortRole;
use tokio::time::sleep;

use crate::guest::Guest;
use crate::kernel::LinkEvents;
use crate::log::say;
use crate::pair::{self, Pair};

/// A kernel that gives no events is asked for them again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// For as long as the agent lives.
pub(crate) async fn announce_moves(guest: Arc<Guest>) {
    loop {
        match LinkEvents::subscribe() {
            Ok(mut events) => {
                while let Some(port) = events.announced().await {
                    announce(&guest, port).await;
                }
                say!("the kernel tells of no links any more");
            }
            Err(error) => say!("cannot watch the links: {error}"),
        }
        sleep(AGAIN).await;
    }
}

async fn announce(guest: &Arc<Guest>, port: u32) {
    match guest.links().await {
        Ok(links) => {
            if let Some(pair) = carried_by(pair::pairs(&links), port) {
                guest.announcer.announce(guest, pair.master.index);
            }
        }
        Err(error) => say!("not announced: {error}"),
    }
}

/// The pair whose traffic is on that standby.
fn carried_by(pairs: Vec<Pair>, port: u32) -> Option<Pair> {
    pairs.into_iter().find(|pair| {
        let is_standby = pair
            .port(PortRole::Standby)
            .is_some_and(|link| link.index == port);
        let carries = match pair.active() {
            Some(active) => active.index == port,
            // net_failover names none.
            None => pair.port(PortRole::Primary).is_none(),
        };
        is_standby && carries
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::tests::{bond, nic};

    const BOND: u32 = 4;
    const STANDBY: u32 = 2;
    const PRIMARY: u32 = 3;

    fn carries(active: u32, port: u32) -> bool {
        let links = [
            nic(STANDBY, "eth0", "virtio_net", Some(BOND)),
            nic(PRIMARY, "eth1", "igbvf", Some(BOND)),
            bond(BOND, Some(active)),
        ];
        carried_by(pair::pairs(&links), port).is_some_and(|pair| pair.master.index == BOND)
    }

    /// A NIC that its bond does not use has nothing to announce, nor has one that is in no pair.
    #[test]
    fn only_the_standby_that_carries_the_traffic_is_announced() {
        assert!(carries(STANDBY, STANDBY));
        assert!(!carries(PRIMARY, STANDBY));
        assert!(!carries(PRIMARY, PRIMARY));
        assert!(!carries(STANDBY, 9));
    }
}
