//! What the standbys' bridge hangs on, on both hosts: a NIC of its own, or the PF whose VFs the guests have.
//! Switched while hosts and guests run; a host that is switched on is in [`Topology::Uplink`].

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};

use crate::{Host, Place, network, say, ssh};

/// Where a standby's frames leave the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Through `up0`. The outer switch sees standby and VF on two ports.
    Uplink,
    /// Through `pf0`. The outer switch sees one port; the NIC's embedded switch tells standby and VF apart.
    Pf,
}

impl Topology {
    /// Both.
    pub const ALL: [Topology; 2] = [Topology::Uplink, Topology::Pf];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Topology::Uplink => "uplink",
            Topology::Pf => "pf",
        }
    }

    /// The bridge's port to the outside.
    fn port(self) -> &'static str {
        match self {
            Topology::Uplink => "up0",
            Topology::Pf => "pf0",
        }
    }

    /// Shell commands that make a host so. The PF of QEMU's igb gets back what it broadcasts, so that the bridge would learn
    /// its own guests behind it: it must not learn. That it is given no frame for an address that is not its own, while a
    /// VF lives, is for Godwit to deal with.
    fn commands(self) -> &'static str {
        match self {
            Topology::Uplink => "ip link set pf0 nomaster; ip link set up0 master br0",
            Topology::Pf => {
                "ip link set up0 nomaster; ip link set pf0 master br0; bridge link set dev pf0 learning off"
            }
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Topology, String> {
        let found = Topology::ALL.into_iter().find(|topology| topology.name() == text);
        found.ok_or_else(|| format!("{text:?} is no topology; they are uplink and pf"))
    }
}

/// Makes both hosts so. Guests should be on their VFs, or their traffic waits until they send.
pub fn set(place: &Place, topology: Topology) -> Result<()> {
    let mut changed = false;
    for host in Host::ALL {
        if !is_set(place, host, topology)? {
            ssh::run(place, host, topology.commands())?;
            ensure!(
                is_set(place, host, topology)?,
                "{host} is not in topology {topology}"
            );
            changed = true;
        }
    }
    if changed {
        say(format!(
            "topology {topology}: the bridges hang on {}",
            topology.port()
        ));
        network::forget_guests(place)?;
    }
    Ok(())
}

/// Whether the one port is there, and the other is not.
fn is_set(place: &Place, host: Host, topology: Topology) -> Result<bool> {
    let text = ssh::output(place, host, "ls /sys/class/net/br0/brif")?;
    let has = |topology: Topology| text.lines().any(|line| line == topology.port());
    Ok(Topology::ALL
        .into_iter()
        .all(|each| has(each) == (each == topology)))
}
