//! VFs of one host, and who uses them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{MacAddress, PciAddress, Profile, choice::Site};

/// Who uses a VF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VfUse {
    /// Nobody.
    Free,
    /// Set aside for a guest by the migration of this id.
    Held(String),
    /// A guest of this host has it (its name).
    Guest(String),
    /// Nobody is given it until it is released: the sentence says why.
    Quarantined(String),
    /// Not ours to touch: the sentence says why.
    Other(String),
}

impl fmt::Display for VfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VfUse::Free => write!(f, "it is free"),
            VfUse::Held(migration) => write!(f, "migration {migration} holds it"),
            VfUse::Guest(guest) => write!(f, "guest `{guest}` has it"),
            VfUse::Quarantined(why) => write!(f, "quarantined: {why}"),
            VfUse::Other(why) => write!(f, "{why}"),
        }
    }
}

/// A VF as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vf {
    /// Where it is.
    pub address: PciAddress,
    /// Pool it belongs to.
    pub pool: String,
    /// Interface name of its PF.
    pub pf: String,
    /// Who uses it.
    pub usage: VfUse,
    /// What it is set to; none where its PF does not tell.
    pub profile: Option<Profile>,
    /// Where it sits.
    #[serde(default)]
    pub site: Site,
    /// The MAC that its PF has set for it; none: no MAC, or its PF does not tell.
    #[serde(default)]
    pub mac: Option<MacAddress>,
}
