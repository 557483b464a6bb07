//! Frames that arrive for a guest while it is paused on its way to another host.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use godwit_api::peer::v1::KeepOffer;
use godwit_coordinator::Job;
use godwit_migration::{Brief, Event, Keep, Kept, Pair, doctor::Fact, plan::NicSeen};
use tokio::{task::spawn_blocking, time::sleep};

use super::{RealWorld, arriving::carried_by_emulator, uuid};
use crate::{
    keep::{self, Interface, Keeper},
    libvirt::xml::Nic,
};

/// So long it is counted what arrives for a guest.
const MEASURE: Duration = Duration::from_secs(1);

impl RealWorld {
    /// Begins to look on at the guest's taps; or why not.
    pub(super) async fn keep_from(&self, job: &Job) -> Result<Keeper, Kept> {
        if job.brief.keep == Keep::Off {
            return Err(Kept::not("so it was asked for, or configured"));
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

    /// Whether what arrives for the guest's NICs in its pause can be kept here.
    pub(super) async fn nics_seen(&self, brief: &Brief) -> Fact<Vec<NicSeen>> {
        let told = |event: Event| match event {
            Event::Failed(cause) | Event::Left(cause) => cause.message,
            _ => "it does not run".to_owned(),
        };
        let devices = self.devices(brief).await.map_err(told)?;
        let (root, off) = (self.keep.root.clone(), brief.keep == Keep::Off);
        let rates = self.rates(brief, &devices.nics).await;
        let pairs = brief.pairs.clone();
        let look = spawn_blocking(move || {
            let nics = devices.nics.iter().zip(rates).map(|(nic, rate)| NicSeen {
                mac: nic.mac.to_string(),
                standby: pairs.iter().any(|pair| pair.mac == nic.mac),
                unseen: match off {
                    true => None,
                    false => keep::look(&root, nic.mac, nic.tap.as_deref()).err(),
                },
                rate,
            });
            nics.collect()
        });
        look.await.map_err(|error| error.to_string())
    }

    /// Bytes that arrive for each of the NICs in a second.
    async fn rates(&self, brief: &Brief, nics: &[Nic]) -> Vec<Fact<u64>> {
        let begun = Instant::now();
        let before = self.bytes_for(brief, nics).await;
        sleep(MEASURE).await;
        let after = self.bytes_for(brief, nics).await;
        let took = begun.elapsed().as_millis().max(1) as u64;
        let each = before.into_iter().zip(after);
        let rate = |(before, after): (Fact<u64>, Fact<u64>)| {
            Ok(after?.saturating_sub(before?).saturating_mul(1000) / took)
        };
        each.map(rate).collect()
    }

    /// Bytes that came for each of the NICs so far: by itself, and by the VF of its pair, whose traffic comes by it in a move.
    async fn bytes_for(&self, brief: &Brief, nics: &[Nic]) -> Vec<Fact<u64>> {
        let inventory = self.vfs.list().await;
        let machine = &self.practice.machine;
        let of_nic = async |nic: &Nic| {
            let own = machine.arrived(nic.tap.as_deref().ok_or("it has no tap")?)?;
            let pair = brief.pairs.iter().find(|pair| pair.mac == nic.mac);
            let Some(vf) = pair.and_then(|pair| pair.source_vf) else {
                return Ok(own);
            };
            let found = inventory.vfs.iter().find(|found| found.name.address == vf);
            let counted = match found {
                Some(found) => self.vfs.received(&found.name).await,
                None => None,
            };
            let received = counted.ok_or("the driver of its VF does not count what that receives")?;
            Ok(own.saturating_add(received))
        };
        join_all(nics.iter().map(of_nic)).await
    }

    /// What this host does with such frames for guests that come.
    pub(super) fn keep_offer(&self) -> KeepOffer {
        match keep::takes(&self.keep) {
            Ok(room) => KeepOffer {
                room,
                why_not: String::new(),
            },
            Err(why_not) => KeepOffer { room: 0, why_not },
        }
    }
}

/// The NICs of the guest, standbys and others. What is no tap is found out, and told, when it is opened.
fn interfaces(nics: &[Nic], pairs: &[Pair], vhost: bool) -> Vec<Interface> {
    let each = nics.iter().map(|nic| {
        let pair = pairs.iter().find(|pair| pair.mac == nic.mac);
        let primary = pair.map(|pair| pair.primary_mac);
        Interface {
            mac: nic.mac,
            macs: Vec::from_iter([Some(nic.mac), primary].into_iter().flatten()),
            emulated: carried_by_emulator(nic, vhost),
        }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use godwit_migration::MacAddress;

    use super::*;

    fn nic(last: u8, driver: Option<&str>) -> Nic {
        Nic {
            alias: None,
            mac: MacAddress::new([0x52, 0x54, 0, 0xaa, 0, last]).unwrap(),
            model: Some("virtio".into()),
            driver: driver.map(str::to_owned),
            source: None,
            tap: None,
            teaming: None,
            guest_address: None,
        }
    }

    #[test]
    fn all_nics_of_a_guest_are_looked_on_at_and_a_standby_for_its_primary_too() {
        let nics = [nic(0x10, None), nic(0x11, Some("qemu"))];
        let primary = MacAddress::new([0x52, 0x54, 0, 0xbb, 0, 1]).unwrap();
        let pair = Pair {
            mac: nics[0].mac,
            primary_mac: primary,
            standby: "ua-standby0".into(),
            primary: "ua-primary0".into(),
            pool: "fabric".into(),
            source_vf: None,
            destination_vf: None,
            profile: None,
        };
        let told = |pairs: &[Pair]| {
            let each = interfaces(&nics, pairs, true);
            let each = each.into_iter().map(|one| (one.mac, one.macs, one.emulated));
            each.collect::<Vec<_>>()
        };
        let other = (nics[1].mac, vec![nics[1].mac], true);
        assert_eq!(
            told(&[pair]),
            [(nics[0].mac, vec![nics[0].mac, primary], false), other.clone()]
        );
        // An ordinary guest.
        assert_eq!(told(&[]), [(nics[0].mac, vec![nics[0].mac], false), other]);
    }
}
