//! Finding trouble among VFs: the look at this host and what its peers say of their MACs, judged by
//! `godwit_migration::doctor` and put on the wire.

use std::time::Duration;

use futures_util::future::join_all;
use godwit_api::{peer::v1 as peer, v1 as api};
use godwit_migration::{
    Vf,
    doctor::{self, Carrier, Checked, Diagnosis, Owner},
    preflight::GuestFacts,
};

use crate::{Coordinator, HostDesk, Refused, World, coordinator::looking::Look, host_service};

/// A peer is not waited for longer: it asks its guests' agents.
const PEER: Duration = Duration::from_secs(10);

/// At most so many MACs of one host are told, and taken.
const MOST_MACS: usize = 4096;

/// What a peer says of its MACs.
struct PeerMacs {
    host: String,
    told: Result<peer::ListMacsResponse, String>,
}

impl<W: World> HostDesk<W> {
    /// What is wrong with the VFs of this host, beside what its peers have.
    pub(crate) async fn examine_vfs(&self) -> Diagnosis {
        let peers = join_all(self.0.peers().iter().map(|name| self.macs_of(name))).await;
        let found = self.judged(&peers).await;
        if found.findings.is_empty() {
            return found;
        }
        // Holds and MACs change while they are read: only what is so twice is so.
        let mut again = self.judged(&peers).await;
        again.findings.retain(|finding| found.findings.contains(finding));
        again
    }

    /// In what the VFs of a guest are not as its metadata says.
    pub(crate) async fn examine_vfs_of(&self, facts: &GuestFacts) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        let check = format!("metadata and VFs of `{}`", facts.guest.name);
        let vfs = self.0.look().await;
        // Asked after the look: then nothing about its VFs was in motion.
        match (self.0.under_way(&facts.guest.uuid), vfs) {
            (Some(id), _) => diagnosis.skip(check, format!("migration {id} is under way")),
            (None, Ok(look)) => diagnosis = doctor::differs(facts, &look.vfs),
            (None, Err(refused)) => diagnosis.skip(check, refused.to_string()),
        }
        diagnosis
    }

    async fn macs_of(&self, name: &str) -> PeerMacs {
        let told = match tokio::time::timeout(PEER, self.0.world().macs(name)).await {
            Ok(told) => told.map_err(|cause| cause.message),
            Err(_) => Err(format!("no answer within {} s", PEER.as_secs())),
        };
        PeerMacs {
            host: name.into(),
            told,
        }
    }

    async fn judged(&self, peers: &[PeerMacs]) -> Diagnosis {
        let mut skipped = Diagnosis::default();
        let look = match self.0.look().await {
            Ok(look) => look,
            Err(refused) => {
                skipped.skip("MACs, free VFs and holds of this host", refused.to_string());
                return skipped;
            }
        };
        let mut carriers = look.carriers(self.0.host());
        for PeerMacs { host, told } in peers {
            match told {
                Ok(told) => {
                    carriers.extend(
                        told.macs
                            .iter()
                            .take(MOST_MACS)
                            .filter_map(|seen| carrier(host, seen)),
                    );
                    if told.more || told.macs.len() > MOST_MACS {
                        skipped.skip(format!("MACs of {host} beyond {MOST_MACS}"), "there are too many");
                    }
                }
                Err(why) => skipped.skip(format!("MACs of {host}"), why),
            }
        }
        let Look { vfs, held, .. } = &look;
        let parts = [
            doctor::duplicates(self.0.host(), &carriers),
            doctor::leftovers(vfs),
            doctor::held(held),
        ];
        parts.into_iter().fold(skipped, Diagnosis::and)
    }
}

/// The MACs of this host, for a peer.
pub(crate) async fn macs<W: World>(coordinator: &Coordinator<W>) -> Result<peer::ListMacsResponse, Refused> {
    let carriers = coordinator.look().await?.carriers(coordinator.host());
    Ok(peer::ListMacsResponse {
        more: carriers.len() > MOST_MACS,
        macs: carriers.into_iter().take(MOST_MACS).map(seen).collect(),
    })
}

fn seen(carrier: Carrier) -> peer::MacSeen {
    let Carrier { mac, vf, guest, .. } = carrier;
    let (guest, guest_uuid, moving) = match guest {
        Some(Owner { name, uuid, moving }) => (name, uuid, moving),
        None => Default::default(),
    };
    peer::MacSeen {
        mac: mac.to_string(),
        vf: vf.map(|vf| vf.to_string()).unwrap_or_default(),
        guest,
        guest_uuid,
        moving,
    }
}

/// What a peer said, as far as it can be read; of what is neither a VF nor a guest nothing.
fn carrier(host: &str, seen: &peer::MacSeen) -> Option<Carrier> {
    let vf = match seen.vf.as_str() {
        "" => None,
        vf => Some(vf.parse().ok()?),
    };
    let name: String = seen.guest.chars().filter(|c| !c.is_control()).take(64).collect();
    let guest = (!seen.guest_uuid.is_empty()).then(|| Owner {
        name,
        uuid: seen.guest_uuid.clone(),
        moving: seen.moving,
    });
    (vf.is_some() || guest.is_some()).then_some(Carrier {
        mac: seen.mac.parse().ok()?,
        host: host.into(),
        vf,
        guest,
    })
}

/// What came of a look at a VF, for the wire.
pub(crate) fn vf_check((vf, checked): &(Vf, Checked)) -> api::VfCheck {
    api::VfCheck {
        vf: Some(host_service::vf(vf)),
        mac: vf.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        wrong: checked.wrong.clone(),
        fix: checked.fix.clone(),
        not_checked: checked.not_checked.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beta(change: impl FnOnce(&mut peer::MacSeen)) -> Option<Carrier> {
        let mut seen = peer::MacSeen {
            mac: "52:54:00:00:00:01".into(),
            vf: "0000:01:10.0".into(),
            guest: "web-1".into(),
            guest_uuid: "u".into(),
            moving: true,
        };
        change(&mut seen);
        carrier("beta", &seen)
    }

    #[test]
    fn what_a_peer_says_is_taken_as_far_as_it_can_be_read() {
        let whole = beta(|_| {}).unwrap();
        assert_eq!(carrier("beta", &seen(whole.clone())), Some(whole.clone()));
        assert_eq!(beta(|seen| seen.vf.clear()).unwrap().vf, None);
        assert_eq!(beta(|seen| seen.guest_uuid.clear()).unwrap().guest, None);
        for nonsense in [
            beta(|seen| seen.mac = "00:00:00:00:00:00".into()),
            beta(|seen| seen.mac = "x".repeat(1 << 20)),
            beta(|seen| seen.vf = "pf0".into()),
            beta(|seen| (seen.vf, seen.guest_uuid) = Default::default()),
        ] {
            assert_eq!(nonsense, None);
        }
        let hostile = beta(|seen| seen.guest = format!("\x1b[2J{}", "x".repeat(1 << 20)));
        assert_eq!(hostile.unwrap().guest.unwrap().name.len(), 64);
    }
}
