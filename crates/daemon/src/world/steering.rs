//! Which port of the NIC's embedded switch gets a guest's frames, while the guest is on its standby and on its way there and
//! back.
//!
//! Where the standby hangs on a PF, the PF gets a copy of them from before the traffic leaves the VF until after it is
//! back. A VF that the guest has and does not use loses its MAC, where its PF's driver lets this host do that at once;
//! with the others the guest's own driver does it, when the agent takes the port out of the pair before the unplug.

use std::{collections::BTreeSet, path::Path, time::Duration};

use futures_util::future::join_all;
use godwit_coordinator::Job;
use godwit_migration::{Brief, Cause, Event, Pair, PciAddress};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{RealWorld, Work, accelerate::plugged, channel_of, facts::sentence, teamed::teamed_with};
use crate::{
    agent::{self, Agents, Inspection, Tie},
    cause::{CauseExt, cause},
    libvirt::xml::DomainDevices,
    vf::{VfError, Vfs},
};

/// So soon after the guest confirmed its standby its VF loses its MAC, or not at all: a guest that was rebooted meanwhile
/// may be on its VF again.
const AT_ONCE: Duration = Duration::from_secs(2);

/// For a person: what each VF has.
const LOOK_AT_MACS: &str = "see which VF has which MAC: `godwit vfs`, `ip -d link show`";

/// How often an awaited guest's tap is looked for. A transfer takes longer than that from the tap to the guest's resume.
const LOOK: Duration = Duration::from_millis(200);

impl RealWorld {
    /// From before the traffic goes to the standby: what is for it comes there, whoever has the MAC.
    pub(super) async fn copies_on(&self, brief: &Brief) -> Work<()> {
        for pair in &brief.pairs {
            self.copy_on(pair).await?;
        }
        Ok(())
    }

    async fn copy_on(&self, pair: &Pair) -> Work<BTreeSet<String>> {
        let copied = self.vfs.copy_on(pair.mac).await;
        copied.map_err(|error| {
            let message = format!("the standby of pair {} would not get its frames", pair.mac);
            Event::Failed(
                cause("STEERING", message)
                    .because(&error)
                    .hint("see what fills the PF's list: bridge fdb show; ip -d link show"),
            )
        })
    }

    /// After the traffic is back on the VF, or the guest is gone. A copy that stays costs, and loses nothing.
    pub(super) async fn copies_off(&self, brief: &Brief, pairs: impl IntoIterator<Item = &Pair>) {
        for pair in pairs {
            if let Err(error) = self.vfs.copy_off(pair.mac).await {
                warn!(migration = %brief.id, "{}", sentence(&error));
            }
        }
    }

    /// While the guest is on its way here: copies are on before it runs, where its standby hangs on a PF. Whoever waits for
    /// the guest drops this.
    pub(super) async fn copies_on_arrival(&self, brief: &Brief) {
        if !self.vfs.is_bridged().await {
            return;
        }
        // One may have no tap: it keeps no other waiting.
        join_all(brief.pairs.iter().map(|pair| self.copy_on_arrival(brief, pair))).await;
    }

    async fn copy_on_arrival(&self, brief: &Brief, pair: &Pair) {
        while !self.vfs.has_tap(pair.mac).await {
            sleep(LOOK).await;
        }
        match self.copy_on(pair).await {
            Ok(pfs) if pfs.is_empty() => {}
            Ok(pfs) => {
                let pfs = Vec::from_iter(pfs).join(", ");
                info!(migration = %brief.id, mac = %pair.mac, pfs, "its standby will get its frames");
            }
            Err(event) => warn!(migration = %brief.id, ?event, "tried again at the plug"),
        }
    }

    /// The VF gets nothing more for the guest, which has it and has just confirmed its standby. What could not be done, for the phase's
    /// sentence; an error where the standby would starve of it.
    pub(super) async fn steer_away(&self, job: &Job, pair: &Pair) -> Work<&'static str> {
        let Some(vf) = job.brief.vf_here(pair) else {
            return Ok("");
        };
        // Frames for a MAC of its own are the VF's alone: until the neighbours have learned the standby's they come there, and the
        // guest accepts them.
        if pair.primary_mac != pair.mac {
            return Ok("");
        }
        let away = async {
            match self.vfs.is_steered_here(vf).await? {
                true => self.vfs.set_mac(vf, None).await,
                false => Ok(()),
            }
        };
        let why = match timeout(AT_ONCE, away).await {
            // A VF that is gone gets nothing.
            Ok(Ok(()) | Err(VfError::NoVf(_))) => return Ok(""),
            Ok(Err(error)) => sentence(&error),
            Err(_) => format!("its PF is busy for more than {} s", AT_ONCE.as_secs()),
        };
        if self.vfs.uplinks(pair.mac).await.is_empty() {
            warn!(migration = %job.brief.id, %vf, "keeps the guest's MAC until it is unplugged: {why}");
            return Ok(", though the VF keeps its MAC until it is unplugged");
        }
        let message = format!(
            "the switch goes on giving VF {vf} the frames of pair {}",
            pair.mac
        );
        Err(Event::Failed(Cause {
            causes: vec![why],
            hint: LOOK_AT_MACS.into(),
            ..cause("STEERING", message)
        }))
    }

    /// The traffic did not move to a VF that is in the pair, and is to be moved another time: till then the VF gets nothing, and
    /// the standby what neighbours on the same NIC send. What could not be done, for the phase's sentence.
    pub(super) async fn steer_away_again(
        &self,
        job: &Job,
        pair: &Pair,
        devices: &DomainDevices,
    ) -> &'static str {
        let has = job.brief.vf_here(pair).and_then(|vf| plugged(devices, pair, vf));
        let (Some((_, vf)), Some(path), None) = (has, channel_of(devices), teamed_with(devices, pair)) else {
            return "";
        };
        match starve(&self.agents, &self.vfs, &path, (pair, vf)).await {
            Ok(()) => "",
            Err(why) => {
                warn!(migration = %job.brief.id, %vf, "keeps the guest's MAC until the next try: {why}");
                ", and the VF keeps its MAC until the next try"
            }
        }
    }

    /// A VF that the guest has gets its frames again, before the traffic goes to it.
    pub(super) async fn steer_back(&self, pair: &Pair, vf: PciAddress) -> Work<()> {
        let back = self.vfs.set_mac(vf, Some(pair.primary_mac)).await;
        back.map_err(|error| {
            let message = format!(
                "VF {vf} did not get the MAC of pair {} back: the traffic stays on the standby",
                pair.mac
            );
            Event::Failed(cause("STEERING", message).because(&error).hint(LOOK_AT_MACS))
        })
    }

    /// Guests that came to their standby by no doing of this host (a cold start, a VF that was taken away) get their frames
    /// there too, and what was done for guests that have gone is undone.
    pub(crate) async fn keep_standbys(&self) {
        self.vfs.end_stale_copies().await;
        if !self.vfs.is_bridged().await {
            return;
        }
        let guests = match self.guest_facts(None).await {
            Ok(guests) => guests,
            Err(cause) => {
                return warn!(
                    "standbys that hang on a PF are not looked after now: {}",
                    cause.message
                );
            }
        };
        // One whose MAC is on a VF is on it, or about to be.
        let inventory = self.vfs.list().await;
        let steered: BTreeSet<_> = inventory.vfs.iter().filter_map(|vf| vf.settings?.mac).collect();
        let pairs = guests
            .iter()
            .filter(|facts| facts.managed && facts.running)
            .flat_map(|facts| &facts.pairs);
        for mac in pairs.filter_map(|pair| pair.mac) {
            if !steered.contains(&mac)
                && let Err(error) = self.vfs.copy_on(mac).await
            {
                warn!("{}", sentence(&error));
            }
        }
    }
}

/// Takes its frames from a VF whose guest says that it is a port of the pair, works, and does not carry the traffic: a driver that has
/// no address yet would take one by chance, and a bond that only waits for the VF's link would follow it into the dark.
async fn starve(
    agents: &Agents,
    vfs: &Vfs,
    path: &Path,
    (pair, vf): (&Pair, PciAddress),
) -> Result<(), String> {
    // Frames for a MAC of its own are the VF's alone.
    if pair.primary_mac != pair.mac {
        return Ok(());
    }
    let seen = agents.inspect(path, AT_ONCE).await;
    let seen = seen.map_err(|error| sentence(&error))?;
    if !idles(&seen, pair) {
        return Err("the guest does not say that the VF is an idle port of the pair".into());
    }
    let away = async {
        match vfs.is_steered_here(vf).await {
            Ok(true) => vfs.set_mac(vf, None).await.map_err(|error| sentence(&error)),
            // Its guest's driver fills the switch as long as the port is up. It is taken into the pair again at the next try.
            Ok(false) => agents
                .release(path, pair.mac, AT_ONCE)
                .await
                .map_err(|error| sentence(&error)),
            Err(error) => Err(sentence(&error)),
        }
    };
    let busy = || format!("it took more than {} s", AT_ONCE.as_secs());
    timeout(AT_ONCE, away).await.map_err(|_| busy())?
}

/// The pair's VF is in a bond with its standby, up and with a link, and another port carries the traffic.
fn idles(seen: &Inspection, pair: &Pair) -> bool {
    let tie = Tie {
        primary: pair.primary_mac,
        standby: pair.mac,
    };
    agent::idle_primaries(&seen.pairs).contains(&tie)
}

#[cfg(test)]
mod tests;
