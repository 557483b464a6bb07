//! The JSON of `godwit plan`: the API's message.

use godwit_api::v1::{self as api, NicPlan, PairPlan, PlanMigrationResponse, StepEstimate, VfCandidate};
use serde::Serialize;

use super::doctor::{Finding, NotChecked};
use crate::view::words;

/// `godwit plan`.
#[derive(Serialize)]
pub(crate) struct Plan<'a> {
    guest: &'a str,
    source: &'a str,
    destination: &'a str,
    policy: Option<String>,
    moves: bool,
    pairs: Vec<Pair<'a>>,
    #[serde(flatten)]
    nics: Nics<'a>,
    findings: Vec<Finding<'a>>,
    not_checked: Vec<NotChecked<'a>>,
    estimate: Vec<Estimate<'a>>,
    versions: Versions<'a>,
}

/// Of libvirt and QEMU. Null: not known, or that host's daemon is older than this.
#[derive(Serialize)]
struct Versions<'a> {
    source: Option<Version<'a>>,
    destination: Option<Version<'a>>,
}

#[derive(Serialize)]
struct Version<'a> {
    libvirt: &'a str,
    qemu: &'a str,
}

#[derive(Serialize)]
struct Estimate<'a> {
    step: &'a str,
    least_ms: u64,
    /// Null: no end is foreseen.
    most_ms: Option<u64>,
    because: &'a str,
}

/// What is known of the guest's NICs.
#[derive(Serialize)]
struct Nics<'a> {
    keep: Keep<'a>,
    networks: Vec<Network<'a>>,
}

/// What becomes of frames that arrive in the pause.
#[derive(Serialize)]
struct Keep<'a> {
    /// Null: the daemon is older than this.
    mode: Option<String>,
    nics: Vec<Nic<'a>>,
}

#[derive(Serialize)]
struct Nic<'a> {
    mac: &'a str,
    standby: bool,
    /// Null: what arrives for it in the pause will be kept.
    not_kept: Option<&'a str>,
    loss_least_bytes: Option<u64>,
    loss_most_bytes: Option<u64>,
    loss_because: Option<&'a str>,
}

/// The networks of a NIC of the guest.
#[derive(Serialize)]
struct Network<'a> {
    mac: &'a str,
    standby: bool,
    /// Who answered at the destination as the guest knows it, a sentence each.
    proved: &'a [String],
}

#[derive(Serialize)]
struct Pair<'a> {
    mac: &'a str,
    pool: &'a str,
    vf: Option<&'a str>,
    candidates: Vec<Candidate<'a>>,
}

#[derive(Serialize)]
struct Candidate<'a> {
    vf: &'a str,
    pf: &'a str,
    free: Option<bool>,
    fits: bool,
    reasons: &'a [String],
}

impl<'a> From<&'a PlanMigrationResponse> for Plan<'a> {
    fn from(answer: &'a PlanMigrationResponse) -> Self {
        Plan {
            guest: &answer.guest,
            source: &answer.source,
            destination: &answer.destination,
            policy: words::policy(answer.policy()),
            moves: answer.moves,
            pairs: answer.pairs.iter().map(pair).collect(),
            nics: Nics {
                keep: Keep {
                    mode: words::keep(answer.keep()),
                    nics: answer.nics.iter().map(nic).collect(),
                },
                networks: answer.nics.iter().map(network).collect(),
            },
            findings: answer.findings.iter().map(Finding::from).collect(),
            not_checked: answer.not_checked.iter().map(NotChecked::from).collect(),
            estimate: answer.estimate.iter().map(estimate).collect(),
            versions: Versions {
                source: answer.source_versions.as_ref().map(version),
                destination: answer.destination_versions.as_ref().map(version),
            },
        }
    }
}

fn version(of: &api::Versions) -> Version<'_> {
    Version {
        libvirt: &of.libvirt,
        qemu: &of.qemu,
    }
}

fn estimate(part: &StepEstimate) -> Estimate<'_> {
    Estimate {
        step: &part.step,
        least_ms: part.least_ms,
        most_ms: part.most_ms,
        because: &part.because,
    }
}

fn nic(nic: &NicPlan) -> Nic<'_> {
    Nic {
        mac: &nic.mac,
        standby: nic.standby,
        not_kept: Some(nic.not_kept.as_str()).filter(|why| !why.is_empty()),
        loss_least_bytes: nic.loss_least_bytes,
        loss_most_bytes: nic.loss_most_bytes,
        loss_because: Some(nic.loss_because.as_str()).filter(|why| !why.is_empty()),
    }
}

fn network(nic: &NicPlan) -> Network<'_> {
    Network {
        mac: &nic.mac,
        standby: nic.standby,
        proved: &nic.proved,
    }
}

fn pair(pair: &PairPlan) -> Pair<'_> {
    Pair {
        mac: &pair.mac,
        pool: &pair.pool,
        vf: Some(pair.vf.as_str()).filter(|vf| !vf.is_empty()),
        candidates: pair.candidates.iter().map(candidate).collect(),
    }
}

fn candidate(candidate: &VfCandidate) -> Candidate<'_> {
    Candidate {
        vf: &candidate.vf,
        pf: &candidate.pf,
        free: candidate.free,
        fits: candidate.fits,
        reasons: &candidate.reasons,
    }
}
