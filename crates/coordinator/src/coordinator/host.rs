//! This host: its VFs, what is set aside, its peers, and how others see it.

use std::time::Duration;

use godwit_migration::{Cause, Phase, Vf};

use super::Coordinator;
use crate::{Refused, World, clock::now_ms, holds, words};

impl<W: World> Coordinator<W> {
    /// This host's VFs with their holds.
    ///
    /// # Errors
    /// [`Refused::Cause`] or [`Refused::Journal`].
    pub async fn vfs(&self) -> Result<Vec<Vf>, Refused> {
        // In this order: a hold that ends between the two looks has given its VF to a guest, and a list of VFs
        // from before that would show it free.
        let holds = self.0.journal.holds().await?;
        let deadline = self.deadline(Phase::Hold);
        let vfs = tokio::time::timeout(deadline, self.0.world.vfs()).await;
        let vfs = vfs
            .unwrap_or_else(|_| Err(late_vfs(deadline)))
            .map_err(Refused::Cause)?;
        let aside = self.0.journal.pfs_set_aside().await?;
        Ok(holds::overlay(vfs, &holds, &aside))
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
        hint: "systemctl status libvirtd".into(),
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
            free_vfs: vfs
                .iter()
                .filter(|vf| vf.usage == godwit_migration::VfUse::Free)
                .count() as u32,
            migrations: self.operations().len() as u32,
            problem,
            pools: self.settings().pools.clone(),
            clock: Some(words::timestamp(now_ms())),
            certificate_ends: self.settings().certificate_ends_ms.map(words::timestamp),
        }
    }
}
