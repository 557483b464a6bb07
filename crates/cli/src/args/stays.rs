//! What is typed about a guest that stays, and about one that nobody can locate.

use std::time::Duration;

use super::word;

pub(super) const STANDBY_MORE: &str = "\
The traffic is moved and confirmed before the VF is taken. What cannot be done is undone: the guest is then accelerated again (exit code 4).
With --pf nobody is given a VF of that PF either, until `godwit accelerate --pf PF`. Its guests get a VF of another PF of their pool
as soon as one is free. `godwit standby GUEST` is for one guest and lasts until `godwit accelerate GUEST`, whatever becomes of its PF.";

pub(super) const ACCELERATE_MORE: &str = "\
Without a free VF the guest rests on its standby (exit code 3), and gets the next one that becomes free.";

pub(super) const RESOLVE_MORE: &str = "\
Look first, on both hosts: virsh domstate GUEST --reason. A wrong answer can end with the guest on two hosts, so what is said against
the evidence of this host is refused; --force overrides that. The answer is kept in the migration's timeline.";

/// A guest that stays, or several.
#[derive(Debug, clap::Args)]
pub(crate) struct Stay {
    #[command(flatten)]
    pub(crate) whom: Whom,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Whether, and how long, what was begun is waited for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Wait {
    /// Show every phase until it is settled
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: stop watching after this, as 90s, 5m or 1h30m; what was begun goes on (exit code 124)
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration)]
    timeout: Option<Duration>,
}

impl Wait {
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

/// From a second to a week, with a unit.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let parsed = parsed.and_then(|length| Duration::try_from(length).ok());
    let length = parsed.ok_or("a length of time is wanted, as 90s, 5m or 1h30m")?;
    match (Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)).contains(&length) {
        true => Ok(length),
        false => Err("it must be from 1s to 7d (as hours: 168h)"),
    }
}

/// One of the two.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Whom {
    /// Name or UUID of a guest that runs on this host
    #[arg(value_parser = word)]
    pub(crate) guest: Option<String>,
    /// All guests of this PF: its interface name, as `godwit vfs` shows it
    #[arg(long, value_parser = word)]
    pub(crate) pf: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resolve {
    /// Id of a migration, or the first characters of it (at least 4)
    #[arg(value_parser = word)]
    pub(crate) id: String,
    /// The migration's source or destination, whichever runs the guest
    #[arg(long, value_name = "HOST", value_parser = word)]
    pub(crate) runs_on: String,
    /// Also against what this host sees; a copy that runs here as well is suspended
    #[arg(long)]
    pub(crate) force: bool,
}
