//! The JSON of `--json`: a promise to programs. A missing value is null, a name is a short kebab-case word, a
//! time is RFC 3339 in UTC with milliseconds. Fields are only ever added.

use godwit_api::v1 as api;
use serde::Serialize;

use super::{kept::Kept, words};

mod checks;
mod dbus;
mod doctor;
mod hook;
mod hosts;
mod measured;
mod plan;
mod reflect;

pub(crate) use checks::Checks;
pub(crate) use dbus::{DbusChecked, DbusFile, DbusInstalled};
pub(crate) use doctor::Doctor;
pub(crate) use hook::{HookChecked, HookInstalled};
pub(crate) use hosts::{Holds, Hosts, Pools, Vfs};
use measured::Measurement;
pub(crate) use plan::Plan;
pub(crate) use reflect::Reflects;

/// One migration.
#[derive(Debug, Serialize)]
pub(crate) struct Migration<'a> {
    id: &'a str,
    guest: &'a str,
    guest_uuid: &'a str,
    source: &'a str,
    destination: &'a str,
    role: Option<String>,
    phase: Option<String>,
    moved: Option<String>,
    acceleration: Option<String>,
    standby_since: Option<String>,
    because: &'a str,
    cancelled: bool,
    settled: bool,
    ended: bool,
    needs_person: bool,
    created: Option<String>,
    timeline: Vec<PhaseRecord<'a>>,
    progress: Option<Progress>,
    failure: Option<Failure<'a>>,
    pairs: Vec<Pair<'a>>,
    policy: Option<String>,
    /// From 1; 0: it does not wait for other transfers.
    queue_place: u32,
    measurement: Option<Measurement<'a>>,
    kept: Option<Kept<'a>>,
    transfer: Option<super::transfer::Transfer<'a>>,
}

#[derive(Debug, Serialize)]
struct PhaseRecord<'a> {
    host: &'a str,
    phase: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    failed: bool,
    detail: &'a str,
}

#[derive(Debug, Serialize)]
struct Progress {
    memory_total_bytes: u64,
    memory_processed_bytes: u64,
    memory_remaining_bytes: u64,
    bytes_per_second: u64,
    elapsed_ms: u64,
    downtime_ms: Option<u64>,
    iteration: u32,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    reason: &'a str,
    message: &'a str,
    causes: &'a [String],
    hint: &'a str,
}

#[derive(Debug, Serialize)]
struct Pair<'a> {
    mac: &'a str,
    pool: &'a str,
    source_vf: &'a str,
    destination_vf: &'a str,
}

/// `godwit list`.
#[derive(Debug, Serialize)]
pub(crate) struct Migrations<'a> {
    migrations: Vec<Migration<'a>>,
    /// There are older ones.
    more: bool,
}

/// `godwit standby --pf` and `accelerate --pf`.
#[derive(Debug, Serialize)]
pub(crate) struct Begun<'a> {
    operations: Vec<Migration<'a>>,
    refused: Vec<Failure<'a>>,
}

impl<'a> Begun<'a> {
    pub(crate) fn of(operations: &'a [api::Migration], refused: &'a [api::Failure]) -> Begun<'a> {
        Begun {
            operations: operations.iter().map(Migration::from).collect(),
            refused: refused.iter().map(Failure::from).collect(),
        }
    }
}

/// A command that failed.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal<'a> {
    error: Failure<'a>,
}

/// `godwit completions` and `godwit man`: a text of our own.
#[derive(Debug, Serialize)]
pub(crate) struct Page<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

/// `godwit man DIR`.
#[derive(Debug, Serialize)]
pub(crate) struct Written<'a> {
    pub(crate) written: &'a [String],
}

/// One guest.
#[derive(Debug, Serialize)]
pub(crate) struct Guest<'a> {
    name: &'a str,
    uuid: &'a str,
    state: &'a str,
    managed: bool,
    acceleration: Option<String>,
    agent: bool,
    pairs: Vec<GuestPair<'a>>,
    migration: &'a str,
    problem: &'a str,
    policy: Option<String>,
}

#[derive(Debug, Serialize)]
struct GuestPair<'a> {
    mac: &'a str,
    pool: &'a str,
    standby: &'a str,
    primary: &'a str,
    vf: &'a str,
}

/// `godwit guests`.
#[derive(Debug, Serialize)]
pub(crate) struct Guests<'a> {
    guests: Vec<Guest<'a>>,
}

impl<'a> From<&'a api::Migration> for Migration<'a> {
    fn from(m: &'a api::Migration) -> Migration<'a> {
        Migration {
            id: &m.id,
            guest: &m.guest,
            guest_uuid: &m.guest_uuid,
            source: &m.source,
            destination: &m.destination,
            role: words::role(m.role()),
            phase: words::phase(m.phase()),
            moved: words::moved(m.moved()),
            acceleration: words::acceleration(m.acceleration()),
            standby_since: time(m.standby_since.as_ref()),
            because: &m.because,
            cancelled: m.cancelled,
            settled: m.settled,
            ended: m.ended,
            needs_person: m.needs_person,
            created: time(m.created.as_ref()),
            timeline: m.timeline.iter().map(PhaseRecord::from).collect(),
            progress: m.progress.as_ref().map(Progress::from),
            failure: m.failure.as_ref().map(Failure::from),
            pairs: m.pairs.iter().map(Pair::from).collect(),
            policy: words::policy(m.policy()),
            queue_place: m.queue_place,
            measurement: m.measurement.as_ref().map(Measurement::from),
            kept: m.kept.as_ref().map(Kept::from),
            transfer: m.transfer.as_ref().map(super::transfer::Transfer::from),
        }
    }
}

impl<'a> From<&'a api::PhaseRecord> for PhaseRecord<'a> {
    fn from(record: &'a api::PhaseRecord) -> PhaseRecord<'a> {
        PhaseRecord {
            host: &record.host,
            phase: words::phase(record.phase()),
            started: time(record.started.as_ref()),
            ended: time(record.ended.as_ref()),
            failed: record.failed,
            detail: &record.detail,
        }
    }
}

impl From<&api::TransferProgress> for Progress {
    fn from(progress: &api::TransferProgress) -> Progress {
        Progress {
            memory_total_bytes: progress.memory_total_bytes,
            memory_processed_bytes: progress.memory_processed_bytes,
            memory_remaining_bytes: progress.memory_remaining_bytes,
            bytes_per_second: progress.bytes_per_second,
            elapsed_ms: progress.elapsed_ms,
            downtime_ms: progress.downtime_ms,
            iteration: progress.iteration,
        }
    }
}

impl<'a> From<&'a api::Failure> for Failure<'a> {
    fn from(failure: &'a api::Failure) -> Failure<'a> {
        let api::Failure {
            reason,
            message,
            causes,
            hint,
        } = failure;
        Failure {
            reason,
            message,
            causes,
            hint,
        }
    }
}

impl<'a> From<&'a api::Failure> for Refusal<'a> {
    fn from(failure: &'a api::Failure) -> Refusal<'a> {
        Refusal {
            error: Failure::from(failure),
        }
    }
}

impl<'a> From<&'a api::PairStatus> for Pair<'a> {
    fn from(pair: &'a api::PairStatus) -> Pair<'a> {
        let api::PairStatus {
            mac,
            pool,
            source_vf,
            destination_vf,
        } = pair;
        Pair {
            mac,
            pool,
            source_vf,
            destination_vf,
        }
    }
}

impl<'a> Migrations<'a> {
    pub(crate) fn of(migrations: &'a [api::Migration], more: bool) -> Migrations<'a> {
        Migrations {
            migrations: migrations.iter().map(Migration::from).collect(),
            more,
        }
    }
}

impl<'a> From<&'a api::ListMigrationsResponse> for Migrations<'a> {
    fn from(page: &'a api::ListMigrationsResponse) -> Migrations<'a> {
        Migrations::of(&page.migrations, !page.next_page_token.is_empty())
    }
}

impl<'a> From<&'a api::Guest> for Guest<'a> {
    fn from(guest: &'a api::Guest) -> Guest<'a> {
        Guest {
            name: &guest.name,
            uuid: &guest.uuid,
            state: &guest.state,
            managed: guest.managed,
            acceleration: words::acceleration(guest.acceleration()),
            agent: guest.agent,
            pairs: guest.pairs.iter().map(GuestPair::from).collect(),
            migration: &guest.migration,
            problem: &guest.problem,
            policy: words::policy(guest.policy()),
        }
    }
}

impl<'a> From<&'a api::GuestPair> for GuestPair<'a> {
    fn from(pair: &'a api::GuestPair) -> GuestPair<'a> {
        let api::GuestPair {
            mac,
            pool,
            standby,
            primary,
            vf,
        } = pair;
        GuestPair {
            mac,
            pool,
            standby,
            primary,
            vf,
        }
    }
}

impl<'a> From<&'a [api::Guest]> for Guests<'a> {
    fn from(guests: &'a [api::Guest]) -> Guests<'a> {
        Guests {
            guests: guests.iter().map(Guest::from).collect(),
        }
    }
}

fn time(wire: Option<&prost_types::Timestamp>) -> Option<String> {
    words::time(wire).map(words::rfc3339)
}

#[cfg(test)]
mod tests;
