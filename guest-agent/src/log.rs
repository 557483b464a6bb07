//! Short lines on standard error, which the service manager keeps.

use std::fmt::Arguments;
use std::io::Write;

/// Writes one line. An agent whose standard error is gone goes on working.
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "godwit-agent: {text}");
}

/// `say!("{name}: adopted")`: one line to the log.
macro_rules! say {
    ($($words:tt)*) => { $crate::log::line(format_args!($($words)*)) };
}
pub(crate) use say;
