//! The phases of a migration on this machine's clock, and which of them an instant belongs to.

use anyhow::{Context, Result};

use crate::godwit::{Migration, Step};
use crate::{Host, clock};

/// Phases in which a host waits for the other or keeps its books: nothing is done to the guest's traffic in them,
/// so an instant belongs to them only if to no other.
const WAITING: [&str; 4] = ["await", "locate", "release", "follow"];

/// One phase on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The host.
    pub host: String,
    /// The phase.
    pub name: String,
    /// When it began, seconds since 1970 by this machine's clock.
    pub from: f64,
    /// When it was done.
    pub to: f64,
}

impl Span {
    /// How long it took.
    pub fn ms(&self) -> f64 {
        (self.to - self.from) * 1000.0
    }
}

/// Does a step, and has its span; what fails has the step's name.
pub(crate) fn step(host: Host, name: &str, work: impl FnOnce() -> Result<()>) -> Result<Span> {
    let from = clock::now();
    work().with_context(|| name.to_owned())?;
    Ok(Span {
        host: host.name().into(),
        name: name.into(),
        from,
        to: clock::now(),
    })
}

/// The migration's phases in the order of their beginnings. `offset` tells how far a host's clock is ahead.
pub fn spans(migration: &Migration, offset: impl Fn(&str) -> f64) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for step in &migration.timeline {
        let Step {
            host,
            phase,
            started,
            ended,
            ..
        } = step;
        let from = seconds(started)? - offset(host);
        let to = ended.as_deref().map_or(Ok(f64::INFINITY), seconds)? - offset(host);
        spans.push(Span {
            host: host.clone(),
            name: phase.clone(),
            from,
            to,
        });
    }
    spans.sort_by(|a, b| a.from.total_cmp(&b.from));
    Ok(spans)
}

/// The name of the phase at an instant: of those that run, the one begun last that is not just waiting. "between"
/// when none runs, "before" and "after" outside all of them.
pub fn phase_at(spans: &[Span], at: f64) -> &str {
    let running = || spans.iter().rev().filter(|span| span.from <= at && at < span.to);
    let busy = running().find(|span| !WAITING.contains(&span.name.as_str()));
    match busy.or_else(|| running().next()) {
        Some(span) => &span.name,
        None if spans.first().is_none_or(|first| at < first.from) => "before",
        None if spans.iter().all(|span| span.to <= at) => "after",
        None => "between",
    }
}

/// Seconds since 1970 of a time as Godwit writes it.
pub(crate) fn seconds(time: &str) -> Result<f64> {
    let time: jiff::Timestamp = time
        .parse()
        .with_context(|| format!("{time:?} is no RFC 3339 time"))?;
    Ok(time.as_microsecond() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::{Span, phase_at, spans};
    use crate::godwit::{Migration, Step};

    fn span(name: &str, from: f64, to: f64) -> Span {
        Span {
            host: "alpha".into(),
            name: name.into(),
            from,
            to,
        }
    }

    #[test]
    fn an_instant_belongs_to_the_work_not_to_the_waiting() {
        let spans = [
            span("reserve", 1.0, 2.0),
            span("await", 1.5, 6.0),
            span("transfer", 2.0, 4.0),
            span("plug", 7.0, 8.0),
        ];
        let names = [0.5, 1.7, 3.0, 5.0, 6.5, 7.5, 9.0].map(|at| phase_at(&spans, at));
        assert_eq!(
            names,
            [
                "before", "reserve", "transfer", "await", "between", "plug", "after"
            ]
        );
    }

    #[test]
    fn times_are_moved_to_this_machines_clock() {
        let step = Step {
            host: "beta".into(),
            phase: "plug".into(),
            started: "1970-01-01T00:00:10.5Z".into(),
            ..Step::default()
        };
        let migration = Migration {
            timeline: vec![step],
            ..Migration::default()
        };
        let spans = spans(&migration, |_| 0.5).unwrap();
        assert_eq!((spans[0].from, spans[0].to), (10.0, f64::INFINITY));
    }
}
