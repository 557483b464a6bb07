//! The wall clock, as the journal writes it, and everything else that comes by chance: ids and jitter.
//!
//! A simulator can have all of it repeatable.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

/// 2026-01-01, in milliseconds since 1970: where a repeatable clock begins.
const BEGINNING: i64 = 1_767_225_600_000;

#[derive(Clone, Copy)]
struct Repeatable {
    begun: Instant,
    chance: u64,
}

thread_local! {
    static REPEATABLE: Cell<Option<Repeatable>> = const { Cell::new(None) };
}

/// From now on, in this thread, time is tokio's (which may be paused), and ids and jitter follow from the seed: for
/// simulators, so that a run can be had again. Called within a runtime.
pub fn repeatable(seed: u64) {
    let begun = Instant::now();
    REPEATABLE.set(Some(Repeatable { begun, chance: seed }));
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    match REPEATABLE.get() {
        None => jiff::Timestamp::now().as_millisecond(),
        Some(repeatable) => BEGINNING + repeatable.begun.elapsed().as_millis() as i64,
    }
}

/// That time of the wall clock, for people.
pub(crate) fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// A new migration's id.
pub(crate) fn new_id() -> String {
    let id = match (chance(), chance()) {
        (Some(high), Some(low)) => {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&high.to_be_bytes());
            bytes[8..].copy_from_slice(&low.to_be_bytes()[..2]);
            uuid::Builder::from_unix_timestamp_millis(now_ms() as u64, &bytes).into_uuid()
        }
        _ => Uuid::now_v7(),
    };
    id.to_string()
}

/// A pause, with the jitter that a repeatable run has instead of the back-off's own.
pub(crate) fn spread(pause: Duration) -> Duration {
    match chance() {
        None => pause,
        Some(chance) => pause.mul_f64(0.5 + (chance % 1000) as f64 / 1000.0),
    }
}

/// Whether jitter is to come from [`spread`] alone.
pub(crate) fn is_repeatable() -> bool {
    REPEATABLE.get().is_some()
}

/// What a write costs where there is no disk: others come in between, as they do with a disk.
pub(crate) async fn disk() {
    match chance() {
        None => tokio::task::yield_now().await,
        Some(chance) => tokio::time::sleep(Duration::from_millis(chance % 3)).await,
    }
}

/// SplitMix64.
fn chance() -> Option<u64> {
    let mut now = REPEATABLE.get()?;
    now.chance = now.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
    REPEATABLE.set(Some(now));
    let mixed = (now.chance ^ (now.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}
