//! What stands below the help, and what the commands about godwit itself take.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{names, word};

pub(super) const MORE: &str = "\
Examples:
  godwit guests                          what runs here, and whether it can be moved
  godwit adopt web-1                     make web-1 a managed guest
  godwit plan web-1 beta                 which VF it would get there, and why
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
  godwit run web-1 -- managedsave        with web-1 on its standby meanwhile
  godwit retry 0198c0de                  try now what rests
  godwit resolve 0198c0de --runs-on beta say where a guest runs that Godwit cannot locate
  godwit explain NO_FREE_VF              what a reason means, and what is to be done
  godwit doctor                          what stands in the way on this host (of a guest: godwit doctor web-1)
  godwit hook install                    guests that virsh migrate brings get their VF too
  godwit dbus install                    programs of this host ask godwitd over D-Bus
  godwit reflect --listen 10.77.0.9:7007 answer guests that measure, which way something is lost
  godwit show 0198c0de --offline         from the journal, when godwitd does not answer
  godwit --host beta guests              ask another host, over the network; see godwit context --help
  godwit support-bundle web-1            a file with all that somebody needs who is to find out what went wrong

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
  124  the time of --timeout was over first; a migration goes on without its watcher
  130  interrupted with ctrl-C; a migration goes on without its watcher
  141  the reader of the output went away";

pub(super) const COMPLETIONS_MORE: &str = "\
Examples:
  godwit completions bash > /usr/share/bash-completion/completions/godwit
  godwit completions zsh > /usr/local/share/zsh/site-functions/_godwit
  godwit completions fish > /usr/share/fish/vendor_completions.d/godwit.fish";

pub(super) const MAN_MORE: &str = "\
Examples:
  godwit man | man -l -              read it now
  godwit man /usr/share/man/man1     install the pages: godwit.1, godwit-migrate.1, ...";

pub(super) const DOCTOR_MORE: &str = "\
Each finding says what it is, why it matters and what to type. What could not be looked at is said as well.

Exit codes:
  0  nothing, or hints alone
  1  godwitd could not be asked, or knows no such guest
  3  warnings: it works in part, or will fail one day
  5  errors: guests are not migrated, or not accelerated, until they are mended";

pub(super) const BUNDLE_MORE: &str = "\
The file is a tar.gz that this user alone may read. In it: versions, the configuration without what could be a secret, doctor, hosts, pools,
VFs, holds, guests, the newest migrations, those of the guest or of the id with their timelines, the ends of the audit log and of godwitd's
log, kernel and libvirt. Keys and certificates are never read. What could not be collected is named in it, and here.

Exit codes:
  0  written, with all of it
  1  not written
  3  written; something could not be collected";

/// What is to be in a support bundle, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Bundle {
    /// A guest of this host, or the id of a migration: its records are in it with their timelines
    #[arg(value_name = "GUEST|ID", value_parser = word)]
    pub(crate) about: Option<String>,
    /// The file; one that is there is never overwritten [default: godwit-support-HOST-TIME.tar.gz here]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The configuration of this host's godwitd
    #[arg(long, value_name = "FILE", default_value = "/etc/godwit/godwitd.toml")]
    pub(crate) config: PathBuf,
}

/// A command line as far as it was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// All of it, up to the cursor
    #[arg(long, allow_hyphen_values = true)]
    line: Option<String>,
    /// Its words, the last of them the one to be completed
    #[arg(last = true)]
    words: Vec<OsString>,
}

impl Asked {
    pub(crate) fn words(&self) -> Vec<String> {
        match &self.line {
            Some(line) => names::words(line),
            None => self
                .words
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
        }
    }
}
