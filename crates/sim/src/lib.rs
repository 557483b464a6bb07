//! The coordinator over pretend hosts: the same gRPC API without root, for first steps and for whoever writes a
//! control plane; and seeded storms of faults over the same loop.
//!
//! Read `model` for what the world is, `world` for what the phases do in it, `faults` for what can go wrong,
//! `storm` for what is done to it and what must hold at the end, `bench` for what the coordinator costs. Never
//! linked into `godwitd`.

#![forbid(unsafe_code)]

pub mod bench;
mod chance;
mod cluster;
pub mod faults;
#[cfg(test)]
mod fuzz;
pub mod ills;
mod layout;
pub mod model;
mod pace;
pub mod serve;
mod stopwatch;
pub mod storm;
mod world;

pub use layout::Layout;
