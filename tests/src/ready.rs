//! The state every demonstration and every test begins in: the guest on one host, its traffic on a VF, adopted,
//! and no migration open. Reached by the cheapest way that works.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::wait_for;
use crate::{Host, Place, godwit, guest, network, say, ssh};

const MOVE_LIMIT: Duration = Duration::from_secs(240);

/// Makes it so on `host`.
pub fn on(place: &Place, host: Host) -> Result<()> {
    for each in Host::ALL {
        ssh::run(
            place,
            each,
            "rig-service start libvirtd && rig-service start godwitd",
        )?;
    }
    if is_so(place, host.other()).unwrap_or(false) {
        say(format!("moving {} back to {host}", guest::NAME));
        let back = move_to(place, host);
        if let Err(error) = back {
            say(format!("it did not go back: {error:#}"));
        }
    }
    if !is_so(place, host).unwrap_or(false) {
        begin_again(place, host)?;
    }
    network::forget_neighbours(place)?;
    ensure!(guest::answers(place), "{} does not answer", guest::NAME);
    Ok(())
}

/// Moves the guest and waits until it is accelerated there.
pub fn move_to(place: &Place, host: Host) -> Result<()> {
    let mut back = godwit::Move::begin(place, host.other(), guest::NAME, host.name())?;
    let (code, said) = back.finish(MOVE_LIMIT)?;
    ensure!(code == 0, "godwit migrate ended with {code}: {}", said.trim_end());
    Ok(())
}

/// Whether the guest runs there with everything it should have, and nothing is under way.
pub fn is_so(place: &Place, host: Host) -> Result<bool> {
    if guest::locate(place)? != Some(host) || !is_current(place, host)? {
        return Ok(false);
    }
    let xml = guest::xml(place, host, guest::NAME, false)?;
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
    let state = guest::state(place, host)?;
    Ok(state.build == build.trim() && state.is_on_vf() && state.agent.is_some())
}

/// A new guest, and daemons that know nothing of an old one.
fn begin_again(place: &Place, host: Host) -> Result<()> {
    say(format!("starting {} anew on {host}", guest::NAME));
    for each in Host::ALL {
        ssh::run(place, each, "rig-service stop godwitd")?;
    }
    guest::stop(place)?;
    for each in Host::ALL {
        ssh::run(
            place,
            each,
            "rm -rf /var/lib/godwit/* && rig-service start godwitd",
        )?;
    }
    guest::start(place, host)?;
    let adopted = || godwit::adopt(place, host, guest::NAME).map(Some);
    wait_for("the guest's adoption", Duration::from_secs(60), adopted).context("is the agent running?")
}
