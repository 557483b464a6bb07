//! `[[fault]]`: what a person may order to go wrong, as the file says it.

use std::time::Duration;

use godwit_coordinator::faults::{Fault, Kind, Moment};
use godwit_migration::Phase;
use serde::Deserialize;

use super::{FaultTable, PhaseName};

/// A fault may be ordered for longer than any story of it takes, and for no longer than that.
const MOST_SECONDS: u64 = 86_400;

/// What goes wrong, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KindName {
    Silent,
    Refused,
    NoAgent,
    NoVf,
    Fail,
    Pause,
    Die,
}

/// When in a phase, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MomentName {
    Before,
    During,
    After,
}

pub(super) fn once() -> u32 {
    1
}

/// The tables as the coordinator has them; on error one sentence.
pub(super) fn read(tables: &[FaultTable]) -> Result<Vec<Fault>, String> {
    let mut faults: Vec<Fault> = Vec::new();
    for (table, number) in tables.iter().zip(1..) {
        let fault = fault(table).map_err(|why| format!("[[fault]] number {number}: {why}"))?;
        if faults.iter().any(|other| other.kind == fault.kind) {
            return Err(format!(
                "[[fault]] number {number}: `{}` is there already; `times` says how often",
                fault.kind
            ));
        }
        faults.push(fault);
    }
    Ok(faults)
}

fn fault(table: &FaultTable) -> Result<Fault, String> {
    check_keys(table)?;
    let kind = match table.kind {
        KindName::Silent => Kind::Silent,
        KindName::Refused => Kind::Refused,
        KindName::NoAgent => Kind::NoAgent,
        KindName::NoVf => Kind::NoVf,
        KindName::Fail => Kind::Fail(phase(table)?),
        KindName::Pause => Kind::Pause(phase(table)?, pause(table)?),
        KindName::Die => Kind::Die(phase(table)?, moment(table)?),
    };
    let fault = Fault {
        kind,
        times: table.times,
    };
    fault.check()?;
    Ok(fault)
}

/// A key that the kind does not read would be believed to matter.
fn check_keys(table: &FaultTable) -> Result<(), String> {
    let (kind, during) = (table.kind, table.moment == Some(MomentName::During));
    let in_phase = matches!(kind, KindName::Fail | KindName::Pause | KindName::Die);
    let keys = [
        ("phase", table.phase.is_some(), in_phase),
        ("seconds", table.seconds.is_some(), kind == KindName::Pause),
        ("moment", table.moment.is_some(), kind == KindName::Die),
        (
            "after_ms",
            table.after_ms.is_some(),
            kind == KindName::Die && during,
        ),
    ];
    match keys.iter().find(|(_, given, read)| *given && !*read) {
        Some(("after_ms", ..)) => Err("`after_ms` is for `kind = \"die\"` with `moment = \"during\"`".into()),
        Some((key, ..)) => Err(format!("this kind of fault has no `{key}`")),
        None => Ok(()),
    }
}

fn phase(table: &FaultTable) -> Result<Phase, String> {
    let PhaseName(phase) = table.phase.ok_or("it needs a `phase`")?;
    Ok(phase)
}

fn pause(table: &FaultTable) -> Result<Duration, String> {
    match table.seconds {
        Some(seconds @ 1..=MOST_SECONDS) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("it needs `seconds`, 1 to {MOST_SECONDS}")),
    }
}

fn moment(table: &FaultTable) -> Result<Moment, String> {
    Ok(match table.moment.unwrap_or(MomentName::Before) {
        MomentName::Before => Moment::Before,
        MomentName::After => Moment::After,
        MomentName::During => match table.after_ms {
            Some(ms) if ms <= MOST_SECONDS * 1000 => Moment::During(Duration::from_millis(ms)),
            _ => return Err(format!("it needs `after_ms`, 0 to {}", MOST_SECONDS * 1000)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parsed(tables: &str) -> Result<Vec<Fault>, String> {
        Config::parse(&format!("host = \"alpha\"\n{tables}"))?.faults()
    }

    #[test]
    fn every_kind_is_read() {
        let faults = parsed(
            r#"
[[fault]]
kind = "silent"
[[fault]]
kind = "refused"
[[fault]]
kind = "no-agent"
times = 100
[[fault]]
kind = "no-vf"
[[fault]]
kind = "fail"
phase = "plug"
times = 3
[[fault]]
kind = "pause"
phase = "transfer"
seconds = 20
[[fault]]
kind = "die"
phase = "fail-over"
[[fault]]
kind = "die"
phase = "transfer"
moment = "during"
after_ms = 1500
[[fault]]
kind = "die"
phase = "plug"
moment = "after"
"#,
        )
        .unwrap();
        let during = Moment::During(Duration::from_millis(1500));
        let wanted = [
            (Kind::Silent, 1),
            (Kind::Refused, 1),
            (Kind::NoAgent, 100),
            (Kind::NoVf, 1),
            (Kind::Fail(Phase::Plug), 3),
            (Kind::Pause(Phase::Transfer, Duration::from_secs(20)), 1),
            (Kind::Die(Phase::FailOver, Moment::Before), 1),
            (Kind::Die(Phase::Transfer, during), 1),
            (Kind::Die(Phase::Plug, Moment::After), 1),
        ];
        assert_eq!(faults, wanted.map(|(kind, times)| Fault { kind, times }));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_a_sentence() {
        let refused = |table: &str| parsed(&format!("[[fault]]\n{table}")).unwrap_err();
        for (table, sentence) in [
            ("kind = \"fail\"", "[[fault]] number 1: it needs a `phase`"),
            (
                "kind = \"silent\"\nphase = \"plug\"",
                "[[fault]] number 1: this kind of fault has no `phase`",
            ),
            (
                "kind = \"pause\"\nphase = \"plug\"",
                "[[fault]] number 1: it needs `seconds`, 1 to 86400",
            ),
            (
                "kind = \"die\"\nphase = \"plug\"\nafter_ms = 5",
                "[[fault]] number 1: `after_ms` is for `kind = \"die\"` with `moment = \"during\"`",
            ),
            (
                "kind = \"die\"\nphase = \"plug\"\nmoment = \"during\"",
                "[[fault]] number 1: it needs `after_ms`, 0 to 86400000",
            ),
            (
                "kind = \"silent\"\ntimes = 0",
                "[[fault]] number 1: `a silent unplug` is to strike 0 times",
            ),
            (
                "kind = \"silent\"\n[[fault]]\nkind = \"silent\"",
                "[[fault]] number 2: `a silent unplug` is there already; `times` says how often",
            ),
        ] {
            assert_eq!(refused(table), sentence);
        }
        assert!(refused("kind = \"fail\"\nphase = \"unplug\"").contains("say `kind = \"refused\"`"));
        assert!(refused("kind = \"fail\"\nphase = \"await\"").contains("await cannot fail"));
        assert!(refused("kind = \"silent\"\noften = true").contains("unknown field `often`"));
    }
}
