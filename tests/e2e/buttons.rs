//! Stories of a guest that is asked for a device by the button of its slot alone.

use anyhow::{Context, Result, ensure};
use godwit_rig::guest::NATIVE_1;
use godwit_rig::{Host, godwit, ready, timeline};

use crate::stage::Stage;

/// In which Linux lets a person change their mind: no removal by a button is faster.
const BLINKS: f64 = 5_000.0;
/// Far less than the phase's deadline, after which the button would be pressed again.
const ONE_PRESS: f64 = 30_000.0;

pub(crate) fn moves(stage: &Stage) -> Result<()> {
    stage.starts(NATIVE_1)?;
    // Each of its slots is Linux' own affair, and ACPI knows of none.
    let look = "[ -n \"$(ls -d /sys/bus/pci_express/drivers/pciehp/0000:* 2>/dev/null)\" ]";
    let native = NATIVE_1.shell(&stage.place, Host::Alpha, look)?;
    ensure!(native.status == 0, "{NATIVE_1} has no slot with a button");
    stage.is_accelerated_on(NATIVE_1, Host::Alpha)?;

    let id = ready::move_guest(&stage.place, NATIVE_1, Host::Beta)?;
    stage.is_accelerated_on(NATIVE_1, Host::Beta)?;
    let took = unplug(stage, &id)?;
    println!("figure unplug by the button of the slot: {:.1} s", took / 1000.0);
    ensure!(took >= BLINKS, "{took} ms: it was not asked by its button");
    ensure!(
        took < ONE_PRESS,
        "{took} ms: the button was pressed more than once"
    );
    Ok(())
}

/// How long it took, milliseconds by alpha's clock.
fn unplug(stage: &Stage, id: &str) -> Result<f64> {
    let migration = godwit::status(&stage.place, Host::Alpha, id)?;
    let spans = timeline::spans(&migration, |_| 0.0)?;
    let unplug = spans.iter().find(|span| span.name == "unplug");
    Ok(unplug.with_context(|| format!("no unplug: {migration:?}"))?.ms())
}
