//! What is typed to move a guest, or to see what would come of it.

use godwit_api::v1::{self as api, PlanMigrationRequest};

use super::{Policy, Wait, request_id, transfer::Transfer, word};

pub(super) const MIGRATE_MORE: &str = "\
Without --wait the command ends when the daemon has accepted the migration; `godwit show ID` shows it.
With --wait it ends when nothing more is to be expected; its exit code is the outcome (see godwit --help).
ctrl-C ends the watching, not the migration; `godwit watch ID` takes it up again. On a terminal it asks first, and the migration can be
cancelled then; a second ctrl-C, or no answer for 30 s, leaves it running.
With --dry-run nothing is begun, held or changed: it is `godwit plan` with the same options, answer and exit code.";

pub(super) const PLAN_MORE: &str = "\
Exit code 0: it would move and be accelerated; 3: it would move, on its standby; 1: it would not move.
What is free now may be taken by somebody else a moment later: only migrate holds it.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keep {
    /// Where it can be done
    Auto,
    /// Never
    Off,
    /// Or the guest does not move
    On,
}

impl Keep {
    /// As the daemon is told.
    pub(crate) fn wire(keep: Option<Keep>) -> i32 {
        let keep = match keep {
            None => api::Keep::Unspecified,
            Some(Keep::Auto) => api::Keep::Auto,
            Some(Keep::Off) => api::Keep::Off,
            Some(Keep::On) => api::Keep::On,
        };
        keep.into()
    }
}

/// Which guest, where to, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    /// Name or UUID of a guest that runs on this host
    #[arg(value_parser = word)]
    pub(crate) guest: String,
    /// Name of the destination host, as the daemon's configuration has it
    #[arg(value_name = "HOST", value_parser = word)]
    pub(crate) destination: String,
    /// Whether it must have a VF at the destination [default: the guest's own policy]
    #[arg(long, value_enum)]
    pub(crate) policy: Option<Policy>,
    /// Whether frames that arrive in the guest's pause are kept, and delivered where it runs next [default: as the daemon's configuration has it]
    #[arg(long, value_enum)]
    pub(crate) keep: Option<Keep>,
    /// Go on in spite of errors with this reason, as CPU_UNFIT; may be given again
    #[arg(long, value_name = "REASON", value_parser = word)]
    pub(crate) ignore: Vec<String>,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

impl Move {
    /// What would come of it?
    pub(crate) fn planned(&self) -> PlanMigrationRequest {
        PlanMigrationRequest {
            guest: self.guest.clone(),
            destination: self.destination.clone(),
            policy: Policy::wire(self.policy),
            transfer: self.transfer.wire(),
            ignore: self.ignore.clone(),
            keep: Keep::wire(self.keep),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) what: Move,
    /// Begin nothing: say what stands in its way, and which VFs it would get there, as plan does
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// Probes a second that the guest sends, to measure its outage, 0 to 1000; 0: none [default: as the daemon's configuration has it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) probes: Option<u32>,
    /// Name this request, 1 to 128 bytes: the same name gives the same migration again [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub(crate) request_id: Option<String>,
}
