//! The state every demonstration and every test begins in: the guest on one host, its traffic on a VF, adopted,
//! no other guest, and no migration open. Reached by the cheapest way that works.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::wait_for;
use crate::guest::{self, Guest, WEB_1};
use crate::topology::{self, Topology};
use crate::{Host, Place, godwit, network, say, ssh};

const MOVE_LIMIT: Duration = Duration::from_secs(240);

/// Makes it so on the host where it is nearly so; which that is.
pub fn anywhere(place: &Place) -> Result<Host> {
    start_services(place)?;
    let is_there = |host: &Host| is_so(place, *host).unwrap_or(false);
    let host = Host::ALL.into_iter().find(is_there).unwrap_or(Host::Alpha);
    guest_on(place, host)?;
    Ok(host)
}

/// Makes it so on `host`.
pub fn on(place: &Place, host: Host) -> Result<()> {
    start_services(place)?;
    guest_on(place, host)
}

fn guest_on(place: &Place, host: Host) -> Result<()> {
    topology::set(place, Topology::Uplink)?;
    guest::stop_others(place)?;
    if is_so(place, host.other()).unwrap_or(false) {
        say(format!("moving {WEB_1} back to {host}"));
        let back = move_to(place, host);
        if let Err(error) = back {
            say(format!("it did not go back: {error:#}"));
        }
    }
    if !is_so(place, host).unwrap_or(false) {
        begin_again(place, host)?;
    }
    network::forget_neighbours(place)?;
    ensure!(WEB_1.answers(place), "{WEB_1} does not answer");
    Ok(())
}

fn start_services(place: &Place) -> Result<()> {
    let line = "rig-service start libvirtd && rig-service start godwitd";
    Host::ALL
        .into_iter()
        .try_for_each(|host| ssh::run(place, host, line))
}

/// Moves the guest and waits until it is accelerated there.
pub fn move_to(place: &Place, host: Host) -> Result<()> {
    move_guest(place, WEB_1, host).map(drop)
}

/// Moves any guest and waits until it is accelerated there; the id of the migration.
pub fn move_guest(place: &Place, guest: Guest, host: Host) -> Result<String> {
    let mut moving = godwit::Move::begin(place, host.other(), guest.name, host.name())?;
    let (code, said) = moving.finish(MOVE_LIMIT)?;
    ensure!(code == 0, "godwit migrate ended with {code}: {}", said.trim_end());
    // The source hears of the end a moment after the destination.
    wait_for(
        "the end of the move on both hosts",
        Duration::from_secs(60),
        || Ok(nothing_is_open(place)?.then_some(())),
    )?;
    Ok(moving.last.id.clone())
}

/// Whether the guest runs there with everything it should have, and nothing is under way.
pub fn is_so(place: &Place, host: Host) -> Result<bool> {
    if WEB_1.locate(place)? != Some(host) || !is_current(place, host)? {
        return Ok(false);
    }
    // A copy that a story left behind says nothing to whoever looks at one host alone.
    let elsewhere = guest::domain_state(place, host.other(), WEB_1.name)?;
    if ["running", "paused"].contains(&elsewhere.as_str()) {
        return Ok(false);
    }
    let xml = guest::xml(place, host, WEB_1.name, false)?;
    Ok(xml.contains("urn:godwit:domain:1") && nothing_is_open(place)?)
}

/// No migration on either host has work left.
pub fn nothing_is_open(place: &Place) -> Result<bool> {
    for host in Host::ALL {
        if godwit::migrations(place, host)?
            .iter()
            .any(|migration| !migration.ended)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the guest is on its VF and runs the binaries that are installed now.
fn is_current(place: &Place, host: Host) -> Result<bool> {
    let build = ssh::output(place, host, "cat /srv/guest/build")?;
    let state = WEB_1.state(place, host)?;
    Ok(state.build == build.trim() && state.is_on_vf() && state.agent.is_some())
}

/// A new guest, and daemons that know nothing of an old one.
fn begin_again(place: &Place, host: Host) -> Result<()> {
    say(format!("starting {WEB_1} anew on {host}"));
    for each in Host::ALL {
        ssh::run(place, each, "rig-service stop godwitd")?;
    }
    Guest::ALL.into_iter().try_for_each(|guest| guest.stop(place))?;
    for each in Host::ALL {
        ssh::run(
            place,
            each,
            "rm -rf /var/lib/godwit/* && rig-vf sweep && rig-service start godwitd",
        )?;
    }
    WEB_1.start(place, host)?;
    let adopted = || godwit::adopt(place, host, WEB_1.name).map(Some);
    wait_for("the guest's adoption", Duration::from_secs(60), adopted).context("is the agent running?")
}
