//! What `godwit hook` takes.

use std::path::PathBuf;

use clap::Subcommand;

/// What is done with libvirt's hook.
#[derive(Debug, Subcommand)]
pub(crate) enum HookAct {
    /// Copy godwit-hook to where libvirt looks for it, or the newer one over the older
    #[command(after_help = INSTALL_MORE)]
    Install {
        /// The program to copy [default: godwit-hook beside this godwit]
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        /// libvirt's directory of hooks
        #[arg(long, value_name = "DIR", default_value = HOOKS)]
        hooks: PathBuf,
    },
    /// Say whether the hook is there, whether it is this version, and whether godwitd answers it
    #[command(after_help = CHECK_MORE)]
    Check {
        /// The program that it is to be [default: godwit-hook beside this godwit]
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        /// libvirt's directory of hooks
        #[arg(long, value_name = "DIR", default_value = HOOKS)]
        hooks: PathBuf,
        /// Directory of godwitd's state, where it wrote down what the hook is to do
        #[arg(long, value_name = "DIR", default_value = "/var/lib/godwit")]
        state: PathBuf,
    },
}

const HOOKS: &str = "/etc/libvirt/hooks";

const INSTALL_MORE: &str = "\
libvirt looks for hooks when it starts. Where it had none then, it sees this one after a restart of it; guests run on meanwhile.
A file of that name that is not godwit-hook is left alone, and the command is refused.";

const CHECK_MORE: &str = "\
Whether libvirt has seen the hook cannot be asked of it: it has if it had a hook when it started.

Exit codes:
  0  all is well
  3  it is there and works in part: it is another version, or godwitd does not answer it
  5  libvirt cannot run it: it is not there, or not executable, or another program";
