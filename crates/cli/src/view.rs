//! The daemon's messages as text for people and JSON for programs. Pure: nothing here writes or waits.

pub(crate) mod checks;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod hosts;
pub(crate) mod json;
pub(crate) mod kept;
pub(crate) mod measured;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod stays;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod transfer;
pub(crate) mod words;
