//! Stories of a guest that has no VF where it is, and nobody who asks: its host accelerates it by itself.

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults};
use godwit_rig::godwit::{self, Migration};
use godwit_rig::guest::WEB_1;
use godwit_rig::{Host, ready, ssh};

use crate::hooks::no_holds;
use crate::stage::{PATIENCE, Stage};

pub(crate) fn by_plain_virsh(stage: &Stage) -> Result<()> {
    let known = known(stage, Host::Beta)?;
    leave_without_godwit(stage)?;
    stage.on(Host::Alpha, &migrate())?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    was_accelerated(stage, Host::Beta, &known)?;
    stage.stored_domain_is_right(Host::Beta)?;
    stage.daemon(Host::Alpha, "start")
}

/// Put on its standby by a person, it is left there, also by a daemon that starts anew; where it comes to nobody said so.
pub(crate) fn from_standby(stage: &Stage) -> Result<()> {
    let there = known(stage, Host::Beta)?;
    let answer = stage.godwit(&format!("standby {WEB_1} --wait"))?;
    answer.done()?;
    let here = known(stage, Host::Alpha)?;
    stage.daemon(Host::Alpha, "restart")?;
    stage.slow_transfer()?;
    stage.on(Host::Alpha, &migrate())?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    was_accelerated(stage, Host::Beta, &there)?;
    ensure!(
        known(stage, Host::Alpha)? == here,
        "alpha has not left it where it was put"
    );
    stage.stored_domain_is_right(Host::Beta)
}

/// Alpha's daemon finds a guest that lacks its VF and is on its way out.
pub(crate) fn daemon_started_in_a_plain_migration(stage: &Stage) -> Result<()> {
    let (here, there) = (known(stage, Host::Alpha)?, known(stage, Host::Beta)?);
    leave_without_godwit(stage)?;
    stage.slow_transfer()?;
    let mut migrating = ssh::command(&stage.place, Host::Alpha, &migrate()).spawn()?;
    stage.memory_moves()?;
    stage.daemon(Host::Alpha, "start")?;
    let tried = wait_for("an attempt of alpha's", PATIENCE, || {
        let all = godwit::migrations(&stage.place, Host::Alpha)?;
        Ok(all.into_iter().find(|migration| !here.contains(&migration.id)))
    })?;
    // It rests; meanwhile no VF draws the guest's frames away from its standby.
    let rests = |migration: &Migration| migration.settled && migration.has_begun("plug");
    stage.migration(Host::Alpha, &tried.id, rests)?;
    stage.on(Host::Alpha, &format!("! ip link show pf0 | grep {}", WEB_1.mac))?;
    ensure!(migrating.wait()?.success(), "virsh migrate failed");
    stage.guest_is_accelerated_on(Host::Beta)?;
    was_accelerated(stage, Host::Beta, &there)?;
    let tried = stage.migration(Host::Alpha, &tried.id, |migration| migration.ended)?;
    ensure!(tried.acceleration != "accelerated", "{tried:?}");
    Ok(())
}

pub(crate) fn vf_taken_by_hand(stage: &Stage) -> Result<()> {
    let known = known(stage, Host::Alpha)?;
    take_vf(stage)?;
    was_accelerated(stage, Host::Alpha, &known)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

pub(crate) fn cold_start(stage: &Stage) -> Result<()> {
    let known = known(stage, Host::Alpha)?;
    let boot = WEB_1.state(&stage.place, Host::Alpha)?.boot;
    stage.on(
        Host::Alpha,
        &format!("virsh -q destroy {WEB_1} && virsh -q start {WEB_1}"),
    )?;
    ensure!(!stage.live_xml()?.contains("<hostdev"), "it started with a VF");
    was_accelerated(stage, Host::Alpha, &known)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    let state = WEB_1.state(&stage.place, Host::Alpha)?;
    ensure!(state.boot != boot, "it did not boot");
    stage.stored_domain_is_right(Host::Alpha)
}

/// Not from host to host: whoever runs `virsh migrate` speaks to both.
pub(crate) fn by_the_client(stage: &Stage) -> Result<()> {
    moved_on_its_standby(stage, "--live --persistent --undefinesource")
}

pub(crate) fn through_a_tunnel(stage: &Stage) -> Result<()> {
    moved_on_its_standby(stage, "--live --p2p --tunnelled --persistent --undefinesource")
}

fn moved_on_its_standby(stage: &Stage, options: &str) -> Result<()> {
    let there = known(stage, Host::Beta)?;
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    stage.on(Host::Alpha, &migrate_with(options))?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    was_accelerated(stage, Host::Beta, &there)?;
    stage.stored_domain_is_right(Host::Beta)?;
    ensure!(stage.guest_on(Host::Alpha)?.is_empty(), "alpha knows the guest");
    Ok(())
}

/// Neither `--persistent` nor `--undefinesource`: at the destination it lives as long as it runs, and it stays stored, without
/// a VF, where it came from. There Godwit brings it back to what is stored, and there it is started when it has ended.
pub(crate) fn stored_where_it_was(stage: &Stage) -> Result<()> {
    leave_the_definition(stage)?;
    no_holds(stage, Host::Alpha)?;
    godwit::run(&stage.place, Host::Beta, &format!("plan {WEB_1} alpha"))?.done()?;
    ready::move_to(&stage.place, Host::Alpha)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    ensure!(
        is_persistent(stage, Host::Alpha)?,
        "alpha has lost what was stored"
    );
    ensure!(stage.guest_on(Host::Beta)?.is_empty(), "beta knows the guest");
    stage.stored_domain_is_right(Host::Alpha)?;
    leave_the_definition(stage)?;
    stage.on(Host::Beta, &format!("virsh -q destroy {WEB_1}"))?;
    ensure!(
        stage.guest_on(Host::Beta)?.is_empty(),
        "beta knows a guest that it never stored"
    );
    let here = known(stage, Host::Alpha)?;
    stage.on(Host::Alpha, &format!("virsh -q start {WEB_1}"))?;
    wait_for("the agent", PATIENCE, || {
        Ok(WEB_1.state(&stage.place, Host::Alpha)?.agent)
    })?;
    stage.guest_is_on_standby_on(Host::Alpha)?;
    ensure!(
        known(stage, Host::Alpha)? == here,
        "alpha has not left it where it was put"
    );
    stage.godwit(&format!("accelerate {WEB_1} --wait"))?.done()?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    stage.stored_domain_is_right(Host::Alpha)
}

/// It runs on beta, accelerated and stored nowhere but on alpha.
fn leave_the_definition(stage: &Stage) -> Result<()> {
    let there = known(stage, Host::Beta)?;
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    stage.on(Host::Alpha, &migrate_with("--live --p2p"))?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    was_accelerated(stage, Host::Beta, &there)?;
    ensure!(!is_persistent(stage, Host::Beta)?, "beta has stored it");
    let left = stage.guest_on(Host::Alpha)?;
    ensure!(left == "shut off", "on alpha it is {left:?}");
    stage.stored_domain_is_right(Host::Alpha)
}

fn is_persistent(stage: &Stage, host: Host) -> Result<bool> {
    let told = stage.on(host, &format!("virsh -q dominfo {WEB_1}"))?;
    let line = told.lines().find_map(|line| line.strip_prefix("Persistent:"));
    Ok(line.context("libvirt does not say whether it is stored")?.trim() == "yes")
}

/// Only its definition moves. What it had on alpha is clean there: every story's end looks at that.
pub(crate) fn while_it_is_off(stage: &Stage) -> Result<()> {
    let there = known(stage, Host::Beta)?;
    stage.on(Host::Alpha, &format!("virsh -q destroy {WEB_1}"))?;
    stage.on(
        Host::Alpha,
        &migrate_with("--offline --persistent --undefinesource"),
    )?;
    ensure!(stage.guest_on(Host::Alpha)?.is_empty(), "alpha knows the guest");
    stage.stored_domain_is_right(Host::Beta)?;
    stage.on(Host::Beta, &format!("virsh -q start {WEB_1}"))?;
    was_accelerated(stage, Host::Beta, &there)?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// Nobody asked for its standby, so it is given a VF as soon as it runs again, in the middle of what it did.
pub(crate) fn restored_from_a_save(stage: &Stage) -> Result<()> {
    const FILE: &str = "/var/tmp/rig-saved-guest";
    let here = known(stage, Host::Alpha)?;
    let boot = WEB_1.state(&stage.place, Host::Alpha)?.boot;
    leave_without_godwit(stage)?;
    stage.on(Host::Alpha, &format!("virsh -q save {WEB_1} {FILE}"))?;
    stage.daemon(Host::Alpha, "start")?;
    let restored = stage.on(Host::Alpha, &format!("virsh -q restore {FILE}"));
    stage.on(Host::Alpha, &format!("rm -f {FILE}"))?;
    restored?;
    was_accelerated(stage, Host::Alpha, &here)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    let state = WEB_1.state(&stage.place, Host::Alpha)?;
    ensure!(state.boot == boot, "it booted");
    stage.stored_domain_is_right(Host::Alpha)
}

/// libvirt starts it by itself, once after each boot of the host, and perhaps before Godwit is there.
pub(crate) fn started_with_its_host(stage: &Stage) -> Result<()> {
    let here = known(stage, Host::Alpha)?;
    let autostart = |word: &str| stage.on(Host::Alpha, &format!("virsh -q autostart {WEB_1} {word} && sync"));
    autostart("")?;
    let rig = stage.rig();
    rig.power_off(Host::Alpha)?;
    rig.power_on(Host::Alpha)?;
    wait_for("the guest that starts with its host", PATIENCE, || {
        Ok((stage.guest_on(Host::Alpha)? == "running").then_some(()))
    })?;
    autostart("--disable")?;
    was_accelerated(stage, Host::Alpha, &here)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    stage.stored_domain_is_right(Host::Alpha)
}

pub(crate) fn vf_that_will_not_plug(stage: &Stage) -> Result<()> {
    let _faults = Faults::order(&stage.place, Host::Beta, &[Fault::Fail("plug", 2)])?;
    let mut moving = stage.begin_move()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 3, "exit code {code} instead of 3: {said}");
    let migration = stage.migration(Host::Beta, &moving.last.id, |migration| migration.ended)?;
    ensure!(
        migration.failures("plug") >= 1,
        "no plug has failed: {migration:?}"
    );
    ensure!(
        migration.moved == "yes" && migration.acceleration == "accelerated",
        "{migration:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The guest is on its standby, ready to be moved by somebody without Godwit: alpha's daemon, which would put the VF
/// back at once, is stopped.
fn leave_without_godwit(stage: &Stage) -> Result<()> {
    stage.daemon(Host::Alpha, "stop")?;
    take_vf(stage)?;
    wait_for("the VF has left", PATIENCE, || {
        Ok((!stage.live_xml()?.contains("<hostdev")).then_some(()))
    })?;
    wait_for("the guest on its standby", PATIENCE, || {
        Ok(WEB_1
            .state(&stage.place, Host::Alpha)?
            .is_on_standby()
            .then_some(()))
    })?;
    stage.on(Host::Alpha, "rig-vf sweep").map(drop)
}

fn migrate() -> String {
    migrate_with("--live --p2p --persistent --undefinesource")
}

fn migrate_with(options: &str) -> String {
    let to = Host::Beta.address();
    format!("virsh -q migrate {options} {WEB_1} qemu+tcp://{to}/system")
}

/// As a person would who knows nothing of Godwit.
fn take_vf(stage: &Stage) -> Result<()> {
    let xml = stage.live_xml()?;
    let start = xml.find("<hostdev ").context("the guest has no VF")?;
    let length = xml[start..].find("</hostdev>").context("half a VF")? + "</hostdev>".len();
    let device = &xml[start..start + length];
    let detach = format!("virsh -q detach-device {WEB_1} /dev/stdin --live");
    ssh::run_with(&stage.place, Host::Alpha, &detach, device.as_bytes())
}

/// The ids of what a host knows.
fn known(stage: &Stage, host: Host) -> Result<Vec<String>> {
    let all = godwit::migrations(&stage.place, host)?;
    Ok(all.into_iter().map(|migration| migration.id).collect())
}

/// By the host's own doing: something new is there, and it has ended with the guest on its VF.
fn was_accelerated(stage: &Stage, host: Host, known: &[String]) -> Result<()> {
    let new = |migration: &Migration| {
        let by_itself = migration.source == migration.destination && migration.source == host.name();
        by_itself && !known.contains(&migration.id) && migration.guest == WEB_1.name
    };
    let migration = wait_for(&format!("{host} accelerates {WEB_1}"), PATIENCE, || {
        let found = godwit::migrations(&stage.place, host)?.into_iter().find(new);
        Ok(found.filter(|migration| migration.ended))
    })?;
    ensure!(
        migration.acceleration == "accelerated" && migration.has_begun("plug"),
        "{migration:?}"
    );
    Ok(())
}
