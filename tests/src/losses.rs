//! What was lost, phase by phase. A datagram to the guest belongs to the phase it was sent in. When the guest sent
//! one that never came nobody knows; its neighbours' arrivals say it well enough.

use std::collections::BTreeMap;

use crate::prober::Line;
use crate::timeline::{Span, phase_at};

/// Datagrams of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Sent to the guest, and lost of these.
    pub to_guest: (u64, u64),
    /// Sent by the guest, and lost of these.
    pub from_guest: (u64, u64),
}

impl Loss {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Loss) -> Loss {
        let add = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        Loss {
            to_guest: add(self.to_guest, other.to_guest),
            from_guest: add(self.from_guest, other.from_guest),
        }
    }
}

/// A datagram that never came.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// Or by it.
    pub to_guest: bool,
    /// Which.
    pub number: u64,
    /// When it was sent to the guest, or about when it would have come from it; seconds since 1970 by this machine's clock.
    pub at: f64,
    /// That instant's.
    pub phase: String,
}

/// Each of them.
pub fn lost(record: &[Line], spans: &[Span]) -> Vec<Lost> {
    let arrivals = arrivals(record);
    let each = record.iter().filter_map(|line| {
        let (to_guest, number, at) = match *line {
            Line::Sent {
                number,
                at,
                arrived: false,
            } => (true, number, at),
            Line::Missing { number } => (false, number, about_when(&arrivals, number)),
            _ => return None,
        };
        let phase = phase_at(spans, at).to_owned();
        Some(Lost {
            to_guest,
            number,
            at,
            phase,
        })
    });
    each.collect()
}

/// Losses by the name of the phase.
pub fn by_phase(record: &[Line], spans: &[Span]) -> BTreeMap<String, Loss> {
    let mut phases: BTreeMap<String, Loss> = BTreeMap::new();
    let mut count = |at: f64, lost: bool, from_guest: bool| {
        let loss = phases.entry(phase_at(spans, at).to_owned()).or_default();
        let sum = if from_guest {
            &mut loss.from_guest
        } else {
            &mut loss.to_guest
        };
        sum.0 += 1;
        sum.1 += u64::from(lost);
    };
    for line in record {
        if let Line::Sent { at, arrived, .. } = *line {
            count(at, !arrived, false);
        }
    }
    for (_, at) in arrivals(record) {
        count(at, false, true);
    }
    for one in lost(record, spans).iter().filter(|one| !one.to_guest) {
        count(one.at, true, true);
    }
    phases
}

/// The guest's numbers that came, in their order, and when they did.
fn arrivals(record: &[Line]) -> Vec<(u64, f64)> {
    let arrived = record.iter().filter_map(|line| match *line {
        Line::Received { number, at } => Some((number, at)),
        _ => None,
    });
    let mut arrived: Vec<(u64, f64)> = arrived.collect();
    arrived.sort_by_key(|(number, _)| *number);
    arrived
}

/// When a lost number would have come, between the arrivals of those before and after it.
fn about_when(arrivals: &[(u64, f64)], number: u64) -> f64 {
    let next = arrivals.partition_point(|(arrived, _)| *arrived < number);
    match (
        next.checked_sub(1).map(|before| arrivals[before]),
        arrivals.get(next),
    ) {
        (Some((low, from)), Some((high, to))) => {
            from + (to - from) * ((number - low) as f64 / (high - low) as f64)
        }
        (Some((_, at)), None) | (None, Some(&(_, at))) => at,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Loss, about_when, by_phase, lost};
    use crate::prober::Line;
    use crate::timeline::Span;

    #[test]
    fn a_gap_is_placed_between_its_neighbours() {
        let arrivals = [(1, 10.0), (5, 14.0)];
        assert_eq!(
            [0, 2, 4, 9].map(|number| about_when(&arrivals, number)),
            [10.0, 11.0, 13.0, 14.0]
        );
    }

    #[test]
    fn losses_are_counted_where_they_happened() {
        let spans = [Span {
            host: "alpha".into(),
            name: "transfer".into(),
            from: 1.0,
            to: 2.0,
        }];
        let record = [
            Line::Sent {
                number: 0,
                at: 0.5,
                arrived: true,
            },
            Line::Sent {
                number: 1,
                at: 1.5,
                arrived: false,
            },
            Line::Received { number: 0, at: 0.6 },
            Line::Received { number: 2, at: 2.6 },
            Line::Missing { number: 1 },
        ];
        let each: Vec<_> = lost(&record, &spans)
            .into_iter()
            .map(|one| (one.to_guest, one.number, one.phase))
            .collect();
        let in_transfer = |to_guest| (to_guest, 1, "transfer".to_owned());
        assert_eq!(each, [in_transfer(true), in_transfer(false)]);
        let phases = by_phase(&record, &spans);
        assert_eq!(
            phases["before"],
            Loss {
                to_guest: (1, 0),
                from_guest: (1, 0)
            }
        );
        assert_eq!(
            phases["transfer"],
            Loss {
                to_guest: (1, 1),
                from_guest: (1, 1)
            }
        );
        assert_eq!(
            phases["after"],
            Loss {
                to_guest: (0, 0),
                from_guest: (1, 0)
            }
        );
    }
}
