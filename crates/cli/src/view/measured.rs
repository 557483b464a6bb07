//! What the guest's probes came to, for people.

use godwit_api::v1::{Measurement, PairMeasurement, PhaseMeasurement, ProbeKind, TransferProgress};

use super::table::{Fit, Table};
use super::words;

/// A table for each pair, and what is not in it.
pub(crate) fn lines(
    measurement: &Measurement,
    progress: Option<&TransferProgress>,
    width: Option<usize>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for pair in &measurement.pairs {
        lines.extend(one(pair, width));
        lines.push(String::new());
    }
    if !measurement.not_measured.is_empty() {
        lines.push(format!("Not measured: {}.", measurement.not_measured));
    }
    let downtime = progress.and_then(|progress| progress.downtime_ms);
    if let Some(downtime) = downtime.filter(|_| !measurement.pairs.is_empty()) {
        let downtime = words::length(downtime);
        lines.push(format!(
            "The pause took {downtime}, by libvirt. It is in no gap: the guest's clock stood still."
        ));
    }
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn one(pair: &PairMeasurement, width: Option<usize>) -> Vec<String> {
    let mut lines = vec![format!(
        "By the word of the guest's agent, {} asked {} {} times a second ({}):",
        pair.mac,
        pair.target,
        pair.per_second,
        kind(pair.kind()),
    )];
    let mut table = Table::new([
        ("PHASE", Fit::Keep),
        ("SENT", Fit::Keep),
        ("LOST", Fit::Keep),
        ("TWICE", Fit::Keep),
        ("LONGEST GAP", Fit::Keep),
    ]);
    for phase in &pair.phases {
        table.row([
            words::phase_or_dash(phase.phase()).into(),
            phase.sent.to_string().into(),
            lost(phase).into(),
            phase.duplicated.to_string().into(),
            words::length(phase.longest_gap_ms.into()).into(),
        ]);
    }
    lines.extend(table.lines(width));
    lines
}

/// Which way they were lost, where that is known, and what is neither answered nor lost yet.
fn lost(phase: &PhaseMeasurement) -> String {
    let settled = phase.answered.saturating_add(phase.lost);
    let open = phase.sent.saturating_sub(settled);
    let (there, back) = (phase.lost_there.unwrap_or(0), phase.lost_back.unwrap_or(0));
    let untold = match (phase.lost_there, phase.lost_back) {
        (None, None) => 0,
        _ => phase.lost.saturating_sub(there.saturating_add(back)),
    };
    let parts = [
        (there, "there"),
        (back, "back"),
        (untold, "not known"),
        (open, "open"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    match parts.is_empty() {
        true => phase.lost.to_string(),
        false => format!("{} ({})", phase.lost, parts.join(", ")),
    }
}

fn kind(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Arp => "round trips, ARP",
        ProbeKind::Nd => "round trips, neighbour discovery",
        ProbeKind::Echo => "round trips, ICMP echo",
        ProbeKind::Reflector => "a reflector, which tells which way each was lost",
        ProbeKind::Unspecified => "probes of another kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    fn told(measurement: &Measurement, downtime_ms: Option<u64>) -> String {
        let progress = TransferProgress {
            downtime_ms,
            ..Default::default()
        };
        lines(measurement, Some(&progress), None).join("\n")
    }

    #[test]
    fn a_table_for_each_pair_and_the_pause_beside_it() {
        insta::assert_snapshot!(told(&sample::measurement(), Some(214)), @"
        By the word of the guest's agent, 52:54:00:00:00:01 asked 10.77.0.1 100 times a second (round trips, ARP):
        PHASE      SENT  LOST        TWICE  LONGEST GAP
        fail-over  31    0           0      12 ms
        unplug     61    4           0      52 ms
        transfer   1240  0           0      14 ms
        fail-back  48    0 (2 open)  2      11 ms

        The pause took 214 ms, by libvirt. It is in no gap: the guest's clock stood still.
        ");
    }

    #[test]
    fn which_way_each_was_lost_is_told_as_far_as_the_reflector_said() {
        let mut reflected = sample::measurement();
        let pair = &mut reflected.pairs[0];
        pair.kind = ProbeKind::Reflector.into();
        for phase in &mut pair.phases {
            (phase.lost_there, phase.lost_back) = (Some(0), Some(0));
        }
        let unplug = &mut pair.phases[1];
        (unplug.lost_there, unplug.lost_back) = (Some(1), Some(2));
        let last = &mut pair.phases[3];
        (last.answered, last.lost, last.lost_back) = (43, 3, Some(3));
        insta::assert_snapshot!(told(&reflected, None), @"
        By the word of the guest's agent, 52:54:00:00:00:01 asked 10.77.0.1 100 times a second (a reflector, which tells which way each was lost):
        PHASE      SENT  LOST                              TWICE  LONGEST GAP
        fail-over  31    0                                 0      12 ms
        unplug     61    4 (1 there, 2 back, 1 not known)  0      52 ms
        transfer   1240  0                                 0      14 ms
        fail-back  48    3 (3 back, 2 open)                2      11 ms
        ");
    }

    #[test]
    fn what_was_not_measured_is_told() {
        let nothing = Measurement {
            not_measured: "the agent is older than this, and measures nothing".into(),
            ..Default::default()
        };
        insta::assert_snapshot!(told(&nothing, Some(214)), @"Not measured: the agent is older than this, and measures nothing.");
        assert_eq!(told(&Measurement::default(), None), "");
    }
}
