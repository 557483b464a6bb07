//! Stories of `team-1`, whose pair is libvirt's own (`<teaming>`): in it `net_failover` chooses between VF and standby, and has no
//! make before break. So what a move loses is told, and nothing is asserted of it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit::{self, Migration, Move};
use godwit_rig::guest::{self, TEAM_1};
use godwit_rig::losses::by_phase;
use godwit_rig::prober::Prober;
use godwit_rig::timeline::spans;
use godwit_rig::{Host, build, clock, invariants, ready};

use crate::stage::{PATIENCE, Stage};

/// Datagrams a second, each way.
const RATE: u32 = 100;
/// Quiet time before and after.
const MARGIN: Duration = Duration::from_secs(3);

pub(crate) fn there_and_back(stage: &Stage) -> Result<()> {
    begin(stage)?;
    let probe = build::build_static(&stage.place, "godwit-probe")?;
    for host in [Host::Beta, Host::Alpha] {
        let ahead = clock::offsets(&stage.place)?;
        let prober = Prober::start_with_stream(&stage.place, &probe, TEAM_1, RATE, RATE / 5)?;
        sleep(MARGIN);
        let id = ready::move_guest(&stage.place, TEAM_1, host)?;
        sleep(MARGIN);
        let record = prober.stop(&stage.place)?;
        is_whole(stage, host)?;
        let told = godwit::status(&stage.place, host, &id)?;
        ensure!(told.acceleration == "accelerated", "{told:?}");
        says(&told, "fail-back", "by the guest's agent")?;
        // The source has told all of it.
        let told = godwit::status(&stage.place, host.other(), &id)?;
        let spans = spans(&told, |host| ahead.get(host).copied().unwrap_or_default())?;
        for (phase, loss) in by_phase(&record, &spans) {
            let ((sent, lost), (came, missing)) = (loss.to_guest, loss.from_guest);
            println!("  to {host}, {phase}: {lost} of {sent} to the guest, {missing} of {came} from it");
        }
    }
    // No VF is part of what is stored: it would be another host's after the next move.
    let stored = guest::xml(&stage.place, Host::Alpha, TEAM_1.name, true)?;
    ensure!(
        stored.contains("urn:godwit:domain:1") && stored.contains("<teaming type='persistent'/>"),
        "the stored domain lacks the metadata or the standby:\n{stored}"
    );
    ensure!(
        !stored.contains("hostdev"),
        "the stored domain has a VF:\n{stored}"
    );
    TEAM_1.stop(&stage.place)
}

pub(crate) fn standby_and_back(stage: &Stage) -> Result<()> {
    begin(stage)?;
    let plan = stage.godwit(&format!("plan {TEAM_1} beta"))?;
    plan.done()?;
    stage.godwit(&format!("standby {TEAM_1} --wait"))?.done()?;
    stage.is_on_standby_on(TEAM_1, Host::Alpha)?;
    let xml = guest::xml(&stage.place, Host::Alpha, TEAM_1.name, false)?;
    ensure!(!xml.contains("type='transient'"), "it has its VF yet:\n{xml}");
    invariants::hold(&stage.place)?;
    stage.godwit(&format!("accelerate {TEAM_1} --wait"))?.done()?;
    is_whole(stage, Host::Alpha)?;
    TEAM_1.stop(&stage.place)
}

/// What this host sees is all the evidence, and that is said.
pub(crate) fn without_an_agent(stage: &Stage) -> Result<()> {
    TEAM_1.start(&stage.place, Host::Alpha)?;
    let gone = "mv /bin/godwit-agent /bin/no-agent; kill $(cat /run/godwit-agent.pid); sleep 1";
    TEAM_1.shell(&stage.place, Host::Alpha, gone)?;
    wait_for("libvirt to see that no agent is there", PATIENCE, || {
        let xml = guest::xml(&stage.place, Host::Alpha, TEAM_1.name, false)?;
        Ok(xml
            .contains("org.godwit.agent.0' state='disconnected'")
            .then_some(()))
    })?;
    godwit::adopt(&stage.place, Host::Alpha, TEAM_1.name)?;
    let id = ready::move_guest(&stage.place, TEAM_1, Host::Beta)?;
    is_whole(stage, Host::Beta)?;
    says(
        &godwit::status(&stage.place, Host::Alpha, &id)?,
        "fail-over",
        "no agent",
    )?;
    says(
        &godwit::status(&stage.place, Host::Beta, &id)?,
        "fail-back",
        "no agent",
    )?;
    invariants::hold(&stage.place)?;
    TEAM_1.stop(&stage.place)
}

/// QEMU's own way would wait for ever for a guest that does not answer. Its traffic is on its VF meanwhile.
pub(crate) fn deaf(stage: &Stage) -> Result<()> {
    begin(stage)?;
    stage.deadline("unplug", 20)?;
    TEAM_1.ignore_unplugs(&stage.place, Host::Alpha)?;
    let mut moving = Move::begin(&stage.place, Host::Alpha, TEAM_1.name, Host::Beta.name())?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 5, "exit code {code} instead of 5: {said}");
    ensure!(
        said.contains("unplug pending") && said.contains("stays on it"),
        "{said}"
    );
    stage.is_accelerated_on(TEAM_1, Host::Alpha)?;
    TEAM_1.heed_unplugs(&stage.place, Host::Alpha)?;
    let ended = stage.migration(Host::Alpha, &moving.last.id, |migration| migration.ended)?;
    ensure!(
        ended.moved == "no" && ended.acceleration == "accelerated" && !ended.needs_person,
        "{ended:?}"
    );
    is_whole(stage, Host::Alpha)?;
    TEAM_1.stop(&stage.place)
}

/// The guest is on alpha, adopted, on its VF.
pub(crate) fn begin(stage: &Stage) -> Result<()> {
    stage.starts(TEAM_1)
}

/// On its VF there, and its domain has the pair's other half: its emulator takes it for no other, nor does `virsh migrate`.
pub(crate) fn is_whole(stage: &Stage, host: Host) -> Result<()> {
    stage.is_accelerated_on(TEAM_1, host)?;
    let xml = guest::xml(&stage.place, host, TEAM_1.name, false)?;
    let start = xml.find("<hostdev ").context("no VF in its domain")?;
    ensure!(
        xml[start..].contains("<teaming type='transient' persistent='ua-standby0'/>"),
        "its VF is in no pair:\n{xml}"
    );
    invariants::has_all_vfs(&stage.place, TEAM_1, host)
}

fn says(migration: &Migration, phase: &str, what: &str) -> Result<()> {
    let mut steps = migration.timeline.iter().filter(|step| step.phase == phase);
    let found = steps.any(|step| step.detail.as_deref().is_some_and(|detail| detail.contains(what)));
    ensure!(found, "{phase} does not say {what:?}: {migration:?}");
    Ok(())
}
