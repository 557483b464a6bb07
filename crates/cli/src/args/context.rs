//! What `godwit context` takes.

use std::path::PathBuf;

use clap::Subcommand;

use super::word;

pub(crate) const CONTEXT_MORE: &str = "\
A context is a host that is asked over the network, and the keys for it. They are in config.toml of this user
($GODWIT_CONFIG, $XDG_CONFIG_HOME/godwit/config.toml or ~/.config/godwit/config.toml), which has no secret in it: keys stay in their files.

Examples:
  godwit context set fleet --address beta:7716 --ca ca.pem --certificate me.pem --key me.key
  godwit --context fleet guests          ask beta
  godwit --host gamma guests             ask gamma, with the keys of the context in use
  godwit context use fleet               ask beta unless something else is said
  godwit context use local               ask this host again";

/// What is done with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextAct {
    /// Show all contexts, and which one is in use
    List,
    /// Show one, and whether its keys can be used
    Show {
        /// Name of a context [default: the one that would be asked now]
        #[arg(value_parser = word)]
        name: Option<String>,
    },
    /// Ask the host of that context unless something else is said
    Use {
        /// Name of a context, or `local` for this host
        #[arg(value_parser = word)]
        name: String,
    },
    /// Make a context, or change what is given of one
    Set {
        /// Its name: letters, digits, `-`, `_` and `.`, at most 64
        #[arg(value_parser = word)]
        name: String,
        #[command(flatten)]
        given: Given,
    },
    /// Remove a context; its keys stay where they are
    Remove {
        /// Name of a context
        #[arg(value_parser = word)]
        name: String,
    },
}

/// What a context is made of. A new one needs all but the last two.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Given {
    /// Where godwitd listens: `HOST[:PORT]`, port 7716 if none is given
    #[arg(long, value_name = "HOST[:PORT]", value_parser = word)]
    pub(crate) address: Option<String>,
    /// File in PEM: the authority of the hosts
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// File in PEM: this user's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// File in PEM: its private key, which nobody else may read
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// File in PEM: what the authority has revoked [default: nothing is looked up]
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,
    /// DNS name that the host's certificate must have [default: the host of the address]
    #[arg(long, value_name = "NAME", value_parser = word)]
    pub(crate) server_name: Option<String>,
}
