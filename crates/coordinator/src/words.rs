//! A migration as the wire has it.

mod findings;
mod measured;
mod needs;
mod options;
mod peers;
mod profile;
mod reach;

use godwit_api::v1 as api;
use godwit_migration::{
    Acceleration, Brief, Cause, Course, Figures, Guest, Keep, Kept, Migration, Moved, Outcome, Pair, Phase,
    PhaseSpan, Policy, Role, State,
    preflight::{GuestFacts, PairFacts},
};
use prost_types::Timestamp;

pub(crate) use self::{
    findings::refused,
    needs::needs_of,
    options::{options, options_of},
};
pub use self::{
    findings::{diagnosis, estimates},
    measured::measured,
    needs::{nics, offer, pages_unseen, plan_request, planned, versions, versions_there},
    peers::{PEER_VERSION, plug_alias, reserve_request},
    profile::{profile, profile_of},
    reach::{proofs, prove},
};
use crate::operation::View;

/// Grows with each entry.
pub(crate) fn revision(migration: &Migration) -> u64 {
    // The beginning counts, so that it is never 0.
    migration.entries().len() as u64 + 1
}

pub(crate) fn migration(view: &View) -> api::Migration {
    let value = &*view.migration;
    let brief = &value.brief;
    let last = view.failed.as_deref();
    let (acceleration, standby_since, because) = acceleration(&value.acceleration());
    let because = match (standby_since, last) {
        (Some(_), Some(last)) => last.message.clone(),
        _ => because,
    };
    api::Migration {
        id: brief.id.clone(),
        revision: revision(value),
        guest: brief.guest.name.clone(),
        guest_uuid: brief.guest.uuid.clone(),
        source: brief.source.clone(),
        destination: brief.destination.clone(),
        role: match brief.role {
            Role::Source => api::Role::Source,
            Role::Destination => api::Role::Destination,
            Role::Accelerate => api::Role::Accelerate,
            Role::Decelerate => api::Role::Decelerate,
        }
        .into(),
        phase: phase(value.phase()).into(),
        moved: moved(value.moved()).into(),
        acceleration: acceleration.into(),
        standby_since,
        because,
        cancelled: value.cancelled(),
        settled: value.settled(),
        ended: value.ended(),
        needs_person: value.needs_person(),
        created: Some(timestamp(value.begun_ms)),
        timeline: value.spans().iter().map(span).collect(),
        progress: view.progress.or_else(|| value.figures()).map(progress),
        failure: failure(value, last),
        pairs: brief.pairs.iter().map(pair).collect(),
        policy: policy(brief.policy).into(),
        queue_place: view.place,
        measurement: value.measured().as_ref().map(measured::measurement),
        kept: value.kept().map(|told| kept(&told)),
        transfer: options(&brief.options),
    }
}

fn kept(value: &Kept) -> api::Kept {
    api::Kept {
        frames: value.frames,
        bytes: value.bytes,
        delivered: value.delivered,
        no_room: value.no_room,
        lost: value.lost,
        late: value.late,
        brought: value.brought,
        stragglers: value.stragglers,
        returned: value.returned,
        longest_ms: value.longest_ms,
        not_kept: value.not_kept.clone().unwrap_or_default(),
    }
}

/// A policy for the wire.
pub fn policy(value: Policy) -> api::Policy {
    match value {
        Policy::Require => api::Policy::Require,
        Policy::Prefer => api::Policy::Prefer,
        Policy::StandbyOnly => api::Policy::StandbyOnly,
    }
}

/// A policy from the wire; none where it was left open.
pub fn policy_of(value: api::Policy) -> Option<Policy> {
    Policy::ALL.into_iter().find(|known| policy(*known) == value)
}

/// Whether frames of the pause are kept.
pub fn keep(value: Keep) -> api::Keep {
    match value {
        Keep::Auto => api::Keep::Auto,
        Keep::Off => api::Keep::Off,
        Keep::On => api::Keep::On,
    }
}

/// The same from the wire; none where it was left open.
pub(crate) fn keep_of(value: api::Keep) -> Option<Keep> {
    match value {
        api::Keep::Unspecified => None,
        api::Keep::Auto => Some(Keep::Auto),
        api::Keep::Off => Some(Keep::Off),
        api::Keep::On => Some(Keep::On),
    }
}

/// What failed, for as long as it matters: a guest that is as it was asked for has no failure.
fn failure(value: &Migration, last: Option<&Cause>) -> Option<api::Failure> {
    let cause = match (value.state(), last.or(value.failure())) {
        (State::Rest(Course::Leave, Phase::Locate), cause) => not_located(value, cause),
        (_, cause) => cause.filter(|_| !is_well(value))?.clone(),
    };
    let hint = match cause.hint.is_empty() {
        true => next_command(value),
        false => cause.hint,
    };
    Some(api::Failure {
        reason: cause.reason,
        message: cause.message,
        causes: cause.causes,
        hint,
    })
}

/// What to type when the cause itself knows nothing better: once what it names is mended.
fn next_command(value: &Migration) -> String {
    let Brief {
        id,
        guest,
        source,
        destination,
        ..
    } = &value.brief;
    let name = &guest.name;
    match value.state() {
        State::Work(..) => format!("godwit watch {id}"),
        State::Rest(..) => format!("godwit retry {id}"),
        State::Done(Outcome::Aborted) => format!("godwit migrate {name} {destination}"),
        State::Done(Outcome::Moved) => format!("on {destination}: godwit status {id}"),
        State::Done(Outcome::Accelerated) => format!("godwit standby {name}"),
        State::Done(Outcome::OnStandby) => format!("godwit accelerate {name}"),
        State::Done(Outcome::Closed) => format!("on {source}: godwit status {id}"),
        State::Done(Outcome::Gone | Outcome::Left) => "godwit guests".into(),
    }
}

fn is_well(value: &Migration) -> bool {
    let accelerated = value.acceleration() == Acceleration::Accelerated;
    match value.brief.role {
        Role::Source | Role::Destination => value.moved() == Moved::Yes && accelerated,
        Role::Accelerate => value.ended() && value.moved() != Moved::Gone,
        // Ended on its VF it is not on its standby.
        Role::Decelerate => value.ended() && value.moved() != Moved::Gone && !accelerated,
    }
}

/// What went before explains it, and the evidence; what is to be done is a person's.
fn not_located(value: &Migration, before: Option<&Cause>) -> Cause {
    let brief = &value.brief;
    let spans = value.spans();
    let seen = spans
        .iter()
        .rev()
        .find(|span| span.phase == Phase::Locate && span.ended_ms.is_some());
    let seen = seen
        .map(|span| span.detail.clone())
        .filter(|seen| !seen.is_empty());
    let mut causes: Vec<String> = seen.into_iter().chain(before.map(Cause::sentence)).collect();
    causes.dedup();
    Cause {
        reason: "GUEST_NOT_LOCATED".into(),
        message: format!(
            "it is not known whether {} or {} runs guest `{}`",
            brief.source, brief.destination, brief.guest.name
        ),
        causes,
        hint: format!(
            "look on both: virsh domstate {} --reason; then: godwit resolve {} --runs-on HOST",
            brief.guest.name, brief.id
        ),
        vf: None,
        kept: None,
    }
}

fn acceleration(value: &Acceleration) -> (api::Acceleration, Option<Timestamp>, String) {
    match value {
        Acceleration::Accelerated => (api::Acceleration::Accelerated, None, String::new()),
        Acceleration::Standby { since_ms, because } => (
            api::Acceleration::Standby,
            Some(timestamp(*since_ms)),
            because.clone(),
        ),
        Acceleration::Unknown(why) => (api::Acceleration::Unknown, None, why.clone()),
    }
}

fn moved(value: Moved) -> api::Moved {
    match value {
        Moved::Undecided => api::Moved::Undecided,
        Moved::Yes => api::Moved::Yes,
        Moved::No => api::Moved::No,
        Moved::Unknown => api::Moved::Unknown,
        Moved::Gone => api::Moved::Gone,
    }
}

fn phase(value: Phase) -> api::Phase {
    match value {
        Phase::Reserve => api::Phase::Reserve,
        Phase::Queue => api::Phase::Queue,
        Phase::Hold => api::Phase::Hold,
        Phase::FailOver => api::Phase::FailOver,
        Phase::Unplug => api::Phase::Unplug,
        Phase::Transfer => api::Phase::Transfer,
        Phase::Locate => api::Phase::Locate,
        Phase::Resume => api::Phase::Resume,
        Phase::Suspend => api::Phase::Suspend,
        Phase::Release => api::Phase::Release,
        Phase::Follow => api::Phase::Follow,
        Phase::Await => api::Phase::Await,
        Phase::Plug => api::Phase::Plug,
        Phase::FailBack => api::Phase::FailBack,
        Phase::Unreserve => api::Phase::Unreserve,
    }
}

pub(crate) fn phase_back(value: api::Phase) -> Option<Phase> {
    Phase::ALL.into_iter().find(|known| phase(*known) == value)
}

fn span(value: &PhaseSpan) -> api::PhaseRecord {
    api::PhaseRecord {
        host: value.host.clone(),
        phase: phase(value.phase).into(),
        started: Some(timestamp(value.started_ms)),
        ended: value.ended_ms.map(timestamp),
        failed: value.failed,
        detail: value.detail.clone(),
    }
}

/// The phases that a peer's record shows; those of a newer version that this one does not know are left out.
pub fn spans(record: &api::Migration) -> Vec<PhaseSpan> {
    let read = |span: &api::PhaseRecord| {
        Some(PhaseSpan {
            host: span.host.clone(),
            phase: phase_back(span.phase())?,
            started_ms: milliseconds(span.started.as_ref()?),
            ended_ms: span.ended.as_ref().map(milliseconds),
            failed: span.failed,
            detail: span.detail.clone(),
        })
    };
    record.timeline.iter().filter_map(read).collect()
}

/// How the guest fares, as a peer's record shows it.
pub fn acceleration_of(record: &api::Migration) -> Acceleration {
    match record.acceleration() {
        api::Acceleration::Accelerated => Acceleration::Accelerated,
        api::Acceleration::Standby => Acceleration::Standby {
            since_ms: record
                .standby_since
                .as_ref()
                .map(milliseconds)
                .unwrap_or_default(),
            because: record.because.clone(),
        },
        _ => Acceleration::Unknown(record.because.clone()),
    }
}

/// A failure of a peer as a cause.
pub fn cause_of(failure: api::Failure) -> Cause {
    Cause {
        reason: failure.reason,
        message: failure.message,
        causes: failure.causes,
        hint: failure.hint,
        vf: None,
        kept: None,
    }
}

fn progress(value: Figures) -> api::TransferProgress {
    api::TransferProgress {
        memory_total_bytes: value.memory_total,
        memory_processed_bytes: value.memory_processed,
        memory_remaining_bytes: value.memory_remaining,
        bytes_per_second: value.rate,
        elapsed_ms: value.elapsed_ms,
        downtime_ms: value.downtime_ms,
        iteration: value.iteration,
    }
}

fn pair(value: &Pair) -> api::PairStatus {
    let vf = |vf: Option<godwit_migration::PciAddress>| vf.map(|vf| vf.to_string()).unwrap_or_default();
    api::PairStatus {
        mac: value.mac.to_string(),
        pool: value.pool.clone(),
        source_vf: vf(value.source_vf),
        destination_vf: vf(value.destination_vf),
    }
}

/// A guest, with the migration that is under way.
pub(crate) fn guest(facts: &GuestFacts, migration: Option<&Migration>) -> api::Guest {
    let problem = match godwit_migration::preflight::movable(facts) {
        Ok(_) => String::new(),
        Err(refusal) => refusal.to_string(),
    };
    let Guest { name, uuid } = facts.guest.clone();
    api::Guest {
        name,
        uuid,
        state: facts.state.clone(),
        managed: facts.managed,
        acceleration: on_primary(facts).into(),
        agent: facts.agent.is_ok(),
        pairs: facts.pairs.iter().map(guest_pair).collect(),
        migration: migration
            .map(|migration| migration.brief.id.clone())
            .unwrap_or_default(),
        problem,
        policy: match facts.managed {
            true => policy(facts.policy),
            false => api::Policy::Unspecified,
        }
        .into(),
    }
}

fn on_primary(facts: &GuestFacts) -> api::Acceleration {
    match &facts.agent {
        Ok(seen) if !seen.is_empty() && seen.iter().all(|pair| pair.on_primary) => {
            api::Acceleration::Accelerated
        }
        Ok(seen) if !seen.is_empty() => api::Acceleration::Standby,
        // Nobody has to say so of a pair of libvirt's own; that it uses its VF nobody says.
        _ if facts.running && facts.pairs.iter().any(|pair| pair.teamed && pair.vf.is_none()) => {
            api::Acceleration::Standby
        }
        _ => api::Acceleration::Unknown,
    }
}

fn guest_pair(value: &PairFacts) -> api::GuestPair {
    api::GuestPair {
        mac: value.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        pool: value.pool.clone().unwrap_or_default(),
        standby: value.standby.clone().unwrap_or_default(),
        primary: value.primary.clone().unwrap_or_default(),
        vf: value.vf.map(|vf| vf.to_string()).unwrap_or_default(),
    }
}

pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp {
        seconds: ms.div_euclid(1000),
        nanos: (ms.rem_euclid(1000) * 1_000_000) as i32,
    }
}

pub(crate) fn milliseconds(timestamp: &Timestamp) -> i64 {
    timestamp
        .seconds
        .saturating_mul(1000)
        .saturating_add(i64::from(timestamp.nanos) / 1_000_000)
}
