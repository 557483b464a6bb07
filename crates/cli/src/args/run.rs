//! What is typed to do something with a guest that cannot be done while it has a VF.

use super::word;

pub(super) const RUN_MORE: &str = "\
Examples:
  godwit run web-1 -- managedsave
  godwit run web-1 -- save /var/tmp/web-1.saved
  godwit run web-1 -- snapshot-create-as --name before --no-metadata --memspec /var/tmp/web-1.memory

libvirt migrates no guest that it has snapshots of: --no-metadata makes the files alone.

The guest is put on its standby, `virsh COMMAND --domain GUEST ARGUMENTS` is run, and the guest gets a VF again, whatever came of it: at once if it runs, else
as soon as it runs again, on this host or another one. No shell takes part. ctrl-C goes to virsh; the guest gets its VF all the same. A guest that is
on its standby already is left so.

Exit code: virsh's own if that is not 0; 1 or 4 if the guest could not be put on its standby, and virsh was not run; 3 if it was, and the guest has no VF yet.";

/// What virsh may be asked for: what saves a guest's memory, which libvirt does not do while a device of the host is in it.
pub(crate) const COMMANDS: [&str; 6] = [
    "save",
    "managedsave",
    "snapshot-create",
    "snapshot-create-as",
    "dump",
    "dompmsuspend",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Name or UUID of a guest that runs on this host
    #[arg(value_parser = word)]
    pub(crate) guest: String,
    /// The guest gets a VF again after this, even if the command still goes on; minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    pub(crate) within: u32,
    /// This virsh [default: the one in PATH]
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "virsh",
        hide_default_value = true
    )]
    pub(crate) virsh: std::path::PathBuf,
    /// libvirt's URI [default: virsh's own]
    #[arg(long, value_name = "URI", value_parser = word)]
    pub(crate) connect: Option<String>,
    /// A command of virsh: save, managedsave, snapshot-create, snapshot-create-as, dump or dompmsuspend
    #[arg(value_parser = COMMANDS)]
    pub(crate) command: String,
    /// What else the command is given, without the guest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<std::ffi::OsString>,
}
