//! The real binary against a fake daemon on a real Unix socket.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

mod certs;
mod checks;
mod commands;
mod doctor;
mod fake;
mod hook;
mod hosts;
mod migrate;
mod offline;
mod pages;
mod plan;
mod run;
mod stays;
mod story;
mod terminal;
mod watch;
