//! What `godwit dbus` takes.

use std::path::PathBuf;

use clap::Subcommand;

/// What is done with the files by which a bus and polkit know godwitd.
#[derive(Debug, Subcommand)]
pub(crate) enum DbusAct {
    /// Write the files by which the bus gives godwitd its name, and polkit knows what may be asked of it
    #[command(after_help = INSTALL_MORE)]
    Install {
        /// Below which directory, for a package
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
    /// Say whether the files are there, whether they are of this version, and whether godwitd is on the bus
    #[command(after_help = CHECK_MORE)]
    Check {
        /// Below which directory, of a package; another than / has no bus, and none is asked
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
}

const INSTALL_MORE: &str = "\
Written are usr/share/dbus-1/system.d/org.godwit.Daemon1.conf and usr/share/polkit-1/actions/org.godwit.policy, where vendors put
theirs: what is to be otherwise on a host goes to /etc/dbus-1/system.d and /etc/polkit-1/rules.d. Bus and polkit watch these
folders, and godwitd asks for its name every 30 seconds: nothing is to be started again.";

const CHECK_MORE: &str = "\
Exit codes:
  0  all is well
  3  a file is of another version, or godwitd is not on the bus
  5  a file is not there: the bus does not give godwitd its name, or polkit knows none of its actions";
