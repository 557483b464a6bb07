//! The command line, and its help.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use godwit_sim::{
    Layout, bench,
    faults::Wanted,
    ills::WantedIll,
    serve::{self, Network, Options, Sim},
    storm::{self, Wanted as Storms},
};

use crate::say::say;

const MORE: &str = "\
The first minute:
  godwit-sim &                              prints the line to type next:
  export GODWIT_SOCKET=.../alpha.sock
  godwit guests
  godwit migrate web-1 beta --wait
  godwit standby web-1                      and back: godwit accelerate web-1

Faults, PHASE[@HOST]=KIND[:COUNT] (COUNT times, `ever` for always; the phases are those of `godwit status`):
  --fault plug@beta=fail:3                  beta cannot plug three times: the guest waits on standby
  --fault fail-over=half                    it fails half way, and is undone
  --fault release=hang                      never answers; the loop gives up at the deadline
  --fault unplug=silent                     the guest does not let its VF go (=late: 90 s late)
  --fault transfer=moved                    libvirt reports an error, and the guest has moved
  --fault fail-over=lie                     the agent says that it moved the traffic, and did not
  --fault transfer=paused                   it fails after the switch-over (=resumed, =split, =torn, =fail, =hang)
  --fault transfer=slow                     the guest stands still for 4 s before it runs at beta
  --fault transfer=cut                      beta hears nobody for 20 s (from that phase on; =part: the
                                            daemons alone hear each other no more)
  --fault unplug=crash                      the coordinator dies there and comes back after 5 s
  --fault unplug=stop                       the guest is shut down (=reboot: it reboots; =cancel)
Every kind but those of unplug and transfer alone is possible in every phase.

Ills, ILL[@HOST], which change nothing but what `godwit doctor` or `godwit plan` finds:
  --ill iommu-off@beta                      (no-vfio, link-down, old-libvirt, certificate-ends)
  --ill leftover-vf@beta                    a free VF carries something, in truth (duplicate-mac: a MAC of another
                                            host's guest); `godwit vfs check` finds and cleans it
  --ill cpu-unfit@beta                      `godwit plan` and `migrate` find it of the host that a guest would come to
                                            (machine-unknown, memory-short, memory-in-use, disk-missing, bridge-missing,
                                            bridge-mtu, bridge-no-link, port-shut, lock-manager, keeps-none,
                                            keeps-unknown, no-certificates, memlock-low,
                                            disk-full, no-storage-pool), or of the one where it is (busy-guests, local-disk,
                                            macvtaps, bond-broken, standby-no-carrier, bond-unmonitored,
                                            busy-vf, no-free-port)

Storms:
  godwit-sim storm --runs 10000             random faults and requests, faster than time; what fails is replayed by
  godwit-sim storm --replay SEED            the command that it prints
  godwit-sim storm --pairs                  all pairs of faults, one after the other";

/// Godwit's API over pretend hosts and guests, without root.
#[derive(Debug, Parser)]
#[command(name = "godwit-sim", version, after_help = MORE, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    world: World,
    /// Divide all pretend durations by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Let something go wrong (see below); may be given several times
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Wanted>,
    /// Let a host ail from something, for `godwit doctor` to find (see below); may be given several times
    #[arg(long = "ill", value_name = "ILL")]
    ills: Vec<WantedIll>,
    /// Directory of the sockets [default: $XDG_RUNTIME_DIR/godwit-sim, or /tmp/godwit-sim-UID]
    #[arg(long, value_name = "DIR")]
    sockets: Option<PathBuf>,
    /// Keep the journals here; the world itself starts anew each time
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    network: Listen,
    /// End with exit code 1 if a rule of the world was broken
    #[arg(long)]
    pub(crate) check: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What the world begins with.
#[derive(Debug, clap::Args)]
struct World {
    /// Pretend hosts: alpha, beta, host-3 ...
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=200))]
    hosts: u16,
    /// Pretend guests web-1, web-2 ..., spread over the hosts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    guests: u32,
    /// VFs of each host [default: enough for the guests of two hosts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=30_000))]
    vfs: Option<u32>,
    /// Pairs of each guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pairs: u8,
    /// Leave out the guests on alpha that each lack something, and so cannot be moved
    #[arg(long)]
    plain: bool,
}

/// Doors to the network, as real hosts have them.
#[derive(Debug, clap::Args)]
struct Listen {
    /// Listen for TLS at IP:PORT too; alpha has this port, beta the next, and so on [default: at sockets alone]
    #[arg(long, value_name = "ADDRESS", requires = "tls_dir")]
    listen: Option<SocketAddr>,
    /// Directory of `godwit certs init`: hosts with a certificate there listen, and its operators may do all
    #[arg(long, value_name = "DIR", requires = "listen")]
    tls_dir: Option<PathBuf>,
}

impl Listen {
    fn network(&self) -> Option<Network> {
        Some(Network {
            address: self.listen?,
            tls: self.tls_dir.clone()?,
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run storms of faults over the real loop, faster than time
    Storm(Storm),
    /// Measure what the coordinator adds to a migration; one JSON object
    Bench(Bench),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// How many migrations
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    moves: u32,
    /// A directory on the disk that the journals are to be written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    state: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Storm {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    runs: u64,
    /// Seed of the first; the others follow [default: chosen by the clock]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run this one again, and show everything that happens in it
    #[arg(long, value_name = "SEED", conflicts_with_all = ["runs", "seed"])]
    replay: Option<u64>,
    /// All pairs of faults, one after the other; seeds then number the pairs
    #[arg(long, conflicts_with_all = ["runs", "seed"])]
    pairs: bool,
    /// Go on after a storm that went wrong, and list them all
    #[arg(long)]
    all: bool,
    /// Threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("it must be a number from 0.01 to 1000".into()),
    }
}

impl Args {
    pub(crate) fn options(&self) -> Options {
        let mut layout = Layout::new(
            self.world.hosts.into(),
            self.world.guests as usize * usize::from(self.world.pairs),
        );
        layout.guests = self.world.guests as usize;
        layout.pairs = self.world.pairs.into();
        layout.extras = !self.world.plain;
        layout.vfs = self.world.vfs.map_or(layout.vfs, |vfs| vfs as usize);
        Options {
            layout,
            speed: self.speed,
            faults: self.faults.clone(),
            ills: self.ills.clone(),
            sockets: self.sockets.clone().unwrap_or_else(serve::default_directory),
            state: self.state.clone(),
            network: self.network.network(),
        }
    }

    /// What to type next.
    pub(crate) fn greet(&self, sim: &Sim) -> std::io::Result<()> {
        let (hosts, guests) = (self.world.hosts, self.world.guests);
        let lacking = if self.world.plain {
            ""
        } else {
            " and 6 that each lack something"
        };
        say(&format!(
            "godwit-sim: pretend hosts: {hosts}, guests: {guests}{lacking}. Now type:"
        ))?;
        say(&format!("  export GODWIT_SOCKET={}", sim.socket(0).display()))?;
        say("  godwit guests")?;
        if hosts > 1 && guests > 0 {
            say("  godwit migrate web-1 beta --wait")?;
        }
        for (host, name) in sim.hosts().iter().enumerate() {
            if let Some(address) = sim.address(host) {
                say(&format!("{name} listens at {address}, TLS"))?;
            }
        }
        Ok(())
    }
}

impl Bench {
    pub(crate) fn options(&self) -> bench::Options {
        bench::Options {
            moves: self.moves as usize,
            state: self.state.clone(),
        }
    }
}

impl Storm {
    /// The command that runs that storm again.
    pub(crate) fn replay(&self, seed: u64) -> String {
        let pairs = if self.pairs { "--pairs " } else { "" };
        format!("godwit-sim storm {pairs}--replay {seed}")
    }

    pub(crate) fn wanted(&self) -> Storms {
        let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let chosen = || clock().map_or(0, |now| now.as_secs() * 1_000_000);
        Storms {
            kind: if self.pairs {
                storm::Kind::Pairs
            } else {
                storm::Kind::Random
            },
            first: self.replay.or(self.seed).unwrap_or_else(chosen),
            runs: if self.replay.is_some() { 1 } else { self.runs },
            threads: self.threads,
            trace: self.replay.is_some(),
            all: self.all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        assert!(Args::try_parse_from(["godwit-sim", "--fault", "plug@beta=fail:3", "--speed", "10"]).is_ok());
        assert!(Args::try_parse_from(["godwit-sim", "--fault", "plug=silent"]).is_err());
        assert!(Args::try_parse_from(["godwit-sim", "--ill", "no-vfio@beta", "--ill", "link-down"]).is_ok());
        assert!(Args::try_parse_from(["godwit-sim", "--ill", "iommu"]).is_err());
        let listens = ["godwit-sim", "--listen", "127.0.0.1:7716"];
        assert!(Args::try_parse_from(listens).is_err(), "with which keys?");
        let with_keys = [&listens[..], &["--tls-dir", "ca"]].concat();
        assert!(Args::try_parse_from(with_keys).is_ok());
        assert!(Args::try_parse_from(["godwit-sim", "storm", "--pairs", "--replay", "7"]).is_ok());
    }
}
