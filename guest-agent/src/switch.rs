//! Fail over and fail back: moving a pair's outbound traffic to one of its ports, and proving that
//! inbound traffic comes there too.
//!
//! Make before break, as far as the guest alone can: both ports accept, then the new port is proved, then the active port
//! changes, then everybody is told, then somebody must be heard on the new port. If nobody is, the traffic goes
//! back: an unproved path is never what the guest is left with while a better one may exist.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use godwit_api::agent::v1::{PortRole, RefusalReason, Switched};
use godwit_wire::Mac;
use tokio::time::{Instant, timeout};

use crate::guest::{Guest, gave_up};
use crate::kernel::{BondChange, LinkEvents};
use crate::log::say;
use crate::neighbourhood::{Question, Surroundings};
use crate::packet::Sender;
use crate::pair::{Bond, Link, Pair};
use crate::patience::{Over, Patience};
use crate::proof::{self, Proof};
use crate::refusal::Refusal;
use crate::witness::{Seen, Unseen, Witness};

/// How long a port may have carrier before its bond counts it as up; longer than common monitoring
/// intervals.
const BOND_NOTICES: Duration = Duration::from_secs(3);

/// Moves the traffic of the pair to its port of that role, which somebody proves: who is wanted, or whom the guest knows.
pub(crate) async fn switch(
    guest: &Arc<Guest>,
    standby: Mac,
    (to, wanted): (PortRole, Option<IpAddr>),
    patience: &mut Patience,
) -> Result<Switched, Refusal> {
    let _still_accepting = guest.both_ports.keep();
    let (pair, target) = ready(guest, standby, to, patience).await?;
    let bond = pair.bond()?;
    let already = bond.active == Some(target.index);
    let surroundings = Surroundings::read(guest.kernel, wanted).await?;
    let broken = |error: &std::io::Error| guest.broken("listen on the port", error);
    let witness = Witness::open(target.index, pair.macs()).map_err(|error| broken(&error))?;
    let sender = Sender::open().map_err(|error| broken(&error))?;

    // Held to the end of this function, and a second longer.
    let _accepting = match already {
        true => None,
        false => {
            guest
                .both_ports
                .accept(pair.master.index, bond.all_ports_active)
                .await?
        }
    };
    let proved = match already {
        true => Proof::NotAsked,
        false => match prove(guest, (standby, &pair, &target), &surroundings, &sender, patience).await {
            Ok(proved) => proved,
            Err(refusal) => return Err(refusal.with(now(guest, standby).await)),
        },
    };
    let links = match activate(guest, &pair, &target).await {
        Ok(links) => links,
        Err(refusal) => return Err(refusal.with(now(guest, standby).await)),
    };
    guest.announcer.announce(guest, pair.master.index);
    let questions = surroundings.questions(&links, pair.master.index);
    match witness.see(&sender, &questions, patience).await {
        Ok(seen) => {
            say_moved(&pair, &target, &seen, (already, &proved));
            Ok(Switched {
                pair: now(guest, standby).await,
                active: target.name,
                frames_received: seen.frames,
                first_frame_ms: seen.first.as_millis().try_into().unwrap_or(u32::MAX),
                already,
            })
        }
        Err(unseen) => {
            let mut detail = unconfirmed(&target, &questions, &unseen);
            if !already {
                detail += &put_back(guest, &pair, bond).await;
            }
            say!("{}: {detail}", pair.master.name);
            Err(Refusal::new(RefusalReason::NotConfirmed, detail).with(now(guest, standby).await))
        }
    }
}

/// The new port, before anything moves. What was asked through it may have drawn the guest's frames there: the announcements
/// bring them back.
async fn prove(
    guest: &Arc<Guest>,
    (standby, pair, target): (Mac, &Pair, &Link),
    surroundings: &Surroundings,
    sender: &Sender,
    patience: &mut Patience,
) -> Result<Proof, Refusal> {
    let asked = surroundings.near(&guest.links().await?, pair.master.index);
    let _hush = guest.measurements.hush(standby).await;
    let proved = proof::prove(guest, (pair, target), &asked, sender, patience).await;
    if let Err(refusal) = &proved {
        say!("{}: {}", pair.master.name, refusal.detail);
        guest.announcer.announce(guest, pair.master.index);
    }
    proved
}

/// The pair and its port of that role, as soon as the port can carry traffic.
async fn ready(
    guest: &Guest,
    standby: Mac,
    to: PortRole,
    patience: &mut Patience,
) -> Result<(Pair, Link), Refusal> {
    let mut events = LinkEvents::subscribe().map_err(|error| guest.broken("watch the links", &error))?;
    let noticed = Instant::now() + BOND_NOTICES;
    loop {
        let pair = guest.pair(standby).await?;
        pair.bond()?;
        let Some(port) = pair.port(to).cloned() else {
            let which = if to == PortRole::Standby {
                "standby"
            } else {
                "primary"
            };
            let detail = format!("{} has no {which}", pair.master.name);
            return Err(Refusal::new(RefusalReason::PortMissing, detail).with(Some(pair.to_api())));
        };
        if patience.deadline <= Instant::now() {
            return Err(gave_up(Over::Deadline, "nothing was begun").with(Some(pair.to_api())));
        }
        if port.is_usable() {
            return Ok((pair, port));
        }
        if !(port.up && port.carrier) || Instant::now() >= noticed {
            let detail = format!("{} {}", port.name, port.obstacle());
            return Err(Refusal::new(RefusalReason::NoCarrier, detail).with(Some(pair.to_api())));
        }
        tokio::select! {
            _ = timeout(noticed - Instant::now(), events.changed()) => {}
            over = patience.over() => return Err(gave_up(over, port.obstacle()).with(Some(pair.to_api()))),
        }
    }
}

/// Makes a port the active one and sees that the kernel says so; gives the links as they are then.
async fn activate(guest: &Guest, pair: &Pair, port: &Link) -> Result<Vec<Link>, Refusal> {
    let index = pair.master.index;
    // A bond that prefers another port would take the traffic back as soon as it may.
    if pair.bond()?.primary.is_some() {
        guest
            .kernel
            .change_bond(index, BondChange::Primary(port.index))
            .await?;
    }
    guest
        .kernel
        .change_bond(index, BondChange::Active(port.index))
        .await?;
    let links = guest.links().await?;
    let active = links.iter().find_map(|link| match link.kind {
        crate::pair::Kind::Bond(bond) if link.index == index => bond.active,
        _ => None,
    });
    if active == Some(port.index) {
        return Ok(links);
    }
    let named = links
        .iter()
        .find(|link| Some(link.index) == active)
        .map_or("no port", |link| &link.name);
    let detail = format!(
        "{} was made the active port, and the kernel names {named}",
        port.name
    );
    Err(Refusal::new(RefusalReason::Kernel, detail))
}

/// Leaves the traffic where it was before, if that still works; says in words what became of it.
async fn put_back(guest: &Arc<Guest>, pair: &Pair, bond: Bond) -> String {
    let links = guest.links().await.unwrap_or_default();
    let Some(old) = links.iter().find(|link| Some(link.index) == bond.active) else {
        return "; there is no port to go back to".to_owned();
    };
    if !old.is_usable() {
        return format!("; it stays there, because {} {}", old.name, old.obstacle());
    }
    match activate(guest, pair, old).await {
        Ok(_) => {
            guest.announcer.announce(guest, pair.master.index);
            format!("; the traffic is back on {}", old.name)
        }
        Err(refusal) => format!("; it could not go back to {}: {}", old.name, refusal.detail),
    }
}

fn unconfirmed(target: &Link, questions: &[Question], unseen: &Unseen) -> String {
    let asked: Vec<_> = questions.iter().map(|question| question.to.to_string()).collect();
    let asked = match asked.as_slice() {
        [] => "nobody could be asked: no gateway and no neighbour is known".to_owned(),
        all => format!("asked {}", all.join(", ")),
    };
    match unseen {
        Unseen::Over(Over::Deadline) => format!("no frame came in on {} in time ({asked})", target.name),
        Unseen::Over(Over::Abandoned) => format!("abandoned before a frame came in on {}", target.name),
        Unseen::Broken(error) => format!("cannot listen on {}: {error}", target.name),
    }
}

fn say_moved(pair: &Pair, target: &Link, seen: &Seen, (already, proved): (bool, &Proof)) {
    let (bond, port, first) = (&pair.master.name, &target.name, seen.first.as_millis());
    let how = if already { "was" } else { "is now" };
    let evidence = if seen.to_us { "" } else { ", broadcasts only" };
    say!(
        "{bond}: traffic {how} on {port}, confirmed after {first} ms by {} frames{evidence}{proved}",
        seen.frames
    );
}

async fn now(guest: &Guest, standby: Mac) -> Option<godwit_api::agent::v1::Pair> {
    guest.pair(standby).await.ok().map(|pair| pair.to_api())
}
