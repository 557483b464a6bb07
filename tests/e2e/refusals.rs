//! Stories of what must not begin: each ends with a sentence, an exit code, and everything as it was.

use anyhow::{Result, ensure};
use godwit_rig::Host;
use godwit_rig::small::{Device, Small};

use crate::moves::planned_vf;
use crate::stage::{PATIENCE, Stage, refused};

pub(crate) fn usage(stage: &Stage) -> Result<()> {
    for arguments in ["migrate", "migrate web-1", "no-such-command"] {
        let answer = stage.godwit(arguments)?;
        ensure!(
            answer.code == 2,
            "godwit {arguments}: exit code {}: {}",
            answer.code,
            answer.err
        );
        ensure!(answer.err.to_lowercase().contains("usage"), "{}", answer.err);
    }
    Ok(())
}

pub(crate) fn unknown_guest(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    for command in [
        "migrate nobody beta",
        "migrate nobody beta --wait",
        "adopt nobody",
    ] {
        refused(&stage.godwit(command)?, "nobody")?;
    }
    stage.nothing_changed(&before)
}

pub(crate) fn shut_off_guest(stage: &Stage) -> Result<()> {
    let small = Small::define(
        &stage.place,
        Host::Alpha,
        "asleep",
        &[Device::Standby, Device::Channel],
    )?;
    refuses_to_move(stage, &small)
}

pub(crate) fn guest_without_vf(stage: &Stage) -> Result<()> {
    let small = Small::start(
        &stage.place,
        Host::Alpha,
        "no-vf",
        &[Device::Standby, Device::Channel],
    )?;
    refuses_to_move(stage, &small)
}

pub(crate) fn guest_without_standby(stage: &Stage) -> Result<()> {
    let small = Small::start(
        &stage.place,
        Host::Alpha,
        "no-standby",
        &[Device::Vf, Device::Channel],
    )?;
    refuses_to_move(stage, &small)
}

pub(crate) fn guest_without_agent(stage: &Stage) -> Result<()> {
    let silent = [Device::Vf, Device::Standby, Device::Channel];
    refuses_to_move(
        stage,
        &Small::start(&stage.place, Host::Alpha, "silent-agent", &silent)?,
    )?;
    let none = [Device::Vf, Device::Standby];
    refuses_to_move(
        stage,
        &Small::start(&stage.place, Host::Alpha, "no-agent", &none)?,
    )
}

pub(crate) fn unknown_destination(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    refused(&stage.godwit("migrate web-1 gamma --wait")?, "gamma")?;
    stage.nothing_changed(&before)
}

pub(crate) fn source_as_destination(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    refused(&stage.godwit("migrate web-1 alpha --wait")?, "alpha")?;
    stage.nothing_changed(&before)
}

pub(crate) fn unreachable_destination(stage: &Stage) -> Result<()> {
    let before = stage.live_xml()?;
    stage.daemon(Host::Beta, "stop")?;
    refused(&stage.godwit("migrate web-1 beta --wait")?, "beta")?;
    stage.daemon(Host::Beta, "start")?;
    stage.nothing_changed(&before)
}

/// The plan named a VF; by the time of the move others have them all.
pub(crate) fn no_free_vf(stage: &Stage) -> Result<()> {
    ensure!(planned_vf(stage)?.is_some(), "no VF is free before");
    let _first = Small::start(&stage.place, Host::Beta, "occupier-1", &[Device::Vf])?;
    let _second = Small::start(&stage.place, Host::Beta, "occupier-2", &[Device::Vf])?;
    let before = stage.live_xml()?;
    refused(&stage.godwit("migrate web-1 beta --wait")?, "VF")?;
    stage.nothing_changed(&before)
}

pub(crate) fn second_migration(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_slow_move()?;
    refused(&stage.godwit("migrate web-1 beta --wait")?, "web-1")?;
    refused(&stage.godwit("migrate web-1 beta")?, "web-1")?;
    stage.godwit(&format!("cancel {}", moving.last.id))?;
    moving.finish(PATIENCE)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// Neither adopted nor moved, and as it was.
fn refuses_to_move(stage: &Stage, small: &Small) -> Result<()> {
    let look = format!(
        "virsh -q domstate {0}; virsh -q dumpxml {0}; rig-vf list",
        small.name
    );
    let before = stage.on(Host::Alpha, &look)?;
    refused(&stage.godwit(&format!("adopt {}", small.name))?, small.name)?;
    refused(
        &stage.godwit(&format!("migrate {} beta --wait", small.name))?,
        small.name,
    )?;
    let after = stage.on(Host::Alpha, &look)?;
    ensure!(before == after, "{} has changed", small.name);
    Ok(())
}
