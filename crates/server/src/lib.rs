//! The doors of a host's daemon: a Unix socket for the people of this host, mutual TLS for other hosts and for operators
//! elsewhere.
//!
//! Whoever comes in is known before the first request is read: a user of this host by the kernel's word ([`Who::Local`]),
//! anybody else by the names in a certificate that the host's own authority signed. What each may do stands in one table
//! ([`access`]); how much and how long in [`Limits`]; what was let in and what was not in the [`audit`] log.
//! This crate carries requests to the services and knows nothing of what they do.

#![forbid(unsafe_code)]

pub mod access;
pub mod audit;
mod deadline;
mod door;
mod gate;
mod keys;
mod limits;
mod local;
mod names;
mod places;
mod rate;
mod services;
mod who;

pub use access::{Operator, Role};
pub use audit::Audit;
pub use door::{Door, Known};
pub use gate::Gate;
pub use keys::{Files, Keys, KeysError};
pub use limits::Limits;
pub use local::Groups;
pub use services::{Health, and_kept_frames, for_network, for_this_host};
pub use who::Who;
