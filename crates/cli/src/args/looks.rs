//! What is typed to look at migrations and holds.

use std::path::{Path, PathBuf};

use super::word;

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only those of this guest: its name or UUID
    #[arg(long, value_parser = word)]
    pub(crate) guest: Option<String>,
    /// Show at most this many migrations
    #[arg(long, value_name = "N", default_value_t = FEW, value_parser = limit())]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) from: From,
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

pub(super) fn limit() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1000)
}
