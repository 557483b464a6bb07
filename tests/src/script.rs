//! One move by hand: the same steps as a shell script over libvirt, for comparison. Nobody looks whether a step did
//! what it should, nothing is undone, and nothing survives the script's end.
//!
//! godwitd must not run on the hosts meanwhile: it would see a guest of its own arrive.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::command::wait_for;
use crate::guest::{Guest, WEB_1};
use crate::losses::by_phase;
use crate::measure::{self, Measured};
use crate::prober::Prober;
use crate::timeline::{Span, step};
use crate::{Host, Place, clock, ssh};

const PATIENCE: Duration = Duration::from_secs(120);
/// How often the guest is asked for its new NIC.
const LOOK: Duration = Duration::from_millis(100);
/// The script's own waste: its listener for the removal must be there before the unplug, and does not say when it is.
pub const LISTENER: Duration = Duration::from_millis(500);

const FAIL_OVER: &str = "for nic in /sys/class/net/*/device/driver; do \
    case $(readlink $nic) in *virtio_net) nic=${nic#/sys/class/net/}; \
    echo ${nic%%/*} >/sys/class/net/bond0/bonding/active_slave;; esac; done";

/// When it was begun, and what it was like; its phases have the names of Godwit's.
pub fn one_move(place: &Place, probe: &Path, from: Host) -> Result<(f64, Measured)> {
    let to = from.other();
    // The connections are open before the clock runs.
    for host in Host::ALL {
        ssh::run(place, host, "true")?;
    }
    let prober = Prober::start(place, probe, measure::RATE)?;
    sleep(measure::MARGIN);
    let begun = clock::now();
    let spans = steps(place, from)?;
    sleep(measure::MARGIN);
    let seen = measure::afterwards(place, from)?;
    let record = prober.stop(place)?;
    // Not timed: Godwit's Release runs beside its Plug.
    ssh::run(place, from, "rig-vf sweep")?;
    let measured = Measured {
        losses: by_phase(&record, &spans),
        spans,
        downtime_ms: measure::downtime(place, to, WEB_1),
        answered: WEB_1.answers(place),
        ..seen
    };
    Ok((begun, measured))
}

/// The whole script, step by step.
pub(crate) fn steps(place: &Place, from: Host) -> Result<Vec<Span>> {
    let to = from.other();
    Ok(vec![
        step(from, "fail-over", || fail_over(place, from))?,
        step(from, "unplug", || unplug(place, from, WEB_1))?,
        step(from, "transfer", || transfer(place, from, WEB_1))?,
        step(to, "plug", || WEB_1.plug(place, to))?,
        step(to, "fail-back", || fail_back(place, to))?,
    ])
}

/// Its bond is told to use the standby.
pub(crate) fn fail_over(place: &Place, host: Host) -> Result<()> {
    let answer = WEB_1.shell(place, host, FAIL_OVER)?;
    ensure!(answer.status == 0, "fail over: {}", answer.text.trim_end());
    Ok(())
}

/// Its first VF is taken from it, and its leaving is waited for.
pub(crate) fn unplug(place: &Place, host: Host, guest: Guest) -> Result<()> {
    let name = guest.name;
    let listener = LISTENER.as_secs_f64();
    let line = format!(
        "virsh -q event --domain {name} --event device-removed --timeout 60 >/run/unplugged & \
         event=$!; sleep {listener}; virsh -q detach-device-alias {name} ua-primary0 --live && \
         wait $event && grep -q ua-primary0 /run/unplugged"
    );
    ssh::run(place, host, &line)
}

/// As an operator types it.
pub(crate) fn transfer(place: &Place, host: Host, guest: Guest) -> Result<()> {
    let (name, there) = (guest.name, host.other().address());
    let line = format!(
        "virsh -q migrate --live --p2p --persistent --undefinesource {name} qemu+tcp://{there}/system"
    );
    ssh::run(place, host, &line)
}

/// Its bond is told to use the VF, as soon as it has one.
pub(crate) fn fail_back(place: &Place, host: Host) -> Result<()> {
    let end = std::time::Instant::now() + PATIENCE;
    while WEB_1.state(place, host)?.vf().is_none() {
        ensure!(
            std::time::Instant::now() < end,
            "the guest does not find its new VF"
        );
        sleep(LOOK);
    }
    WEB_1.ask(place, host, "prefer-vf", PATIENCE)?;
    wait_for("the guest's traffic on its VF", PATIENCE, || {
        Ok(WEB_1.state(place, host)?.is_on_vf().then_some(()))
    })
}
