//! What was measured, as the wire has it.

use std::net::IpAddr;

use godwit_api::v1 as api;
use godwit_migration::{Brief, Measured, PairMeasured, PhaseMeasured, ProbeKind, Ways};

use super::{phase, phase_back};

/// Of a peer's record no more than this counts.
const MOST_PAIRS: usize = 64;
const MOST_PHASES: usize = 32;

pub(super) fn measurement(value: &Measured) -> api::Measurement {
    api::Measurement {
        pairs: value.pairs.iter().map(pair).collect(),
        not_measured: value.not_measured.clone().unwrap_or_default(),
    }
}

fn pair(value: &PairMeasured) -> api::PairMeasurement {
    let of_phase = |value: &PhaseMeasured| api::PhaseMeasurement {
        phase: phase(value.phase).into(),
        sent: value.sent,
        answered: value.answered,
        lost: value.lost,
        duplicated: value.duplicated,
        longest_gap_ms: value.longest_gap_ms,
        lost_there: value.ways.map(|ways| ways.there),
        lost_back: value.ways.map(|ways| ways.back),
    };
    api::PairMeasurement {
        mac: value.mac.to_string(),
        target: value.target.clone(),
        kind: match value.kind {
            ProbeKind::Arp => api::ProbeKind::Arp,
            ProbeKind::Nd => api::ProbeKind::Nd,
            ProbeKind::Echo => api::ProbeKind::Echo,
            ProbeKind::Reflector => api::ProbeKind::Reflector,
        }
        .into(),
        per_second: value.per_second,
        phases: value.phases.iter().map(of_phase).collect(),
    }
}

/// What a peer's record shows of it; what is not understood is left out.
pub fn measured(record: &api::Migration) -> Option<Measured> {
    let measurement = record.measurement.as_ref()?;
    let not_measured = (!measurement.not_measured.is_empty()).then(|| measurement.not_measured.clone());
    let pairs = measurement.pairs.iter().take(MOST_PAIRS);
    Some(Measured {
        pairs: pairs.filter_map(pair_back).collect(),
        not_measured,
    })
}

fn pair_back(value: &api::PairMeasurement) -> Option<PairMeasured> {
    let of_phase = |value: &api::PhaseMeasurement| {
        Some(PhaseMeasured {
            phase: phase_back(value.phase())?,
            sent: value.sent,
            answered: value.answered,
            lost: value.lost,
            duplicated: value.duplicated,
            longest_gap_ms: value.longest_gap_ms,
            ways: Option::zip(value.lost_there, value.lost_back)
                .and_then(|(there, back)| Ways::of(value.lost, there, back)),
        })
    };
    Some(PairMeasured {
        mac: value.mac.parse().ok()?,
        target: value.target.parse::<IpAddr>().ok()?.to_string(),
        kind: match value.kind() {
            api::ProbeKind::Arp => ProbeKind::Arp,
            api::ProbeKind::Nd => ProbeKind::Nd,
            api::ProbeKind::Echo => ProbeKind::Echo,
            api::ProbeKind::Reflector => ProbeKind::Reflector,
            api::ProbeKind::Unspecified => return None,
        },
        per_second: value.per_second.min(Brief::MOST_PROBES),
        phases: value
            .phases
            .iter()
            .take(MOST_PHASES)
            .filter_map(of_phase)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use godwit_migration::Phase;

    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let phase = |phase| PhaseMeasured {
            phase,
            sent: 104,
            answered: 100,
            lost: 3,
            duplicated: 2,
            longest_gap_ms: 41,
            ways: Ways::of(3, 1, 2).filter(|_| phase != Phase::Plug),
        };
        let pair = |kind| PairMeasured {
            mac: "52:54:00:aa:00:10".parse().unwrap(),
            target: "fd00::1".into(),
            kind,
            per_second: 100,
            phases: Phase::ALL.map(phase).to_vec(),
        };
        let value = Measured {
            pairs: [
                ProbeKind::Reflector,
                ProbeKind::Arp,
                ProbeKind::Nd,
                ProbeKind::Echo,
            ]
            .map(pair)
            .to_vec(),
            not_measured: Some("half of it".into()),
        };
        let mut record = api::Migration {
            measurement: Some(measurement(&value)),
            ..Default::default()
        };
        assert_eq!(measured(&record), Some(value.clone()));
        let told = record.measurement.as_mut().unwrap();
        told.pairs[0].target = "gateway".into();
        told.pairs[1].phases[0].phase = 99;
        // More than were lost: which way is not known.
        told.pairs[2].phases[0].lost_there = Some(2);
        told.pairs[2].phases[1].lost_back = None;
        let understood = measured(&record).unwrap();
        assert_eq!(understood.pairs.len(), 3);
        let without = &understood.pairs[1].phases;
        assert_eq!([without[0].ways, without[1].ways], [None, None]);
        assert_eq!(without[0].lost, 3);
        assert_eq!(understood.pairs[0].phases, value.pairs[1].phases[1..]);
        assert_eq!(measured(&api::Migration::default()), None);
    }
}
