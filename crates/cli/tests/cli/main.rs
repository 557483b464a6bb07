//! The real binary against a fake daemon on a real Unix socket.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

mod bundle;
mod certs;
mod checks;
mod commands;
mod contexts;
mod dbus;
mod doctor;
mod fake;
mod hook;
mod hosts;
mod migrate;
mod names;
mod offline;
mod pages;
mod pipes;
mod plan;
mod reflect;
mod run;
mod stays;
mod story;
mod terminal;
mod waits;
mod watch;
