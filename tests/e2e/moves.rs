//! Stories in which the guest moves, or begins to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Move};
use godwit_rig::guest::{WEB_1, WEB_2};
use godwit_rig::{Host, ready, vf};

use crate::stage::{PATIENCE, Stage, refused};
use crate::troubled::Troubled;

pub(crate) fn there_and_back(stage: &Stage) -> Result<()> {
    ready::move_to(&stage.place, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    ready::move_to(&stage.place, Host::Alpha)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    ensure!(ready::nothing_is_open(&stage.place)?, "a migration is still open");
    Ok(())
}

/// What is planned is what is held. What was free when it was planned may be taken before the move.
pub(crate) fn planned(stage: &Stage) -> Result<()> {
    let beta = |line: &str| godwit::run(&stage.place, Host::Beta, line)?.done();
    let first = planned_vf(stage)?.context("no VF is planned")?;
    beta(&format!("vfs quarantine {first}"))?;
    let second = planned_vf(stage)?.context("no other VF is planned")?;
    ensure!(second != first, "{first} is in quarantine, and planned");
    beta(&format!("vfs quarantine {second}"))?;
    let plan = stage.godwit(&format!("plan {WEB_1} beta"))?;
    ensure!(
        plan.code == 1 && plan.out.contains("quarantined: by hand"),
        "exit code {}: {}{}",
        plan.code,
        plan.out,
        plan.err
    );
    refused(
        &stage.godwit(&format!("migrate {WEB_1} beta --wait"))?,
        "no free VF",
    )?;
    beta(&format!("vfs release {first}"))?;
    beta(&format!("vfs release {second}"))?;
    let planned = planned_vf(stage)?.context("no VF is planned again")?;
    let mut moving = stage.begin_move()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code} instead of 0: {said}");
    let held = format!("beta holds {planned}");
    let mut details = moving
        .last
        .timeline
        .iter()
        .filter_map(|step| step.detail.as_deref());
    ensure!(
        details.any(|detail| detail == held),
        "{planned} was planned: {:?}",
        moving.last
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The VF that the guest would get on beta.
pub(crate) fn planned_vf(stage: &Stage) -> Result<Option<String>> {
    let answer = stage.godwit(&format!("--json plan {WEB_1} beta"))?;
    let plan: serde_json::Value = serde_json::from_str(&answer.out)?;
    Ok(plan["pairs"][0]["vf"].as_str().map(Into::into))
}

pub(crate) fn stored_domain(stage: &Stage) -> Result<()> {
    ready::move_to(&stage.place, Host::Beta)?;
    stage.stored_domain_is_right(Host::Beta)?;
    ensure!(
        stage.guest_on(Host::Alpha)?.is_empty(),
        "alpha still knows the guest"
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

pub(crate) fn after_a_reboot(stage: &Stage) -> Result<()> {
    WEB_1.reboot(&stage.place, Host::Alpha)?;
    wait_for("the agent", PATIENCE, || {
        Ok(WEB_1.state(&stage.place, Host::Alpha)?.agent)
    })?;
    ready::move_to(&stage.place, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Beta)
}

pub(crate) fn cancelled(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_slow_move()?;
    troubled.strikes();
    let answer = stage.godwit(&format!("cancel {}", moving.last.id))?;
    answer.done()?;
    let (code, said) = moving.finish(PATIENCE)?;
    troubled.ends("cancelled in the transfer", Host::Alpha)?;
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    stage.guest_is_accelerated_on(Host::Alpha)?;
    ensure!(stage.guest_on(Host::Beta)?.is_empty(), "beta knows the guest");
    let migration = stage.migration(Host::Alpha, &moving.last.id, |migration| migration.ended)?;
    ensure!(migration.moved == "no" && migration.cancelled, "{migration:?}");
    ensure!(migration.acceleration == "accelerated", "{migration:?}");
    Ok(())
}

pub(crate) fn without_the_source(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_move()?;
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    let arrived = || Ok((stage.guest_on(Host::Beta)? == "running").then_some(()));
    wait_for("the guest on beta", PATIENCE, arrived)?;
    stage.daemon(Host::Alpha, "stop")?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    stage.daemon(Host::Alpha, "start")?;
    let migration = stage.migration(Host::Alpha, &moving.last.id, |migration| migration.moved == "yes")?;
    ensure!(!migration.needs_person, "{migration:?}");
    stage
        .migration(Host::Beta, &moving.last.id, |migration| migration.ended)
        .map(drop)
}

pub(crate) fn daemon_started_again(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_slow_move()?;
    stage.daemon(Host::Alpha, "stop")?;
    stage.daemon(Host::Alpha, "start")?;
    let id = moving.last.id.clone();
    let migration = stage.migration(Host::Alpha, &id, |migration| migration.ended)?;
    ensure!(
        migration.moved == "yes" && !migration.needs_person,
        "{migration:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)?;
    // How the waiting command ended is its own affair; it must have ended.
    moving.finish(Duration::from_secs(60)).map(drop)
}

/// What the story sets on the guest's VF: nothing that cuts its traffic, and each other than on a VF that nobody uses.
const SET: &str = "spoofchk off trust on max_tx_rate 900";
const NOT_SET: &str = "spoofchk on trust off max_tx_rate 0";

pub(crate) fn set_as_the_last_one(stage: &Stage) -> Result<()> {
    let told = told_of_settings(stage);
    // Whatever came of it: the next story begins with a VF on which nothing is set.
    let at = WEB_1.locate(&stage.place)?.unwrap_or(Host::Alpha);
    let not_set = vf::of(&stage.place, at, WEB_1)
        .and_then(|number| vf::set(&stage.place, at, number, NOT_SET))
        .context("the VF is left as the story set it");
    told.and(not_set)
}

fn told_of_settings(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    let first = vf::of(place, Host::Alpha, WEB_1)?;
    vf::set(place, Host::Alpha, first, SET)?;
    let set = vf::shown(place, Host::Alpha, first)?;
    for word in [WEB_1.mac, "spoof checking off", "trust on", "max_tx_rate 900Mbps"] {
        ensure!(set.contains(word), "{word:?} was set and alpha shows {set:?}");
    }
    ready::move_to(place, Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    is_set_as(stage, &set)?;
    is_trusted(stage)?;
    wait_for("alpha's VF without anything of the guest", PATIENCE, || {
        Ok(vf::is_neutral(&vf::shown(place, Host::Alpha, first)?).then_some(()))
    })?;
    let metadata = stage.on(Host::Beta, "virsh -q metadata web-1 urn:godwit:domain:1")?;
    ensure!(
        metadata.contains("max-tx-rate=\"900\""),
        "it does not travel with the guest: {metadata}"
    );
    // Without a VF for a while, and no record of the move to look into.
    for way in ["standby", "accelerate"] {
        godwit::run(place, Host::Beta, &format!("{way} web-1 --wait"))?.done()?;
    }
    is_set_as(stage, &set)
}

/// A guest that is trusted may give its VF another address. What is for its own does not come to it then.
fn is_trusted(stage: &Stage) -> Result<()> {
    let other = takes_address(stage, Host::Beta, "52:54:00:aa:00:99")?;
    let heard = WEB_1.answers(&stage.place);
    let own = takes_address(stage, Host::Beta, WEB_1.mac)?;
    ensure!(other && own, "the PF refuses what trust allows");
    ensure!(!heard, "the guest is reached although its VF has another address");
    wait_for("an answer of the guest", PATIENCE, || {
        Ok(WEB_1.answers(&stage.place).then_some(()))
    })
}

/// Whether the PF lets the guest give its VF that address.
pub(crate) fn takes_address(stage: &Stage, host: Host, mac: &str) -> Result<bool> {
    let line = format!("ip link set $(cat /sys/class/net/bond0/bonding/active_slave) address {mac}");
    Ok(WEB_1.shell(&stage.place, host, &line)?.status == 0)
}

/// The guest's VF on beta shows the same, its MAC and all.
fn is_set_as(stage: &Stage, set: &str) -> Result<()> {
    let number = vf::of(&stage.place, Host::Beta, WEB_1)?;
    let shown = vf::shown(&stage.place, Host::Beta, number)?;
    ensure!(
        shown == set,
        "beta's VF {number} shows\n  {shown}\nand alpha's showed\n  {set}"
    );
    Ok(())
}

pub(crate) fn two_guests(stage: &Stage) -> Result<()> {
    WEB_2.start(&stage.place, Host::Beta)?;
    godwit::adopt(&stage.place, Host::Beta, WEB_2.name)?;
    let mut moves = [
        stage.begin_move()?,
        Move::begin(&stage.place, Host::Beta, WEB_2.name, "alpha")?,
    ];
    for moving in &mut moves {
        let (code, said) = moving.finish(PATIENCE)?;
        ensure!(code == 0, "exit code {code} instead of 0: {said}");
    }
    stage.is_accelerated_on(WEB_1, Host::Beta)?;
    stage.is_accelerated_on(WEB_2, Host::Alpha)
}
