//! `godwit history`: what became of migrations, when, and why.

use godwit_api::v1::{Acceleration, Migration, Moved, Role};
use jiff::Timestamp;

use super::table::{Fit, Table};
use super::{outcome, words};

/// A line for each.
pub(crate) fn migrations(migrations: &[Migration], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("ID", Fit::Keep),
        ("GUEST", Fit::Cut),
        ("FROM -> TO", Fit::Wrap),
        ("OUTCOME", Fit::Keep),
        ("ENDED", Fit::Keep),
        ("TOOK", Fit::Keep),
        ("WHY", Fit::Wrap),
    ]);
    let ids: Vec<&str> = migrations.iter().map(|migration| migration.id.as_str()).collect();
    for (migration, id) in migrations.iter().zip(words::short_ids(&ids)) {
        let (begun, ended) = (words::time(migration.created.as_ref()), ended(migration));
        let took = begun
            .zip(ended)
            .map(|(begun, ended)| words::between(begun, ended));
        table.row([
            id.into(),
            migration.guest.as_str().into(),
            outcome::hosts(migration).into(),
            outcome::brief(migration).into(),
            words::to_second(ended).into(),
            took.map_or_else(|| "-".into(), words::length).into(),
            why(migration).into(),
        ]);
    }
    table.lines(width)
}

/// When its last phase ended, on whichever host.
fn ended(migration: &Migration) -> Option<Timestamp> {
    let ends = migration
        .timeline
        .iter()
        .filter_map(|record| record.ended.as_ref());
    ends.filter_map(|end| words::time(Some(end))).max()
}

/// Why it is not as it was wished; empty when it is.
fn why(migration: &Migration) -> String {
    let failure = migration.failure.as_ref().map(|failure| failure.message.as_str());
    let arriving = migration.role() == Role::Destination;
    match (migration.moved(), migration.acceleration()) {
        (Moved::Yes, Acceleration::Accelerated) => String::new(),
        (Moved::Yes, _) if !migration.because.is_empty() => migration.because.clone(),
        (Moved::No, _) if failure.is_none() && migration.cancelled => "cancelled".into(),
        (Moved::No, _) if failure.is_none() && arriving => "the guest did not come".into(),
        _ => failure.unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn every_outcome_has_its_why() {
        let named = |id: &str, migration: Migration| Migration {
            id: id.into(),
            ended: true,
            settled: true,
            ..migration
        };
        let without = |migration: Migration| Migration {
            failure: None,
            ..migration
        };
        let cancelled = Migration {
            cancelled: true,
            ..without(sample::rolled_back())
        };
        let closed = Migration {
            role: Role::Destination.into(),
            timeline: Vec::new(),
            ..without(sample::rolled_back())
        };
        let all = [
            named("0198c0de-1", sample::accelerated()),
            named("0198c0df-1", sample::on_standby()),
            named("0198c0e0-1", sample::rolled_back()),
            named("0198c0e1-1", cancelled),
            named("0198c0e2-1", closed),
        ];
        insta::assert_snapshot!(migrations(&all, None).join("\n"), @"
        ID        GUEST  FROM -> TO     OUTCOME             ENDED                 TOOK    WHY
        0198c0de  web-1  alpha -> beta  moved, accelerated  2026-01-02 03:04:15Z  10.0 s
        0198c0df  web-1  alpha -> beta  moved, on standby   2026-01-02 03:04:15Z  10.0 s  the driver in the guest did not take the VF.
        0198c0e0  web-1  alpha -> beta  rolled back         2026-01-02 03:04:11Z  6.7 s   the transfer to beta failed
        0198c0e1  web-1  alpha -> beta  rolled back         2026-01-02 03:04:11Z  6.7 s   cancelled
        0198c0e2  web-1  alpha -> beta  rolled back         -                     -       the guest did not come
        ");
        insta::assert_snapshot!(migrations(&all[2..3], Some(90)).join("\n"), @"
        ID        GUEST  FROM -> TO     OUTCOME      ENDED                 TOOK   WHY
        0198c0e0  web-1  alpha -> beta  rolled back  2026-01-02 03:04:11Z  6.7 s  the transfer to
                                                                                  beta failed
        ");
    }
}
