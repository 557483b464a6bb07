//! `godwit certs`.

use std::path::PathBuf;

use clap::Subcommand;

use super::word;

pub(crate) const CERTS_MORE: &str = "\
Examples:
  godwit certs init --dir godwit-ca --host alpha --host beta
  godwit certs init --dir godwit-ca --operator fleet       later: one more, by the same authority
  godwit certs check /etc/godwit/host.pem
  godwit certs revoke --dir godwit-ca gamma                gamma's key is lost: copy ca.crl to every host

Each host gets ca.pem, its own NAME.pem and its own NAME.key, in [tls] of its configuration. ca.key goes to no host.

Exit codes of check:
  0  valid for more than 30 days
  3  a certificate ends within 30 days
  5  a certificate has ended, is not valid yet, or has no name that counts";

/// What is done about certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Make an authority, and certificates for hosts and operators; what is there is never overwritten
    Init {
        /// Directory of the authority; made for this user alone
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Name of a host, as its configuration and its peers have it; may be given again
        #[arg(long, value_name = "NAME", value_parser = word)]
        host: Vec<String>,
        /// Name of an `[[operator]]`: a DNS name, a URI or a mail address; may be given again
        #[arg(long, value_name = "NAME", value_parser = word)]
        operator: Vec<String>,
        /// How long the certificates are valid; the authority is for ten years
        #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Revoke certificates of this authority: writes its list, ca.crl, for `crl` of `[tls]` on every host
    Revoke {
        /// Directory of the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Whose certificate in that directory, as it was named to `init`; may be given again
        #[arg(value_name = "NAME", value_parser = word, required_unless_present = "file")]
        name: Vec<String>,
        /// A certificate that is elsewhere, or was replaced since: a file in PEM; may be given again
        #[arg(long, value_name = "FILE")]
        file: Vec<PathBuf>,
    },
    /// Say whose a certificate is and when it ends
    Check {
        /// Files in PEM
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}
