//! What should happen in a migration. Pure: no I/O, no async, no clock, no libvirt.
//!
//! A migration is a value: a [`Brief`] (what it is about) and the [`Entry`]s that happened since.
//! [`Migration::state`] says what is to be made so; the loop (crate `godwit-coordinator`) does that work,
//! makes its outcome durable as the next entry, and repeats. Recovery after a crash is the same
//! loop run again over the same value.
//!
//! Read [`table`] first: it is the whole workflow on one screen.

#![forbid(unsafe_code)]

mod address;
mod brief;
mod cause;
pub mod choice;
pub mod counted;
pub mod doctor;
mod kept;
pub mod measured;
mod migration;
pub mod options;
mod phase;
pub mod plan;
pub mod preflight;
pub mod profile;
mod refusal;
pub mod table;
mod vf;
mod whereabouts;

pub use address::{BadAddress, MacAddress, PciAddress};
pub use brief::{Brief, Guest, Pair, Policy, Role};
pub use cause::Cause;
pub use kept::{Keep, Kept};
pub use measured::{Measured, PairMeasured, PhaseMeasured, ProbeKind, Ways};
pub use migration::{Acceleration, Entry, Event, Figures, Migration, Moved, PhaseSpan, Report};
pub use options::{Options, WrongOptions};
pub use phase::{Course, Outcome, Phase, State, Verdict};
pub use profile::Profile;
pub use refusal::{GuestRefusal, HostRefusal, Refusal, VfRefusal};
pub use table::{Happening, Illegal};
pub use vf::{Vf, VfUse};
pub use whereabouts::{Contradiction, DestinationView, Sighting, SourceView, Whereabouts};
