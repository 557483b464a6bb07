//! Frames that arrive for a guest while it is paused between two hosts are kept, and delivered where it runs next.
//!
//! ```text
//! source                                                destination
//! bridge ─► tap ─► emulator or vhost ─► guest (stopped)
//!      └─ Watcher ─► Window ─► Link ══ mutual TLS ══► KeepDesk ─► Injector ─► tap's queue ─► guest (resumes)
//! ```
//!
//! The source looks on at the guest's tap from the beginning of the transfer ([`source`]), so that the pause may come when it likes.
//! Which frames the guest did not get follows from what the tap has counted ([`window`]), and from no clock. They are sent to the destination's daemon
//! ([`link`]), which puts them into the queue of the guest's tap there ([`door`]). A guest that goes on at the source instead finds them in its own
//! tap's queue.

mod door;
mod ffi;
mod frame;
mod link;
mod socket;
mod source;
mod tap;
mod window;

pub(crate) use self::{
    door::KeepDesk,
    source::{Interface, Keeper, Settings},
};

#[cfg(test)]
mod tests;
