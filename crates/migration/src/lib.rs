//! What should happen in a migration. Pure: no I/O, no async, no clock.

#![forbid(unsafe_code)]

mod address;

pub use address::{BadAddress, MacAddress, PciAddress};
