//! The stories, a few lines each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use godwit_api::agent::v1::{Inspect, Pair, PairKind, Port, PortRole, ProbeKind, host_frame};
use godwit_rig::command::wait_for;
use godwit_rig::flat::Flat;
use godwit_rig::guest::WEB_1;

use crate::agent::Agent;
use crate::traffic::Traffic;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn sees_the_pair(flat: &mut Flat) -> Result<()> {
    let seen = Agent::open(&flat.channel())?.inspect()?;
    let [pair] = seen.pairs.as_slice() else {
        anyhow::bail!("not one pair: {seen:?}")
    };
    ensure!(pair.kind() == PairKind::Bond && pair.mac == WEB_1.mac, "{pair:?}");
    let (standby, primary) = (port(pair, PortRole::Standby)?, port(pair, PortRole::Primary)?);
    ensure!(
        standby.driver == "virtio_net" && standby.permanent_mac == WEB_1.mac,
        "{standby:?}"
    );
    ensure!(primary.driver == "igb" && primary.carrier, "{primary:?}");
    ensure!(pair.active == primary.name, "{pair:?}");
    // The kernel's own words, by the rig's line.
    ensure!(flat.state()?.active() == primary.name, "{pair:?}");
    Ok(())
}

pub(crate) fn half_a_frame(flat: &mut Flat) -> Result<()> {
    // One that is never finished: its host has gone.
    let mut gone = Agent::silent(&flat.channel())?;
    let (_, frame) = gone.frame(host_frame::Body::Inspect(Inspect::default()))?;
    gone.write(&frame[..frame.len() / 2])?;
    drop(gone);
    let mut agent = Agent::open(&flat.channel())?;
    // And one that its own writer begins anew.
    let (_, frame) = agent.frame(host_frame::Body::Inspect(Inspect::default()))?;
    agent.write(&frame[..frame.len() - 3])?;
    ensure!(agent.inspect()?.pairs.len() == 1, "the pair is not seen");
    Ok(())
}

pub(crate) fn over_and_back(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    let mut traffic = Traffic::start(flat)?;
    for _ in 0..3 {
        let over = traffic.step("fail over", || agent.fail_over())?;
        is_active(flat, "virtio_net", &over.active)?;
        let back = traffic.step("fail back", || agent.fail_back())?;
        is_active(flat, "igb", &back.active)?;
    }
    let again = agent.fail_back()?;
    ensure!(again.already, "it was there already: {again:?}");
    traffic.loses_nothing(flat)
}

/// A cable that is out behind the port's own back is found before the traffic moves, whichever way it was to go.
pub(crate) fn carries_nothing(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    let mut traffic = Traffic::start(flat)?;
    flat.standby_carries(false)?;
    let refused = traffic.step("a dead standby", || Ok(agent.fail_over().err()));
    flat.standby_carries(true)?;
    is_refused(refused?)?;
    is_on(flat, "igb")?;
    let over = traffic.step("fail over", || agent.fail_over())?;
    is_active(flat, "virtio_net", &over.active)?;
    flat.primary_carries(false)?;
    let refused = traffic.step("a dead primary", || Ok(agent.fail_back().err()));
    flat.primary_carries(true)?;
    is_refused(refused?)?;
    is_on(flat, "virtio_net")?;
    traffic.step("fail back", || agent.fail_back())?;
    traffic.loses_nothing(flat)
}

fn is_refused(error: Option<anyhow::Error>) -> Result<()> {
    let told = format!(
        "{:#}",
        error.context("the traffic moved to a port that carries nothing")?
    );
    ensure!(told.contains("carries nothing"), "{told}");
    Ok(())
}

/// After a switch both ports accept for a second more. A switch that begins as that ends must not lose by it.
pub(crate) fn closely(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    let mut traffic = Traffic::start(flat)?;
    for pause in (940..1040).step_by(10).map(Duration::from_millis) {
        traffic.step_then("fail over", pause, || agent.fail_over())?;
        traffic.step_then("fail back", pause, || agent.fail_back())?;
    }
    traffic.loses_nothing(flat)
}

/// By the agent's own probes, asked for in a conversation of its own each time, as by hosts that come and go. In the guest of
/// a busy machine fewer are sent than a hundred a second, and none of them is lost for that.
pub(crate) fn counts_its_losses(flat: &mut Flat) -> Result<()> {
    const SECOND: Duration = Duration::from_secs(1);
    let from_now = |flat: &Flat, part: &str| Agent::open(&flat.channel())?.measure(part, false);
    from_now(flat, "before")?;
    std::thread::sleep(2 * SECOND);
    from_now(flat, "out")?;
    let out = Instant::now();
    flat.primary_carries(false)?;
    std::thread::sleep(SECOND);
    flat.primary_carries(true)?;
    let longest = out.elapsed();
    std::thread::sleep(SECOND);
    from_now(flat, "fail-over")?;
    let mut agent = Agent::open(&flat.channel())?;
    agent.fail_over()?;
    std::thread::sleep(2 * SECOND);
    agent.fail_back()?;
    drop(agent);
    let told = Agent::open(&flat.channel())?.measure("fail-over", true)?;
    let [before, out, over] = &told.parts[..] else {
        anyhow::bail!("not three parts: {told:?}")
    };
    ensure!(told.kind() == ProbeKind::Arp && !told.running, "{told:?}");
    for part in [before, over] {
        ensure!(part.sent > 40 && part.lost == 0, "{told:?}");
    }
    let most = longest.as_millis() as u64;
    ensure!((20..=most / 10 + 10).contains(&out.lost), "{most} ms: {told:?}");
    ensure!(
        (1000..=most + 500).contains(&out.longest_gap_ms.into()),
        "{most} ms: {told:?}"
    );
    Ok(())
}

/// What QEMU asks of a guest's NICs after a move, asked without one. Who has a wrong address for the guest, and asks nobody,
/// learns the right one; from the agent, and from nobody else in the guest.
pub(crate) fn tells_its_network(flat: &mut Flat) -> Result<()> {
    const WRONG: &str = "52:54:00:aa:ff:ff";
    let knows = |flat: &Flat| flat.client_knows(WEB_1.address);
    Agent::open(&flat.channel())?.fail_over()?;
    // The switch's own announcements are over.
    std::thread::sleep(Duration::from_secs(3));
    flat.client_believes(WEB_1.address, WRONG)?;
    flat.shell("kill -STOP $(cat /run/godwit-agent.pid)")?;
    flat.announce()?;
    std::thread::sleep(Duration::from_secs(2));
    let untold = knows(flat);
    flat.shell("kill -CONT $(cat /run/godwit-agent.pid)")?;
    ensure!(untold? == WRONG, "somebody else told the network");
    for _ in 0..2 {
        wait_for("the client's knowledge of the guest", PATIENCE, || {
            Ok((knows(flat)? == WEB_1.mac).then_some(()))
        })?;
        std::thread::sleep(Duration::from_secs(3));
        flat.client_believes(WEB_1.address, WRONG)?;
        flat.announce()?;
    }
    wait_for("the client's knowledge of the guest", PATIENCE, || {
        Ok((knows(flat)? == WEB_1.mac).then_some(()))
    })?;
    let back = Agent::open(&flat.channel())?.fail_back()?;
    is_active(flat, "igb", &back.active)
}

pub(crate) fn unplugged_and_plugged(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    let mut traffic = Traffic::start(flat)?;
    traffic.step("fail over", || agent.fail_over())?;
    traffic.step("unplug", || {
        agent.release()?;
        flat.unplug()
    })?;
    ensure!(!flat.is_plugged()?, "it is still plugged");
    ensure!(flat.state()?.vf().is_none(), "the guest still has it");
    traffic.step("on the standby", || Ok(()))?;
    traffic.step("plug", || flat.plug())?;
    let adopted = traffic.step("adopt", || agent.adopt())?;
    ensure!(
        flat.state()?.active() != adopted,
        "the traffic moved before it was told to"
    );
    let back = traffic.step("fail back", || agent.fail_back())?;
    ensure!(back.active == adopted, "{back:?}");
    is_active(flat, "igb", &back.active)?;
    traffic.loses_nothing(flat)
}

pub(crate) fn agent_dies_on_standby(flat: &mut Flat) -> Result<()> {
    let mut agent = Agent::open(&flat.channel())?;
    let standby = agent.fail_over()?.active;
    drop(agent);
    agent_dies(flat, "virtio_net", &standby)?;
    let back = Agent::open(&flat.channel())?.fail_back()?;
    is_active(flat, "igb", &back.active)
}

pub(crate) fn agent_dies_on_primary(flat: &mut Flat) -> Result<()> {
    let primary = flat.state()?.active().to_owned();
    agent_dies(flat, "igb", &primary)?;
    let over = Agent::open(&flat.channel())?.fail_over()?;
    is_active(flat, "virtio_net", &over.active)
}

/// Killed under traffic; the next one changes nothing by itself.
fn agent_dies(flat: &mut Flat, driver: &str, active: &str) -> Result<()> {
    let (before, _) = flat.state()?.agent.context("no agent runs")?;
    let mut traffic = Traffic::start(flat)?;
    traffic.step("without an agent", || {
        flat.shell(&format!("kill -9 {before}"))?;
        wait_for("the next agent", PATIENCE, || {
            Ok(flat.state()?.agent.filter(|(pid, _)| *pid != before))
        })
    })?;
    is_active(flat, driver, active)?;
    traffic.step("the next agent", || Agent::open(&flat.channel())?.inspect())?;
    is_active(flat, driver, active)?;
    traffic.loses_nothing(flat)
}

/// By the kernel's word.
pub(crate) fn is_on(flat: &Flat, driver: &str) -> Result<()> {
    let name = flat.state()?.active().to_owned();
    is_active(flat, driver, &name)
}

/// The agent's word, and the kernel's, by the rig's line.
pub(crate) fn is_active(flat: &Flat, driver: &str, name: &str) -> Result<()> {
    let state = flat.state()?;
    let nic = state.nics.iter().find(|nic| nic.name == state.active());
    let nic = nic.with_context(|| format!("no active port: {state:?}"))?;
    ensure!(
        nic.driver == driver && nic.has_link && nic.bond == "bond0",
        "{driver} is not active: {state:?}"
    );
    ensure!(nic.name == name, "the agent says {name}, the kernel {}", nic.name);
    Ok(())
}

fn port(pair: &Pair, role: PortRole) -> Result<&Port> {
    let found = pair.ports.iter().find(|port| port.role() == role);
    found.with_context(|| format!("no {role:?} in {pair:?}"))
}
