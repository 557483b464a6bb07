//! The hook that libvirt runs for each of its guests, and what it and `godwitd` say to each other.
//!
//! libvirt runs every program in `/etc/libvirt/hooks/qemu.d/` at each step of a guest's life, gives it the guest's XML, and
//! waits for it (libvirt.org, "Hooks for specific system management"). One call can change or refuse something safely: `migrate begin`, at the
//! destination, before any memory moves. Only there does this hook wait for an answer. The rules that it keeps:
//!
//! * A guest that is none of Godwit's business is found by a search for bytes, here, and costs no more than that.
//! * It waits for the daemon no longer than its deadline; what it does then is written in a file and needs no daemon.
//! * It never fails at any other call: a hook that fails at `reconnect` has the guest killed.
//! * It must not know libvirt, which waits for it, nor XML.
//!
//! The standard library alone: it starts as fast as a program can.

/// What every godwit-hook has in its program text, whatever its version: whoever installs one knows by it which file is its own.
pub const MARK: &str = "godwit-hook ";

pub mod call;
pub mod frame;
pub mod run;
pub mod search;
pub mod settings;
