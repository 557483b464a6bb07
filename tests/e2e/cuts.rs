//! Stories in which hosts lose each other, or their power, at the worst moment. What must be so afterwards is looked up
//! after every story; here each says what its end is.

use std::time::Duration;

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults};
use godwit_rig::guest::WEB_1;
use godwit_rig::{Host, guest, network, ready};

use crate::stage::{PATIENCE, Stage};
use crate::troubled::Troubled;

/// libvirt's own keepalive takes half a minute to see that the other side has gone.
const LONG: Duration = Duration::from_secs(400);

/// The guest never left, so it has its VF back while the hosts still cannot hear each other; what the destination held is
/// freed when they can.
pub(crate) fn link_cut_in_the_transfer(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    troubled.strikes();
    network::part(&stage.place, true)?;
    let (code, said) = moving.finish(LONG)?;
    troubled.ends("the link cut in the transfer", Host::Alpha)?;
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    stage.guest_is_accelerated_on(Host::Alpha)?;
    network::part(&stage.place, false)?;
    stage.migration(Host::Beta, &id, |migration| migration.ended)?;
    stage
        .migration(Host::Alpha, &id, |migration| {
            migration.ended && migration.moved == "no"
        })
        .map(drop)
}

/// The destination loses its power when it holds a VF and nothing has moved yet: the guest is back on its own, and what was held for
/// it is free when the destination is there again.
pub(crate) fn destination_off_before_the_transfer(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_move()?;
    moving.until("the fail over", PATIENCE, |migration| {
        migration.has_begun("fail-over")
    })?;
    let id = moving.last.id.clone();
    let rig = stage.rig();
    troubled.strikes();
    rig.power_off(Host::Beta)?;
    let (code, said) = moving.finish(LONG)?;
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    troubled.ends("the destination without power before the transfer", Host::Alpha)?;
    // What is looked at is on both hosts.
    rig.power_on(Host::Beta)?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    for host in Host::ALL {
        let ended = stage.migration(host, &id, |migration| migration.ended)?;
        ensure!(ended.moved == "no", "{ended:?}");
    }
    let holds = godwit_rig::godwit::run(&stage.place, Host::Beta, "--json holds")?.out;
    ensure!(holds.contains("\"holds\":[]"), "beta still holds: {holds}");
    Ok(())
}

/// The destination loses its power while memory is copied.
pub(crate) fn destination_off_in_the_transfer(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    let rig = stage.rig();
    troubled.strikes();
    rig.power_off(Host::Beta)?;
    let (code, said) = moving.finish(LONG)?;
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    troubled.ends("the destination without power in the transfer", Host::Alpha)?;
    rig.power_on(Host::Beta)?;
    stage
        .migration(Host::Alpha, &id, |migration| {
            migration.ended && migration.moved == "no"
        })
        .map(drop)
}

/// The destination loses its power when the guest has arrived and has no VF yet. The guest goes down with it: both hosts say
/// so, nothing of it is left on a VF, and it starts where it was.
pub(crate) fn off_before_the_plug(stage: &Stage) -> Result<()> {
    let faults = Faults::order(&stage.place, Host::Beta, &[Fault::Fail("plug", 100)])?;
    let mut moving = stage.begin_move()?;
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    let id = moving.last.id.clone();
    stage.migration(Host::Beta, &id, |migration| migration.failures("plug") > 0)?;
    let rig = stage.rig();
    rig.power_off(Host::Beta)?;
    drop(moving);
    rig.power_on(Host::Beta)?;
    drop(faults);
    let there = stage.migration(Host::Beta, &id, |migration| migration.ended)?;
    ensure!(there.moved == "gone", "{there:?}");
    let here = stage.migration(Host::Alpha, &id, |migration| migration.ended)?;
    ensure!(here.moved == "yes" && !here.needs_person, "{here:?}");
    ensure!(stage.guest_on(Host::Alpha)?.is_empty(), "alpha knows the guest");
    stage.stored_domain_is_right(Host::Beta)?;
    stage.on(Host::Beta, "virsh -q start web-1")?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The destination loses its power when everything is over: the guest goes down with it, its definition is there when
/// the host is back, and once it is started it gets a VF.
pub(crate) fn destination_off_after_the_move(stage: &Stage) -> Result<()> {
    ready::move_to(&stage.place, Host::Beta)?;
    let rig = stage.rig();
    rig.power_off(Host::Beta)?;
    rig.power_on(Host::Beta)?;
    stage.stored_domain_is_right(Host::Beta)?;
    ensure!(stage.guest_on(Host::Alpha)?.is_empty(), "alpha knows the guest");
    stage.on(Host::Beta, "virsh -q start web-1")?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The source loses its power as soon as the guest runs at the destination, which has to finish by itself.
pub(crate) fn source_off_on_arrival(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_move()?;
    arrival(stage, &mut moving)?;
    let id = moving.last.id.clone();
    let rig = stage.rig();
    troubled.strikes();
    rig.power_off(Host::Alpha)?;
    drop(moving);
    troubled.ends("the source without power as the guest arrives", Host::Beta)?;
    stage.migration(Host::Beta, &id, |migration| {
        migration.ended && migration.acceleration == "accelerated"
    })?;
    rig.power_on(Host::Alpha)?;
    stage.migration(Host::Alpha, &id, |migration| migration.moved == "yes")?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The hosts lose each other as soon as the guest runs at the destination. libvirt's source may or may not have heard
/// that it arrived: if not, it runs its own copy again after its keepalive. Whatever it does, in the end one copy runs,
/// on its VF.
pub(crate) fn link_cut_on_arrival(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_move()?;
    arrival(stage, &mut moving)?;
    troubled.strikes();
    network::part(&stage.place, true)?;
    let id = moving.last.id.clone();
    let measured = troubled.ends("the link cut as the guest arrives", Host::Beta);
    match measured {
        // Both have its addresses, and the client hears now this one and now that.
        Err(error) if stage.guest_on(Host::Alpha)? == "running" => {
            godwit_rig::say(format!("alpha's copy ran before all was measured: {error:#}"));
        }
        measured => measured?,
    }
    // Longer than the keepalive: from here on libvirt does nothing more by itself.
    std::thread::sleep(Duration::from_secs(45));
    let copy = stage.guest_on(Host::Alpha)?;
    godwit_rig::say(format!("after the keepalive, alpha's copy is {copy:?}"));
    network::part(&stage.place, false)?;
    stage.migration(Host::Alpha, &id, |migration| migration.moved == "yes")?;
    let left = stage.guest_on(Host::Alpha)?;
    ensure!(left != "running", "alpha still runs its copy");
    if left == "paused" {
        // Told, and never destroyed by Godwit; a person does that.
        stage.on(
            Host::Alpha,
            "virsh -q destroy web-1; virsh -q undefine web-1; true",
        )?;
    }
    drop(moving);
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The agent dies while the traffic is being moved; another is started by whoever keeps it.
pub(crate) fn agent_killed_at_the_fail_over(stage: &Stage) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_move()?;
    moving.until("the queue", PATIENCE, |migration| migration.has_begun("queue"))?;
    troubled.strikes();
    WEB_1.shell(&stage.place, Host::Alpha, "kill -9 $(cat /run/godwit-agent.pid)")?;
    let (code, said) = moving.finish(PATIENCE)?;
    // It came in time or it did not: the guest is on a VF either way.
    let host = match code {
        0 => Host::Beta,
        4 => Host::Alpha,
        code => anyhow::bail!("exit code {code}: {said}"),
    };
    troubled.ends("the agent killed at the fail over", host)?;
    stage.guest_is_accelerated_on(host)
}

/// A guest that is shut down while it is moved has gone, and leaves nothing behind.
pub(crate) fn guest_shut_down_in_the_transfer(stage: &Stage) -> Result<()> {
    is_gone_after(stage, "virsh -q destroy web-1")
}

/// So has one whose emulator dies.
pub(crate) fn guest_killed_in_the_transfer(stage: &Stage) -> Result<()> {
    is_gone_after(stage, "kill -9 $(cat /run/libvirt/qemu/web-1.pid)")
}

/// It boots where its memory is copied from, or where it has come to: it arrives, and its agent answers again there.
pub(crate) fn guest_reboots_in_the_transfer(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_slow_move()?;
    WEB_1.begin_reboot(&stage.place, Host::Alpha)?;
    stage.transfer_ends()?;
    let (code, said) = moving.finish(LONG)?;
    // Whoever waits may hear of a guest that still boots.
    ensure!(code == 0 || code == 3, "exit code {code}: {said}");
    stage.migration(Host::Beta, &moving.last.id, |migration| {
        migration.ended && migration.acceleration == "accelerated"
    })?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// A guest that somebody pauses while it is moved ends on its VF, once it runs.
pub(crate) fn guest_paused_in_the_transfer(stage: &Stage) -> Result<()> {
    let moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    stage.on(Host::Alpha, "virsh -q suspend web-1")?;
    stage.transfer_ends()?;
    wait_for("the guest on one host", PATIENCE, || {
        let there = stage.guest_on(Host::Beta)?;
        let arrived = there == "running" || there == "paused";
        Ok((arrived && stage.guest_on(Host::Alpha)?.is_empty()).then_some(()))
    })?;
    let arrived = stage.guest_on(Host::Beta)?;
    godwit_rig::say(format!("it has arrived {arrived}"));
    stage.on(Host::Beta, "virsh -q resume web-1; true")?;
    stage.migration(Host::Beta, &id, |migration| {
        migration.ended && migration.acceleration == "accelerated"
    })?;
    stage.migration(Host::Alpha, &id, |migration| {
        migration.ended && migration.moved == "yes"
    })?;
    drop(moving);
    stage.guest_is_accelerated_on(Host::Beta)
}

fn is_gone_after(stage: &Stage, end: &str) -> Result<()> {
    let mut moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    stage.on(Host::Alpha, end)?;
    let (code, said) = moving.finish(LONG)?;
    ensure!(code == 5, "exit code {code} instead of 5: {said}");
    for host in Host::ALL {
        stage.migration(host, &id, |migration| migration.ended)?;
        let holds = godwit_rig::godwit::run(&stage.place, host, "--json holds")?.out;
        ensure!(holds.contains("\"holds\":[]"), "{host} still holds: {holds}");
    }
    guest::WEB_1.start(&stage.place, Host::Alpha)
}

/// Until libvirt on beta tells the event that the guest runs there.
pub(crate) fn arrival(stage: &Stage, moving: &mut godwit_rig::godwit::Move) -> Result<()> {
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    let listen = "exec 3< <(exec stdbuf -oL virsh -q event --event lifecycle --loop --timeout 240); \
                  grep -m1 -q \"'web-1': Resumed\" <&3; came=$?; kill $!; exit $came";
    stage.on(Host::Beta, listen).map(drop)
}
