//! How long godwitd itself takes between the steps of a migration: from the end of a phase's work, which its record
//! has, until the outcome is on disk and told and the next phase's work begins, which is when its log says so. The
//! record alone cannot tell: in it each phase begins where the one before ended.

use anyhow::{Context, Result, ensure};

use crate::godwit::Migration;
use crate::timeline::seconds;
use crate::{Host, Place, ssh};

/// The time after one phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Between {
    /// By whose clock.
    pub host: String,
    /// The phase that had ended.
    pub after: String,
    /// How long, milliseconds; the record's own times are whole milliseconds.
    pub ms: f64,
}

/// After each phase of the migration, on both hosts.
pub fn of(place: &Place, migration: &Migration) -> Result<Vec<Between>> {
    let mut all = Vec::new();
    for host in Host::ALL {
        // A host that lost its power has left zeros in it.
        let line = format!(
            "grep --text -h 'migration={}.* to=' /var/log/godwitd.log",
            migration.id
        );
        let log = ssh::output(place, host, &line).context("the daemon's log")?;
        all.extend(on_host(migration, host.name(), &log)?);
    }
    Ok(all)
}

fn on_host(migration: &Migration, host: &str, log: &str) -> Result<Vec<Between>> {
    let told: Vec<f64> = log.lines().map(when).collect::<Result<_>>()?;
    let steps = migration.timeline.iter().filter(|step| step.host == host);
    let ended: Vec<(&str, f64)> = steps
        .filter_map(|step| Some((step.phase.as_str(), step.ended.as_deref()?)))
        .map(|(phase, ended)| Ok((phase, seconds(ended)?)))
        .collect::<Result<_>>()?;
    // A phase that failed has its line too, so one by one they belong together.
    ensure!(
        told.len() == ended.len(),
        "{host} has logged {} outcomes, and its record has {}",
        told.len(),
        ended.len()
    );
    let between = |((phase, ended), told): (&(&str, f64), &f64)| Between {
        host: host.into(),
        after: (*phase).into(),
        ms: (told - ended) * 1000.0,
    };
    Ok(ended.iter().zip(&told).map(between).collect())
}

/// The time at a log line's beginning.
fn when(line: &str) -> Result<f64> {
    let time = line.split_whitespace().next().context("an empty line")?;
    seconds(time)
}

#[cfg(test)]
mod tests {
    use super::on_host;
    use crate::godwit::{Migration, Step};

    fn migration() -> Migration {
        let step = |host: &str, phase: &str, ended: &str| Step {
            host: host.into(),
            phase: phase.into(),
            ended: Some(ended.into()),
            ..Step::default()
        };
        Migration {
            timeline: vec![
                step("alpha", "reserve", "2026-01-01T00:00:01.000Z"),
                step("beta", "await", "2026-01-01T00:00:09.000Z"),
                step("alpha", "fail-over", "2026-01-01T00:00:02.500Z"),
            ],
            ..Migration::default()
        }
    }

    #[test]
    fn each_outcome_is_matched_with_its_line() {
        let log = "2026-01-01T00:00:01.004800Z INFO x: reserved migration=m from=a to=b\n\
                   2026-01-01T00:00:02.502000Z INFO x: over migration=m from=b to=c\n";
        let all = on_host(&migration(), "alpha", log).unwrap();
        let shown: Vec<(&str, f64)> = all
            .iter()
            .map(|one| (one.after.as_str(), one.ms.round()))
            .collect();
        assert_eq!(shown, [("reserve", 5.0), ("fail-over", 2.0)]);
    }

    #[test]
    fn a_line_that_is_missing_is_noticed() {
        let log = "2026-01-01T00:00:01.004500Z INFO x: reserved migration=m from=a to=b\n";
        assert!(on_host(&migration(), "alpha", log).is_err());
    }
}
