//! A host with nothing on it, whose calls about VFs take as long as they are told to.

use std::time::Duration;

use godwit_api::peer::v1::ListMacsResponse;
use godwit_coordinator::{Job, World};
use godwit_migration::{
    Brief, Cause, Event, Guest, Pair, Policy, Sighting, Vf, doctor::Diagnosis, preflight::GuestFacts,
};

/// A host with nothing on it.
pub(crate) struct Empty {
    /// How long a list of VFs takes.
    pub(crate) slow: Duration,
}

impl World for Empty {
    async fn work(&self, _: Job) -> Event {
        std::future::pending().await
    }

    async fn abort(&self, _: &Brief) -> Result<(), Cause> {
        Ok(())
    }

    async fn guests(&self, _: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _: &Guest, _: &[Pair], _: Policy) -> Result<(), Cause> {
        Ok(())
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        tokio::time::sleep(self.slow).await;
        Ok(Vec::new())
    }

    async fn clean(&self, _: godwit_migration::PciAddress) -> Result<(), Cause> {
        Ok(())
    }

    async fn sight(&self, _: &str) -> Sighting {
        Sighting::Absent
    }

    async fn plan(&self, _: godwit_coordinator::Planning<'_>) -> Result<godwit_coordinator::Planned, Cause> {
        Ok(godwit_coordinator::Planned::default())
    }

    async fn greet(&self, _: &str) -> Result<godwit_api::v1::Host, Cause> {
        Err(Cause::default())
    }

    async fn macs(&self, _: &str) -> Result<ListMacsResponse, Cause> {
        Err(Cause::default())
    }

    async fn record(&self, _: &Brief) -> Result<Option<godwit_api::v1::Migration>, Cause> {
        Ok(None)
    }

    async fn doctor(&self, _: Option<&GuestFacts>) -> Diagnosis {
        Diagnosis::default()
    }
}
