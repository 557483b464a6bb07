//! The story of hosts whose libvirt is a daemon for each driver.

use anyhow::{Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::godwit;
use godwit_rig::guest::{WEB_1, WEB_2};
use godwit_rig::modular::Modular;
use godwit_rig::{Host, ready};

use crate::hooks::{Hook, heard, migrate};
use crate::moves;
use crate::stage::{PATIENCE, Stage};

/// Nothing of Godwit's is configured for it. One guest is started and adopted there, and moved; the other was there before, and
/// is brought by plain libvirt.
pub(crate) fn there_and_back(stage: &Stage) -> Result<()> {
    let _hook = Hook::install(stage)?;
    let modular = Modular::switch_on(&stage.place)?;
    for host in Host::ALL {
        stage.on(host, "rig-modular status")?;
        let old = stage.on(host, "rig-service status libvirtd || true")?;
        ensure!(old.contains("does not run"), "{host}: {old}");
    }
    wait_for("hosts that know their libvirt", PATIENCE, || {
        Host::ALL
            .into_iter()
            .try_for_each(|host| knows_its_libvirt(stage, host))?;
        Ok(Some(()))
    })?;
    let asked = heard(stage, "migrate begin")?;
    moves::there_and_back(stage)?;
    ensure!(
        heard(stage, "migrate begin")? > asked,
        "virtqemud has not asked beta's daemon"
    );
    stage.starts(WEB_2)?;
    for host in [Host::Beta, Host::Alpha] {
        ready::move_guest(&stage.place, WEB_2, host)?;
        stage.is_accelerated_on(WEB_2, host)?;
    }
    WEB_2.stop(&stage.place)?;
    stage.godwit(&format!("standby {WEB_1} --wait"))?.done()?;
    stage.on(Host::Alpha, &migrate(WEB_1.name, "--persistent --undefinesource"))?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    stage.stored_domain_is_right(Host::Beta)?;
    drop(modular);
    wait_for("hosts that know their libvirtd", PATIENCE, || {
        let answers = Host::ALL.map(|host| godwit::run(&stage.place, host, "guests")?.done());
        answers.into_iter().collect::<Result<()>>().map(Some)
    })?;
    stage.guest_is_accelerated_on(Host::Beta)?;
    ready::move_to(&stage.place, Host::Alpha)?;
    stage.guest_is_accelerated_on(Host::Alpha)
}

/// The doctor has asked libvirt all that it asks it, and has nothing to say of it.
fn knows_its_libvirt(stage: &Stage, host: Host) -> Result<()> {
    let (_, found) = godwit::doctor(&stage.place, host, "")?;
    let of_libvirt = |found: &godwit::Finding| found.reason.starts_with("LIBVIRT");
    ensure!(
        found.not_checked.is_empty() && !found.findings.iter().any(of_libvirt),
        "{host}: {found:?}"
    );
    Ok(())
}
