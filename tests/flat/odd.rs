//! Guests and networks that are not as one would have them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::flat::Flat;
use godwit_rig::guest::WEB_1;
use godwit_rig::network::CLIENT;

use crate::agent::Agent;
use crate::stories::{is_active, is_on};

/// It proves nothing, and is no reason to stay: any frame that comes in on the new port confirms it.
pub(crate) fn silent_gateway(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    flat.gateway_answers(false)?;
    let (place, over) = (&flat.place, AtomicBool::new(false));
    let moved = std::thread::scope(|scope| {
        // Somebody has to say something.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                WEB_1.answers(place);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let moved = agent
            .fail_over()
            .and_then(|moved| Ok((moved, agent.fail_back()?)));
        over.store(true, Ordering::Relaxed);
        moved
    });
    flat.gateway_answers(true)?;
    let (over, back) = moved?;
    ensure!(over.active != back.active, "{over:?}, {back:?}");
    is_active(flat, "igb", &back.active)
}

/// Whom the host names proves the port and confirms it, and the bond announces itself.
pub(crate) fn without_an_address(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    flat.shell("ip addr flush dev bond0")?;
    let over = agent.fail_over_by(CLIENT);
    let (address, gateway) = (WEB_1.address, CLIENT);
    flat.shell(&format!(
        "ip addr add {address}/24 dev bond0; ip route add default via {gateway}"
    ))?;
    is_active(flat, "virtio_net", &over?.active)?;
    let back = agent.fail_back()?;
    is_active(flat, "igb", &back.active)
}

/// Its ports are not the agent's to choose from, and nothing is done to it.
pub(crate) fn another_mode(flat: &mut Flat) -> Result<()> {
    let state = flat.state()?;
    let standby = state.nics.iter().find(|nic| nic.driver == "virtio_net");
    let standby = standby.context("no standby")?.name.clone();
    let bonds = "/sys/class/net/bonding_masters";
    let ports = |bond: &str| format!("/sys/class/net/{bond}/bonding/slaves");
    let (pair, other) = (ports("bond0"), ports("bond9"));
    flat.shell(&format!(
        "echo -{standby} >{pair}; echo +bond9 >{bonds}; echo 802.3ad >/sys/class/net/bond9/bonding/mode; \
         ip link set {standby} down; echo +{standby} >{other}"
    ))?;
    let mut agent = Agent::open(&flat.channel())?;
    let (seen, refused) = (agent.inspect(), agent.fail_over().err());
    flat.shell(&format!(
        "echo -{standby} >{other}; echo -bond9 >{bonds}; ip link set {standby} down; echo +{standby} >{pair}"
    ))?;
    let seen = seen?;
    ensure!(seen.pairs.iter().all(|pair| pair.name != "bond9"), "{seen:?}");
    let refused = refused.context("the traffic of no pair moved")?;
    ensure!(
        format!("{refused:#}").contains("bond9 is not in active-backup mode"),
        "{refused:#}"
    );
    is_on(flat, "igb")
}
