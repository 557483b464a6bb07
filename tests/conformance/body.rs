//! The scenarios: what is asked, and what must come of it, wherever it is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use godwit_rig::Host::{self, Alpha, Beta};
use godwit_rig::faults::{Fault, Moment};
use godwit_rig::godwit::{Answer, Migration};
use godwit_rig::kept::Kept;

/// Longer than anything takes; on the rig much is slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// Hosts, a guest and godwit's daemons, pretended or real.
pub(crate) trait Arm {
    /// `web-1` runs on alpha on its VF, managed, and nothing is under way. These faults are ordered.
    fn begin(&mut self, faults: &[(Host, Fault)], setting: Setting) -> Result<()>;
    /// Runs `godwit ARGUMENTS` on a host.
    fn godwit(&self, host: Host, arguments: &str) -> Result<Answer>;
    /// What this world itself says is as it must be.
    fn end(&mut self) -> Result<()>;
    /// Whether the world itself failed, and how: then what was seen says nothing.
    fn broke(&self) -> Option<String>;
}

/// What is so besides, until the end of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Nothing.
    Usual,
    /// Beta has no VF to give.
    Full,
    /// Datagrams come for `web-1` all the time.
    Busy,
}

/// A scenario and its name.
pub(crate) type Scenario = (&'static str, fn(&mut dyn Arm) -> Result<()>);

pub(crate) const SCENARIOS: [Scenario; 12] = [
    ("there_and_back", there_and_back),
    ("what_cannot_be_is_refused", refused),
    ("a_fail_over_that_fails_is_undone", |arm| undone(arm, "fail-over")),
    ("a_plug_that_fails_is_tried_again", plug_fails),
    ("the_source_dies_at_the_fail_over", |arm| {
        dies(arm, Alpha, "fail-over")
    }),
    ("the_source_dies_at_the_unplug", |arm| dies(arm, Alpha, "unplug")),
    ("the_source_dies_at_the_transfer", |arm| {
        dies(arm, Alpha, "transfer")
    }),
    ("the_destination_dies_at_the_plug", |arm| dies(arm, Beta, "plug")),
    ("the_destination_dies_at_the_fail_back", |arm| {
        dies(arm, Beta, "fail-back")
    }),
    ("standby_and_accelerate", standby_and_accelerate),
    ("a_guest_that_prefers_a_vf_goes_without", prefers),
    ("frames_of_the_pause_are_kept_or_not", keeps),
];

fn there_and_back(arm: &mut dyn Arm) -> Result<()> {
    arm.begin(&[], Setting::Usual)?;
    let set = set_to(arm, Alpha)?;
    says(arm, Alpha, "migrate web-1 beta --wait", 0)?;
    is_on(arm, Beta, "accelerated")?;
    is_set_to(arm, Beta, &set)?;
    says(arm, Beta, "migrate web-1 alpha --wait", 0)?;
    is_on(arm, Alpha, "accelerated")?;
    is_set_to(arm, Alpha, &set)
}

fn refused(arm: &mut dyn Arm) -> Result<()> {
    arm.begin(&[], Setting::Usual)?;
    for (asked, reason) in [
        ("migrate nobody beta", "GUEST_UNKNOWN"),
        ("migrate web-1 gamma", "HOST_UNKNOWN"),
        ("migrate web-1 alpha", "HOST_IS_SOURCE"),
        ("show 01234567", "MIGRATION_UNKNOWN"),
        ("standby --pf pf9", "PF_UNKNOWN"),
    ] {
        let answer = says(arm, Alpha, &format!("--json {asked}"), 1)?;
        ensure!(answer.out.contains(reason), "{asked}: {}", answer.out);
    }
    is_on(arm, Alpha, "accelerated")
}

fn undone(arm: &mut dyn Arm, phase: &'static str) -> Result<()> {
    arm.begin(&[(Alpha, Fault::Fail(phase, 1))], Setting::Usual)?;
    let set = set_to(arm, Alpha)?;
    says(arm, Alpha, "migrate web-1 beta --wait", 4)?;
    is_on(arm, Alpha, "accelerated")?;
    is_set_to(arm, Alpha, &set)
}

fn plug_fails(arm: &mut dyn Arm) -> Result<()> {
    arm.begin(&[(Beta, Fault::Fail("plug", 2))], Setting::Usual)?;
    says(arm, Alpha, "migrate web-1 beta --wait", 3)?;
    is_on(arm, Beta, "accelerated")
}

/// The daemon dies in the phase and is started again; whichever way the move then goes, the guest ends on a VF.
fn dies(arm: &mut dyn Arm, host: Host, phase: &'static str) -> Result<()> {
    arm.begin(&[(host, Fault::Die(Moment::Before, phase))], Setting::Usual)?;
    // Its answer may die with the daemon.
    arm.godwit(Alpha, "migrate web-1 beta")?;
    let migration = newest(arm, Alpha, |migration| migration.ended)?;
    ensure!(!migration.needs_person, "{migration:?}");
    let end = match migration.moved.as_str() {
        "yes" => Beta,
        "no" => Alpha,
        other => bail!("the guest has moved: {other}; {migration:?}"),
    };
    is_on(arm, end, "accelerated")
}

fn standby_and_accelerate(arm: &mut dyn Arm) -> Result<()> {
    arm.begin(&[], Setting::Usual)?;
    let set = set_to(arm, Alpha)?;
    says(arm, Alpha, "standby web-1 --wait", 0)?;
    is_on(arm, Alpha, "standby")?;
    // It stays there although somebody looks after it, and may move from there.
    says(arm, Alpha, "migrate web-1 beta --wait", 0)?;
    is_on(arm, Beta, "accelerated")?;
    says(arm, Beta, "standby web-1 --wait", 0)?;
    says(arm, Beta, "accelerate web-1 --wait", 0)?;
    is_on(arm, Beta, "accelerated")?;
    is_set_to(arm, Beta, &set)
}

fn prefers(arm: &mut dyn Arm) -> Result<()> {
    arm.begin(&[], Setting::Full)?;
    let no = says(arm, Alpha, "--json migrate web-1 beta", 1)?;
    ensure!(no.out.contains("NO_FREE_VF"), "{}", no.out);
    says(arm, Alpha, "migrate web-1 beta --wait --policy prefer", 3)?;
    is_on(arm, Beta, "standby")?;
    let rests = newest(arm, Beta, |migration| migration.settled)?;
    ensure!(rests.phase == "hold" && !rests.ended, "{rests:?}");
    // Back where its own VF is.
    says(arm, Beta, "migrate web-1 alpha --wait", 0)?;
    is_on(arm, Alpha, "accelerated")
}

/// What came for a guest that stood still came after it; and on its way back nobody keeps that.
fn keeps(arm: &mut dyn Arm) -> Result<()> {
    arm.begin(&[], Setting::Busy)?;
    says(arm, Alpha, "migrate web-1 beta --wait", 0)?;
    let kept = kept(arm, Alpha)?;
    ensure!(
        kept.frames > 0 && kept.delivered + kept.brought == kept.frames,
        "{kept:?}"
    );
    ensure!(
        kept.lost == 0 && kept.no_room == 0 && kept.not_kept.is_empty(),
        "{kept:?}"
    );
    is_on(arm, Beta, "accelerated")?;
    says(arm, Beta, "migrate web-1 alpha --keep off --wait", 0)?;
    let none = self::kept(arm, Beta)?;
    ensure!(
        none.not_kept.contains("asked for") && none.frames == 0 && none.delivered == 0,
        "{none:?}"
    );
    is_on(arm, Alpha, "accelerated")
}

/// What the record of its source says of the pause, once the newest move from there has ended.
fn kept(arm: &dyn Arm, source: Host) -> Result<Kept> {
    let id = newest(arm, source, |migration| migration.ended)?.id;
    let answer = says(arm, source, &format!("--json show {id}"), 0)?;
    let migration: Migration = serde_json::from_str(&answer.out)?;
    migration
        .kept
        .with_context(|| format!("the record does not say what was kept: {}", answer.out))
}

/// Runs it and expects that exit code.
fn says(arm: &dyn Arm, host: Host, arguments: &str, code: i32) -> Result<Answer> {
    let answer = arm.godwit(host, arguments)?;
    let Answer { code: got, out, err } = &answer;
    ensure!(
        *got == code,
        "godwit {arguments} on {host}: exit code {got}, not {code}: {out}{err}"
    );
    Ok(answer)
}

/// What the guest's VF is set to besides its MAC.
fn set_to(arm: &dyn Arm, host: Host) -> Result<serde_json::Value> {
    let answer = says(arm, host, "--json vfs", 0)?;
    let all: serde_json::Value = serde_json::from_str(&answer.out)?;
    let vfs = all["vfs"].as_array().cloned().unwrap_or_default();
    let vf = vfs.iter().find(|vf| vf["by"] == "web-1");
    let profile = vf.map(|vf| vf["profile"].clone()).unwrap_or_default();
    ensure!(
        profile.is_object(),
        "{host} does not tell what web-1's VF is set to: {all}"
    );
    Ok(profile)
}

fn is_set_to(arm: &dyn Arm, host: Host, set: &serde_json::Value) -> Result<()> {
    let now = set_to(arm, host)?;
    ensure!(
        now == *set,
        "web-1's VF on {host} is set to {now}, and was to {set}"
    );
    Ok(())
}

/// Waits until the guest is there, with its traffic there, and nothing is under way that is not at rest.
fn is_on(arm: &dyn Arm, host: Host, acceleration: &str) -> Result<()> {
    waits(&format!("web-1 on {host}, {acceleration}"), || {
        let answer = arm.godwit(host, "--json guests")?;
        let all: serde_json::Value = serde_json::from_str(&answer.out).with_context(|| answer.err.clone())?;
        let guests = all["guests"].as_array().cloned().unwrap_or_default();
        let here = guests.iter().find(|guest| guest["name"] == "web-1");
        Ok(here.is_some_and(|guest| guest["state"] == "running" && guest["acceleration"] == acceleration))
    })
}

/// The newest migration that a host knows, once it is so.
fn newest(arm: &dyn Arm, host: Host, so: impl Fn(&Migration) -> bool) -> Result<Migration> {
    #[derive(serde::Deserialize)]
    struct All {
        migrations: Vec<Migration>,
    }
    let mut found = Migration::default();
    waits(&format!("the newest migration of {host}"), || {
        let answer = arm.godwit(host, "--json list --limit 1")?;
        // A daemon that has just died does not answer.
        let Ok(mut all) = serde_json::from_str::<All>(&answer.out) else {
            return Ok(false);
        };
        found = all.migrations.pop().unwrap_or_default();
        Ok(!found.id.is_empty() && so(&found))
    })?;
    Ok(found)
}

fn waits(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("{what}: not within {} s", PATIENCE.as_secs())
}
