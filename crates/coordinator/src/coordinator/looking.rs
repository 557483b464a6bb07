//! A look at all that has, or should have, a VF of this host, at one moment: to find what is not as it should be.

use std::{collections::BTreeSet, time::Duration};

use godwit_migration::{
    Cause, Migration, Phase, Refusal, State, Vf, VfRefusal, VfUse,
    doctor::{Carrier, Checked, Held, Owner, Whose, check},
    preflight::GuestFacts,
};

use super::Coordinator;
use crate::{Refused, World, holds::Hold};

/// A look is not waited for longer.
pub(crate) const LOOK: Duration = Duration::from_secs(20);

/// What was seen.
pub(crate) struct Look {
    /// VFs, with holds and quarantines on top.
    pub(crate) vfs: Vec<Vf>,
    /// What is held and not in quarantine.
    pub(crate) held: Vec<Held>,
    guests: Vec<(GuestFacts, bool)>,
    holders: Vec<(String, Owner)>,
}

impl<W: World> Coordinator<W> {
    /// VFs, guests and holds as they are now.
    pub(crate) async fn look(&self) -> Result<Look, Refused> {
        let look = tokio::time::timeout(LOOK, self.looked());
        look.await.unwrap_or_else(|_| Err(Refused::Cause(late())))
    }

    async fn looked(&self) -> Result<Look, Refused> {
        let guests = self.guests().await?;
        let (vfs, holds, by_host) = self.vfs_held().await?;
        let open = |hold: Hold| {
            let watch = self.watch(&hold.migration)?;
            let migration = watch.borrow().migration.clone();
            Some((hold, migration))
        };
        let open: Vec<_> = holds
            .into_iter()
            .filter(|hold| hold.quarantined.is_none())
            .filter_map(open)
            .collect();
        let held = open.iter().map(|(hold, migration)| Held {
            vf: hold.vf.clone(),
            migration: hold.migration.clone(),
            guest: migration.brief.guest.name.clone(),
            usage: usage_of(&by_host, &hold.vf),
            in_work: is_in_work(migration),
        });
        Ok(Look {
            held: held.collect(),
            holders: open
                .iter()
                .map(|(hold, of)| (hold.vf.clone(), owner(of)))
                .collect(),
            guests: guests
                .into_iter()
                .map(|(facts, open)| (facts, open.is_some()))
                .collect(),
            vfs,
        })
    }

    /// The operation that is open on a guest.
    pub(crate) fn under_way(&self, uuid: &str) -> Option<String> {
        self.open_of(uuid).first().map(|open| open.brief.id.clone())
    }

    /// What of each VF, or of the one of that address, is not as it should be.
    pub(crate) async fn check_vfs(&self, named: &str) -> Result<Vec<(Vf, Checked)>, Refused> {
        if !named.is_empty() {
            self.vf(named).await?;
        }
        let look = self.look().await?;
        let wanted = |vf: &&Vf| named.is_empty() || named.parse() == Ok(vf.address);
        let checked = |vf: &Vf| (vf.clone(), check(vf, look.whose(vf)));
        Ok(look.vfs.iter().filter(wanted).map(checked).collect())
    }

    /// What was left on a VF that nobody has is taken off. Who chooses VFs waits meanwhile, so nobody is given it.
    pub(crate) async fn clean_vf(&self, named: &str) -> Result<(Vf, Checked), Refused> {
        let _alone = self.alone().await;
        let vf = self.vf(named).await?;
        if vf.usage != VfUse::Free {
            let refusal = VfRefusal::NotFree {
                host: self.host().into(),
                vf: vf.address.to_string(),
                usage: vf.usage.to_string(),
            };
            return Err(Refusal::from(refusal).into());
        }
        let before = check(&vf, None);
        if before.wrong.is_empty() {
            return Ok((vf, before));
        }
        if let Err(cause) = self.world().clean(vf.address).await {
            let address = vf.address.to_string();
            self.journal().quarantine_vf(&address, &cause.message).await?;
            return Err(Refused::Cause(cause));
        }
        let vf = self.vf(named).await?;
        let checked = check(&vf, None);
        Ok((vf, checked))
    }
}

impl Look {
    /// The guest that has a VF.
    pub(crate) fn whose(&self, vf: &Vf) -> Option<Whose<'_>> {
        let VfUse::Guest(name) = &vf.usage else {
            return None;
        };
        let (facts, moving) = self.guests.iter().find(|(facts, _)| facts.guest.name == *name)?;
        Some(Whose {
            facts,
            moving: *moving,
        })
    }

    /// Every MAC of this host, and who has it.
    pub(crate) fn carriers(&self, host: &str) -> Vec<Carrier> {
        let of_vf = |vf: &Vf| {
            let address = vf.address.to_string();
            let held = self.holders.iter().find(|(held, _)| *held == address);
            let guest = match self.whose(vf) {
                Some(Whose { facts, moving }) => Some(owner_of(facts, moving)),
                None => held.map(|(_, owner)| owner.clone()),
            };
            Some(Carrier {
                mac: vf.mac?,
                host: host.into(),
                vf: Some(vf.address),
                guest,
            })
        };
        let of_guest = |(facts, moving): &(GuestFacts, bool)| {
            let pairs = facts.pairs.iter().filter(|_| facts.running);
            let macs: BTreeSet<_> = pairs
                .flat_map(|pair| [pair.mac, pair.primary_mac])
                .flatten()
                .collect();
            let guest = owner_of(facts, *moving);
            let host = host.to_owned();
            macs.into_iter().map(move |mac| Carrier {
                mac,
                host: host.clone(),
                vf: None,
                guest: Some(guest.clone()),
            })
        };
        let vfs = self.vfs.iter().filter_map(of_vf);
        vfs.chain(self.guests.iter().flat_map(of_guest)).collect()
    }
}

fn owner_of(facts: &GuestFacts, moving: bool) -> Owner {
    Owner {
        name: facts.guest.name.clone(),
        uuid: facts.guest.uuid.clone(),
        moving,
    }
}

fn owner(migration: &Migration) -> Owner {
    let guest = &migration.brief.guest;
    Owner {
        name: guest.name.clone(),
        uuid: guest.uuid.clone(),
        moving: true,
    }
}

fn usage_of(vfs: &[Vf], address: &str) -> Option<VfUse> {
    let found = vfs.iter().find(|vf| vf.address.to_string() == address);
    found.map(|vf| vf.usage.clone())
}

fn is_in_work(migration: &Migration) -> bool {
    matches!(
        migration.state(),
        State::Work(_, Phase::Unplug | Phase::Plug | Phase::Release)
    )
}

fn late() -> Cause {
    Cause {
        reason: "DEADLINE".into(),
        message: format!(
            "VFs and guests could not be looked at within {} s",
            LOOK.as_secs()
        ),
        hint: "systemctl status libvirtd virtqemud".into(),
        ..Cause::default()
    }
}
