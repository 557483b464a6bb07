//! Frames that arrive for a guest while it is paused on its way to another host.

use godwit_coordinator::Job;
use godwit_migration::{Event, Kept, Pair};

use super::{RealWorld, arriving::carried_by_emulator, uuid};
use crate::{
    keep::{Interface, Keeper},
    libvirt::xml::Nic,
};

impl RealWorld {
    /// Begins to look on at the guest's taps; or why not.
    pub(super) async fn keep_from(&self, job: &Job) -> Result<Keeper, Kept> {
        if job.brief.unkept {
            return Err(Kept::not("so it was asked for"));
        }
        if !self.keep.enabled {
            return Err(Kept::not("the configuration says so ([keep])"));
        }
        let not = |what: &str, event: Event| match event {
            Event::Failed(cause) | Event::Left(cause) => Kept::not(format!("{what}: {}", cause.message)),
            _ => Kept::not(what),
        };
        let guest = uuid(&job.brief).map_err(|event| not("the guest is not known", event))?;
        // Heard from before anything of the guest was looked at.
        let events = self.libvirt.events();
        let devices = self.devices(&job.brief).await;
        let devices = devices.map_err(|event| not("its interfaces could not be read", event))?;
        let interfaces = interfaces(&devices.nics, &job.brief.pairs, self.practice.machine.has_vhost());
        let channel = self.peers.channel(job.brief.peer());
        let channel = channel.map_err(|cause| Kept::not(cause.message))?;
        let migration = (job.brief.id.clone(), guest);
        Ok(Keeper::begin(&self.keep, migration, interfaces, events, channel))
    }
}

/// The standbys of the guest. What is no tap is found out, and told, when it is opened.
fn interfaces(nics: &[Nic], pairs: &[Pair], vhost: bool) -> Vec<Interface> {
    let standbys = pairs.iter().filter_map(|pair| {
        let nic = nics.iter().find(|nic| nic.mac == pair.mac)?;
        Some(Interface {
            mac: pair.mac,
            macs: vec![pair.mac, pair.primary_mac],
            emulated: carried_by_emulator(nic, vhost),
        })
    });
    standbys.collect()
}
