//! Stories of hosts and guests that fail meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults};
use godwit_rig::godwit::{Migration, Move};
use godwit_rig::guest::WEB_1;
use godwit_rig::{Host, timeline};

use crate::stage::{PATIENCE, Stage, refused};
use crate::troubled::Troubled;

pub(crate) fn deaf_until_reboot(stage: &Stage) -> Result<()> {
    let id = leave_an_unplug_pending(stage)?;
    WEB_1.reboot(&stage.place, Host::Alpha)?;
    stays_accelerated(stage, &id)
}

pub(crate) fn deaf_for_a_while(stage: &Stage) -> Result<()> {
    let id = leave_an_unplug_pending(stage)?;
    WEB_1.heed_unplugs(&stage.place, Host::Alpha)?;
    stays_accelerated(stage, &id)
}

/// The agent is silent as well: the guest cannot even be asked again. It stays where it is, with its path, until it answers.
pub(crate) fn answers_to_nothing(stage: &Stage) -> Result<()> {
    let id = leave_an_unplug_pending(stage)?;
    let agent = |signal: &str| {
        let line = format!("kill -{signal} $(cat /run/godwit-agent.pid)");
        WEB_1.shell(&stage.place, Host::Alpha, &line).map(drop)
    };
    agent("STOP")?;
    // Attempts come and go.
    std::thread::sleep(Duration::from_secs(30));
    stage.guest_is_on_standby_on(Host::Alpha)?;
    let migration = stage.migration(Host::Alpha, &id, |_| true)?;
    ensure!(migration.needs_person && !migration.ended, "{migration:?}");
    agent("CONT")?;
    WEB_1.heed_unplugs(&stage.place, Host::Alpha)?;
    stays_accelerated(stage, &id)
}

/// What an operator orders to see how a host bears it, one after the other.
pub(crate) fn on_purpose(stage: &Stage) -> Result<()> {
    let order = |host, fault| Faults::order(&stage.place, host, &[fault]);
    let before = stage.live_xml()?;
    let faults = order(Host::Alpha, Fault::NoAgent(100))?;
    refused(&stage.godwit("migrate web-1 beta --wait")?, "agent")?;
    drop(faults);
    let faults = order(Host::Beta, Fault::NoVf(100))?;
    refused(&stage.godwit("migrate web-1 beta --wait")?, "VF")?;
    drop(faults);
    stage.nothing_changed(&before)?;

    let faults = order(Host::Alpha, Fault::Refused)?;
    let (code, id) = moved(stage)?;
    drop(faults);
    ensure!(code == 4, "exit code {code} instead of 4");
    stays_accelerated(stage, &id)?;

    let faults = order(Host::Alpha, Fault::Silent)?;
    let (code, id) = moved(stage)?;
    drop(faults);
    ensure!(code == 5, "exit code {code} instead of 5");
    stays_accelerated(stage, &id)?;

    let faults = order(Host::Alpha, Fault::Pause("queue", 5))?;
    let (code, id) = moved(stage)?;
    drop(faults);
    ensure!(code == 0, "exit code {code} instead of 0");
    let migration = stage.migration(Host::Alpha, &id, |migration| migration.ended)?;
    let spans = timeline::spans(&migration, |_| 0.0)?;
    let queue = spans.iter().find(|span| span.name == "queue");
    ensure!(
        queue.is_some_and(|queue| queue.ms() >= 5_000.0),
        "the queue was not longer: {migration:?}"
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The exit code and the migration's id.
fn moved(stage: &Stage) -> Result<(i32, String)> {
    let mut moving = stage.begin_move()?;
    let (code, _) = moving.finish(PATIENCE)?;
    Ok((code, moving.last.id.clone()))
}

/// An agent that says of every switch that it is made, and makes none: its host counts no frame of the guest by the standby, and the
/// VF that carries the traffic is not taken.
pub(crate) fn lies(stage: &Stage) -> Result<()> {
    let liar = format!(
        "kill -9 $(cat /run/godwit-agent.pid); godwit-liar /dev/virtio-ports/org.godwit.agent.0 {} >/dev/console 2>&1 & \
         echo $! >/run/liar.pid",
        WEB_1.mac
    );
    WEB_1.shell(&stage.place, Host::Alpha, &liar)?;
    let mut troubled = Troubled::begin(stage)?;
    troubled.strikes();
    let told = stage.begin_move().and_then(|mut moving| {
        let (code, said) = moving.finish(PATIENCE)?;
        Ok((code, said, moving.last.id.clone()))
    });
    let ended = WEB_1.shell(&stage.place, Host::Alpha, "kill -9 $(cat /run/liar.pid)")?;
    let (code, said, id) = told?;
    ensure!(ended.status == 0, "the liar has gone: {}", ended.text);
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    troubled.ends("an agent that lies", Host::Alpha)?;
    let migration = stage.migration(Host::Alpha, &id, |migration| migration.ended)?;
    ensure!(
        migration.reason() == Some("FAIL_OVER") && !migration.has_begun("unplug"),
        "{migration:?}"
    );
    let failure = migration.failure.as_ref().map(|failure| failure.message.as_str());
    ensure!(
        failure.is_some_and(|message| message.contains("counts otherwise")),
        "{migration:?}"
    );
    ensure!(stage.live_xml()?.contains("<hostdev"), "the VF has left");
    stage.guest_is_accelerated_on(Host::Alpha)?;
    ensure!(stage.guest_on(Host::Beta)?.is_empty(), "beta knows the guest");
    wait_for("the real agent", PATIENCE, || {
        Ok(WEB_1
            .state(&stage.place, Host::Alpha)?
            .agent
            .is_some()
            .then_some(()))
    })
}

/// An unplug that cannot be withdrawn, with the guest on its standby.
pub(crate) fn leave_an_unplug_pending(stage: &Stage) -> Result<String> {
    stage.deadline("unplug", 20)?;
    WEB_1.ignore_unplugs(&stage.place, Host::Alpha)?;
    let mut moving = stage.begin_move()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 5, "exit code {code} instead of 5: {said}");
    ensure!(said.contains("unplug pending"), "{said}");
    let migration = stage.migration(Host::Alpha, &moving.last.id, |_| true)?;
    ensure!(migration.needs_person && !migration.ended, "{migration:?}");
    ensure!(
        migration.phase == "unplug" && migration.moved == "no",
        "{migration:?}"
    );
    ensure!(migration.acceleration == "standby", "{migration:?}");
    stage.guest_is_on_standby_on(Host::Alpha)?;
    ensure!(stage.live_xml()?.contains("<hostdev"), "the VF has left");
    ensure!(stage.guest_on(Host::Beta)?.is_empty(), "beta knows the guest");
    Ok(migration.id)
}

/// It ends on the source, on its VF.
pub(crate) fn stays_accelerated(stage: &Stage, id: &str) -> Result<()> {
    let migration = stage.migration(Host::Alpha, id, |migration| migration.ended)?;
    ensure!(
        migration.moved == "no" && migration.acceleration == "accelerated",
        "{migration:?}"
    );
    stage.guest_is_accelerated_on(Host::Alpha)?;
    ensure!(stage.guest_on(Host::Beta)?.is_empty(), "beta knows the guest");
    Ok(())
}

/// It ends at the destination, on its VF, and nobody is needed.
fn arrives_accelerated(stage: &Stage, id: &str) -> Result<()> {
    for host in Host::ALL {
        let migration = stage.migration(host, id, |migration| migration.ended)?;
        ensure!(
            migration.moved == "yes" && !migration.needs_person,
            "{migration:?}"
        );
    }
    stage.guest_is_accelerated_on(Host::Beta)
}

pub(crate) fn destination_dies(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_move()?;
    begun(&mut moving, "fail-over")?;
    stage.daemon(Host::Beta, "kill")?;
    wait_for("the guest on beta", PATIENCE, || {
        Ok(
            (stage.guest_on(Host::Beta)? == "running" && stage.guest_on(Host::Alpha)?.is_empty())
                .then_some(()),
        )
    })?;
    stage.guest_is_on_standby_on(Host::Beta)?;
    let knows = |migration: &Migration| migration.moved == "yes";
    let migration = stage.migration(Host::Alpha, &moving.last.id, knows)?;
    ensure!(
        migration.acceleration != "accelerated" && !migration.needs_person,
        "alpha cannot know: {migration:?}"
    );
    stage.daemon(Host::Beta, "start")?;
    arrives_accelerated(stage, &moving.last.id)
}

pub(crate) fn libvirtd_at_the_fail_over(stage: &Stage) -> Result<()> {
    outlives_the_end_of_libvirtd(stage, "fail-over", RESTARTED)
}

pub(crate) fn libvirtd_at_the_unplug(stage: &Stage) -> Result<()> {
    outlives_the_end_of_libvirtd(stage, "unplug", RESTARTED)
}

pub(crate) fn libvirtd_killed_at_the_unplug(stage: &Stage) -> Result<()> {
    outlives_the_end_of_libvirtd(stage, "unplug", KILLED)
}

/// In order, and as a crash would; it runs again at once.
const RESTARTED: &[&str] = &["restart"];
const KILLED: &[&str] = &["kill", "start"];

/// libvirtd ends so, and runs again.
fn end_libvirtd(stage: &Stage, host: Host, how: &[&str]) -> Result<()> {
    how.iter().try_for_each(|action| stage.libvirtd(host, action))
}

/// Before the transfer nothing is lost with the source's libvirtd, so the move goes on.
fn outlives_the_end_of_libvirtd(stage: &Stage, phase: &str, how: &[&str]) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_move()?;
    begun(&mut moving, phase)?;
    troubled.strikes();
    end_libvirtd(stage, Host::Alpha, how)?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 0, "exit code {code} instead of 0: {said}");
    troubled.ends(
        &format!("libvirtd of alpha at the {phase} ({})", how.join(", ")),
        Host::Beta,
    )?;
    arrives_accelerated(stage, &moving.last.id)
}

pub(crate) fn source_libvirtd_in_the_transfer(stage: &Stage) -> Result<()> {
    is_undone_by_the_end_of_libvirtd(stage, Host::Alpha, RESTARTED)
}

pub(crate) fn destination_libvirtd_in_the_transfer(stage: &Stage) -> Result<()> {
    is_undone_by_the_end_of_libvirtd(stage, Host::Beta, RESTARTED)
}

pub(crate) fn libvirtd_killed_in_the_transfer(stage: &Stage) -> Result<()> {
    is_undone_by_the_end_of_libvirtd(stage, Host::Alpha, KILLED)
}

/// The transfer is libvirt's own and dies with it, on either side; the guest has not moved and gets its VF back.
fn is_undone_by_the_end_of_libvirtd(stage: &Stage, host: Host, how: &[&str]) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_slow_move()?;
    troubled.strikes();
    end_libvirtd(stage, host, how)?;
    let (code, said) = moving.finish(PATIENCE)?;
    troubled.ends(
        &format!("libvirtd of {host} in the transfer ({})", how.join(", ")),
        Host::Alpha,
    )?;
    ensure!(code == 4, "exit code {code} instead of 4: {said}");
    stays_accelerated(stage, &moving.last.id)
}

pub(crate) fn libvirtd_at_the_plug(stage: &Stage) -> Result<()> {
    plugs_although_libvirtd_ends(stage, RESTARTED)
}

pub(crate) fn libvirtd_killed_at_the_plug(stage: &Stage) -> Result<()> {
    plugs_although_libvirtd_ends(stage, KILLED)
}

fn plugs_although_libvirtd_ends(stage: &Stage, how: &[&str]) -> Result<()> {
    let mut troubled = Troubled::begin(stage)?;
    let mut moving = stage.begin_move()?;
    // Not before the source has seen its guest go: the transfer's last step needs both libvirtds.
    begun(&mut moving, "release")?;
    stage.migration(Host::Beta, &moving.last.id, |migration| {
        migration.has_begun("plug")
    })?;
    troubled.strikes();
    end_libvirtd(stage, Host::Beta, how)?;
    let (code, said) = moving.finish(PATIENCE)?;
    // A plug that lost its answer is tried again; who waits may hear "on standby" before.
    ensure!(code == 0 || code == 3, "exit code {code}: {said}");
    takes_out_what_nobody_wrote_down(stage, &moving.last.id)?;
    troubled.ends(
        &format!("libvirtd of beta at the plug ({})", how.join(", ")),
        Host::Beta,
    )?;
    arrives_accelerated(stage, &moving.last.id)
}

/// libvirtd may have ended between what QEMU did and what it would have written. Then no other VF is plugged, and what is
/// told helps.
fn takes_out_what_nobody_wrote_down(stage: &Stage, id: &str) -> Result<()> {
    let is_stray = |migration: &Migration| migration.reason() == Some("STRAY_VF");
    let decided = stage.migration(Host::Beta, id, |migration| migration.ended || is_stray(migration))?;
    let Some(failure) = decided.failure.as_ref().filter(|_| is_stray(&decided)) else {
        return Ok(());
    };
    godwit_rig::say(format!("{}; {}", failure.message, failure.hint));
    let details = decided.timeline.iter().filter_map(|step| step.detail.as_deref());
    let swapped = details.filter(|detail| detail.contains(" instead of ")).count();
    ensure!(
        decided.acceleration == "standby" && swapped == 0,
        "another VF was taken: {decided:?}"
    );
    stage.guest_is_on_standby_on(Host::Beta)?;
    stage.on(Host::Beta, &failure.hint).map(drop)
}

fn begun(moving: &mut Move, phase: &str) -> Result<()> {
    moving.until(phase, PATIENCE, |migration| migration.has_begun(phase))
}
