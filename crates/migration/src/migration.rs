//! The value: what a migration is about and what happened to it, and everything that follows from that.

use serde::{Deserialize, Serialize};

use crate::{
    Brief, MacAddress, PciAddress, Role,
    phase::{Course, Outcome, Phase, State, Verdict},
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
        }
    }
}

/// What a phase's work found out. Most phases fill in the sentence alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was observed, one sentence.
    pub detail: String,
    /// Reserve: the VFs that the destination holds.
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

/// Why something failed: for people a sentence, its causes and the next command; for programs a word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Stable word, `UPPER_CASE`.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// From near to far.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The next command to type; empty where there is none.
    #[serde(default)]
    pub hint: String,
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
        self.state = table::next(self.state, entry.event.happening())?;
        if let Event::Done(report) = &entry.event {
            for (mac, vf) in &report.held {
                let pair = self.brief.pairs.iter_mut().find(|pair| pair.mac == *mac);
                if let Some(pair) = pair {
                    pair.destination_vf = Some(*vf);
                }
            }
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

    /// First outcome.
    pub fn moved(&self) -> Moved {
        match (self.brief.role, self.state) {
            (_, State::Done(Outcome::Moved | Outcome::Accelerated)) => Moved::Yes,
            (_, State::Work(Course::Leave, Phase::Release | Phase::Follow)) => Moved::Yes,
            (_, State::Rest(Course::Leave, Phase::Locate)) => Moved::Unknown,
            (_, State::Work(Course::Quit, _) | State::Rest(Course::Quit, _)) => Moved::Gone,
            (_, State::Done(Outcome::Gone | Outcome::Left)) => Moved::Gone,
            (_, State::Work(Course::Arrive, Phase::Release)) => Moved::Gone,
            (_, State::Done(Outcome::Aborted | Outcome::Closed)) => Moved::No,
            (Role::Source, State::Work(Course::Return | Course::Stay, _) | State::Rest(..)) => Moved::No,
            (Role::Destination, State::Work(_, Phase::Await)) => Moved::Undecided,
            (Role::Destination, _) => Moved::Yes,
            (Role::Source, _) => Moved::Undecided,
        }
    }

    /// Second outcome, as far as this host's record tells.
    pub fn acceleration(&self) -> Acceleration {
        match self.state {
            State::Done(Outcome::Accelerated) => Acceleration::Accelerated,
            State::Done(Outcome::Moved) => self.followed(),
            State::Done(Outcome::Gone | Outcome::Left | Outcome::Closed)
            | State::Work(Course::Quit, _)
            | State::Rest(Course::Quit, _)
            | State::Work(Course::Arrive, Phase::Release) => {
                Acceleration::Unknown("the guest does not run here".into())
            }
            _ => self.acceleration_so_far(),
        }
    }

    fn followed(&self) -> Acceleration {
        let told = self.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Done(report) => report.acceleration.clone(),
            _ => None,
        });
        let silent = format!("{} has not told", self.brief.destination);
        told.unwrap_or(Acceleration::Unknown(silent))
    }

    /// On the source a guest starts on its VF; at the destination it arrives on standby. From there the last
    /// switch that was worked on decides.
    fn acceleration_so_far(&self) -> Acceleration {
        let mut now = match self.brief.role {
            Role::Source => Acceleration::Accelerated,
            Role::Destination => self.standby(self.begun_ms),
        };
        let mut state = self.brief.role.start();
        for entry in &self.entries {
            let done = matches!(entry.event, Event::Done(_));
            match state.phase() {
                // Also when it failed: it may have half happened, so standby is the safe thing to say.
                Some(Phase::FailOver) => now = self.standby(entry.at_ms),
                Some(Phase::FailBack) if done => now = Acceleration::Accelerated,
                Some(Phase::Await) => now = self.standby(entry.at_ms),
                _ => {}
            }
            state = table::next(state, entry.event.happening()).unwrap_or(state);
        }
        now
    }

    fn standby(&self, since_ms: i64) -> Acceleration {
        let because = match self.failure() {
            Some(cause) => cause.message.clone(),
            None => format!("migration {} is at {}", self.brief.id, self.phase().name()),
        };
        Acceleration::Standby { since_ms, because }
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
            Role::Destination => &self.brief.destination,
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
            if let (Some(phase), false) = (state.phase(), entry.event == Event::CancelAsked) {
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
        Event::Failed(cause) | Event::Silent(cause) | Event::Left(cause) => (true, cause.message.clone()),
        Event::Located { detail, .. } => (false, detail.clone()),
        Event::Closed => (false, "closed".into()),
        Event::CancelAsked => (false, "cancel asked".into()),
    }
}
