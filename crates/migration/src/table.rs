//! The table: every state, everything that can happen in it, and what comes next.
//!
//! ```text
//!  source                                                             destination
//!  Reserve -> Queue -> FailOver -> Unplug -> Transfer -> Locate ═══ guest ═══> Await -> Hold -> Plug -> FailBack
//!     |         |        |          |                     |  |                          (fails: rests on standby,
//!     v         v        v          v                     |  '-> Release -> Follow         retried, with another VF)
//!  Unreserve <- + <-- FailBack <- Plug <------------------'          v
//!     v                                                            Moved
//!  Aborted
//! ```
//!
//! Without a migration, on one host: *accelerate* is `Hold -> Plug -> FailBack`, as after an arrival; *decelerate*
//! is `FailOver -> Unplug -> Release`, and what fails of it is accelerated again.
//!
//! Rules the table holds: a phase that failed may have half happened, so it is undone too; only
//! located guests are undone after a transfer; nothing is undone once the guest is at the
//! destination; cancel turns round at the next boundary and is refused after the transfer.

use serde::{Deserialize, Serialize};

use crate::phase::{
    Course::{Arrive, Halt, Leave, Quit, Return, Stay, Turn, Withdraw},
    Outcome::{Aborted, Accelerated, Closed, Gone, Left, Moved, OnStandby},
    Phase::{
        Await, FailBack, FailOver, Follow, Hold, Locate, Plug, Queue, Release, Reserve, Resume, Suspend,
    },
    Phase::{Transfer, Unplug, Unreserve},
    State::{self, Done, Rest, Work},
    Verdict,
};

/// What can happen in a state, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Happening {
    /// The phase is so.
    Done,
    /// The phase could not be made so; it may have half happened.
    Failed,
    /// The unplug was asked for and the guest has not answered; it cannot be withdrawn.
    Silent,
    /// The evidence about the guest's whereabouts was read.
    Located(Verdict),
    /// A person or program asked to cancel.
    CancelAsked,
    /// Destination: the source said, or was promised, that the guest will not come.
    Closed,
    /// The guest is no longer on this host, and not by our doing.
    Left,
    /// The guest's policy wants no VF for it.
    Unwanted,
    /// Another VF was set aside for the guest, instead of one that did not work.
    Swapped,
    /// A person or program asked for the standby.
    StandbyAsked,
}

/// Something happened that the table has no row for; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{happening:?} cannot happen in {state}")]
pub struct Illegal {
    /// Where it should have happened.
    pub state: State,
    /// What should have happened.
    pub happening: Happening,
}

/// What comes next.
///
/// # Errors
/// [`Illegal`] where the table has no row.
pub fn next(state: State, happening: Happening) -> Result<State, Illegal> {
    let found = leaves(state, happening).or_else(|| stays(state, happening));
    found.ok_or(Illegal { state, happening })
}

/// The source's rows.
fn leaves(state: State, happening: Happening) -> Option<State> {
    use Happening as H;
    Some(match (state, happening) {
        // Out.
        (Work(Leave, Reserve), H::Done) => Work(Leave, Queue),
        (Work(Leave, Queue), H::Done) => Work(Leave, FailOver),
        (Work(Leave, FailOver), H::Done) => Work(Leave, Unplug),
        (Work(Leave, Unplug), H::Done) => Work(Leave, Transfer),
        (Work(Leave | Turn, Transfer), H::Done | H::Failed) => Work(Leave, Locate),

        // Turned round: by a failure, or by cancel at the boundary.
        (Work(Leave, Reserve | Queue | FailOver | Unplug | Transfer), H::CancelAsked) => turn(state),
        (Work(Leave, Reserve | Queue), H::Failed) => Work(Return, Unreserve),
        (Work(Turn, Reserve | Queue), H::Done | H::Failed) => Work(Return, Unreserve),
        (Work(Leave, FailOver), H::Failed) => Work(Return, FailBack),
        (Work(Turn, FailOver), H::Done | H::Failed) => Work(Return, FailBack),
        (Work(Leave, Unplug), H::Failed) => Work(Return, Plug),
        (Work(Turn, Unplug), H::Done | H::Failed) => Work(Return, Plug),
        (Work(Leave | Turn, Unplug), H::Silent) => Rest(Return, Unplug),

        // After the transfer only evidence decides, and from the destination there is no way back.
        (Work(Leave, Locate) | Rest(Leave, Locate), H::Located(verdict)) => match verdict {
            Verdict::Here => Work(Return, Plug),
            Verdict::There => Work(Leave, Release),
            Verdict::PausedHere => Work(Return, Resume),
            Verdict::OnBoth => Work(Leave, Suspend),
            Verdict::Gone => Work(Quit, Release),
            Verdict::Unknown => Rest(Leave, Locate),
        },
        (Work(Leave, Locate), H::Failed) => Rest(Leave, Locate),
        (Work(Leave, Suspend), H::Done) => Work(Leave, Locate),
        (Work(Leave, Suspend) | Work(Return, Resume), H::Failed) => Rest(Leave, Locate),
        (Work(Return, Resume), H::Done) => Work(Return, Plug),
        (Work(Leave, Release), H::Done | H::Failed) => Work(Leave, Follow),
        (Work(Leave, Follow), H::Done | H::Failed) => Done(Moved),

        // Back. A failure on the way back leaves the guest on standby, retried for ever.
        (Rest(Return, Unplug), H::Done) => Work(Return, Plug),
        (Rest(Return, Plug), H::Swapped) => Rest(Return, Plug),
        (Work(Return, Plug) | Rest(Return, Plug), H::Done) => Work(Return, FailBack),
        (Work(Return, FailBack), H::Done) => Work(Return, Unreserve),
        (Work(Return, Plug | FailBack), H::Failed) => Work(Stay, Unreserve),
        (Work(Stay, Unreserve), H::Done | H::Failed) => Rest(Return, Plug),
        (Work(Return, Unreserve) | Rest(Return, Unreserve), H::Done) => Done(Aborted),
        (Work(Return, Unreserve), H::Failed) => Rest(Return, Unreserve),
        // It was said that the guest stayed, and the destination has it as well.
        (Work(Return | Stay, Unreserve) | Rest(Return, Unreserve), H::Located(Verdict::OnBoth)) => {
            Work(Leave, Suspend)
        }

        // The guest went away by itself, or by another hand.
        (Work(Leave | Turn, Reserve | Queue | FailOver | Unplug), H::Left) => Work(Quit, Release),
        (Work(Return, Resume | Plug | FailBack) | Rest(Return, Unplug | Plug), H::Left) => {
            Work(Quit, Release)
        }
        (Work(Quit, Release), H::Done | H::Failed) => Work(Quit, Unreserve),
        (Work(Quit, Unreserve) | Rest(Quit, Unreserve), H::Done) => Done(Gone),
        (Work(Quit, Unreserve), H::Failed) => Rest(Quit, Unreserve),

        _ => return None,
    })
}

/// The rows of the destination, and of a guest that stays.
fn stays(state: State, happening: Happening) -> Option<State> {
    use Happening as H;
    Some(match (state, happening) {
        // In: at the destination, or of a guest that is here and is to have its VF.
        (Work(Arrive, Await), H::Done) => Work(Arrive, Hold),
        (Work(Arrive, Await), H::Closed) => Done(Closed),
        (Work(Arrive, Hold) | Rest(Arrive, Hold), H::Unwanted) => Work(Withdraw, Release),
        (Work(Arrive, Hold) | Rest(Arrive, Hold), H::Done) => Work(Arrive, Plug),
        (Work(Arrive, Hold), H::Failed) => Rest(Arrive, Hold),
        (Work(Arrive, Plug) | Rest(Arrive, Plug), H::Done) => Work(Arrive, FailBack),
        (Rest(Arrive, Plug), H::Swapped) => Rest(Arrive, Plug),
        (Work(Arrive, FailBack), H::Done) => Done(Accelerated),
        (Work(Arrive, Plug | FailBack), H::Failed) => Rest(Arrive, Plug),
        // Also from Await: it came and was shut down before this host looked.
        (Work(Arrive, Await | Hold | Plug | FailBack) | Rest(Arrive, Hold | Plug), H::Left) => {
            Work(Arrive, Release)
        }
        (Work(Arrive, Release), H::Done | H::Failed) => Done(Left),

        // Down: the VF leaves the guest, which stays here. What fails of it is put back.
        (
            Work(Arrive, phase @ (Hold | Plug | FailBack)) | Rest(Arrive, phase @ (Hold | Plug)),
            H::StandbyAsked,
        ) => Work(Halt, phase),
        (Work(Halt, Hold | Plug | FailBack), H::Done | H::Failed) => Work(Withdraw, FailOver),
        (Work(Halt, Hold), H::Unwanted) => Work(Withdraw, FailOver),
        (Work(Withdraw, FailOver), H::Done) => Work(Withdraw, Unplug),
        (Work(Withdraw, Unplug) | Rest(Withdraw, Unplug), H::Done) => Work(Withdraw, Release),
        (Work(Withdraw, FailOver | Unplug), H::Failed) => Work(Arrive, Hold),
        (Work(Withdraw, Unplug), H::Silent) => Rest(Withdraw, Unplug),
        (Work(Halt, Hold | Plug | FailBack), H::Left) => Work(Arrive, Release),
        (Work(Withdraw, FailOver | Unplug) | Rest(Withdraw, Unplug), H::Left) => Work(Arrive, Release),
        (Work(Withdraw, Release), H::Done | H::Failed) => Done(OnStandby),

        _ => return None,
    })
}

fn turn(state: State) -> State {
    match state {
        Work(Leave, phase) => Work(Turn, phase),
        other => other,
    }
}

/// Whether cancel would be taken in this state.
pub fn can_cancel(state: State) -> bool {
    next(state, Happening::CancelAsked).is_ok()
}
