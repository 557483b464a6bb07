//! Stories of networks that are the same on both hosts, and of one that is none.

use anyhow::{Context, Result, ensure};
use godwit_rig::Host;
use godwit_rig::godwit::Move;
use godwit_rig::guest::WEB_1;
use godwit_rig::network::{self, CLIENT};
use serde_json::Value;

use crate::stage::{PATIENCE, Stage};

/// Of beta's bridge for standbys.
const UPLINK: &str = "beta-up";

/// Who proved the network is told; without the bridge's uplink it is told that nobody did, by a plan and by a move, which arrives.
pub(crate) fn proved(stage: &Stage) -> Result<()> {
    let plugged = plan(stage)?;
    let by = format!("{CLIENT} (");
    let proof = plugged["networks"][0]["proved"][0].as_str().unwrap_or_default();
    ensure!(
        proof.starts_with(&by) && proof.contains(" answers through bridge `br0` on beta"),
        "{CLIENT} did not prove the network: {plugged}"
    );
    ensure!(silence(&plugged).is_none(), "{CLIENT} is silent, too: {plugged}");

    stage.slow_transfer()?;
    let out = Unplugged::begin(stage)?;
    let unplugged = plan(stage)?;
    let silent = silence(&unplugged).with_context(|| format!("the uplink is not missed: {unplugged}"))?;
    ensure!(
        silent["severity"] == "warning" && silent["about"] == "beta" && unplugged["moves"] == true,
        "{unplugged}"
    );
    let proofs = unplugged["networks"][0]["proved"].as_array();
    ensure!(
        proofs.is_some_and(Vec::is_empty),
        "somebody proves it: {unplugged}"
    );
    let mut moving = Move::begin(
        &stage.place,
        Host::Alpha,
        WEB_1.name,
        "beta --ignore NETWORK_SILENT",
    )?;
    moving.until("the transfer", PATIENCE, |migration| {
        migration.has_begun("transfer")
    })?;
    drop(out);
    stage.transfer_ends()?;
    let (code, said) = moving.finish(PATIENCE)?;
    ensure!(
        code == 0 && said.contains("NETWORK_SILENT"),
        "exit code {code}: {said}"
    );
    stage.guest_is_accelerated_on(Host::Beta)
}

/// The switch lets nothing through to beta's bridge for standbys, as where a port lacks the VLAN, until this is dropped.
struct Unplugged<'a> {
    stage: &'a Stage,
}

impl Unplugged<'_> {
    fn begin(stage: &Stage) -> Result<Unplugged<'_>> {
        let out = Unplugged { stage };
        network::cable(&stage.place, UPLINK, false)?;
        Ok(out)
    }
}

impl Drop for Unplugged<'_> {
    fn drop(&mut self) {
        if let Err(error) = network::cable(&self.stage.place, UPLINK, true) {
            godwit_rig::say(format!("beta's uplink stays cut: {error:#}"));
        }
    }
}

fn plan(stage: &Stage) -> Result<Value> {
    let answer = stage.godwit(&format!("--json plan {WEB_1} beta"))?;
    serde_json::from_str(&answer.out).with_context(|| format!("{answer:?}"))
}

fn silence(plan: &Value) -> Option<&Value> {
    let mut findings = plan["findings"].as_array()?.iter();
    findings.find(|found| found["reason"] == "NETWORK_SILENT")
}
