//! One MAC that several have: VFs, and guests with their pairs, of this host and its peers. A switch sends its frames to
//! one of them.

use super::{Diagnosis, Finding, Severity};
use crate::{MacAddress, PciAddress};

/// So many of those that have one MAC are named.
const NAMED: usize = 4;

/// Who has a MAC: a VF, or a guest that runs, with one of its pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// The MAC.
    pub mac: MacAddress,
    /// The host that it is on.
    pub host: String,
    /// The VF; none: a guest's pair.
    pub vf: Option<PciAddress>,
    /// The guest, or whose the VF is; none: nobody's.
    pub guest: Option<Owner>,
}

/// A guest that has a MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// What it is on every host.
    pub uuid: String,
    /// A migration of it is open there, or another operation on it.
    pub moving: bool,
}

impl Carrier {
    fn place(&self) -> String {
        let Carrier { host, vf, guest, .. } = self;
        match (vf, guest) {
            (Some(vf), Some(guest)) => format!("VF {vf} of {host} (guest `{}`)", guest.name),
            (Some(vf), None) => format!("VF {vf} of {host} (nobody's)"),
            (None, Some(guest)) => format!("guest `{}` on {host}", guest.name),
            (None, None) => host.clone(),
        }
    }

    /// Both cannot be. The sides of a pair share a MAC by design, and while a guest is moved two hosts may have its own.
    fn clashes(&self, other: &Carrier) -> bool {
        let (Some(one), Some(another)) = (&self.guest, &other.guest) else {
            return true;
        };
        if one.uuid != another.uuid {
            return true;
        }
        let both_sides = self.host == other.host && (self.vf.is_none() || other.vf.is_none());
        !both_sides && !one.moving && !another.moving
    }
}

/// The MACs that more have than may. `here` is this host: what is to be done elsewhere is said to be so.
pub fn duplicates(here: &str, carriers: &[Carrier]) -> Diagnosis {
    let mut sorted: Vec<&Carrier> = carriers.iter().collect();
    sorted.sort_by_key(|carrier| carrier.mac);
    let groups = sorted.chunk_by(|one, other| one.mac == other.mac);
    let found = groups.filter_map(|group| duplicate(here, group));
    let mut diagnosis = Diagnosis::default();
    diagnosis.add_few(found.collect(), |rest, _| {
        format!("{rest} more MACs are in more than one place")
    });
    diagnosis
}

fn duplicate(here: &str, group: &[&Carrier]) -> Option<Finding> {
    let clashes = |(at, carrier): &(usize, &&Carrier)| {
        let others = group.iter().enumerate().filter(|(other, _)| other != at);
        others.into_iter().any(|(_, other)| carrier.clashes(other))
    };
    let clashing = group.iter().enumerate().filter(clashes);
    let clashing: Vec<&Carrier> = clashing.map(|(_, carrier)| *carrier).collect();
    let first = clashing.first()?;
    let named = clashing.iter().take(NAMED).map(|carrier| carrier.place());
    let mut places: Vec<String> = named.collect();
    if clashing.len() > NAMED {
        places.push(format!("{} more", clashing.len() - NAMED));
    }
    Some(Finding {
        severity: Severity::Error,
        reason: "MAC_DUPLICATE",
        about: first.mac.to_string(),
        what: format!(
            "MAC {} is in more than one place: {}",
            first.mac,
            places.join(", ")
        ),
        why: "the NIC's switch and the network send its frames to one of them, and the others lose theirs"
            .into(),
        fix: fix(here, &clashing),
    })
}

/// A VF that nobody has is easily cleaned; of guests one has to get another MAC.
fn fix(here: &str, clashing: &[&Carrier]) -> String {
    let at = |host: &str, command: String| match host == here {
        true => command,
        false => format!("on {host}: {command}"),
    };
    let leftover = clashing.iter().find(|carrier| carrier.guest.is_none());
    if let Some((host, vf)) = leftover.and_then(|carrier| Some((&carrier.host, carrier.vf?))) {
        return at(host, format!("`godwit vfs check {vf}`"));
    }
    let mut owners = clashing
        .iter()
        .filter_map(|carrier| Some((carrier.host.as_str(), carrier.guest.as_ref()?)));
    let Some((host, first)) = owners.next() else {
        return "`godwit vfs check`".into();
    };
    let name = &first.name;
    let others: Vec<(&str, &Owner)> = owners.collect();
    if others.iter().any(|(_, other)| other.uuid != first.uuid) {
        return at(
            host,
            format!("virsh edit {name}: give it, or the other, another MAC"),
        );
    }
    match others.iter().any(|(other, _)| *other != host) {
        true => format!("on each of these hosts: virsh domstate {name} --reason; one of the two must end"),
        false => at(
            host,
            format!("godwit standby {name} --wait; godwit accelerate {name} --wait"),
        ),
    }
}
