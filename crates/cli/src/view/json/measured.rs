//! The JSON of what was measured: the API's message.

use godwit_api::v1 as api;
use serde::Serialize;

use crate::view::words;

/// What the guest's agent counted: its word.
#[derive(Debug, Serialize)]
pub(super) struct Measurement<'a> {
    pairs: Vec<Pair<'a>>,
    not_measured: &'a str,
}

#[derive(Debug, Serialize)]
struct Pair<'a> {
    mac: &'a str,
    target: &'a str,
    kind: Option<String>,
    per_second: u32,
    phases: Vec<Phase>,
}

#[derive(Debug, Serialize)]
struct Phase {
    phase: Option<String>,
    sent: u64,
    answered: u64,
    lost: u64,
    duplicated: u64,
    longest_gap_ms: u32,
    lost_there: Option<u64>,
    lost_back: Option<u64>,
}

impl<'a> From<&'a api::Measurement> for Measurement<'a> {
    fn from(measurement: &'a api::Measurement) -> Self {
        Measurement {
            pairs: measurement.pairs.iter().map(pair).collect(),
            not_measured: &measurement.not_measured,
        }
    }
}

fn pair(pair: &api::PairMeasurement) -> Pair<'_> {
    let phase = |phase: &api::PhaseMeasurement| Phase {
        phase: words::phase(phase.phase()),
        sent: phase.sent,
        answered: phase.answered,
        lost: phase.lost,
        duplicated: phase.duplicated,
        longest_gap_ms: phase.longest_gap_ms,
        lost_there: phase.lost_there,
        lost_back: phase.lost_back,
    };
    Pair {
        mac: &pair.mac,
        target: &pair.target,
        kind: words::probe_kind(pair.kind()),
        per_second: pair.per_second,
        phases: pair.phases.iter().map(phase).collect(),
    }
}
