//! Stories of guests that stay where they are, or wait.

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Move};
use godwit_rig::guest::{WEB_1, WEB_2};
use godwit_rig::{Host, ready};

use crate::stage::{PATIENCE, Stage};

/// A guest that wants no VF gets none where it comes, until somebody asks.
pub(crate) fn standby_only(stage: &Stage) -> Result<()> {
    stage.policy(Host::Alpha, "standby-only")?;
    let mut moving = stage.begin_move()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 3, "exit code {code} instead of 3: {said}");
    let migration = stage.migration(Host::Beta, &moving.last.id, |migration| migration.ended)?;
    ensure!(migration.acceleration == "standby", "{migration:?}");
    stage.guest_is_on_standby_on(Host::Beta)?;
    let holds = godwit::run(&stage.place, Host::Beta, "--json holds")?.out;
    ensure!(holds.contains("\"holds\":[]"), "beta holds a VF: {holds}");
    let answer = godwit::run(&stage.place, Host::Beta, &format!("accelerate {WEB_1} --wait"))?;
    answer.done()?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    // The next story's guest wants one again.
    stage.policy(Host::Beta, "require")
}

/// Its guests leave a PF for the work on it, and come back.
pub(crate) fn work_on_a_pf(stage: &Stage) -> Result<()> {
    let answer = stage.godwit("standby --pf pf0 --wait")?;
    answer.done()?;
    stage.guest_is_on_standby_on(Host::Alpha)?;
    ensure!(!stage.live_xml()?.contains("<hostdev"), "it has a VF");
    // Nobody gets one of its VFs: neither who arrives nor who asks.
    stage.on(
        Host::Alpha,
        "ip link set pf0 down && sleep 2 && ip link set pf0 up",
    )?;
    stage.daemon(Host::Alpha, "restart")?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    stage.guest_is_on_standby_on(Host::Alpha)?;
    let answer = stage.godwit("accelerate --pf pf0 --wait")?;
    answer.done()?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// Two guests leave one host, which sends one at a time: the second keeps its VF until its turn comes.
pub(crate) fn second_guest_waits(stage: &Stage) -> Result<()> {
    WEB_2.start(&stage.place, Host::Alpha)?;
    godwit::adopt(&stage.place, Host::Alpha, WEB_2.name)?;
    let mut first = stage.begin_slow_move()?;
    let mut second = Move::begin(&stage.place, Host::Alpha, WEB_2.name, "beta")?;
    second.until("the queue", PATIENCE, |migration| migration.phase == "queue")?;
    let line = wait_for("its place in the queue", PATIENCE, || {
        let shown = godwit::run(&stage.place, Host::Alpha, &format!("show {}", second.last.id))?.out;
        Ok(shown.contains("place 1").then_some(shown))
    })?;
    ensure!(
        WEB_2.state(&stage.place, Host::Alpha)?.is_on_vf(),
        "it has lost its VF while it waits: {line}"
    );
    stage.transfer_ends()?;
    for moving in [&mut first, &mut second] {
        let (code, said) = moving.finish(PATIENCE)?;
        ensure!(code == 0, "exit code {code} instead of 0: {said}");
    }
    stage.is_accelerated_on(WEB_1, Host::Beta)?;
    stage.is_accelerated_on(WEB_2, Host::Beta)?;
    wait_for("the end of both moves", PATIENCE, || {
        Ok(ready::nothing_is_open(&stage.place)?.then_some(()))
    })
}

/// A guest is saved as libvirt's managed save does it, which no guest with a VF can be, and started again: by itself it is on its VF.
pub(crate) fn saved_and_started(stage: &Stage) -> Result<()> {
    let boot = WEB_1.state(&stage.place, Host::Alpha)?.boot;
    let answer = stage.godwit(&format!("run {WEB_1} -- managedsave"))?;
    answer.done()?;
    ensure!(
        answer.out.contains("It gets a VF when it runs again"),
        "{}",
        answer.out
    );
    let state = stage.guest_on(Host::Alpha)?;
    ensure!(state == "shut off", "it was saved and is {state}");
    stage.on(Host::Alpha, &format!("virsh -q start {WEB_1}"))?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    let state = WEB_1.state(&stage.place, Host::Alpha)?;
    ensure!(state.boot == boot, "it booted, and was not restored");
    stage.stored_domain_is_right(Host::Alpha)
}

/// The same into a file of the operator's, and back.
pub(crate) fn saved_and_restored(stage: &Stage) -> Result<()> {
    const FILE: &str = "/var/tmp/rig-saved-guest";
    let boot = WEB_1.state(&stage.place, Host::Alpha)?.boot;
    stage.godwit(&format!("run {WEB_1} -- save {FILE}"))?.done()?;
    let state = stage.guest_on(Host::Alpha)?;
    ensure!(state == "shut off", "it was saved and is {state}");
    let restored = stage.on(Host::Alpha, &format!("virsh -q restore {FILE}"));
    stage.on(Host::Alpha, &format!("rm -f {FILE}"))?;
    restored?;
    stage.guest_is_accelerated_on(Host::Alpha)?;
    let state = WEB_1.state(&stage.place, Host::Alpha)?;
    ensure!(state.boot == boot, "it booted, and was not restored");
    stage.stored_domain_is_right(Host::Alpha)
}

/// A snapshot of a running guest's memory: it is on its VF before and after. A command that fails leaves it on its VF too.
pub(crate) fn snapshot_of_a_running_guest(stage: &Stage) -> Result<()> {
    const MEMORY: &str = "/tmp/web-1.memory";
    // Without metadata: libvirt moves no guest that has snapshots.
    let take = format!(
        "run {WEB_1} -- snapshot-create-as --name one --no-metadata --memspec {MEMORY},snapshot=external"
    );
    let answer = stage.godwit(&take)?;
    let size = stage.on(
        Host::Alpha,
        &format!("stat -c %s {MEMORY} 2>/dev/null; rm -f {MEMORY}"),
    )?;
    answer.done()?;
    ensure!(
        size.trim().parse::<u64>().is_ok_and(|size| size > 1 << 20),
        "its memory has {size} bytes"
    );
    stage.guest_is_accelerated_on(Host::Alpha)?;
    let answer = stage.godwit(&format!("run {WEB_1} -- save /nonexistent/web-1.saved"))?;
    ensure!(answer.code == 1, "exit code {} instead of 1", answer.code);
    stage.guest_is_accelerated_on(Host::Alpha)
}
