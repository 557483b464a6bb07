//! What the commands print for people.

use godwit_api::v1::{Acceleration, Guest, Migration, PhaseRecord, Policy};
use jiff::Timestamp;

use super::table::{Cell, Fit, Table};
use super::{kept, measured, outcome, transfer, words};
use crate::failure;

/// `godwit list`.
pub(crate) fn migrations(migrations: &[Migration], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("ID", Fit::Keep),
        ("GUEST", Fit::Cut),
        ("FROM -> TO", Fit::Wrap),
        ("STATE", Fit::Keep),
        ("SINCE", Fit::Keep),
    ]);
    let ids: Vec<&str> = migrations.iter().map(|migration| migration.id.as_str()).collect();
    for (migration, id) in migrations.iter().zip(words::short_ids(&ids)) {
        table.row([
            id.into(),
            migration.guest.as_str().into(),
            outcome::hosts(migration).into(),
            outcome::brief(migration).into(),
            words::to_second(since(migration)).into(),
        ]);
    }
    table.lines(width)
}

/// `godwit show ID`.
pub(crate) fn migration(migration: &Migration, now: Timestamp, width: Option<usize>) -> Vec<String> {
    let mut lines = head(migration);
    lines.push(String::new());
    lines.extend(outcome::sentences(migration));
    if let Some(memory) = at_transfer(migration) {
        lines.push(format!("Memory copied: {memory}."));
    }
    if !migration.timeline.is_empty() {
        lines.push(String::new());
        lines.extend(timeline(&migration.timeline, now, width));
    }
    if !migration.pairs.is_empty() {
        lines.push(String::new());
        lines.extend(pairs(migration, width));
    }
    if let Some(measurement) = &migration.measurement {
        lines.push(String::new());
        lines.extend(measured::lines(measurement, migration.progress.as_ref(), width));
    }
    if let Some(kept) = &migration.kept {
        lines.push(String::new());
        lines.push(kept::line(kept, migration.moved()));
    }
    if let Some(failure) = &migration.failure {
        lines.push(String::new());
        lines.extend(failure::lines(failure));
    }
    lines
}

/// `godwit guests`.
pub(crate) fn guests(guests: &[Guest], width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("NAME", Fit::Cut),
        ("STATE", Fit::Keep),
        ("MANAGED", Fit::Keep),
        ("TRAFFIC", Fit::Keep),
        ("AGENT", Fit::Keep),
        ("PAIRS", Fit::Keep),
        ("PROBLEM", Fit::Wrap),
    ]);
    for guest in guests {
        table.row([
            guest.name.as_str().into(),
            guest.state.as_str().into(),
            managed(guest).into(),
            traffic(guest.acceleration()).into(),
            yes_no(guest.agent),
            pairs_of(guest).into(),
            problem(guest).into(),
        ]);
    }
    table.lines(width)
}

/// `godwit adopt GUEST`.
pub(crate) fn adopted(guest: &Guest, width: Option<usize>) -> Vec<String> {
    let count = match guest.pairs.len() {
        1 => "1 pair".into(),
        n => format!("{n} pairs"),
    };
    let policy = words::policy(guest.policy());
    let policy = policy.map(|policy| format!(" and the policy {policy}"));
    let mut lines = vec![
        format!(
            "{} is managed now, with {count}{}:",
            guest.name,
            policy.unwrap_or_default()
        ),
        String::new(),
    ];
    let mut table = Table::new([
        ("PAIR", Fit::Keep),
        ("POOL", Fit::Cut),
        ("STANDBY", Fit::Cut),
        ("PRIMARY", Fit::Cut),
        ("VF", Fit::Keep),
    ]);
    for pair in &guest.pairs {
        table.row([
            pair.mac.as_str().into(),
            pair.pool.as_str().into(),
            or_dash(&pair.standby),
            or_dash(&pair.primary),
            or_dash(&pair.vf),
        ]);
    }
    lines.extend(table.lines(width));
    if !guest.problem.is_empty() {
        lines.extend([String::new(), format!("Problem: {}", guest.problem)]);
    }
    lines
}

fn head(migration: &Migration) -> Vec<String> {
    let phase = words::phase_or_dash(migration.phase());
    let why = outcome::waits(migration)
        .map(|why| format!(", {why}"))
        .unwrap_or_default();
    let state = match (migration.ended, migration.settled) {
        (true, _) => "ended".into(),
        (false, true) => format!("rests at {phase}{why}"),
        (false, false) => format!("at work on {phase}{why}"),
    };
    let cancelled = if migration.cancelled { ", cancelled" } else { "" };
    let mut lines = vec![
        format!("{:<10} {}", outcome::noun(migration), migration.id),
        format!("guest      {} ({})", migration.guest, migration.guest_uuid),
    ];
    lines.push(match outcome::stays(migration) {
        true => format!("host       {}", migration.source),
        false => {
            let role = words::role(migration.role()).map(|role| format!(" (this host is the {role})"));
            format!(
                "way        {}{}",
                outcome::hosts(migration),
                role.unwrap_or_default()
            )
        }
    });
    lines.extend(words::policy(migration.policy()).map(|policy| format!("policy     {policy}")));
    let transfer = migration.transfer.as_ref().map(transfer::words);
    lines.extend(transfer.map(|options| format!("transfer   {options}")));
    let created = words::to_second(words::time(migration.created.as_ref()));
    lines.push(format!("created    {created}"));
    lines.push(format!("state      {state}{cancelled}"));
    lines
}

fn at_transfer(migration: &Migration) -> Option<String> {
    let progress = migration.progress.as_ref().filter(|_| !migration.settled)?;
    let running = |record: &PhaseRecord| record.ended.is_none();
    let transfer = words::phase_or_dash(migration.phase()) == "transfer";
    (transfer && migration.timeline.last().is_some_and(running))
        .then(|| words::memory(progress))
        .flatten()
}

fn timeline(records: &[PhaseRecord], now: Timestamp, width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([
        ("HOST", Fit::Cut),
        ("PHASE", Fit::Keep),
        ("STARTED", Fit::Keep),
        ("TOOK", Fit::Keep),
        ("RESULT", Fit::Wrap),
    ]);
    for record in records {
        let started = words::time(record.started.as_ref());
        let so_far =
            || started.map(|started| format!("{} so far", words::length(words::between(started, now))));
        let took = words::took(record).map(words::length).or_else(so_far);
        table.row([
            record.host.as_str().into(),
            words::phase_or_dash(record.phase()).into(),
            words::of_day(started).into(),
            took.unwrap_or_else(|| "-".into()).into(),
            result(record).into(),
        ]);
    }
    table.lines(width)
}

fn result(record: &PhaseRecord) -> String {
    let word = match (record.failed, record.ended.is_some()) {
        (true, _) => "failed",
        (false, true) => "done",
        (false, false) => "at work",
    };
    if record.detail.is_empty() {
        word.into()
    } else {
        format!("{word}: {}", record.detail)
    }
}

fn pairs(migration: &Migration, width: Option<usize>) -> Vec<String> {
    if outcome::stays(migration) {
        return pairs_here(migration, width);
    }
    let (source, destination) = (
        format!("VF ON {}", migration.source),
        format!("VF ON {}", migration.destination),
    );
    let mut table = Table::new([
        ("PAIR", Fit::Keep),
        ("POOL", Fit::Cut),
        (source.as_str(), Fit::Keep),
        (destination.as_str(), Fit::Keep),
    ]);
    for pair in &migration.pairs {
        table.row([
            pair.mac.as_str().into(),
            pair.pool.as_str().into(),
            or_dash(&pair.source_vf),
            or_dash(&pair.destination_vf),
        ]);
    }
    table.lines(width)
}

fn pairs_here(migration: &Migration, width: Option<usize>) -> Vec<String> {
    let mut table = Table::new([("PAIR", Fit::Keep), ("POOL", Fit::Cut), ("VF", Fit::Keep)]);
    for pair in &migration.pairs {
        table.row([
            pair.mac.as_str().into(),
            pair.pool.as_str().into(),
            or_dash(outcome::vf_here(pair)),
        ]);
    }
    table.lines(width)
}

/// Since when a migration is in the state that [`outcome::brief`] names.
fn since(migration: &Migration) -> Option<Timestamp> {
    let standby = migration.standby_since.as_ref().filter(|_| migration.settled);
    let last = migration.timeline.last();
    let phase = last.and_then(|record| record.ended.as_ref().or(record.started.as_ref()));
    words::time(standby.or(phase).or(migration.created.as_ref()))
}

fn pairs_of(guest: &Guest) -> Vec<String> {
    let pair = |pair: &godwit_api::v1::GuestPair| {
        let vf = if pair.vf.is_empty() { "no VF" } else { &pair.vf };
        format!("{} {vf}", pair.mac)
    };
    guest.pairs.iter().map(pair).collect()
}

fn problem(guest: &Guest) -> String {
    match (guest.problem.as_str(), guest.migration.as_str()) {
        ("", "") => String::new(),
        ("", migration) => format!("(under way: {migration})"),
        (problem, _) => problem.into(),
    }
}

fn traffic(acceleration: Acceleration) -> String {
    match acceleration {
        Acceleration::Standby => "on standby".into(),
        other => words::acceleration(other).unwrap_or_else(|| "-".into()),
    }
}

/// The policy is told where it is not the ordinary one.
fn managed(guest: &Guest) -> String {
    match (guest.managed, guest.policy()) {
        (false, _) => "no".into(),
        (true, Policy::Unspecified | Policy::Require) => "yes".into(),
        (true, policy) => format!("yes, {}", words::policy(policy).unwrap_or_default()),
    }
}

fn yes_no(value: bool) -> Cell {
    if value { "yes".into() } else { "no".into() }
}

pub(super) fn or_dash(text: &str) -> Cell {
    if text.is_empty() { "-".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample::{self, at};

    fn told(migration: &Migration, width: Option<usize>) -> String {
        super::migration(migration, at(4_700), width).join("\n")
    }

    #[test]
    fn all_migrations() {
        let mut other = sample::on_standby();
        other.id = "0198ffff-0000".into();
        let mut waiting = sample::running();
        waiting.id = "0197aaaa".into();
        waiting.timeline.clear();
        insta::assert_snapshot!(migrations(&[sample::running(), other, waiting, sample::accelerating()], None).join("\n"), @"
        ID                                    GUEST  FROM -> TO     STATE              SINCE
        0198c0de-1111-7222-8333-444455556666  web-1  alpha -> beta  transfer 60 %      2026-01-02 03:04:06Z
        0198ffff-0000                         web-1  alpha -> beta  moved, on standby  2026-01-02 03:04:15Z
        0197aaaa                              web-1  alpha -> beta  transfer 60 %      2026-01-02 03:04:05Z
        0198c0de-1111-7222-8333-444455556666  web-1  alpha          accelerate: plug   2026-01-02 03:04:05Z
        ");
    }

    #[test]
    fn one_that_runs() {
        insta::assert_snapshot!(told(&sample::running(), None), @"
        Migration  0198c0de-1111-7222-8333-444455556666
        guest      web-1 (11111111-2222-3333-4444-555555555555)
        way        alpha -> beta (this host is the source)
        created    2026-01-02 03:04:05Z
        state      at work on transfer

        It is not decided yet whether web-1 moves from alpha to beta.
        Its traffic is on standby since 2026-01-02 03:04:06Z, because web-1 is being moved.
        Memory copied: 312 of 512 MiB, 60 %, 98.3 MiB/s.

        HOST   PHASE      STARTED        TOOK          RESULT
        alpha  reserve    03:04:05.067Z  412 ms        done: beta holds 0000:01:10.2
        alpha  fail-over  03:04:05.479Z  1.0 s         done
        alpha  transfer   03:04:06.567Z  3.2 s so far  at work

        PAIR               POOL  VF ON alpha   VF ON beta
        52:54:00:00:00:01  blue  0000:01:10.0  0000:01:10.2
        ");
    }

    #[test]
    fn one_that_failed_in_a_narrow_terminal() {
        insta::assert_snapshot!(told(&sample::rolled_back(), Some(60)), @"
        Migration  0198c0de-1111-7222-8333-444455556666
        guest      web-1 (11111111-2222-3333-4444-555555555555)
        way        alpha -> beta (this host is the source)
        created    2026-01-02 03:04:05Z
        state      ended

        web-1 stays on alpha.
        Its traffic is on the VF 0000:01:10.0.

        HOST   PHASE      STARTED        TOOK    RESULT
        alpha  reserve    03:04:05.067Z  412 ms  done: beta holds
                                                 0000:01:10.2
        alpha  fail-over  03:04:05.479Z  1.0 s   done
        alpha  transfer   03:04:06.567Z  5.2 s   failed: libvirt:
                                                 connection reset

        PAIR               POOL  VF ON alpha   VF ON beta
        52:54:00:00:00:01  blue  0000:01:10.0  0000:01:10.2

        Error: the transfer to beta failed
        Caused by: libvirt: connection reset
        Hint: ping beta
        ");
    }

    #[test]
    fn one_that_stays_and_one_in_the_queue() {
        let stays = told(&sample::accelerating(), None);
        let queued = told(&sample::queued(), None);
        insta::assert_snapshot!(format!("{stays}\n\n{}", queued.split("\n\nHOST").next().unwrap()), @"
        Operation  0198c0de-1111-7222-8333-444455556666
        guest      web-1 (11111111-2222-3333-4444-555555555555)
        host       alpha
        policy     prefer
        created    2026-01-02 03:04:05Z
        state      at work on plug

        web-1 is being accelerated on alpha.
        Its traffic is on standby since 2026-01-02 03:04:06Z, because the VF was pulled.

        HOST   PHASE  STARTED        TOOK          RESULT
        alpha  hold   03:04:05.067Z  40 ms         done: alpha holds 0000:01:10.4
        alpha  plug   03:04:05.107Z  4.6 s so far  at work

        PAIR               POOL  VF
        52:54:00:00:00:01  blue  0000:01:10.4

        Migration  0198c0de-1111-7222-8333-444455556666
        guest      web-1 (11111111-2222-3333-4444-555555555555)
        way        alpha -> beta (this host is the source)
        policy     require
        created    2026-01-02 03:04:05Z
        state      at work on queue, waits for other transfers, place 2

        It is not decided yet whether web-1 moves from alpha to beta.
        Its traffic is on the VF 0000:01:10.0.
        It waits for other transfers, place 2.
        ");
    }

    #[test]
    fn one_of_which_nothing_is_known() {
        let lines = super::migration(&Migration::default(), at(0), Some(1));
        assert_eq!(lines[4], "state      at work on -");
    }

    #[test]
    fn all_guests() {
        let plain = Guest {
            name: "db-1".into(),
            state: "shut off".into(),
            ..Guest::default()
        };
        let stray = Guest {
            name: "mail-1\x1b[2J".into(),
            acceleration: Acceleration::Standby.into(),
            agent: false,
            problem: "the agent does not answer".into(),
            ..sample::guest()
        };
        let moving = Guest {
            name: "web-2".into(),
            policy: Policy::StandbyOnly.into(),
            migration: "0198c0de".into(),
            ..sample::guest()
        };
        insta::assert_snapshot!(guests(&[sample::guest(), plain, stray, moving], None).join("\n"), @"
        NAME       STATE     MANAGED            TRAFFIC      AGENT  PAIRS                           PROBLEM
        web-1      running   yes                accelerated  yes    52:54:00:00:00:01 0000:01:10.0
                                                                    52:54:00:00:00:02 no VF
        db-1       shut off  no                 -            no
        mail-1[2J  running   yes                on standby   no     52:54:00:00:00:01 0000:01:10.0  the agent does not answer
                                                                    52:54:00:00:00:02 no VF
        web-2      running   yes, standby-only  accelerated  yes    52:54:00:00:00:01 0000:01:10.0  (under way: 0198c0de)
                                                                    52:54:00:00:00:02 no VF
        ");
    }

    #[test]
    fn an_adopted_guest() {
        insta::assert_snapshot!(adopted(&sample::guest(), None).join("\n"), @"
        web-1 is managed now, with 2 pairs:

        PAIR               POOL  STANDBY  PRIMARY      VF
        52:54:00:00:00:01  blue  net0     ua-godwit-0  0000:01:10.0
        52:54:00:00:00:02  blue  net0     -            -
        ");
    }
}
