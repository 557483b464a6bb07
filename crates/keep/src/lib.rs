//! Frames that arrive for a guest while it stands still between two hosts: which of them it did not get, and what becomes of those.
//!
//! Nothing here looks, waits or sends. What a tap has counted and what was seen on its way to it is told, with the time; what comes out is
//! what is to be sent after the guest, put into its way, and written down. The daemon's `keep/` does that with packet sockets and the
//! kernel's taps, the simulator with pretended ones.

mod arriving;
mod leaving;
mod own;
mod rate;
mod window;

pub use self::{
    arriving::{Arriving, Queue, Told},
    leaving::{Change, Leaving, Stage, answered},
    rate::Rate,
    window::{Counted, UNTAKEN},
};
