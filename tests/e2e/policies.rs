//! Stories of guests that may do without a VF.

use anyhow::{Result, ensure};
use godwit_rig::Host;
use godwit_rig::godwit::Migration;
use godwit_rig::small::{Device, Small};

use crate::stage::{PATIENCE, Stage};

pub(crate) fn prefer(stage: &Stage) -> Result<()> {
    waits_for_a_vf(stage, || Ok(()))
}

/// Beta's daemon dies while the guest waits: it still waits when there is a daemon again, and the VF that comes free is its own.
pub(crate) fn killed_in_the_hold(stage: &Stage) -> Result<()> {
    waits_for_a_vf(stage, || {
        stage.daemon(Host::Beta, "kill")?;
        stage.guest_is_on_standby_on(Host::Beta)?;
        stage.daemon(Host::Beta, "start")
    })
}

fn waits_for_a_vf(stage: &Stage, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    stage.policy(Host::Alpha, "prefer")?;
    let first = Small::start(&stage.place, Host::Beta, "occupier-1", &[Device::Vf])?;
    let _second = Small::start(&stage.place, Host::Beta, "occupier-2", &[Device::Vf])?;
    let mut moving = stage.begin_move()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(code == 3, "exit code {code} instead of 3: {said}");
    stage.guest_is_on_standby_on(Host::Beta)?;
    let waits = |migration: &Migration| migration.settled;
    let migration = stage.migration(Host::Beta, &moving.last.id, waits)?;
    ensure!(
        migration.acceleration == "standby" && !migration.ended && !migration.needs_person,
        "{migration:?}"
    );
    ensure!(migration.reason() == Some("NO_FREE_VF"), "{migration:?}");
    meanwhile()?;
    drop(first);
    let migration = stage.migration(Host::Beta, &moving.last.id, |migration| migration.ended)?;
    ensure!(migration.acceleration == "accelerated", "{migration:?}");
    stage.guest_is_accelerated_on(Host::Beta)
}
