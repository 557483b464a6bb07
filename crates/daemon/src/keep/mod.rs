//! Frames that arrive for a guest while it is paused between two hosts are kept, and delivered where it runs next.
//!
//! ```text
//! source                                                destination
//! bridge ─► tap ─► emulator or vhost ─► guest (stopped)
//!      └─ Watcher ─► Leaving ─► Link ══ mutual TLS ══► KeepDesk ─► Arriving ─► tap's queue ─► guest (resumes)
//! ```
//!
//! The source looks on at the guest's tap from the beginning of the transfer ([`source`]), so that the pause may come when it likes.
//! Which frames the guest did not get follows from what the tap has counted ([`godwit_keep`], pure), and from no clock. They are sent to the destination's daemon
//! ([`link`]), which puts them into the queue of the guest's tap there ([`door`]). A guest that goes on at the source instead finds them in its own
//! tap's queue. What comes to the source when the guest has gone is seen at its bridge's ports ([`uplinks`]).

mod door;
mod ffi;
mod frame;
mod likeness;
mod link;
mod nic;
mod socket;
mod source;
mod tags;
mod tap;
mod uplinks;
mod ways;

use std::path::Path;

use godwit_migration::{MacAddress, plan::Unseen};

use self::tap::Tap;
pub(crate) use self::{
    door::KeepDesk,
    ffi::Only,
    frame::{Frame, tag},
    socket::{Next, Watcher},
    source::{Interface, Keeper, Settings},
};

/// Whether what goes to that NIC can be looked on at, tried; `device` is its end on this host by its domain.
pub(crate) fn look(root: &Path, mac: MacAddress, device: Option<&str>) -> Result<(), Unseen> {
    let tap = Tap::of(root, mac).map_err(|_| match device {
        Some(device) if Tap::is_macvtap(root, device) => Unseen::Macvtap,
        Some(_) | None => Unseen::NoTap,
    })?;
    let tried = Watcher::open(&tap.name);
    tried
        .map(drop)
        .map_err(|error| Unseen::NotAllowed(error.to_string()))
}

/// For how many bytes this host has room, of a guest that comes; or why it takes none.
pub(crate) fn takes(settings: &Settings) -> Result<u64, String> {
    if !settings.takes {
        return Err("so it is configured ([keep] mode)".into());
    }
    socket::allowed().map_err(|error| format!("its godwitd may not open packet sockets: {error}"))?;
    Ok(settings.room as u64)
}

#[cfg(test)]
pub(crate) mod tests;
