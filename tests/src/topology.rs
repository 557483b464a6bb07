//! What the standbys' bridge hangs on, on both hosts: a NIC of its own, or the PF whose VFs the guests have; and whose
//! bridge it is.
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
    /// Through `up0`, which is a port of `ovs0`, a bridge of Open vSwitch: a standby on `br0` reaches nobody.
    Ovs,
}

impl Topology {
    /// All of them.
    pub const ALL: [Topology; 3] = [Topology::Uplink, Topology::Pf, Topology::Ovs];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Topology::Uplink => "uplink",
            Topology::Pf => "pf",
            Topology::Ovs => "ovs",
        }
    }

    /// The bridge's port to the outside.
    fn port(self) -> &'static str {
        match self {
            Topology::Uplink | Topology::Ovs => "up0",
            Topology::Pf => "pf0",
        }
    }

    /// Shell commands that make a host so. The PF of QEMU's igb gets back what it broadcasts, so that the bridge would learn
    /// its own guests behind it: it must not learn. That it is given no frame for an address that is not its own, while a
    /// VF lives, is for Godwit to deal with.
    fn commands(self) -> String {
        match self {
            Topology::Uplink => format!("{NO_OVS}; ip link set pf0 nomaster; ip link set up0 master br0"),
            Topology::Pf => format!(
                "{NO_OVS}; ip link set up0 nomaster; ip link set pf0 master br0; bridge link set dev pf0 learning off"
            ),
            Topology::Ovs => format!(
                "{OVS} && ip link set pf0 nomaster && ip link set up0 nomaster && ovs-vsctl --may-exist add-port ovs0 up0"
            ),
        }
    }
}

/// Open vSwitch as Debian starts it, with a bridge. It is there from the first story that needs it until the host is off.
const OVS: &str = "/usr/share/openvswitch/scripts/ovs-ctl --system-id=rig --no-monitor start >/run/ovs.log 2>&1 && \
    ovs-vsctl --may-exist add-br ovs0 && ip link set ovs0 up";
/// Where it runs, it lets go of the NIC.
const NO_OVS: &str = "[ ! -e /run/openvswitch/db.sock ] || ovs-vsctl --if-exists del-port ovs0 up0";

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Topology, String> {
        let found = Topology::ALL.into_iter().find(|topology| topology.name() == text);
        found.ok_or_else(|| format!("{text:?} is no topology; they are uplink, pf and ovs"))
    }
}

/// Makes both hosts so. Guests should be on their VFs, or their traffic waits until they send.
pub fn set(place: &Place, topology: Topology) -> Result<()> {
    let mut changed = false;
    for host in Host::ALL {
        if !is_set(place, host, topology)? {
            ssh::run(place, host, &topology.commands())?;
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
    let line = "ls /sys/class/net/br0/brif; basename $(readlink /sys/class/net/up0/master || echo -)";
    let text = ssh::output(place, host, line)?;
    let is_there = |word: &str| text.lines().any(|line| line == word);
    let has = |topology: Topology| match topology {
        Topology::Ovs => is_there("ovs-system"),
        Topology::Uplink | Topology::Pf => is_there(topology.port()),
    };
    Ok(Topology::ALL
        .into_iter()
        .all(|each| has(each) == (each == topology)))
}
