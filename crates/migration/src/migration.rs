//! The value: what a migration is about and what happened to it, and everything that follows from that.

mod outcomes;

use serde::{Deserialize, Serialize};

use crate::{
    Brief, Cause, Kept, MacAddress, Measured, PciAddress, Policy, Role,
    phase::{Outcome, Phase, State, Verdict},
    table::{self, Happening, Illegal},
};

/// One migration as one host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// What it is about.
    pub brief: Brief,
    /// When it was begun here, in milliseconds since 1970 by this host's clock.
    pub begun_ms: i64,
    entries: Vec<Entry>,
    state: State,
}

/// Something that happened, and when. What the journal keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970 by the clock of the host that wrote it.
    pub at_ms: i64,
    /// What happened.
    pub event: Event,
}

/// What can happen to a migration, with what was learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// The phase is so.
    Done(Report),
    /// The phase could not be made so.
    Failed(Cause),
    /// The guest does not answer an unplug that cannot be withdrawn.
    Silent(Cause),
    /// The guest's whereabouts were read.
    Located {
        /// What they ask for.
        verdict: Verdict,
        /// The evidence, one sentence.
        detail: String,
    },
    /// Cancel was asked for.
    CancelAsked,
    /// The destination's part was closed before the guest came.
    Closed,
    /// The guest left this host by another hand.
    Left(Cause),
    /// The guest's policy wants no VF for it.
    Unwanted,
    /// Other VFs were set aside for these pairs, instead of ones that did not work.
    Swapped {
        /// Pair and its new VF on this host.
        held: Vec<(MacAddress, PciAddress)>,
        /// Which did not work, and why, one sentence.
        because: String,
    },
    /// Standby was asked for.
    StandbyAsked {
        /// As [`Brief::sticky`].
        sticky: bool,
    },
}

impl Event {
    /// The table's word for it.
    pub fn happening(&self) -> Happening {
        match self {
            Event::Done(_) => Happening::Done,
            Event::Failed(_) => Happening::Failed,
            Event::Silent(_) => Happening::Silent,
            Event::Located { verdict, .. } => Happening::Located(*verdict),
            Event::CancelAsked => Happening::CancelAsked,
            Event::Closed => Happening::Closed,
            Event::Left(_) => Happening::Left,
            Event::Unwanted => Happening::Unwanted,
            Event::Swapped { .. } => Happening::Swapped,
            Event::StandbyAsked { .. } => Happening::StandbyAsked,
        }
    }

    /// It came beside the work of the phase, which goes on.
    fn is_beside(&self) -> bool {
        matches!(
            self,
            Event::CancelAsked | Event::StandbyAsked { .. } | Event::Swapped { .. }
        )
    }
}

/// What a phase's work found out. Most phases fill in the sentence alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was observed, one sentence.
    pub detail: String,
    /// Reserve: the VFs that the destination holds. Hold: those that this host holds now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<(MacAddress, PciAddress)>,
    /// Transfer: libvirt's figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// Follow: how the guest fares at the destination, and why if it is on standby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceleration: Option<Acceleration>,
    /// Follow: the destination's phases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<PhaseSpan>,
    /// What the guest's probes came to, as far as that was known when the phase was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Box<Measured>>,
    /// Transfer: what became of the frames of the pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Box<Kept>>,
}

impl Report {
    /// A report of one sentence.
    pub fn of(detail: impl Into<String>) -> Report {
        Report {
            detail: detail.into(),
            ..Report::default()
        }
    }
}

/// libvirt's figures of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Guest memory, bytes.
    pub memory_total: u64,
    /// Sent so far, bytes.
    pub memory_processed: u64,
    /// Still to send, bytes.
    pub memory_remaining: u64,
    /// Bytes per second.
    pub rate: u64,
    /// Since the job began, milliseconds.
    pub elapsed_ms: u64,
    /// Passes over the memory.
    pub iteration: u32,
    /// The pause, milliseconds; known at the end.
    pub downtime_ms: Option<u64>,
}

/// Second outcome: is the guest accelerated?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acceleration {
    /// Traffic is on the VF.
    Accelerated,
    /// Traffic is on the standby.
    Standby {
        /// Since when, milliseconds since 1970.
        since_ms: i64,
        /// Why, one sentence.
        because: String,
    },
    /// Not observed; the sentence says why not.
    Unknown(String),
}

/// First outcome: did the guest move?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Not decided yet.
    Undecided,
    /// It runs at the destination.
    Yes,
    /// It runs on the source.
    No,
    /// The evidence does not say where it runs.
    Unknown,
    /// It runs on neither host.
    Gone,
}

/// One phase that was, or is being, worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// Host that worked on it.
    pub host: String,
    /// What was to be made so.
    pub phase: Phase,
    /// Milliseconds since 1970 by that host's clock.
    pub started_ms: i64,
    /// None while it runs.
    pub ended_ms: Option<i64>,
    /// It could not be made so.
    pub failed: bool,
    /// What was observed, or why it failed.
    pub detail: String,
}

impl Migration {
    /// A migration that begins now.
    pub fn begin(brief: Brief, begun_ms: i64) -> Migration {
        let state = brief.role.start();
        Migration {
            brief,
            begun_ms,
            entries: Vec::new(),
            state,
        }
    }

    /// A migration as its journal tells it.
    ///
    /// # Errors
    /// [`Illegal`] when the journal is not one that this program can have written.
    pub fn replay(brief: Brief, begun_ms: i64, entries: Vec<Entry>) -> Result<Migration, Illegal> {
        let mut migration = Migration::begin(brief, begun_ms);
        for entry in entries {
            migration.apply(entry)?;
        }
        Ok(migration)
    }

    /// Takes in what happened. On error nothing changes.
    ///
    /// # Errors
    /// [`Illegal`] when it cannot happen in this state.
    pub fn apply(&mut self, entry: Entry) -> Result<(), Illegal> {
        let before = self.state;
        self.state = table::next(before, entry.event.happening())?;
        match &entry.event {
            Event::Done(report) if before.phase() == Some(Phase::Reserve) => {
                for (mac, vf) in &report.held {
                    let pair = self.brief.pairs.iter_mut().find(|pair| pair.mac == *mac);
                    if let Some(pair) = pair {
                        pair.destination_vf = Some(*vf);
                    }
                }
            }
            Event::Done(Report { held, .. }) | Event::Swapped { held, .. } => {
                for (mac, vf) in held {
                    self.brief.set_vf_here(*mac, *vf);
                }
            }
            _ => {}
        }
        self.entries.push(entry);
        Ok(())
    }

    /// What is to be done now.
    pub fn state(&self) -> State {
        self.state
    }

    /// What happened so far, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Nothing more happens.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// A caller that waits for the outcome need not wait longer: it ended, or rests with a reason.
    pub fn settled(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Rest(..))
    }

    /// Cancel was asked for and taken.
    pub fn cancelled(&self) -> bool {
        self.entries.iter().any(|entry| entry.event == Event::CancelAsked)
    }

    /// Standby was asked for while it was accelerated; whether to stay there.
    fn standby_asked(&self) -> Option<bool> {
        self.entries.iter().rev().find_map(|entry| match entry.event {
            Event::StandbyAsked { sticky } => Some(sticky),
            _ => None,
        })
    }

    /// It ended with the guest on its standby, to stay there until somebody asks otherwise.
    pub fn keeps_standby(&self) -> bool {
        let down = self.state == State::Done(Outcome::OnStandby);
        // Of a move with that policy: whatever the guest's own is.
        let wanted = self.brief.policy == Policy::StandbyOnly && self.brief.role == Role::Destination;
        down && (wanted || self.standby_asked().unwrap_or(self.brief.sticky))
    }

    /// How often another VF was taken instead of one that did not work.
    pub fn swaps(&self) -> usize {
        let swapped = |entry: &&Entry| matches!(entry.event, Event::Swapped { .. });
        self.entries.iter().filter(swapped).count()
    }

    /// Only a person (or evidence that does not come by itself) can settle it.
    pub fn needs_person(&self) -> bool {
        let resting = matches!(self.state, State::Rest(_, Phase::Locate | Phase::Unplug));
        resting || self.state == State::Done(Outcome::Gone)
    }

    /// The destination may hold VFs for it that it has not been told to free.
    pub fn owes_unreserve(&self) -> bool {
        matches!(
            self.state,
            State::Work(_, Phase::Unreserve) | State::Rest(_, Phase::Unreserve)
        )
    }

    /// The phase at work, or the last one.
    pub fn phase(&self) -> Phase {
        self.state
            .phase()
            .or_else(|| self.spans().last().map(|span| span.phase))
            .unwrap_or(Phase::Reserve)
    }

    /// What failed last, if anything did.
    pub fn failure(&self) -> Option<&Cause> {
        self.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Failed(cause) | Event::Silent(cause) | Event::Left(cause) => Some(cause),
            _ => None,
        })
    }

    /// The last figures of the transfer.
    pub fn figures(&self) -> Option<Figures> {
        self.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Done(report) => report.figures,
            _ => None,
        })
    }

    /// Every phase that was worked on, on this host and (once told) on the other, oldest first.
    pub fn spans(&self) -> Vec<PhaseSpan> {
        let mut spans: Vec<PhaseSpan> = Vec::new();
        let mut state = self.brief.role.start();
        let mut started_ms = self.begun_ms;
        let host = match self.brief.role {
            Role::Source => &self.brief.source,
            Role::Destination | Role::Accelerate | Role::Decelerate => &self.brief.destination,
        };
        let span = |phase, started_ms| PhaseSpan {
            host: host.clone(),
            phase,
            started_ms,
            ended_ms: None,
            failed: false,
            detail: String::new(),
        };
        for entry in &self.entries {
            if let (Some(phase), false) = (state.phase(), entry.event.is_beside()) {
                let mut span = span(phase, started_ms);
                span.ended_ms = Some(entry.at_ms);
                (span.failed, span.detail) = told(&entry.event);
                let theirs = match &entry.event {
                    Event::Done(report) => report.spans.clone(),
                    _ => Vec::new(),
                };
                spans.push(span);
                spans.extend(theirs);
                started_ms = entry.at_ms;
            }
            state = table::next(state, entry.event.happening()).unwrap_or(state);
        }
        if let Some(phase) = state.phase() {
            spans.push(span(phase, started_ms));
        }
        spans
    }
}

fn told(event: &Event) -> (bool, String) {
    match event {
        Event::Done(report) => (false, report.detail.clone()),
        Event::Failed(cause) | Event::Silent(cause) | Event::Left(cause) => (true, cause.sentence()),
        Event::Located { detail, .. } => (false, detail.clone()),
        Event::Closed => (false, "closed".into()),
        Event::CancelAsked => (false, "cancel asked".into()),
        Event::Unwanted => (false, "its policy is standby-only: no VF".into()),
        Event::Swapped { because, .. } => (false, because.clone()),
        Event::StandbyAsked { .. } => (false, "standby asked".into()),
    }
}
