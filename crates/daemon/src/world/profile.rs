//! What a guest's VF is set to: written down while the guest still has it, and made so on its next one.

use godwit_coordinator::Job;
use godwit_migration::{
    Event, Pair, PciAddress, Profile,
    profile::{Difference, MustMatch, told},
};
use tracing::warn;

use super::{RealWorld, Work, accelerate::unprepared, uuid};
use crate::{
    cause::{CauseExt, cause},
    libvirt::metadata::GuestWish,
};

impl RealWorld {
    /// Writes what the guest's VFs are set to into its metadata, before they are taken from it: the guest may go on from
    /// there by any tool.
    pub(super) async fn record_profiles(&self, job: &Job) -> Work<()> {
        let told = || {
            cause(
                "METADATA",
                format!(
                    "what the VFs of guest `{}` are set to could not be written down",
                    job.brief.guest.name
                ),
            )
            .hint(see_metadata(job))
        };
        let id = uuid(&job.brief)?;
        let wish = self.wish(id).await;
        let Some(wish) = wish.map_err(|why| Event::Failed(told().because(&*why)))? else {
            return Ok(());
        };
        let right = recorded(wish.clone(), &job.brief.pairs);
        if right == wish {
            return Ok(());
        }
        let written = self.libvirt.set_metadata(id, Some(right.to_element())).await;
        written.map_err(|error| Event::Failed(told().because(&error)))
    }

    /// What the guest should have, for a pair that is to be plugged. Only for one whose profile the operation itself knows
    /// it may be unreadable: a VF in the wrong VLAN is worse than none.
    pub(super) async fn wish_for(&self, job: &Job, pair: &Pair) -> Work<Option<GuestWish>> {
        match self.wish(uuid(&job.brief)?).await {
            Ok(wish) => Ok(wish),
            Err(_) if pair.profile.is_some() => Ok(None),
            Err(why) => {
                let message = format!("what guest `{}` should have cannot be read", job.brief.guest.name);
                Err(Event::Failed(
                    cause("METADATA", message).because(&*why).hint(see_metadata(job)),
                ))
            }
        }
    }

    /// With vfio-pci and the profile, reset if it is to be, and no MAC yet; in what it is not as it should be. A VF that could
    /// not be made so has nothing of the guest on it.
    pub(super) async fn prepare_like(
        &self,
        vf: PciAddress,
        profile: &Profile,
        anew: bool,
    ) -> Work<Vec<Difference>> {
        let prepared = self.vfs.prepare(vf, profile, anew).await;
        let prepared = prepared.map_err(|error| unprepared(vf, &error));
        // Never with a MAC in the wrong VLAN, not even for a moment.
        let judged = prepared.and_then(|differs| judged(&self.must_match, vf, differs));
        if judged.is_err() {
            self.take_back(vf).await;
        }
        judged
    }

    /// The pair's MAC on a VF that is prepared. What is not as it should be, for the phase's own sentence: what was known
    /// to lack, and what the driver changed with the MAC.
    pub(super) async fn steer_like(
        &self,
        vf: PciAddress,
        pair: &Pair,
        profile: &Profile,
        lacks: Vec<Difference>,
    ) -> Work<String> {
        let steered = async {
            self.vfs.set_mac(vf, Some(pair.primary_mac)).await?;
            self.vfs.differences(vf, profile).await
        };
        let now = steered.await.map_err(|error| unprepared(vf, &error));
        let known = |difference: &Difference| lacks.iter().any(|lack| lack.setting == difference.setting);
        let changed = now.map(|now| now.into_iter().filter(|one| !known(one)).collect());
        match changed.and_then(|changed| judged(&self.must_match, vf, changed)) {
            Ok(changed) => Ok(sentence(vf, &[lacks, changed].concat())),
            Err(event) => {
                self.take_back(vf).await;
                Err(event)
            }
        }
    }

    /// The same of a VF that the guest has already. One that cannot be read is not judged.
    pub(super) async fn check_plugged(&self, vf: PciAddress, profile: &Profile) -> Work<String> {
        match self.vfs.differences(vf, profile).await {
            Ok(differs) => Ok(sentence(vf, &judged(&self.must_match, vf, differs)?)),
            Err(error) => {
                warn!(%vf, "what it is set to cannot be read: {error}");
                Ok(String::new())
            }
        }
    }

    /// A VF that did not get into the guest draws none of its frames while the traffic is on the standby, and carries
    /// nothing of it to the next guest.
    pub(super) async fn take_back(&self, vf: PciAddress) {
        if self.check_nobody_has(vf).await.is_err() {
            return;
        }
        if let Err(error) = self.vfs.clean(vf).await {
            warn!(%vf, "a VF that is not plugged keeps what it was set to: {error}");
        }
    }
}

fn see_metadata(job: &Job) -> String {
    format!("virsh metadata {} urn:godwit:domain:1", job.brief.guest.name)
}

/// The differences that are no errors, or the error. The VF is not called bad for it: nothing is wrong with it for a guest
/// that wants something else, and what is bad is quarantined.
fn judged(must: &MustMatch, vf: PciAddress, differences: Vec<Difference>) -> Work<Vec<Difference>> {
    let (wrong, lacks) = must.divide(differences);
    if wrong.is_empty() {
        return Ok(lacks);
    }
    let message = format!("VF {vf} is not set as the guest's was: {}", told(&wrong));
    let hint = "compare `godwit vfs` on both hosts; `[profile] must_match` in godwitd.toml says what has to be the same";
    Err(Event::Failed(cause("PROFILE", message).hint(hint)))
}

/// What the pair's VF is to be set to: as the operation has it, else as the guest's metadata has it, else neutral.
pub(super) fn profile_of(wish: Option<&GuestWish>, pair: &Pair) -> Profile {
    let wished = wish.and_then(|wish| wish.pairs.iter().find(|wished| wished.standby_mac == pair.mac));
    pair.profile
        .or_else(|| wished.and_then(|wished| wished.profile))
        .unwrap_or_default()
}

/// The wish with what was seen of its pairs' VFs.
fn recorded(mut wish: GuestWish, pairs: &[Pair]) -> GuestWish {
    for wished in &mut wish.pairs {
        let pair = pairs.iter().find(|pair| pair.mac == wished.standby_mac);
        wished.profile = pair.and_then(|pair| pair.profile).or(wished.profile);
    }
    wish
}

fn sentence(vf: PciAddress, lacks: &[Difference]) -> String {
    if lacks.is_empty() {
        return String::new();
    }
    let lacks = told(lacks);
    warn!(%vf, "not as the guest's VF was: {lacks}");
    format!(", with {lacks}")
}

#[cfg(test)]
mod tests {
    use godwit_migration::{
        Policy,
        profile::{Rate, Vlan},
    };

    use super::*;
    use crate::libvirt::metadata::WishedPair;

    fn vlan(id: u32) -> Option<Profile> {
        Some(Profile {
            vlan: Vlan::new(id, 0, false).unwrap(),
            ..Profile::default()
        })
    }

    fn pair(profile: Option<Profile>) -> Pair {
        Pair {
            mac: "52:54:00:aa:00:10".parse().unwrap(),
            primary_mac: "52:54:00:aa:00:10".parse().unwrap(),
            standby: "ua-net0".into(),
            primary: "ua-godwit-0".into(),
            pool: "fabric".into(),
            source_vf: None,
            destination_vf: None,
            profile,
        }
    }

    fn wish(profile: Option<Profile>) -> GuestWish {
        let Pair {
            mac,
            standby,
            primary,
            pool,
            ..
        } = pair(None);
        let pair = WishedPair {
            standby_mac: mac,
            standby_alias: standby,
            primary_alias: primary,
            primary_mac: mac,
            pool,
            guest_address: None,
            profile,
        };
        GuestWish {
            policy: Policy::Require,
            pairs: vec![pair],
        }
    }

    #[test]
    fn the_operation_knows_best_then_the_metadata_then_neutral() {
        assert_eq!(
            profile_of(Some(&wish(vlan(7))), &pair(vlan(100))),
            vlan(100).unwrap()
        );
        assert_eq!(profile_of(Some(&wish(vlan(7))), &pair(None)), vlan(7).unwrap());
        assert_eq!(profile_of(Some(&wish(None)), &pair(None)), Profile::default());
        assert_eq!(profile_of(None, &pair(None)), Profile::default());
    }

    #[test]
    fn what_was_seen_is_written_and_what_was_not_is_kept() {
        assert_eq!(recorded(wish(None), &[pair(vlan(100))]), wish(vlan(100)));
        assert_eq!(recorded(wish(vlan(7)), &[pair(vlan(100))]), wish(vlan(100)));
        assert_eq!(recorded(wish(vlan(7)), &[pair(None)]), wish(vlan(7)));
        let other = Pair {
            mac: "52:54:00:aa:00:11".parse().unwrap(),
            ..pair(vlan(100))
        };
        assert_eq!(recorded(wish(vlan(7)), &[other]), wish(vlan(7)));
    }

    /// By policy an error, and then the VF is nobody's fault; or a word in the phase's sentence.
    #[test]
    fn a_difference_is_an_error_or_told() {
        let vf: PciAddress = "0000:01:10.2".parse().unwrap();
        let wanted = Profile {
            rate: Rate { min: 0, max: 500 },
            ..vlan(100).unwrap()
        };
        let differs = || wanted.differences(&Profile::default(), None);
        let Err(Event::Failed(cause)) = judged(&MustMatch::default(), vf, differs()) else {
            panic!("another VLAN is no error");
        };
        assert_eq!((cause.reason.as_str(), cause.vf), ("PROFILE", None));
        assert_eq!(
            cause.message,
            "VF 0000:01:10.2 is not set as the guest's was: no VLAN instead of VLAN 100 with priority 0"
        );
        let lacks = judged(&MustMatch(vec![]), vf, differs()).unwrap();
        assert_eq!(
            sentence(vf, &lacks),
            ", with no VLAN instead of VLAN 100 with priority 0, no limit of the rate instead of at most 500 Mbit/s"
        );
        assert_eq!(sentence(vf, &[]), "");
    }
}
