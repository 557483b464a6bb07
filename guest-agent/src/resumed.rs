//! Where this guest is, told to the network when nobody else in it does: after a move, and when `net_failover` has taken
//! another port.
//!
//! After a move its virtio NICs want the network told, as QEMU asks of their driver (`VIRTIO_NET_S_ANNOUNCE`). The kernel tells
//! that to whoever listens, but a bond does not pass it on to what has its address: that is done here, at the very resume,
//! whether a host's daemon is there or not.
//!
//! A bond announces when its active port changes. `net_failover` does not (`drivers/net/net_failover.c` sends nothing): a guest that
//! has nothing to say would not be reached by its new port until it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use godwit_api::agent::v1::PortRole;
use tokio::time::sleep;

use crate::guest::Guest;
use crate::kernel::{LinkEvent, LinkEvents};
use crate::log::say;
use crate::pair::{self, Link, Pair};

/// A kernel that gives no events is asked for them again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// Which port each `net_failover` sends by, by the index of the interface above.
type Carriers = BTreeMap<u32, u32>;

/// For as long as the agent lives.
pub(crate) async fn announce_moves(guest: Arc<Guest>) {
    loop {
        match LinkEvents::subscribe() {
            Ok(mut events) => {
                let links = guest.links().await.unwrap_or_default();
                let mut carriers = carriers(&pair::pairs(&links));
                while let Some(event) = events.next().await {
                    match event {
                        LinkEvent::Announce(port) => announce(&guest, port).await,
                        LinkEvent::Other if carriers.is_empty() => {}
                        LinkEvent::Port | LinkEvent::Other => compare(&guest, &mut carriers).await,
                    }
                }
                say!("the kernel tells of no links any more");
            }
            Err(error) => say!("cannot watch the links: {error}"),
        }
        sleep(AGAIN).await;
    }
}

/// Announces the pairs of `net_failover` that send by another port than before.
async fn compare(guest: &Arc<Guest>, before: &mut Carriers) {
    // One that cannot be read now is compared at the next event.
    let Ok(links) = guest.links().await else { return };
    let now = carriers(&pair::pairs(&links));
    for master in moved(before, &now) {
        let name = |index: Option<&u32>| {
            let link = links.iter().find(|link| Some(&link.index) == index);
            link.map_or("none", |link| link.name.as_str()).to_owned()
        };
        say!(
            "{}: net_failover sends by {} now, announced",
            name(Some(&master)),
            name(now.get(&master))
        );
        guest.announcer.announce(guest, master);
    }
    *before = now;
}

/// As `net_failover` chooses: its primary if that is up and has a link, else its standby.
fn carriers(pairs: &[Pair]) -> Carriers {
    let usable = |pair: &Pair, role| pair.ports_of(role).find(|port| port.is_usable()).map(index);
    let carrier = |pair: &Pair| {
        let port = usable(pair, PortRole::Primary).or_else(|| usable(pair, PortRole::Standby))?;
        Some((pair.master.index, port))
    };
    pairs
        .iter()
        .filter(|pair| pair.bond.is_none())
        .filter_map(carrier)
        .collect()
}

fn index(link: &Link) -> u32 {
    link.index
}

fn moved(before: &Carriers, now: &Carriers) -> Vec<u32> {
    let differs = |(master, port): &(&u32, &u32)| before.get(master).is_some_and(|before| before != *port);
    now.iter().filter(differs).map(|(master, _)| *master).collect()
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

    #[test]
    fn net_failover_is_announced_when_it_sends_by_another_port() {
        const MASTER: u32 = 2;
        let sends = |primary: Option<(u32, bool)>| {
            let mut links = vec![
                nic(MASTER, "eth0", "virtio_net", None),
                nic(3, "eth0nsby", "virtio_net", Some(MASTER)),
            ];
            links.extend(primary.map(|(index, carrier)| Link {
                carrier,
                ..nic(index, "eth1", "igbvf", Some(MASTER))
            }));
            carriers(&pair::pairs(&links))
        };
        let (vf, standby) = (sends(Some((4, true))), sends(None));
        assert_eq!((vf[&MASTER], standby[&MASTER]), (4, 3));
        // One that is plugged and has no link yet carries nothing.
        assert_eq!(sends(Some((5, false))), standby);
        assert_eq!(moved(&vf, &standby), [MASTER]);
        assert_eq!(moved(&standby, &sends(Some((5, true)))), [MASTER]);
        assert!(moved(&vf, &vf).is_empty());
        // Seen for the first time, it has gone nowhere; nor has one that has no port at all now.
        assert!(moved(&Carriers::new(), &vf).is_empty() && moved(&vf, &Carriers::new()).is_empty());
        // Bonds announce by themselves.
        let bonded = [
            nic(STANDBY, "eth0", "virtio_net", Some(BOND)),
            bond(BOND, Some(STANDBY)),
        ];
        assert!(carriers(&pair::pairs(&bonded)).is_empty());
    }
}
