//! The command line, and its help.

mod certs;
mod context;
mod dbus;
mod hook;
mod looks;
mod more;
mod moves;
pub(crate) mod names;
mod place;
mod reflect;
mod run;
mod stays;
mod transfer;
mod vfs;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use godwit_api::v1::{self as api, Failure};

use self::certs::CERTS_MORE;
pub(crate) use self::certs::Certs;
use self::context::CONTEXT_MORE;
pub(crate) use self::context::{ContextAct, Given};
pub(crate) use self::dbus::DbusAct;
pub(crate) use self::hook::HookAct;
use self::looks::{FEW, limit};
pub(crate) use self::looks::{Holds, List, Listed, Show};
pub(crate) use self::more::{Asked, Bundle};
use self::more::{BUNDLE_MORE, COMPLETIONS_MORE, DOCTOR_MORE, MAN_MORE, MORE};
pub(crate) use self::moves::{Keep, Migrate, Move};
use self::moves::{MIGRATE_MORE, PLAN_MORE};
pub(crate) use self::place::{PlaceArgs, Wanted};
use self::reflect::REFLECT_MORE;
pub(crate) use self::reflect::Reflect;
use self::run::RUN_MORE;
pub(crate) use self::run::Run;
use self::stays::duration;
use self::stays::{ACCELERATE_MORE, RESOLVE_MORE, STANDBY_MORE};
pub(crate) use self::stays::{Resolve, Stay, Wait};
pub(crate) use self::vfs::VfAct;
use crate::exit;
use crate::output::Output;

/// Moves VMs that own SR-IOV VFs between hosts, without losing their network.
#[derive(Debug, Parser)]
#[command(name = "godwit", version, after_help = MORE, max_term_width = 110)]
pub(crate) struct Args {
    /// Print JSON for programs, one object per line; a failure is also an object: {"error": {...}}
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say nothing but why something failed; the exit code tells the rest
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) place: PlaceArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the guests of this host
    Guests,
    /// Make a guest a managed one: find its pairs and write them into its metadata
    Adopt {
        /// Name or UUID of a guest of this host
        #[arg(value_parser = word)]
        guest: String,
        /// Whether it must have a VF where it moves [default: the one that it has, or require]
        #[arg(long, value_enum)]
        policy: Option<Policy>,
    },
    /// Move a guest to another host
    #[command(after_help = MIGRATE_MORE)]
    Migrate(Migrate),
    /// Say what stands in the way of a move, and which VFs the guest would get there now; nothing is held or changed
    #[command(after_help = PLAN_MORE)]
    Plan(Move),
    /// Put a guest, or all guests of a PF, on standby and take the VF; so it stays until accelerate, or until Godwit moves it
    #[command(after_help = STANDBY_MORE)]
    Standby(Stay),
    /// Give a guest on standby, or all guests of a PF, a VF and move the traffic there; retried while there is none
    #[command(after_help = ACCELERATE_MORE)]
    Accelerate(Stay),
    /// Save a guest or take a snapshot of it, by virsh, with the guest on its standby meanwhile
    #[command(after_help = RUN_MORE)]
    Run(Run),
    /// Try at once what rests, instead of after its pause
    Retry {
        /// Id of a migration, or the first characters of it (at least 4)
        #[arg(value_parser = word)]
        id: String,
    },
    /// Say which host runs the guest of a migration that cannot locate it
    #[command(after_help = RESOLVE_MORE)]
    Resolve(Resolve),
    /// Follow a migration until it is settled; its outcome is the exit code, as with migrate --wait
    Watch {
        /// Id of a migration, or the first characters of it (at least 4)
        #[arg(value_parser = word)]
        id: String,
        /// Stop watching after this, as 90s, 5m or 1h30m; the migration goes on (exit code 124)
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Show the newest migrations of this host
    List(List),
    /// Show the migrations that have ended, newest first: outcome, when, how long, and why if it failed
    History(Listed),
    /// Show all about one migration
    Show(Show),
    /// Turn a migration round at its next phase boundary; refused once the guest has left
    ///
    /// On the destination of a guest that does not come: end the wait for it, and free what is held. Refused while the
    /// guest shows there, or its source says that it is at it.
    Cancel {
        /// Id of a migration, or the first characters of it (at least 4)
        #[arg(value_parser = word)]
        id: String,
    },
    /// Show the newest migrations, or all about one: list and show in one word
    Status {
        /// Id of a migration, or the first characters of it (at least 4)
        #[arg(value_parser = word)]
        id: Option<String>,
        /// Show at most this many migrations
        #[arg(long, value_name = "N", default_value_t = FEW, conflicts_with = "id", value_parser = limit())]
        limit: u32,
    },
    /// Make certificates for hosts and operators, or say when one ends; asks no godwitd
    #[command(after_help = CERTS_MORE)]
    Certs {
        #[command(subcommand)]
        act: Certs,
    },
    /// Say why SR-IOV migration does not, or will not, work on this host, or for a guest; changes nothing
    #[command(after_help = DOCTOR_MORE)]
    Doctor {
        /// Name or UUID of a guest of this host [default: the host itself, and its peers]
        #[arg(value_parser = word)]
        guest: Option<String>,
    },
    /// Say what a reason means, and what is to be done; without one, list them. Asks no daemon
    Explain {
        /// The word in capitals of a failure or a finding, as NO_FREE_VF
        #[arg(value_parser = word)]
        reason: Option<String>,
    },
    /// Show, choose or change whom godwit asks: hosts over the network, and the keys for them. Asks no godwitd
    #[command(after_help = CONTEXT_MORE)]
    Context {
        #[command(subcommand)]
        act: ContextAct,
    },
    /// Show this host and its peers, each asked now
    Hosts,
    /// Show the pools of this host: their PFs, and how many VFs are free, held, in guests and in quarantine
    Pools,
    /// Show the VFs of this host's pools, and who uses them; check them, keep one from everybody, or give it out again
    Vfs {
        #[command(subcommand)]
        act: Option<VfAct>,
    },
    /// Show the VFs that this host has set aside
    Holds(Holds),
    /// Install the hook by which plain libvirt brings guests, or check it
    Hook {
        #[command(subcommand)]
        act: HookAct,
    },
    /// Install the files by which the bus and polkit know godwitd, or check them
    Dbus {
        #[command(subcommand)]
        act: DbusAct,
    },
    /// Answer guests that measure which way a move loses something, until ctrl-C or SIGTERM. Asks no godwitd
    #[command(after_help = REFLECT_MORE)]
    Reflect(Reflect),
    /// Write all that somebody needs who is to find out what went wrong into one file, without any key or secret
    #[command(after_help = BUNDLE_MORE)]
    SupportBundle(Bundle),
    /// Names that fit the last word of a command line, for the scripts of `godwit completions`
    #[command(hide = true)]
    Names(Asked),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_MORE)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write one page for each command into a directory
    #[command(after_help = MAN_MORE)]
    Man {
        /// An existing directory for the pages
        dir: Option<PathBuf>,
    },
}

/// Whether a guest must, should, or need not have a VF where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Policy {
    /// No VF held at the destination, no move
    Require,
    /// It moves in any case, and is accelerated as soon as a VF is free
    Prefer,
    /// It moves, and stays on its standby
    StandbyOnly,
}

impl Policy {
    /// As the wire has it; unspecified where nothing was typed.
    pub(crate) fn wire(policy: Option<Policy>) -> i32 {
        match policy {
            None => api::Policy::Unspecified,
            Some(Policy::Require) => api::Policy::Require,
            Some(Policy::Prefer) => api::Policy::Prefer,
            Some(Policy::StandbyOnly) => api::Policy::StandbyOnly,
        }
        .into()
    }
}

/// Reads the command line.
pub(crate) fn read() -> Result<Args, clap::Error> {
    let matches = Args::command().try_get_matches()?;
    let mut args = Args::from_arg_matches(&matches)?;
    args.place.typed(&matches);
    args.place.wanted().map_err(|sentence| {
        let mut godwit = Args::command();
        godwit.error(ErrorKind::ArgumentConflict, sentence)
    })?;
    Ok(args)
}

/// Says what is wrong with the command line (or prints the help that was asked for); gives the exit code.
pub(crate) fn explain(usage: &clap::Error) -> u8 {
    // Nothing to be done if the terminal has gone.
    let _ = usage.print();
    if !usage.use_stderr() {
        return exit::DONE;
    }
    // What was read is not to be had from clap here, so look for the word itself.
    if std::env::args_os().any(|arg| arg == "--json") {
        Output::stdio(true, false).json_error(&usage_failure(usage));
    }
    exit::USAGE
}

fn usage_failure(usage: &clap::Error) -> Failure {
    let text = usage.render().to_string();
    let sentence = match usage.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "no command was given",
        _ => text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: "),
    };
    Failure {
        reason: "USAGE".into(),
        message: sentence.into(),
        causes: Vec::new(),
        hint: "godwit --help".into(),
    }
}

fn word(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else {
        Ok(text.into())
    }
}

fn request_id(text: &str) -> Result<String, &'static str> {
    if (1..=128).contains(&text.len()) {
        Ok(text.into())
    } else {
        Err("it must have 1 to 128 bytes")
    }
}

#[cfg(test)]
mod fixes;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_argument_is_documented() {
        let mut commands = vec![Args::command()];
        while let Some(command) = commands.pop() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {} has no help",
                    command.get_name(),
                    arg.get_id()
                );
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn limits_are_kept() {
        let long = "x".repeat(129);
        for wrong in [
            vec!["godwit", "adopt", ""],
            vec!["godwit", "status", "--limit", "0"],
            vec!["godwit", "status", "--limit", "10001"],
            vec!["godwit", "status", "0198", "--limit", "5"],
            vec!["godwit", "list", "--limit", "10001"],
            vec!["godwit", "list", "--limit", "5", "--all"],
            vec!["godwit", "list", "--guest", ""],
            vec!["godwit", "history", "--limit", "0"],
            vec!["godwit", "history", "--open"],
            vec!["godwit", "history", "--state", "/tmp"],
            vec!["godwit", "show"],
            vec!["godwit", "show", "0198", "--state", "/tmp"],
            vec!["godwit", "watch"],
            vec!["godwit", "standby"],
            vec!["godwit", "standby", "web-1", "--pf", "enp1s0f0"],
            vec!["godwit", "accelerate", "--wait"],
            vec!["godwit", "accelerate", "--pf", ""],
            vec!["godwit", "run", "web-1"],
            vec!["godwit", "run", "web-1", "--", "destroy"],
            vec!["godwit", "resolve", "0198"],
            vec!["godwit", "resolve", "0198", "--runs-on", ""],
            vec!["godwit", "adopt", "web-1", "--policy", "hope"],
            vec!["godwit", "completions", "csh"],
            vec!["godwit", "reflect"],
            vec!["godwit", "reflect", "--listen", "10.77.0.9"],
            vec!["godwit", "reflect", "--listen", "here:7007"],
            vec!["godwit", "migrate", "web-1"],
            vec!["godwit", "migrate", "web-1", "beta", "--request-id", ""],
            vec!["godwit", "migrate", "web-1", "beta", "--request-id", &long],
        ] {
            assert!(Args::try_parse_from(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Args::try_parse_from(["godwit", "status", "0198", "--json"]).is_ok());
        assert!(
            Args::try_parse_from(["godwit", "list", "--offline", "--state", "/tmp", "--limit", "5"]).is_ok()
        );
    }
}
