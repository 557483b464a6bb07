//! Carrying a migration out: the loop, the journal, operations and holds, the gRPC services.
//!
//! Everything that decides is in `godwit-migration`; everything outside this process is behind the
//! one trait [`World`], which the daemon implements with libvirt and the simulator without.
//! This crate must know neither.

#![forbid(unsafe_code)]

mod clock;
mod coordinator;
mod doctor;
pub mod faults;
mod history;
mod holds;
mod host_service;
mod journal;
pub mod offline;
mod operation;
mod page;
mod peer_service;
mod refused;
pub mod retry;
mod service;
mod settings;
mod slots;
mod subject;
mod trouble;
pub mod words;
mod world;

pub use clock::repeatable;
pub use coordinator::{Awaited, Coordinator, Expected, Had, Running};
pub use history::{History, Which};
pub use host_service::HostDesk;
pub use journal::{Journal, JournalError};
pub use peer_service::{Caller, PeerDesk};
pub use refused::{NotNow, Refused};
pub use service::{GuestDesk, MigrationDesk};
pub use settings::{Deadlines, Expiry, Limits, Settings, Unasked};
pub use subject::Subject;
pub use world::{Job, Planned, Planning, World};
