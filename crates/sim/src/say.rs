//! The one place that writes for people; the log is tracing's.

use std::io::Write;

use tracing_subscriber::{EnvFilter, fmt::time::FormatTime};

/// One or more lines to standard output.
pub(crate) fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// An error and its causes to standard error.
pub(crate) fn error(error: &anyhow::Error) {
    let mut out = std::io::stderr().lock();
    // Nothing to be done if the terminal has gone.
    let _ = writeln!(out, "Error: {error}");
    for cause in error.chain().skip(1) {
        let _ = writeln!(out, "Caused by: {cause}");
    }
}

/// The log of a sim that serves: warnings, and what the invariants shout, unless `RUST_LOG` says otherwise.
pub(crate) fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}

/// Everything that happens in a storm, by the storm's own clock.
pub(crate) fn trace() {
    let filter = EnvFilter::new("godwit_sim=debug,godwit_coordinator=debug");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .with_timer(StormClock)
        .with_writer(std::io::stdout)
        .init();
}

struct StormClock;

impl FormatTime for StormClock {
    fn format_time(&self, to: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(to, "{:>10.3}", godwit_sim::storm::clock().as_secs_f64())
    }
}
