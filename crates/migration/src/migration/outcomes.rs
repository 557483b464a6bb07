//! The two outcomes: did the guest move, and is it accelerated? And what was counted of it.

use super::{Acceleration, Entry, Event, Migration, Moved};
use crate::{
    Kept, Measured, Role, Verdict,
    phase::{Course, Outcome, Phase, State},
    table,
};

/// Of the frames for a guest that libvirt ran on both hosts.
const ON_BOTH: &str =
    "the guest ran on both hosts for a time, and what the copy at the source read of them is not known";

impl Migration {
    /// First outcome.
    pub fn moved(&self) -> Moved {
        match (self.brief.role, self.state) {
            (_, State::Done(Outcome::Left) | State::Work(Course::Arrive, Phase::Release)) => Moved::Gone,
            (Role::Accelerate | Role::Decelerate, _) => Moved::No,
            (_, State::Done(Outcome::Moved | Outcome::Accelerated | Outcome::OnStandby)) => Moved::Yes,
            (_, State::Work(Course::Leave, Phase::Release | Phase::Follow)) => Moved::Yes,
            (_, State::Rest(Course::Leave, Phase::Locate)) => Moved::Unknown,
            (_, State::Work(Course::Quit, _) | State::Rest(Course::Quit, _)) => Moved::Gone,
            (_, State::Done(Outcome::Gone)) => Moved::Gone,
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

    /// A guest that leaves starts on its VF, if it has one; at the destination it arrives on standby. From there the
    /// last switch that was worked on decides.
    fn acceleration_so_far(&self) -> Acceleration {
        let pairs = &self.brief.pairs;
        let has_vf = !pairs.is_empty() && pairs.iter().all(|pair| pair.source_vf.is_some());
        let mut now = match self.brief.role {
            Role::Source | Role::Decelerate if has_vf => Acceleration::Accelerated,
            _ => self.standby(self.begun_ms),
        };
        let mut state = self.brief.role.start();
        for entry in &self.entries {
            let done = matches!(entry.event, Event::Done(_));
            match state.phase() {
                // Also when it failed: it may have half happened, so standby is the safe thing to say.
                Some(Phase::FailOver) => now = self.standby(entry.at_ms),
                Some(Phase::FailBack) if done && !self.brief.pairs_here().is_empty() => {
                    now = Acceleration::Accelerated
                }
                Some(Phase::Await) => now = self.standby(entry.at_ms),
                _ => {}
            }
            state = table::next(state, entry.event.happening()).unwrap_or(state);
        }
        now
    }

    fn standby(&self, since_ms: i64) -> Acceleration {
        let asked = self.brief.role == Role::Decelerate || self.standby_asked().is_some();
        let because = match self.failure() {
            _ if self.state == State::Done(Outcome::OnStandby) && asked => "standby was asked for".into(),
            _ if self.state == State::Done(Outcome::OnStandby) => "its policy is standby-only".into(),
            Some(cause) => cause.message.clone(),
            None => format!("migration {} is at {}", self.brief.id, self.phase().name()),
        };
        Acceleration::Standby { since_ms, because }
    }
}

impl Migration {
    /// What the guest's probes came to, on this host and (once told) on the other.
    pub fn measured(&self) -> Option<Measured> {
        let told = self.entries.iter().filter_map(|entry| match &entry.event {
            Event::Done(report) => report.measured.as_deref(),
            _ => None,
        });
        told.fold(None, |all: Option<Measured>, more| {
            Some(all.unwrap_or_default().and(more))
        })
    }

    /// What became of the frames of the pause, also of a transfer that failed. Of a guest that ran on both hosts nobody can say it.
    pub fn kept(&self) -> Option<Kept> {
        let told = self.entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Done(report) => report.kept.as_deref(),
            Event::Failed(cause) => cause.kept.as_deref(),
            _ => None,
        });
        let both = |entry: &Entry| {
            matches!(
                entry.event,
                Event::Located {
                    verdict: Verdict::OnBoth,
                    ..
                }
            )
        };
        match self.entries.iter().any(both) {
            true => Some(told.cloned().unwrap_or_default().and(Kept::not(ON_BOTH))),
            false => told.cloned(),
        }
    }
}
