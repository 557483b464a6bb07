//! Stories of the NIC's embedded switch: who gets the frames for a guest that is on its standby.

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::guest::{Guest, OVS_1, TAP_1, WEB_1, WEB_2};
use godwit_rig::prober::{self, Prober};
use godwit_rig::topology::{self, Topology};
use godwit_rig::{Host, build, godwit, invariants, ready, ssh, vf};

use crate::moves::there_and_back;
use crate::stage::{PATIENCE, Stage};
use crate::troubles::{leave_an_unplug_pending, stays_accelerated};

/// The standby hangs on the PF whose VFs the guests have.
pub(crate) fn bridge_on_the_pf(stage: &Stage) -> Result<()> {
    topology::set(&stage.place, Topology::Pf)?;
    let probe = build::build_static(&stage.place, "godwit-probe")?;
    let prober = Prober::start(&stage.place, &probe, 50)?;
    there_and_back(stage)?;
    // The guest's own pauses are a few datagrams each; a bridge that is deaf to its guests loses all of a phase.
    let (sent, lost) = prober::sent_and_lost(&prober.stop(&stage.place)?);
    println!("  the bridge on the PF     lost {lost} of {sent}");
    ensure!(lost * 10 < sent, "{lost} of {sent} datagrams were lost");
    for host in Host::ALL {
        ensure!(!is_copied(stage, host, WEB_1)?, "{host} still copies to its PF");
    }
    topology::set(&stage.place, Topology::Uplink)?;
    ensure!(WEB_1.answers(&stage.place), "{WEB_1} does not answer");
    Ok(())
}

/// Behind the standby's bridge frames as long as the bond's do not fit: what is short arrives, so a ping says that all is well.
pub(crate) fn small_frames_alone(stage: &Stage) -> Result<()> {
    const MTU: &str = "/sys/class/net/up0/mtu";
    let usual = stage.on(Host::Alpha, &format!("cat {MTU}; echo 1000 >{MTU}"))?;
    let told = stage.godwit(&format!("standby {WEB_1} --wait"));
    stage.on(Host::Alpha, &format!("echo {} >{MTU}", usual.trim()))?;
    let told = told?;
    ensure!(
        told.code != 0,
        "it went to a standby that carries nothing whole: {}",
        told.out
    );
    let all = format!("{}{}", told.out, told.err);
    ensure!(all.contains("carries nothing of 1500 bytes"), "{all}");
    ensure!(stage.live_xml()?.contains("<hostdev"), "the VF has left");
    stage.guest_is_accelerated_on(Host::Alpha)?;
    // The same as soon as they fit.
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    stage.godwit(&format!("accelerate {WEB_1} --wait"))?.done()
}

/// While a guest is on its standby, and its neighbour on a VF of the same NIC reaches it. What an operator entered stays.
pub(crate) fn copies(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    topology::set(place, Topology::Pf)?;
    WEB_2.start(place, Host::Alpha)?;
    godwit::adopt(place, Host::Alpha, WEB_2.name)?;
    let entered = format!("bridge fdb add {} dev pf0 self", WEB_2.mac);
    ssh::run(place, Host::Alpha, &entered)?;
    for guest in [WEB_1, WEB_2] {
        stage.godwit(&format!("standby {guest} --wait"))?.done()?;
        ensure!(is_copied(stage, Host::Alpha, guest)?, "{guest} is not copied");
    }
    reaches(stage, WEB_1, WEB_2)?;
    stage.godwit(&format!("accelerate {WEB_2} --wait"))?.done()?;
    reaches(stage, WEB_2, WEB_1)?;
    // What the daemon did it undoes though it was killed since.
    stage.daemon(Host::Alpha, "kill")?;
    stage.daemon(Host::Alpha, "start")?;
    stage.godwit(&format!("accelerate {WEB_1} --wait"))?.done()?;
    ensure!(
        !is_copied(stage, Host::Alpha, WEB_1)?,
        "{WEB_1} is on its VF and copied to the PF"
    );
    ensure!(
        is_copied(stage, Host::Alpha, WEB_2)?,
        "what an operator entered is gone"
    );
    ssh::run(place, Host::Alpha, &entered.replace("add", "del"))?;
    // A guest that leaves without a word takes its copy along.
    stage.godwit(&format!("standby {WEB_2} --wait"))?.done()?;
    ensure!(is_copied(stage, Host::Alpha, WEB_2)?, "{WEB_2} is not copied");
    WEB_2.stop(place)?;
    wait_for("the end of its copy", PATIENCE, || {
        Ok((!is_copied(stage, Host::Alpha, WEB_2)?).then_some(()))
    })?;
    topology::set(place, Topology::Uplink)
}

/// A VF that its guest has and does not use draws no frame of its NIC's other guests.
pub(crate) fn neighbour(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    WEB_2.start(place, Host::Alpha)?;
    reaches(stage, WEB_2, WEB_1)?;
    let number = vf::of(place, Host::Alpha, WEB_1)?;
    let id = leave_an_unplug_pending(stage)?;
    let shown = vf::shown(place, Host::Alpha, number)?;
    ensure!(
        shown.contains("link/ether 00:00:00:00:00:00"),
        "the VF still has the guest's MAC: {shown}"
    );
    reaches(stage, WEB_2, WEB_1)?;
    WEB_1.heed_unplugs(place, Host::Alpha)?;
    stays_accelerated(stage, &id)?;
    reaches(stage, WEB_2, WEB_1)
}

/// The PF of the host gets a copy of the guest's frames.
fn is_copied(stage: &Stage, host: Host, guest: Guest) -> Result<bool> {
    let entries = ssh::output(&stage.place, host, "bridge fdb show dev pf0")?;
    let is_own = |line: &str| line.starts_with(guest.mac) && line.contains("self");
    Ok(entries.lines().any(is_own))
}

/// The standby is a macvtap on the PF whose VF the guest has: it enters its MAC there itself.
pub(crate) fn macvtap(stage: &Stage) -> Result<()> {
    under_traffic(stage, TAP_1)
}

/// The standby is a port of Open vSwitch.
pub(crate) fn ovs(stage: &Stage) -> Result<()> {
    topology::set(&stage.place, Topology::Ovs)?;
    under_traffic(stage, OVS_1)?;
    topology::set(&stage.place, Topology::Uplink)
}

/// A guest of its own goes there and back, and loses what its pauses cost.
fn under_traffic(stage: &Stage, guest: Guest) -> Result<()> {
    let place = &stage.place;
    stage.starts(guest)?;
    let probe = build::build_static(place, "godwit-probe")?;
    let prober = Prober::start_with_stream(place, &probe, guest, 50, 10)?;
    for host in [Host::Beta, Host::Alpha] {
        ready::move_guest(place, guest, host)?;
        stage.is_accelerated_on(guest, host)?;
        invariants::hold(place)?;
    }
    let (sent, lost) = prober::sent_and_lost(&prober.stop(place)?);
    println!("figure {guest}, there and back: lost {lost} of {sent}");
    ensure!(lost * 10 < sent, "{lost} of {sent} datagrams were lost");
    guest.stop(place)
}

/// One guest on alpha hears from the other.
fn reaches(stage: &Stage, from: Guest, to: Guest) -> Result<()> {
    let line = format!("ping -c 1 -W 2 {}", to.address);
    wait_for(&format!("an answer of {to} to {from}"), PATIENCE / 4, || {
        let answer = from.shell(&stage.place, Host::Alpha, &line)?;
        Ok((answer.status == 0).then_some(()))
    })
}
