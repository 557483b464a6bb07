//! This host: its VFs, what is set aside, its peers, and how others see it.

use std::time::Duration;

use godwit_migration::{Cause, PciAddress, Phase, Refusal, Vf, VfRefusal, VfUse};

use super::Coordinator;
use crate::{
    Refused, World,
    clock::now_ms,
    holds::{self, Kept},
    words,
};

impl<W: World> Coordinator<W> {
    /// This host's VFs with their holds.
    ///
    /// # Errors
    /// [`Refused::Cause`] or [`Refused::Journal`].
    pub async fn vfs(&self) -> Result<Vec<Vf>, Refused> {
        Ok(self.vfs_held().await?.0)
    }

    /// The same, with the holds, and the VFs as the host shows them without.
    pub(super) async fn vfs_held(&self) -> Result<(Vec<Vf>, Vec<holds::Hold>, Vec<Vf>), Refused> {
        self.held_over(self.0.world.vfs()).await
    }

    /// The same, over VFs that are looked at in another way.
    pub(super) async fn held_over(
        &self,
        vfs: impl Future<Output = Result<Vec<Vf>, Cause>>,
    ) -> Result<(Vec<Vf>, Vec<holds::Hold>, Vec<Vf>), Refused> {
        // In this order: a hold that ends between the two looks has given its VF to a guest, and a list of VFs
        // from before that would show it free.
        let holds = self.0.journal.holds().await?;
        let deadline = self.deadline(Phase::Hold);
        let vfs = tokio::time::timeout(deadline, vfs).await;
        let vfs = vfs
            .unwrap_or_else(|_| Err(late_vfs(deadline)))
            .map_err(Refused::Cause)?;
        let kept = Kept {
            pfs: self.0.journal.pfs_set_aside().await?,
            vfs: self.0.journal.vfs_quarantined().await?,
        };
        Ok((holds::overlay(vfs.clone(), &holds, &kept), holds, vfs))
    }

    /// A VF is kept from everybody; a guest that has it keeps it.
    pub(crate) async fn quarantine_vf(&self, named: &str, because: &str) -> Result<Vf, Refused> {
        let _alone = self.alone().await;
        let vf = self.vf(named).await?;
        let because: String = because.chars().filter(|c| !c.is_control()).take(200).collect();
        let why = if because.is_empty() { "by hand" } else { &because };
        self.0.journal.quarantine_vf(&vf.address.to_string(), why).await?;
        self.vf(named).await
    }

    /// A VF in quarantine is cleaned, and given out again.
    pub(crate) async fn release_vf(&self, named: &str) -> Result<Vf, Refused> {
        let _alone = self.alone().await;
        let vf = self.vf(named).await?;
        let address = vf.address.to_string();
        match &vf.usage {
            VfUse::Quarantined(_) => self.0.world.clean(vf.address).await.map_err(Refused::Cause)?,
            // Whoever has it cleans it in the end.
            VfUse::Guest(_) | VfUse::Held(_) if self.is_kept(&address).await? => {}
            usage => {
                let refusal = VfRefusal::NotQuarantined {
                    host: self.host().into(),
                    vf: address,
                    usage: usage.to_string(),
                };
                return Err(Refusal::from(refusal).into());
            }
        }
        self.0.journal.release_vf(&address).await?;
        self.vf_was_freed();
        self.vf(named).await
    }

    /// It is in quarantine, or will be as soon as nobody has it.
    async fn is_kept(&self, address: &str) -> Result<bool, Refused> {
        let by_hand = self.0.journal.vfs_quarantined().await?;
        let holds = self.0.journal.holds().await?;
        let left = |hold: &holds::Hold| hold.vf == address && hold.quarantined.is_some();
        Ok(by_hand.iter().any(|(vf, _)| vf == address) || holds.iter().any(left))
    }

    pub(super) async fn vf(&self, named: &str) -> Result<Vf, Refused> {
        let wanted: Option<PciAddress> = named.parse().ok();
        let found = self
            .vfs()
            .await?
            .into_iter()
            .find(|vf| Some(vf.address) == wanted);
        found.ok_or_else(|| {
            let refusal = VfRefusal::Unknown {
                host: self.host().into(),
                vf: named.chars().filter(|c| !c.is_control()).take(64).collect(),
            };
            Refusal::from(refusal).into()
        })
    }

    /// What is set aside here.
    pub(crate) async fn holds(&self) -> Result<Vec<holds::Hold>, Refused> {
        Ok(self.0.journal.holds().await?)
    }

    /// Names of the hosts that this one exchanges guests with.
    pub(crate) fn peers(&self) -> &[String] {
        &self.0.settings.peers
    }

    /// A peer as it describes itself.
    pub(crate) async fn greet(&self, peer: &str) -> Result<godwit_api::v1::Host, Cause> {
        self.0.world.greet(peer).await
    }
}

fn late_vfs(deadline: Duration) -> Cause {
    Cause {
        reason: "DEADLINE".into(),
        message: format!(
            "this host's VFs could not be read within {} s",
            deadline.as_secs()
        ),
        hint: "systemctl status libvirtd virtqemud".into(),
        ..Cause::default()
    }
}

impl<W: World> Coordinator<W> {
    /// This host as others see it.
    pub(crate) async fn myself(&self) -> godwit_api::v1::Host {
        let (vfs, problem) = match self.vfs().await {
            Ok(vfs) => (vfs, String::new()),
            Err(refused) => (Vec::new(), refused.to_string()),
        };
        godwit_api::v1::Host {
            name: self.host().into(),
            here: true,
            reachable: true,
            version: env!("CARGO_PKG_VERSION").into(),
            vfs: vfs.len() as u32,
            free_vfs: vfs.iter().filter(|vf| vf.usage == VfUse::Free).count() as u32,
            migrations: self.operations().len() as u32,
            problem,
            pools: self.settings().pools.clone(),
            clock: Some(words::timestamp(now_ms())),
            certificate_ends: self.settings().certificate.ends_ms().map(words::timestamp),
        }
    }
}
