//! Stories of a guest that nobody can locate: its transfer is over, the destination's libvirtd never said how it ended,
//! and the destination cannot be asked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults, Moment};
use godwit_rig::godwit;
use godwit_rig::guest::{self, WEB_1};
use godwit_rig::supervisor::Supervisor;
use godwit_rig::{Host, network, timeline};

use crate::cuts;
use crate::stage::{PATIENCE, Stage};
use crate::troubled::Troubled;

/// libvirt may run the source's copy on or leave it paused; as soon as the hosts hear each other, everything goes on by
/// itself.
pub(crate) fn located_when_the_link_is_back(stage: &Stage) -> Result<()> {
    let (id, deaf) = doubt(stage)?;
    is_unknown(stage, &id)?;
    let copy = stage.guest_on(Host::Alpha)?;
    godwit_rig::say(format!("in doubt, alpha's copy is {copy:?}"));
    if copy == "running" {
        wait_for("the guest's path", PATIENCE, || {
            Ok(WEB_1.answers(&stage.place).then_some(()))
        })?;
    }
    drop(deaf);
    stayed(stage, &id)
}

/// With `[unknown] policy = "suspend"` the source's copy is paused, until a person says where the guest runs.
pub(crate) fn suspended_and_resolved(stage: &Stage) -> Result<()> {
    stage.configure(Host::Alpha, "[unknown]\npolicy = \"suspend\"\n")?;
    resolved(stage)
}

/// Alpha's daemon dies as it runs its copy again.
pub(crate) fn killed_at_the_resume(stage: &Stage, moment: Moment) -> Result<()> {
    stage.configure(Host::Alpha, "[unknown]\npolicy = \"suspend\"\n")?;
    killed_at(stage, (moment, "resume"), resolved)
}

/// Alpha's daemon dies as it pauses the copy that libvirt has run.
pub(crate) fn killed_at_the_suspend(stage: &Stage, moment: Moment) -> Result<()> {
    killed_at(stage, (moment, "suspend"), split_by_libvirt)
}

/// The story ends as it does when nobody dies.
fn killed_at(
    stage: &Stage,
    (moment, phase): (Moment, &'static str),
    story: fn(&Stage) -> Result<()>,
) -> Result<()> {
    let _faults = Faults::order(&stage.place, Host::Alpha, &[Fault::Die(moment, phase)])?;
    let supervisor = Supervisor::watch(&stage.place, Host::Alpha)?;
    story(stage)?;
    supervisor.died(PATIENCE).map(drop)
}

fn resolved(stage: &Stage) -> Result<()> {
    let (id, deaf) = doubt(stage)?;
    is_unknown(stage, &id)?;
    wait_for("the pause of the source's copy", PATIENCE, || {
        Ok((stage.guest_on(Host::Alpha)? == "paused").then_some(()))
    })?;
    let answer = stage.godwit("resolve nonsense --runs-on alpha")?;
    ensure!(answer.code == 1, "exit code {}: {}", answer.code, answer.err);
    // As long as libvirt's job is not over, nobody's word is taken.
    wait_for("that the person's word is taken", PATIENCE, || {
        let answer = stage.godwit(&format!("resolve {id} --runs-on alpha"))?;
        Ok((answer.code == 0).then_some(()))
    })?;
    // QEMU does not run it again while it waits for a connection that is cut with bytes under way.
    let resumed = wait_for("the guest on its VF on alpha", Duration::from_secs(100), || {
        let runs = stage.guest_on(Host::Alpha)? == "running";
        Ok((runs && WEB_1.state(&stage.place, Host::Alpha)?.is_on_vf()).then_some(()))
    });
    godwit_rig::say(format!(
        "before the link is back, it runs again: {}",
        resumed.is_ok()
    ));
    drop(deaf);
    stayed(stage, &id)
}

/// The guest has arrived, the hosts have lost each other, and a person says that it runs where it was: then it does, on its VF, and on
/// both hosts. As soon as they hear each other the copy that was wrong is paused, and its VF is nobody's.
pub(crate) fn wrong_word(stage: &Stage) -> Result<()> {
    let mut moving = stage.begin_move()?;
    cuts::arrival(stage, &mut moving)?;
    let id = moving.last.id.clone();
    network::part(&stage.place, true)?;
    let split = is_split_by_a_word(stage, &id);
    network::part(&stage.place, false)?;
    let split = split?;
    let migration = stage.migration(Host::Alpha, &id, |migration| {
        migration.ended && migration.moved == "yes"
    })?;
    let copy = stage.guest_on(Host::Alpha)?;
    ensure!(copy != "running", "alpha still runs its copy: {migration:?}");
    if split {
        ensure!(copy == "paused", "alpha's copy is {copy:?}");
        ensure!(migration.has_begun("suspend"), "{migration:?}");
    }
    drop(moving);
    ends_the_copy(stage)?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// libvirt's answer that the guest runs at the destination never comes: alpha's libvirt takes that for a failure once its keepalive
/// has ended, and runs its own copy on as well. The daemons hear each other, so that copy is paused, and the guest goes on at the destination.
pub(crate) fn split_by_libvirt(stage: &Stage) -> Result<()> {
    let troubled = Troubled::begin(stage)?;
    let moving = stage.begin_slow_move()?;
    let id = moving.last.id.clone();
    last_of_the_memory(stage)?;
    // From here on nothing is on its way that alpha's libvirt needs before it asks for the end.
    let mute = Mute::now(stage)?;
    let migration = stage.migration(Host::Alpha, &id, |migration| {
        migration.ended && migration.moved == "yes"
    })?;
    drop(mute);
    drop(moving);
    let losses = troubled.losses()?;
    ensure!(
        migration.has_begun("suspend"),
        "alpha's libvirt has not run its copy: {migration:?}"
    );
    let copy = stage.guest_on(Host::Alpha)?;
    ensure!(copy == "paused", "alpha's copy is {copy:?}");
    let spans = timeline::spans(&migration, |_| 0.0)?;
    let alphas = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name && span.host == "alpha")
    };
    let both = alphas("transfer")
        .zip(alphas("suspend"))
        .context("alpha's phases")?;
    println!(
        "figure split by libvirt: alpha's copy was paused {:.1} s after libvirt's word; {losses}",
        both.1.to - both.0.to
    );
    ends_the_copy(stage)?;
    stage.guest_is_accelerated_on(Host::Beta)
}

/// Beta's libvirtd answers nobody from elsewhere, until this is dropped.
struct Mute<'a>(&'a Stage);

impl<'a> Mute<'a> {
    fn now(stage: &'a Stage) -> Result<Mute<'a>> {
        network::mute_libvirtd(&stage.place, Host::Beta, true)?;
        Ok(Mute(stage))
    }
}

impl Drop for Mute<'_> {
    fn drop(&mut self) {
        if let Err(error) = network::mute_libvirtd(&self.0.place, Host::Beta, false) {
            godwit_rig::say(format!("beta's libvirtd stays mute: {error:#}"));
        }
    }
}

/// Whether alpha's libvirt ran or kept its copy, so that a person could be wrong about it.
fn is_split_by_a_word(stage: &Stage, id: &str) -> Result<bool> {
    let settled = wait_for("what alpha makes of it", Duration::from_secs(400), || {
        let migration = godwit::status(&stage.place, Host::Alpha, id)?;
        Ok((migration.settled || migration.moved == "yes").then_some(migration))
    })?;
    if settled.moved != "unknown" {
        godwit_rig::say("alpha's libvirt has heard that the guest arrived");
        return Ok(false);
    }
    wait_for("that the person's word is taken", PATIENCE, || {
        let answer = stage.godwit(&format!("resolve {id} --runs-on alpha"))?;
        Ok((answer.code == 0).then_some(()))
    })?;
    wait_for("alpha's copy on its VF", PATIENCE, || {
        let runs = stage.guest_on(Host::Alpha)? == "running";
        Ok((runs && WEB_1.state(&stage.place, Host::Alpha)?.is_on_vf()).then_some(()))
    })?;
    Ok(true)
}

/// As a person does who was told to.
fn ends_the_copy(stage: &Stage) -> Result<()> {
    let host = Host::Alpha;
    if stage.guest_on(host)?.is_empty() {
        return Ok(());
    }
    stage.on(host, "virsh -q destroy web-1; virsh -q undefine web-1; true")?;
    let all = godwit::run(&stage.place, host, "vfs")?.out;
    let kept = all.lines().filter(|line| line.contains("quarantined"));
    for vf in kept.filter_map(|line| line.split_whitespace().next()) {
        godwit::run(&stage.place, host, &format!("vfs release {vf}"))?.done()?;
    }
    Ok(())
}

/// Begins a move whose end nobody tells: beta's libvirtd stands still while the last of the memory is copied, and when
/// the guest stands still on alpha the hosts lose each other.
fn doubt(stage: &Stage) -> Result<(String, Deaf<'_>)> {
    let moving = stage.begin_slow_move()?;
    let deaf = Deaf { stage };
    stage.on(Host::Beta, "kill -STOP $(cat /run/libvirtd.pid)")?;
    // Were libvirt's word that all has come on its way already, beta would run the guest when the link is back.
    last_of_the_memory(stage)?;
    network::part(&stage.place, true)?;
    Ok((moving.last.id.clone(), deaf))
}

/// The slow transfer comes to the guest's pause, which is long enough to do something in it.
fn last_of_the_memory(stage: &Stage) -> Result<()> {
    stage.on(
        Host::Alpha,
        &format!("virsh -q migrate-setmaxdowntime {WEB_1} 3000"),
    )?;
    stage.transfer_ends()?;
    let paused = format!(
        "for n in $(seq 1200); do [ \"$(virsh -q domstate {WEB_1})\" = paused ] && exit 0; done; exit 1"
    );
    stage.on(Host::Alpha, &paused).map(drop)
}

/// Alpha cannot say where the guest is. libvirt takes half a minute to give its transfer up, and has been seen to take four.
fn is_unknown(stage: &Stage, id: &str) -> Result<()> {
    wait_for("alpha's doubt", Duration::from_secs(400), || {
        let migration = godwit::status(&stage.place, Host::Alpha, id)?;
        Ok((migration.moved == "unknown" && migration.settled).then_some(()))
    })
}

/// The hosts do not hear each other, and beta's libvirtd stands still; until this is dropped.
struct Deaf<'a> {
    stage: &'a Stage,
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        let again = network::part(&self.stage.place, false)
            .and_then(|()| self.stage.on(Host::Beta, "kill -CONT $(cat /run/libvirtd.pid)"));
        if let Err(error) = again {
            godwit_rig::say(format!("beta stays deaf: {error:#}"));
        }
    }
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
