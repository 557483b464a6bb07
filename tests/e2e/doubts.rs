//! Stories of a guest that nobody can locate: its transfer is over, the destination's libvirtd never said how it ended,
//! and the destination cannot be asked.

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::Migration;
use godwit_rig::guest::{self, WEB_1};
use godwit_rig::{Host, network};

use crate::stage::{PATIENCE, Stage};

/// The source's copy runs on, and is on its standby; as soon as the hosts hear each other, everything goes on by itself.
pub(crate) fn located_when_the_link_is_back(stage: &Stage) -> Result<()> {
    let id = doubt(stage)?;
    wait_for("the source's copy", PATIENCE, || {
        Ok((stage.guest_on(Host::Alpha)? == "running").then_some(()))
    })?;
    stage.migration(Host::Alpha, &id, is_unknown)?;
    wait_for("the guest's path", PATIENCE, || {
        Ok(WEB_1.answers(&stage.place).then_some(()))
    })?;
    hear_again(stage)?;
    stayed(stage, &id)
}

/// With `[unknown] policy = "suspend"` the source's copy is paused, until a person says where the guest runs.
pub(crate) fn suspended_and_resolved(stage: &Stage) -> Result<()> {
    stage.configure(Host::Alpha, "[unknown]\npolicy = \"suspend\"\n")?;
    let id = doubt(stage)?;
    stage.migration(Host::Alpha, &id, is_unknown)?;
    wait_for("the pause of the source's copy", PATIENCE, || {
        Ok((stage.guest_on(Host::Alpha)? == "paused").then_some(()))
    })?;
    // Against the evidence: nothing of it runs there.
    let answer = stage.godwit("resolve nonsense --runs-on alpha")?;
    ensure!(answer.code == 1, "exit code {}: {}", answer.code, answer.err);
    let answer = stage.godwit(&format!("resolve {id} --runs-on alpha"))?;
    ensure!(answer.code == 0, "exit code {}: {}", answer.code, answer.err);
    wait_for("the guest on its VF on alpha", PATIENCE, || {
        let runs = stage.guest_on(Host::Alpha)? == "running";
        Ok((runs && WEB_1.state(&stage.place, Host::Alpha)?.is_on_vf()).then_some(()))
    })?;
    hear_again(stage)?;
    stayed(stage, &id)
}

/// Begins a move whose end nobody tells: beta's libvirtd stands still while the last of the memory is copied, and when
/// the guest stands still on alpha the hosts lose each other.
fn doubt(stage: &Stage) -> Result<String> {
    let moving = stage.begin_slow_move()?;
    stage.on(Host::Beta, "kill -STOP $(cat /run/libvirtd.pid)")?;
    stage.transfer_ends()?;
    let paused = format!(
        "for n in $(seq 1200); do [ \"$(virsh -q domstate {WEB_1})\" = paused ] && exit 0; done; exit 1"
    );
    stage.on(Host::Alpha, &paused)?;
    network::part(&stage.place, true)?;
    Ok(moving.last.id.clone())
}

fn is_unknown(migration: &Migration) -> bool {
    migration.moved == "unknown" && migration.settled
}

fn hear_again(stage: &Stage) -> Result<()> {
    network::part(&stage.place, false)?;
    stage
        .on(Host::Beta, "kill -CONT $(cat /run/libvirtd.pid)")
        .map(drop)
}

/// It ends on the source, on its VF, and the destination keeps nothing of it.
fn stayed(stage: &Stage, id: &str) -> Result<()> {
    let migration = stage.migration(Host::Alpha, id, |migration| migration.ended)?;
    ensure!(
        migration.moved == "no" && migration.acceleration == "accelerated",
        "{migration:?}"
    );
    wait_for("beta's copy to go", PATIENCE, || {
        let copy = guest::domain_state(&stage.place, Host::Beta, WEB_1.name)?;
        Ok((copy != "running" && copy != "paused").then_some(()))
    })?;
    stage.migration(Host::Beta, id, |migration| migration.ended)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}
