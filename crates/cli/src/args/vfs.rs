//! What `godwit vfs` takes.

use clap::Subcommand;

use super::word;

/// What is done with a VF.
#[derive(Debug, Subcommand)]
pub(crate) enum VfAct {
    /// Keep a VF from everybody until release; who has it now keeps it
    Quarantine {
        /// PCI address of the VF, as `godwit vfs` shows it
        #[arg(value_parser = word)]
        vf: String,
        /// Why, for whoever looks at it later
        #[arg(long, value_name = "TEXT", default_value = "")]
        because: String,
    },
    /// Say of every VF, or of one, whose it is and what of it is not as it should be
    #[command(after_help = CHECK_MORE)]
    Check {
        /// PCI address of the VF, as `godwit vfs` shows it [default: every VF of this host's pools]
        #[arg(value_parser = word)]
        vf: Option<String>,
        /// Take off a VF that nobody has what its last user left on it
        #[arg(long, requires = "vf")]
        clean: bool,
    },
    /// Reset and clean a VF in quarantine, and give it out again
    Release {
        /// PCI address of the VF, as `godwit vfs` shows it
        #[arg(value_parser = word)]
        vf: String,
    },
}

const CHECK_MORE: &str = "\
A VF that nobody has is to carry nothing: no MAC, no VLAN, no trust ... A guest's is to be as the guest's metadata says.
--clean is refused for a VF that anybody has; one that cannot be cleaned is in quarantine then.

Exit codes:
  0  nothing is wrong
  1  refused or failed
  3  something is not as it should be";
