//! What a migration is about. Fixed at its start, but for the VFs that the destination holds.

use serde::{Deserialize, Serialize};

use crate::{
    MacAddress, PciAddress,
    phase::{Course, Phase, State},
};

/// This host's part in a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The guest leaves this host.
    Source,
    /// The guest reaches this host.
    Destination,
}

impl Role {
    /// Where a migration begins on a host of this role.
    pub fn start(self) -> State {
        match self {
            Role::Source => State::Work(Course::Leave, Phase::Reserve),
            Role::Destination => State::Work(Course::Arrive, Phase::Await),
        }
    }
}

/// A guest, named by both of its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// libvirt's name; for people.
    pub name: String,
    /// libvirt's UUID, lower case with dashes; what identifies it on both hosts.
    pub uuid: String,
}

/// One primary and one standby, and the VFs on both hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Permanent MAC of the standby; names the pair on hosts and in the guest.
    pub mac: MacAddress,
    /// MAC of the primary; the same with one MAC on both sides.
    pub primary_mac: MacAddress,
    /// libvirt alias of the standby.
    pub standby: String,
    /// libvirt alias that the VF has in the guest on this host, and gets at the destination.
    pub primary: String,
    /// Pool that the VF comes from, by the same name on both hosts.
    pub pool: String,
    /// The VF on the source.
    pub source_vf: Option<PciAddress>,
    /// The VF held at the destination.
    pub destination_vf: Option<PciAddress>,
}

/// What a migration is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// UUID of the migration, the same on both hosts.
    pub id: String,
    /// This host's part in it.
    pub role: Role,
    /// Who moves.
    pub guest: Guest,
    /// Name of the host it leaves.
    pub source: String,
    /// Name of the host it is to reach.
    pub destination: String,
    /// At least one.
    pub pairs: Vec<Pair>,
}

impl Brief {
    /// The VF that the pair has, or gets, on the host whose brief this is.
    pub fn vf_here(&self, pair: &Pair) -> Option<PciAddress> {
        match self.role {
            Role::Source => pair.source_vf,
            Role::Destination => pair.destination_vf,
        }
    }

    /// The other host's name.
    pub fn peer(&self) -> &str {
        match self.role {
            Role::Source => &self.destination,
            Role::Destination => &self.source,
        }
    }
}
