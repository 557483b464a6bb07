//! What `godwit reflect` takes.

use std::net::SocketAddr;

use clap::Args;

/// Where it answers.
#[derive(Debug, Args)]
pub(crate) struct Reflect {
    /// The address and the UDP port that guests ask, as 10.77.0.9:7007; an address of IPv6 in brackets
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
}

pub(super) const REFLECT_MORE: &str = "\
Run it where the guests' network ends that a move must not cut them off from, and name it in the configuration of each host:

  [measure]
  reflector = \"10.77.0.9:7007\"

A guest whose agent it answers is then measured by it, and godwit show says of what was lost which way that was. It needs no godwitd, no
privilege and no key: it answers whoever asks, never with more bytes than it was asked with, at most 10,000 questions a second of one
address, and remembers 1,024 addresses at most.

Examples:
  godwit reflect --listen 10.77.0.9:7007
  systemd-run --unit godwit-reflect --property DynamicUser=yes godwit reflect --listen 10.77.0.9:7007

Exit codes:
  0  it was ended, by ctrl-C or SIGTERM
  1  it cannot listen there, or not any more";
