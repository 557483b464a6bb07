//! A fault under traffic: when the guest was on its VF again, and what was lost on the way.

use std::time::Duration;

use anyhow::Result;
use godwit_rig::command::wait_for;
use godwit_rig::guest::WEB_1;
use godwit_rig::prober::{self, Prober};
use godwit_rig::{Host, build, clock};

use crate::stage::Stage;

/// Datagrams a second, each way.
const RATE: u32 = 50;
/// As the longest that libvirt takes to notice, and a slow machine's undo.
const PATIENCE: Duration = Duration::from_secs(400);

/// What is measured of one fault.
pub(crate) struct Troubled<'a> {
    stage: &'a Stage,
    /// Where the guest was.
    from: Option<Host>,
    prober: Prober,
    struck: f64,
}

impl<'a> Troubled<'a> {
    /// The traffic begins; the fault is to strike now or later.
    pub(crate) fn begin(stage: &'a Stage) -> Result<Troubled<'a>> {
        let probe = build::build_static(&stage.place, "godwit-probe")?;
        Ok(Troubled {
            stage,
            from: WEB_1.locate(&stage.place)?,
            prober: Prober::start(&stage.place, &probe, RATE)?,
            struck: clock::now(),
        })
    }

    /// The fault strikes now.
    pub(crate) fn strikes(&mut self) {
        self.struck = clock::now();
    }

    /// Waits for the guest's traffic on its VF on `host`, and prints how long after the fault that was.
    pub(crate) fn ends(self, what: &str, host: Host) -> Result<()> {
        let place = &self.stage.place;
        wait_for("the guest on its VF after the fault", PATIENCE, || {
            Ok(WEB_1.state(place, host)?.is_on_vf().then_some(()))
        })?;
        let seconds = clock::now() - self.struck;
        let from = self.from;
        let losses = self.losses()?;
        println!("figure {what}: on its VF on {host} {seconds:.1} s after the fault; {losses}");
        if from == Some(host) {
            println!("figure {what}: rollback_ms {:.0}", seconds * 1e3);
        }
        Ok(())
    }

    /// Ends the traffic: what was lost of it, in words.
    pub(crate) fn losses(self) -> Result<String> {
        let (sent, lost) = prober::sent_and_lost(&self.prober.stop(&self.stage.place)?);
        Ok(format!("{lost} of {sent} datagrams lost"))
    }
}
