//! Both doors, with everybody who should not come in: real TLS on loopback, a host with nothing on it behind.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

mod authority;
mod calls;
mod empty;
mod host;
mod local;
mod network;
mod roles;
mod services;
