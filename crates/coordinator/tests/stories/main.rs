//! The coordinator over a pretend world: real services, a real journal, no libvirt.
//!
//! `world` is what stays outside the process, `host` starts and kills daemons on it, `peek` reads the
//! database as somebody else would. The rest are stories, a file per noun.

// A test's helpers may fail as loudly as its tests.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stderr)]

mod cancels;
mod closings;
mod doubts;
mod expected;
mod facts;
mod failures;
mod faults;
mod full;
mod going_down;
mod guests;
mod history;
mod holds;
mod host;
mod journal;
mod lacks;
mod moves;
mod options;
mod peek;
mod plans;
mod policies;
mod quarantine;
mod refusals;
mod repeats;
mod restarts;
mod rests;
mod skew;
mod stays;
mod strangers;
mod troubles;
mod watches;
mod world;
