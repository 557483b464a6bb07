//! The command line, and its help.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use godwit_api::v1::Failure;

use crate::exit;
use crate::output::Output;

const MORE: &str = "\
Examples:
  godwit guests                          what runs here, and whether it can be moved
  godwit adopt web-1                     make web-1 a managed guest
  godwit migrate web-1 beta --wait       move it, and see every phase
  godwit migrate web-1 beta --json       begin the move; the migration as JSON
  godwit list --guest web-1              the newest migrations of web-1
  godwit history --guest web-1           what became of web-1's migrations
  godwit show 0198c0de                   all about one; the start of its id is enough
  godwit watch 0198c0de                  see its phases as they come, as with --wait
  godwit cancel 0198c0de                 turn it round
  godwit show 0198c0de --offline         from the journal, when godwitd does not answer

Exit codes:
  0  done; with --wait, and of watch: the guest moved and is accelerated
  1  refused or failed
  2  wrong usage
  3  the guest moved but is on standby, or its acceleration was not observed (--wait, watch)
  4  rolled back: the guest stays where it was (--wait, watch)
  5  a person is needed (--wait, watch)
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
    },
    /// Move a guest to another host
    #[command(after_help = MIGRATE_MORE)]
    Migrate(Migrate),
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
    /// Show this host and its peers, each asked now
    Hosts,
    /// Show the VFs of this host's pools, and who uses them
    Vfs,
    /// Show the VFs that this host has set aside
    Holds(Holds),
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

const MIGRATE_MORE: &str = "\
Without --wait the command ends when the daemon has accepted the migration; `godwit show ID` shows it.
With --wait it ends when nothing more is to be expected; its exit code is the outcome (see godwit --help).
ctrl-C ends the watching, not the migration; `godwit watch ID` takes it up again.";

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
    /// Name this request, 1 to 128 bytes: the same name gives the same migration again [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub(crate) request_id: Option<String>,
}

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
