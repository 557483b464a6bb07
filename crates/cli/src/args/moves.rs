//! What is typed to move a guest, or to see what would come of it.

use super::{Policy, request_id, transfer::Transfer, word};

pub(super) const MIGRATE_MORE: &str = "\
Without --wait the command ends when the daemon has accepted the migration; `godwit show ID` shows it.
With --wait it ends when nothing more is to be expected; its exit code is the outcome (see godwit --help).
ctrl-C ends the watching, not the migration; `godwit watch ID` takes it up again.";

pub(super) const PLAN_MORE: &str = "\
Exit code 0: it would move and be accelerated; 3: it would move, on its standby; 1: it would not move.
What is free now may be taken by somebody else a moment later: only migrate holds it.";

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Name or UUID of a guest that runs on this host
    #[arg(value_parser = word)]
    pub(crate) guest: String,
    /// Name of the destination host, as the daemon's configuration has it
    #[arg(value_parser = word)]
    pub(crate) host: String,
    /// As of migrate [default: the guest's own policy]
    #[arg(long, value_enum)]
    pub(crate) policy: Option<Policy>,
    /// Go on in spite of errors with this reason, as CPU_UNFIT; may be given again
    #[arg(long, value_name = "REASON", value_parser = word)]
    pub(crate) ignore: Vec<String>,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    /// Name or UUID of a guest that runs on this host
    #[arg(value_parser = word)]
    pub(crate) guest: String,
    /// Name of the destination host, as the daemon's configuration has it
    #[arg(value_parser = word)]
    pub(crate) host: String,
    /// Show every phase until the migration is settled
    #[arg(long)]
    pub(crate) wait: bool,
    /// Whether it must have a VF at the destination [default: the guest's own policy]
    #[arg(long, value_enum)]
    pub(crate) policy: Option<Policy>,
    /// Probes a second that the guest sends, to measure its outage, 0 to 1000; 0: none [default: as the daemon's configuration has it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) probes: Option<u32>,
    /// Name this request, 1 to 128 bytes: the same name gives the same migration again [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub(crate) request_id: Option<String>,
    /// Go on in spite of errors with this reason, as CPU_UNFIT; may be given again
    #[arg(long, value_name = "REASON", value_parser = word)]
    pub(crate) ignore: Vec<String>,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}
