//! What one measurement saw, as lines of JSON.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::numbers::Numbers;
use crate::stream::Told;

/// The client's notes. Times are seconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// When each own number was sent.
    pub(crate) sent: Vec<f64>,
    /// Every guest's number with the time it came, first arrivals only.
    pub(crate) received: Vec<(u64, f64)>,
    /// The guest's numbers that came.
    pub(crate) numbers: Numbers,
    /// How many numbers the guest sent.
    pub(crate) guest_sent: u64,
    /// Own numbers the guest did not see.
    pub(crate) missing: Vec<(u64, u64)>,
    /// How many own numbers the guest saw more than once.
    pub(crate) duplicates: u64,
    /// How many it saw behind a greater one.
    pub(crate) reordered: u64,
    /// Of the connection beside the datagrams, if there was one.
    pub(crate) stream: Option<Told>,
}

impl Record {
    /// Writes it under its final name only when it is whole.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let making = file.with_extension("making");
        let mut out = io::BufWriter::new(fs::File::create(&making)?);
        let mut lost = self
            .missing
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .peekable();
        for (number, at) in (0..).zip(&self.sent) {
            let arrived = lost.next_if_eq(&number).is_none();
            writeln!(
                out,
                "{{\"kind\":\"sent\",\"number\":{number},\"at\":{at:.6},\"arrived\":{arrived}}}"
            )?;
        }
        for (number, at) in &self.received {
            writeln!(
                out,
                "{{\"kind\":\"received\",\"number\":{number},\"at\":{at:.6}}}"
            )?;
        }
        for (first, last) in self.numbers.missing(self.guest_sent) {
            for number in first..=last {
                writeln!(out, "{{\"kind\":\"missing\",\"number\":{number}}}")?;
            }
        }
        if let Some(told) = self.stream {
            let Told {
                sent,
                echoed,
                stall_ms,
                stall_at,
                retransmitted,
            } = told;
            writeln!(
                out,
                "{{\"kind\":\"stream\",\"sent\":{sent},\"echoed\":{echoed},\"stall_ms\":{stall_ms:.1},\"stall_at\":{stall_at:.3},\"retransmitted\":{retransmitted}}}"
            )?;
        }
        writeln!(
            out,
            "{{\"kind\":\"total\",\"sent\":{},\"duplicates\":{},\"reordered\":{},\"guest_sent\":{},\"guest_duplicates\":{},\"guest_reordered\":{}}}",
            self.sent.len(),
            self.duplicates,
            self.reordered,
            self.guest_sent,
            self.numbers.duplicates(),
            self.numbers.reordered(),
        )?;
        out.flush()?;
        drop(out);
        fs::rename(making, file)
    }
}
