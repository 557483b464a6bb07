//! The command line, and its help.

mod certs;
mod hook;
mod vfs;

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use godwit_api::v1::{self as api, Failure};

mod moves;
mod transfer;

use self::certs::CERTS_MORE;
pub(crate) use self::certs::Certs;
pub(crate) use self::hook::HookAct;
use self::moves::{MIGRATE_MORE, PLAN_MORE};
pub(crate) use self::moves::{Migrate, Plan};
pub(crate) use self::vfs::VfAct;
use crate::exit;
use crate::output::Output;

const MORE: &str = "\
Examples:
  godwit guests                          what runs here, and whether it can be moved
  godwit adopt web-1                     make web-1 a managed guest
  godwit plan web-1 beta                 what stands in its way, and which VF it would get there
  godwit migrate web-1 beta --wait       move it, and see every phase
  godwit migrate web-1 beta --json       begin the move; the migration as JSON
  godwit list --guest web-1              the newest migrations of web-1
  godwit history --guest web-1           what became of web-1's migrations
  godwit show 0198c0de                   all about one; the start of its id is enough
  godwit watch 0198c0de                  see its phases as they come, as with --wait
  godwit cancel 0198c0de                 turn it round
  godwit migrate web-1 beta --policy prefer  move it, also when beta has no free VF
  godwit migrate web-1 beta --bandwidth 500MiB/s --downtime 100ms  with libvirt's own options
  godwit standby web-1 --wait            its VF is taken; it stays here, on its standby
  godwit accelerate web-1 --wait         it gets a VF again
  godwit standby --pf enp1s0f0           all guests of a PF, to repair it
  godwit retry 0198c0de                  try now what rests
  godwit resolve 0198c0de --runs-on beta say where a guest runs that Godwit cannot locate
  godwit explain NO_FREE_VF              what a reason means, and what is to be done
  godwit doctor                          what stands in the way on this host (of a guest: godwit doctor web-1)
  godwit hook install                    guests that virsh migrate brings get their VF too
  godwit show 0198c0de --offline         from the journal, when godwitd does not answer

Exit codes:
  0  done; with --wait, and of watch: the guest moved and is accelerated
     (accelerate: it is accelerated; standby: it is on its standby)
  1  refused or failed; of several guests: one was refused; of a guest that was to stay: it left
  2  wrong usage
  3  the guest moved but is on standby, or its acceleration was not observed (--wait, watch)
     (accelerate: it rests on its standby, and is tried again; doctor: warnings; plan: it would;
     checked VFs: something is wrong)
  4  rolled back: the guest stays where it was (--wait, watch)
     (standby: it could not be had, and the guest is accelerated again)
  5  a person is needed (--wait, watch; doctor: errors)
  130  interrupted with ctrl-C; a migration goes on without its watcher
  141  the reader of the output went away";

/// Moves VMs that own SR-IOV VFs between hosts, without losing their network.
#[derive(Debug, Parser)]
#[command(name = "godwit", version, after_help = MORE, max_term_width = 110)]
pub(crate) struct Args {
    /// Print JSON for programs, one object per line; a failure is also an object: {"error": {...}}
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Socket of this host's godwitd
    #[arg(
        long,
        global = true,
        env = "GODWIT_SOCKET",
        default_value = "/run/godwit/godwitd.sock",
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,

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
    Plan(Plan),
    /// Put a guest, or all guests of a PF, on standby and take the VF; so it stays until accelerate, or until Godwit moves it
    #[command(after_help = STANDBY_MORE)]
    Standby(Stay),
    /// Give a guest on standby, or all guests of a PF, a VF and move the traffic there; retried while there is none
    #[command(after_help = ACCELERATE_MORE)]
    Accelerate(Stay),
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
    },
    /// Show the newest migrations of this host
    List(List),
    /// Show the migrations that have ended, newest first: outcome, when, how long, and why if it failed
    History(List),
    /// Show all about one migration
    Show(Show),
    /// Turn a migration round at its next phase boundary; refused once the guest has left
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
    /// Show this host and its peers, each asked now
    Hosts,
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

/// A guest that stays, or several.
#[derive(Debug, clap::Args)]
pub(crate) struct Stay {
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// Show every phase until it is settled
    #[arg(long)]
    pub(crate) wait: bool,
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

/// A screenful.
const FEW: u32 = 20;

fn limit() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1000)
}

const COMPLETIONS_MORE: &str = "\
Examples:
  godwit completions bash > /usr/share/bash-completion/completions/godwit
  godwit completions zsh > /usr/local/share/zsh/site-functions/_godwit
  godwit completions fish > /usr/share/fish/vendor_completions.d/godwit.fish";

const MAN_MORE: &str = "\
Examples:
  godwit man | man -l -              read it now
  godwit man /usr/share/man/man1     install the pages: godwit.1, godwit-migrate.1, ...";

const STANDBY_MORE: &str = "\
The traffic is moved and confirmed before the VF is taken. What cannot be done is undone: the guest is then accelerated again (exit code 4).
With --pf nobody is given a VF of that PF either, until `godwit accelerate --pf PF`. Its guests get a VF of another PF of their pool
as soon as one is free. `godwit standby GUEST` is for one guest and lasts until `godwit accelerate GUEST`, whatever becomes of its PF.";

const ACCELERATE_MORE: &str = "\
Without a free VF the guest rests on its standby (exit code 3), and gets the next one that becomes free.";

const RESOLVE_MORE: &str = "\
Look first, on both hosts: virsh domstate GUEST --reason. A wrong answer can end with the guest on two hosts, so what is said against
the evidence of this host is refused; --force overrides that. The answer is kept in the migration's timeline.";

const DOCTOR_MORE: &str = "\
Each finding says what it is, why it matters and what to type. What could not be looked at is said as well.

Exit codes:
  0  nothing, or hints alone
  1  godwitd could not be asked, or knows no such guest
  3  warnings: it works in part, or will fail one day
  5  errors: guests are not migrated, or not accelerated, until they are mended";

/// Reads the command line.
pub(crate) fn read() -> Result<Args, clap::Error> {
    Args::try_parse()
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
        Output::stdio(true).json_error(&usage_failure(usage));
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
            vec!["godwit", "status", "--limit", "1001"],
            vec!["godwit", "status", "0198", "--limit", "5"],
            vec!["godwit", "list", "--limit", "1001"],
            vec!["godwit", "list", "--guest", ""],
            vec!["godwit", "history", "--limit", "0"],
            vec!["godwit", "history", "--state", "/tmp"],
            vec!["godwit", "show"],
            vec!["godwit", "show", "0198", "--state", "/tmp"],
            vec!["godwit", "watch"],
            vec!["godwit", "standby"],
            vec!["godwit", "standby", "web-1", "--pf", "enp1s0f0"],
            vec!["godwit", "accelerate", "--wait"],
            vec!["godwit", "accelerate", "--pf", ""],
            vec!["godwit", "resolve", "0198"],
            vec!["godwit", "resolve", "0198", "--runs-on", ""],
            vec!["godwit", "adopt", "web-1", "--policy", "hope"],
            vec!["godwit", "completions", "csh"],
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
