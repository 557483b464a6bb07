//! How long the parts of a move may take. Ranges by what was measured elsewhere (docs/benchmarks.md names the sources), and by what
//! is known of this guest; never exact, and never more than that.

use super::{Carried, Pages};
use crate::Options;

/// What of a guest decides how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestSize {
    /// Bytes of memory.
    pub memory: u64,
    /// In huge pages, allocated or locked from the start.
    pub populated: bool,
    /// Its slots have only their button.
    pub slow_unplug: bool,
}

/// How long a part may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimated {
    /// `unplug`, `transfer`, `pause` or `plug`.
    pub step: &'static str,
    /// At least, ms.
    pub least_ms: u64,
    /// At most, ms; none: no end is foreseen.
    pub most_ms: Option<u64>,
    /// Where it is from.
    pub because: String,
}

/// ms that pinning takes for each GiB that is there already, and for each that has to be fetched and zeroed first.
const PIN: (u64, u64, u64) = (2, 17, 245);
/// QEMU's own aim for the pause, ms.
const DOWNTIME_MS: u64 = 300;

/// The parts, in their order. Without a limit of the rate, and where it is not known how fast memory goes there, nothing is said of the
/// transfer.
pub fn estimate(
    guest: GuestSize,
    options: &Options,
    pages: Option<Pages>,
    carried: Option<&Carried>,
) -> Vec<Estimated> {
    let parts = [
        Some(unplug(guest)),
        Carried::of(options, carried).map(|sent| transfer(guest, options, pages, &sent)),
        Some(pause(options)),
        Some(plug(guest)),
    ];
    parts.into_iter().flatten().collect()
}

fn unplug(guest: GuestSize) -> Estimated {
    let (least_ms, most_ms, because) = match guest.slow_unplug {
        true => (
            6_100,
            6_700,
            "its slots have only their button: 5 s until it counts, 1 s for the power",
        ),
        false => (70, 600, "ACPI asks the guest's driver at once"),
    };
    Estimated {
        step: "unplug",
        least_ms,
        most_ms: Some(most_ms),
        because: because.into(),
    }
}

fn transfer(guest: GuestSize, options: &Options, pages: Option<Pages>, sent: &Carried) -> Estimated {
    let rate = sent.rate;
    let ms = |bytes: u64, rate: u64| bytes.saturating_mul(1000) / rate.max(1);
    let written = pages.map(Pages::all);
    let most_ms = match written {
        Some(written) if written >= rate && !options.post_copies() => None,
        // After the switch each page goes over once more at most.
        _ if options.post_copies() => Some(ms(guest.memory.saturating_mul(2), rate)),
        Some(written) => Some(ms(guest.memory, rate - written)),
        None => None,
    };
    let measured = match written {
        Some(written) => format!("the guest writes {} MiB/s", written >> 20),
        None => "how fast the guest writes is not known".into(),
    };
    Estimated {
        step: "transfer",
        least_ms: 300 + ms(guest.memory / 8, rate),
        most_ms: most_ms.map(|most| most.saturating_add(1000)),
        because: format!(
            "{} MiB at {} MiB/s{}; {measured}; pages of zeros are hardly sent",
            guest.memory >> 20,
            rate >> 20,
            sent.because()
        ),
    }
}

/// How long a guest may stand still, ms: at least, and at most.
pub fn pause_ms(options: &Options) -> (u64, u64) {
    let aim = options.downtime_ms.unwrap_or(DOWNTIME_MS);
    (50.min(aim), aim.saturating_mul(2).saturating_add(500))
}

fn pause(options: &Options) -> Estimated {
    let aim = options.downtime_ms.unwrap_or(DOWNTIME_MS);
    let (least_ms, most_ms) = pause_ms(options);
    Estimated {
        step: "pause",
        least_ms,
        most_ms: Some(most_ms),
        because: format!("QEMU aims at {aim} ms; libvirt's own part comes on top"),
    }
}

fn plug(guest: GuestSize) -> Estimated {
    let gib = |ms: u64| guest.memory.saturating_mul(ms) >> 30;
    let (least, there, fetched) = PIN;
    let (most, because) = match guest.populated {
        true => (there, "its memory is there already: 2 to 17 ms for each GiB"),
        false => (
            fetched,
            "2 to 17 ms for each GiB that is there, 245 ms for each that was never touched",
        ),
    };
    // The VF's reset, and the guest's driver.
    Estimated {
        step: "plug",
        least_ms: 300 + gib(least),
        most_ms: Some(2_000 + gib(most)),
        because: format!("pinning its memory, {because}; then the VF's reset and the guest's driver"),
    }
}
