//! What a migration is about. Fixed at its start, but for the VFs that the destination holds.

use serde::{Deserialize, Serialize};

use crate::{
    Keep, MacAddress, Options, PciAddress, Profile,
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
    /// The guest is here on standby, and is to have its VF. Source and destination are this host.
    Accelerate,
    /// The guest is here, and is to be put on standby. Source and destination are this host.
    Decelerate,
}

impl Role {
    /// Where a migration begins on a host of this role.
    pub fn start(self) -> State {
        match self {
            Role::Source => State::Work(Course::Leave, Phase::Reserve),
            Role::Destination => State::Work(Course::Arrive, Phase::Await),
            Role::Accelerate => State::Work(Course::Arrive, Phase::Hold),
            Role::Decelerate => State::Work(Course::Withdraw, Phase::FailOver),
        }
    }
}

/// Whether a guest that moves must, should, or need not have a VF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// No VF held at the destination, no move.
    #[default]
    Require,
    /// It moves in any case, and is accelerated as soon as a VF is free.
    Prefer,
    /// It moves, and stays on its standby.
    StandbyOnly,
}

impl Policy {
    /// Every policy, the strictest first.
    pub const ALL: [Policy; 3] = [Policy::Require, Policy::Prefer, Policy::StandbyOnly];

    /// The word for people, metadata and API.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Require => "require",
            Policy::Prefer => "prefer",
            Policy::StandbyOnly => "standby-only",
        }
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        let found = Policy::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| format!("`{text}` is no policy; they are require, prefer and standby-only"))
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
    /// What its VF was set to as it was read last; none: nobody has seen it with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
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
    /// None of a guest that wants no VF, and has no standby that one could be paired with.
    pub pairs: Vec<Pair>,
    /// Whether it must have a VF where it goes.
    #[serde(default)]
    pub policy: Policy,
    /// Decelerate: the guest stays on its standby until somebody asks otherwise, or until it leaves this host.
    #[serde(default)]
    pub sticky: bool,
    /// Destination: the pairs are libvirt's own (`<teaming>`), and the guest comes by another tool, as libvirt's hook told.
    /// Its VFs are in its domain from the start, and no agent confirms anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub teamed: bool,
    /// NUMA nodes that the guest's memory is bound to; none where it may be anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<u32>,
    /// Probes a second by which the guest's outage is measured, at most [`Brief::MOST_PROBES`]; 0: it is not.
    #[serde(default)]
    pub probes: u32,
    /// Source: whether frames that arrive in its pause are kept.
    #[serde(
        default,
        alias = "unkept",
        deserialize_with = "Keep::recorded",
        skip_serializing_if = "Keep::is_auto"
    )]
    pub keep: Keep,
    /// Source: what the transfer is to be like, the configuration's defaults included.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
}

impl Brief {
    /// The highest rate of probes.
    pub const MOST_PROBES: u32 = 1000;

    /// Stands for the source of a guest that another tool brings: no host has such a name.
    pub const ELSEWHERE: &str = "another tool";

    /// A guest that is to reach this host; its policy is the default, and its memory may be anywhere.
    pub fn arrival(
        id: String,
        guest: Guest,
        (source, destination): (String, String),
        pairs: Vec<Pair>,
    ) -> Brief {
        Brief {
            id,
            role: Role::Destination,
            guest,
            source,
            destination,
            pairs,
            policy: Policy::default(),
            sticky: false,
            teamed: false,
            nodes: Vec::new(),
            probes: 0,
            keep: Keep::Auto,
            options: Options::default(),
        }
    }

    /// The VF that the pair has, or gets, on the host whose brief this is.
    pub fn vf_here(&self, pair: &Pair) -> Option<PciAddress> {
        match self.role {
            Role::Source | Role::Decelerate => pair.source_vf,
            Role::Destination | Role::Accelerate => pair.destination_vf,
        }
    }

    /// The pairs that have, or get, a VF on the host whose brief this is.
    pub fn pairs_here(&self) -> Vec<&Pair> {
        self.pairs
            .iter()
            .filter(|pair| self.vf_here(pair).is_some())
            .collect()
    }

    /// Gives the pair of that name a VF on the host whose brief this is.
    pub(crate) fn set_vf_here(&mut self, mac: MacAddress, vf: PciAddress) {
        let role = self.role;
        if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.mac == mac) {
            match role {
                Role::Source | Role::Decelerate => pair.source_vf = Some(vf),
                Role::Destination | Role::Accelerate => pair.destination_vf = Some(vf),
            }
        }
    }

    /// The other host's name.
    pub fn peer(&self) -> &str {
        match self.role {
            Role::Source => &self.destination,
            Role::Destination | Role::Accelerate | Role::Decelerate => &self.source,
        }
    }
}
