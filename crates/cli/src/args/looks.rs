//! What is typed to look at migrations and holds.

use std::path::{Path, PathBuf};

use super::word;

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only those that have not ended: at work, or resting
    #[arg(long)]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) which: Listed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Listed {
    /// Only those of this guest: its name or UUID
    #[arg(long, value_parser = word)]
    pub(crate) guest: Option<String>,
    /// Show at most this many migrations, 10000 at most
    #[arg(long, value_name = "N", default_value_t = FEW, value_parser = limit())]
    limit: u32,
    /// Show all of them, as --limit 10000
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    pub(crate) from: From,
}

impl Listed {
    /// At most this many.
    pub(crate) fn most(&self) -> u32 {
        if self.all { MOST } else { self.limit }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Id of a migration, or the first characters of it (at least 4)
    #[arg(value_parser = word)]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) from: From,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Holds {
    #[command(flatten)]
    pub(crate) from: From,
}

/// Where the answer comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct From {
    /// Read this host's journal and not ask godwitd, which may run, hang or be gone
    #[arg(long)]
    offline: bool,
    /// Directory of the journal, with --offline
    #[arg(
        long,
        value_name = "DIR",
        requires = "offline",
        default_value = "/var/lib/godwit"
    )]
    state: PathBuf,
}

impl From {
    /// The journal's directory; none: ask the daemon.
    pub(crate) fn journal(&self) -> Option<&Path> {
        self.offline.then_some(&self.state)
    }
}

/// A screenful.
pub(super) const FEW: u32 = 20;
/// More than a host keeps, if its configuration does not say otherwise; bounded, because all of it is kept in memory.
const MOST: u32 = 10_000;

pub(super) fn limit() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MOST))
}
