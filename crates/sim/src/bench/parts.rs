//! A migration's time, taken apart: what is not the world's is the coordinator's.

use std::time::{Duration, Instant};

use godwit_migration::Phase;

use crate::{
    model::HostId,
    stopwatch::{Note, What},
};

/// A piece of the coordinator's time.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) host: &'static str,
    pub(super) on_the_way: bool,
    pub(super) took: Duration,
}

/// What the world cannot note.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    /// The request.
    pub(super) begun: Instant,
    /// The source's record has ended.
    pub(super) here: Instant,
    /// The destination's record has ended: the guest is accelerated there.
    pub(super) there: Instant,
    /// Source and destination.
    pub(super) hosts: (HostId, HostId),
}

/// In the order: before the first work, within Reserve, the source, the destination.
pub(super) fn of(notes: &[Note], ends: Ends) -> Vec<Part> {
    let (source, destination) = ends.hosts;
    let here = phases(notes, source);
    let (first, reserved) = here
        .first()
        .map_or((ends.begun, ends.begun), |(_, from, to)| (*from, *to));
    // Until Reserve has ended nothing else is asked.
    let took = |what: What, host: HostId| -> Duration {
        let early = notes.iter().filter(|note| note.to <= reserved);
        let those = early.filter(|note| note.what == what && note.host == host);
        those.map(|note| note.to.duration_since(note.from)).sum()
    };
    let looked = |host: HostId| took(What::Look, host);
    let mut parts = vec![
        Part {
            name: "request to reserve".into(),
            host: "source",
            on_the_way: true,
            took: first.duration_since(ends.begun).saturating_sub(looked(source)),
        },
        Part {
            name: "reserve, asked by the source".into(),
            host: "destination",
            on_the_way: true,
            took: took(What::PeerAnswers, source).saturating_sub(looked(destination)),
        },
    ];
    // From the transfer on, the guest's next step is the destination's affair.
    let leaves = |next: Option<Phase>| {
        matches!(
            next,
            Some(Phase::Queue | Phase::FailOver | Phase::Unplug | Phase::Transfer)
        )
    };
    parts.extend(gaps("source", &here, ends.here, leaves));
    let there = phases(notes, destination);
    parts.extend(gaps("destination", &there, ends.there, |next| next.is_some()));
    parts
}

/// Two beginnings, and the outcome of every phase.
pub(super) fn transactions(notes: &[Note]) -> usize {
    2 + notes
        .iter()
        .filter(|note| matches!(note.what, What::Phase(_)))
        .count()
}

type Worked = (Phase, Instant, Instant);

fn phases(notes: &[Note], host: HostId) -> Vec<Worked> {
    let phase = |note: &Note| match note.what {
        What::Phase(phase) if note.host == host => Some((phase, note.from, note.to)),
        _ => None,
    };
    notes.iter().filter_map(phase).collect()
}

fn gaps(
    host: &'static str,
    worked: &[Worked],
    end: Instant,
    on_the_way: impl Fn(Option<Phase>) -> bool,
) -> Vec<Part> {
    let gap = |(index, (phase, _, to)): (usize, &Worked)| {
        let next = worked.get(index + 1);
        let until = next.map_or(end, |(_, from, _)| *from);
        let next = next.map(|(phase, ..)| *phase);
        let word = next.map_or("the end", Phase::name);
        Part {
            name: format!("{} to {word}", phase.name()),
            host,
            on_the_way: on_the_way(next),
            took: until.saturating_duration_since(*to),
        }
    };
    worked.iter().enumerate().map(gap).collect()
}
