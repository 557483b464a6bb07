//! What Godwit says of the frames that arrived for a guest in its pause.

use serde::Deserialize;

/// As its JSON has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// How many.
    pub frames: u64,
    /// Of them, in the guest's way at the destination.
    pub delivered: u64,
    /// For them there was no room.
    pub no_room: u64,
    /// The destination refused them, or did not say what became of them.
    pub lost: u64,
    /// Of those that were delivered, after the guest ran, or behind newer ones.
    pub late: u64,
    /// Not delivered, for the destination's network brought them as well.
    pub brought: u64,
    /// The longest time that one was kept.
    pub longest_ms: u64,
    /// Why not, or not all.
    pub not_kept: String,
}
