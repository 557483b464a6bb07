//! Letting go of a VF and taking a new one in. Neither moves any traffic.

use std::time::Duration;

use godwit_api::agent::v1::{Adopted, PortRole, RefusalReason, Released};
use godwit_wire::Mac;
use tokio::time::sleep;

use crate::guest::{Guest, gave_up};
use crate::kernel::{BondChange, KernelError, LinkEvents};
use crate::log::say;
use crate::pair::{self, Kind, Link, Pair};
use crate::patience::Patience;
use crate::refusal::Refusal;

/// How often a VF is put into its bond before the kernel's words are believed.
const TRIES: u32 = 4;

/// Everything that is waited for is announced by the kernel; this is for what is not.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Takes the primaries out of the pair and sets them down, unless one carries the traffic.
pub(crate) async fn release(guest: &Guest, standby: Mac) -> Result<Released, Refusal> {
    let pair = guest.pair(standby).await?;
    let active = pair.bond()?.active;
    if let Some(port) = pair
        .ports_of(PortRole::Primary)
        .find(|port| Some(port.index) == active)
    {
        let detail = format!(
            "{} carries the traffic of {}; fail over first",
            port.name, pair.master.name
        );
        return Err(Refusal::new(RefusalReason::PortActive, detail).with(Some(pair.to_api())));
    }
    let mut had_primary = false;
    for port in pair.ports_of(PortRole::Primary) {
        guest.kernel.take_out(port.index).await?;
        guest.kernel.set_up(port.index, false).await?;
        say!("{}: {} let go", pair.master.name, port.name);
        had_primary = true;
    }
    let after = guest.pair(standby).await?;
    if let Some(port) = after.port(PortRole::Primary) {
        let detail = format!(
            "{} was put back into {} by something else in this guest",
            port.name, after.master.name
        );
        return Err(Refusal::new(RefusalReason::Kernel, detail).with(Some(after.to_api())));
    }
    Ok(Released { had_primary })
}

/// Waits for the interface with that address, puts it into the pair and waits until it could carry
/// traffic. Whoever else in the guest (a network manager) does part of it first is welcome.
pub(crate) async fn adopt(
    guest: &Guest,
    standby: Mac,
    primary: Mac,
    patience: &mut Patience,
) -> Result<Adopted, Refusal> {
    let mut events = LinkEvents::subscribe().map_err(|error| guest.broken("watch the links", &error))?;
    let mut tries = 0;
    loop {
        let links = guest.links().await?;
        let pair = pair::find(&links, standby)?;
        pair.bond()?;
        let done = match next(&links, &pair, primary) {
            Step::Done(port) => {
                say!("{}: {} taken in", pair.master.name, port.name);
                return Ok(Adopted {
                    primary: port.name.clone(),
                    pair: Some(pair.to_api()),
                });
            }
            Step::Wait(missing) => Err(missing),
            Step::SetUp(port) => Ok(guest.kernel.set_up(port.index, true).await),
            Step::PutIn(port) => Ok(put_in(guest, &pair, port).await),
        };
        let missing = match done {
            // Look at once, but not for ever.
            Ok(Ok(())) if tries < TRIES => {
                tries += 1;
                continue;
            }
            Ok(Err(error)) if tries >= TRIES => return Err(Refusal::from(error).with(Some(pair.to_api()))),
            Ok(Err(error)) => {
                tries += 1;
                error.to_string()
            }
            Ok(Ok(())) => "something else in this guest undoes what is done".to_owned(),
            Err(missing) => missing,
        };
        tokio::select! {
            () = events.changed() => {}
            () = sleep(LOOK_AGAIN) => {}
            over = patience.over() => return Err(gave_up(over, &missing).with(Some(pair.to_api()))),
        }
    }
}

/// What is to be done next to have the primary in the pair.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Done(&'a Link),
    PutIn(&'a Link),
    SetUp(&'a Link),
    /// What is missing, in words.
    Wait(String),
}

fn next<'a>(links: &'a [Link], pair: &'a Pair, primary: Mac) -> Step<'a> {
    let wanted = |link: &&Link| link.role() == PortRole::Primary && link.has_address(primary);
    let inside = pair.ports.iter().filter(wanted);
    // Of several the newest: the others are on their way out.
    if let Some(port) = inside.max_by_key(|port| (port.is_usable(), port.index)) {
        return match port {
            port if port.is_usable() => Step::Done(port),
            port if !port.up => Step::SetUp(port),
            port => Step::Wait(format!("{} {}", port.name, port.obstacle())),
        };
    }
    let candidates = links
        .iter()
        .filter(wanted)
        .filter(|link| link.kind == Kind::Plain);
    match candidates.max_by_key(|link| (link.controller.is_none(), link.index)) {
        Some(link) if link.controller.is_none() => Step::PutIn(link),
        Some(link) => {
            let master = links.iter().find(|master| Some(master.index) == link.controller);
            let master = master.map_or("another interface", |master| &master.name);
            Step::Wait(format!(
                "{} has the address {primary}, but belongs to {master}",
                link.name
            ))
        }
        None => Step::Wait(format!("no interface with the address {primary} has appeared")),
    }
}

async fn put_in(guest: &Guest, pair: &Pair, port: &Link) -> Result<(), KernelError> {
    let bond = pair.master.index;
    if port.up {
        // The bond takes only what is down; it sets it up itself.
        guest.kernel.set_up(port.index, false).await?;
    }
    guest.kernel.put_into(port.index, bond).await?;
    // The bond may prefer this port by its name, and would give it the traffic with its carrier. The
    // traffic is moved by the host's word only.
    let links = guest.kernel.links().await?;
    let settings = links.iter().find_map(|link| match link.kind {
        Kind::Bond(settings) if link.index == bond => Some(settings),
        _ => None,
    });
    if let Some(settings) = settings
        && settings.primary == Some(port.index)
        && let Some(active) = settings.active.filter(|active| *active != port.index)
    {
        guest
            .kernel
            .change_bond(bond, BondChange::Primary(active))
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::tests::{MAC, OTHER, bond, nic};

    const BOND: u32 = 4;

    fn step(links: &[Link]) -> String {
        let pair = pair::find(links, MAC).unwrap();
        match next(links, &pair, OTHER) {
            Step::Done(port) => format!("done {}", port.name),
            Step::PutIn(port) => format!("put in {}", port.name),
            Step::SetUp(port) => format!("set up {}", port.name),
            Step::Wait(missing) => missing,
        }
    }

    fn vf(index: u32, controller: Option<u32>) -> Link {
        let nic = nic(index, &format!("eth{index}"), "igbvf", controller);
        Link {
            permanent: Some(OTHER),
            ..nic
        }
    }

    fn with(others: &[Link]) -> Vec<Link> {
        [
            &[nic(2, "eth2", "virtio_net", Some(BOND)), bond(BOND, Some(2))],
            others,
        ]
        .concat()
    }

    #[test]
    fn step_by_step() {
        let nothing = "no interface with the address 52:54:00:aa:00:11 has appeared";
        assert_eq!(step(&with(&[])), nothing);
        // Its driver is still being bound.
        assert_eq!(
            step(&with(&[Link {
                device: None,
                ..vf(9, None)
            }])),
            nothing
        );
        assert_eq!(step(&with(&[vf(9, None)])), "put in eth9");
        let inside = vf(9, Some(BOND));
        assert_eq!(
            step(&with(&[Link {
                up: false,
                ..inside.clone()
            }])),
            "set up eth9"
        );
        assert_eq!(
            step(&with(&[Link {
                carrier: false,
                ..inside.clone()
            }])),
            "eth9 has no carrier"
        );
        let unnoticed = Link {
            usable_in_bond: false,
            ..inside.clone()
        };
        assert_eq!(step(&with(&[unnoticed])), "eth9 is not counted as up by its bond");
        assert_eq!(step(&with(&[inside])), "done eth9");
    }

    #[test]
    fn only_the_right_device_is_taken() {
        let virtio = Link {
            permanent: Some(OTHER),
            ..nic(9, "eth9", "virtio_net", None)
        };
        let other = Link {
            permanent: Some(MAC),
            ..vf(9, None)
        };
        let vlan = Link {
            device: None,
            kind: Kind::Carrier(None),
            ..vf(9, None)
        };
        for link in [virtio, other, vlan] {
            assert!(step(&with(&[link])).starts_with("no interface"));
        }
        let current = Link {
            mac: Some(OTHER),
            permanent: None,
            ..vf(9, None)
        };
        assert_eq!(step(&with(&[current])), "put in eth9");
    }

    #[test]
    fn one_that_belongs_elsewhere_is_named_and_a_newer_free_one_taken() {
        let bridge = Link {
            kind: Kind::Carrier(None),
            device: None,
            ..nic(20, "br0", "", None)
        };
        let taken = [vf(9, Some(20)), bridge];
        assert_eq!(
            step(&with(&taken)),
            "eth9 has the address 52:54:00:aa:00:11, but belongs to br0"
        );
        let [a, b] = taken;
        assert_eq!(step(&with(&[a, b, vf(7, None), vf(8, None)])), "put in eth8");
    }
}
