//! The words of the table: phases, courses, states, outcomes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something to be made so. A phase is an intent: it is durable before its work starts, and its
/// work is safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// VFs are held at the destination, and this host's own are held for the way back.
    Reserve,
    /// Both hosts have room for one more transfer; until then the guest keeps its VF.
    Queue,
    /// The guest's traffic is on the standby, confirmed by the agent.
    FailOver,
    /// The VF has left the guest.
    Unplug,
    /// libvirt's live migration has run, whatever came of it.
    Transfer,
    /// The host that runs the guest is known from evidence.
    Locate,
    /// The guest that the transfer left paused here runs again.
    Resume,
    /// The copy here of a guest that runs at the destination is suspended.
    Suspend,
    /// The VF that the guest had here is clean and back in its pool.
    Release,
    /// What became of the guest at the destination is known here.
    Follow,
    /// The guest runs on this host.
    Await,
    /// This host holds a VF for every pair that is to have one.
    Hold,
    /// The guest has a VF of this host.
    Plug,
    /// The guest's traffic is on the VF, confirmed by the agent.
    FailBack,
    /// The destination holds nothing for the guest any more.
    Unreserve,
}

impl Phase {
    /// Every phase, in the order of the workflow.
    pub const ALL: [Phase; 15] = [
        Phase::Reserve,
        Phase::Queue,
        Phase::FailOver,
        Phase::Unplug,
        Phase::Transfer,
        Phase::Locate,
        Phase::Resume,
        Phase::Suspend,
        Phase::Release,
        Phase::Follow,
        Phase::Await,
        Phase::Hold,
        Phase::Plug,
        Phase::FailBack,
        Phase::Unreserve,
    ];

    /// The word for people, in CLI, API and logs.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Reserve => "reserve",
            Phase::Queue => "queue",
            Phase::FailOver => "fail-over",
            Phase::Unplug => "unplug",
            Phase::Transfer => "transfer",
            Phase::Locate => "locate",
            Phase::Resume => "resume",
            Phase::Suspend => "suspend",
            Phase::Release => "release",
            Phase::Follow => "follow",
            Phase::Await => "await",
            Phase::Hold => "hold",
            Phase::Plug => "plug",
            Phase::FailBack => "fail-back",
            Phase::Unreserve => "unreserve",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which way the guest is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Course {
    /// Source: the guest is to leave, or has left.
    Leave,
    /// Source: cancel was asked for; the phase at work ends, then it returns.
    Turn,
    /// Source: what was done is undone.
    Return,
    /// Source: the way back stopped on standby; the destination's hold is given back all the same.
    Stay,
    /// Source: the guest is on neither host, or no longer ours; only the VFs are tidied up.
    Quit,
    /// The guest is on this host and is to be accelerated: it arrived, was left on standby, or was put back.
    Arrive,
    /// Standby was asked for while the guest was being accelerated; the phase at work ends, then it is
    /// decelerated.
    Halt,
    /// The guest is on this host and is to be decelerated.
    Withdraw,
}

/// What is to be done now. Computed from a migration's entries, never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Make the phase so.
    Work(Course, Phase),
    /// The phase failed or needs evidence. The guest is safe where it is; the phase is tried again with
    /// back-off, and nobody needs to wait for it.
    Rest(Course, Phase),
    /// Nothing more happens.
    Done(Outcome),
}

/// How a migration ended, on the host whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Source: the guest stayed, and is accelerated here.
    Aborted,
    /// Source: the guest runs at the destination.
    Moved,
    /// Source: the guest runs on neither host (shut down, crashed, taken by another hand).
    Gone,
    /// The guest runs here on its VF.
    Accelerated,
    /// The guest runs here on its standby, because that was asked for.
    OnStandby,
    /// Destination: the guest never came; the holds are free.
    Closed,
    /// The guest was here and left, or was shut down; the holds are free.
    Left,
}

/// What the evidence about the guest's whereabouts asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It runs here and nowhere else: undo.
    Here,
    /// It runs at the destination: go on there.
    There,
    /// It is paused here, and the destination has promised not to run it: resume it here.
    PausedHere,
    /// It runs on both hosts: suspend the copy here.
    OnBoth,
    /// It runs on neither.
    Gone,
    /// Not enough is known: wait for evidence or a person.
    Unknown,
}

impl State {
    /// What is being made so, or waited for; none once it ended.
    pub fn phase(self) -> Option<Phase> {
        match self {
            State::Work(_, phase) | State::Rest(_, phase) => Some(phase),
            State::Done(_) => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Work(course, phase) => write!(f, "{course:?}/{phase:?}"),
            State::Rest(course, phase) => write!(f, "rest {course:?}/{phase:?}"),
            State::Done(outcome) => write!(f, "{outcome:?}"),
        }
    }
}
