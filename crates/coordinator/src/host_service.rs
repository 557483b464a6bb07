//! The service that tells of hosts, VFs and holds.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use godwit_api::v1::{self as api, host_service_server::HostService};
use godwit_migration::{Brief, Vf, VfUse};
use tonic::{Request, Response, Status};

use crate::{
    Coordinator, Refused, World,
    holds::Hold,
    operation::View,
    service::{carried, name},
    subject::asked,
    trouble, words,
};

/// A peer that has not answered by then is told as one that cannot be reached.
pub(crate) const GREETING: Duration = Duration::from_secs(3);

/// [`HostService`] over a coordinator.
pub struct HostDesk<W>(pub Coordinator<W>);

#[tonic::async_trait]
impl<W: World> HostService for HostDesk<W> {
    async fn list_hosts(
        &self,
        _: Request<api::ListHostsRequest>,
    ) -> Result<Response<api::ListHostsResponse>, Status> {
        let peers = join_all(self.0.peers().iter().map(|peer| self.greeted(peer)));
        let (myself, peers) = tokio::join!(self.0.myself(), peers);
        let hosts = std::iter::once(myself).chain(peers).collect();
        Ok(Response::new(api::ListHostsResponse { hosts }))
    }

    async fn list_vfs(
        &self,
        _: Request<api::ListVfsRequest>,
    ) -> Result<Response<api::ListVfsResponse>, Status> {
        let vfs = self.0.vfs().await?.iter().map(vf).collect();
        Ok(Response::new(api::ListVfsResponse { vfs }))
    }

    async fn list_pools(
        &self,
        _: Request<api::ListPoolsRequest>,
    ) -> Result<Response<api::ListPoolsResponse>, Status> {
        let pools = pools(&self.0.settings().pools, &self.0.vfs().await?);
        Ok(Response::new(api::ListPoolsResponse { pools }))
    }

    async fn list_holds(
        &self,
        _: Request<api::ListHoldsRequest>,
    ) -> Result<Response<api::ListHoldsResponse>, Status> {
        let mut holds = Vec::new();
        for held in self.0.holds().await? {
            // A hold whose migration cannot be read is a hold all the same.
            let view = self.0.get(&held.migration).await.ok();
            let of = view.as_ref().map(|view| &*view.migration);
            holds.push(hold(&held, of.map(|of| &of.brief), of.map(|of| of.begun_ms)));
        }
        Ok(Response::new(api::ListHoldsResponse { holds }))
    }

    async fn standby_pf(
        &self,
        request: Request<api::StandbyPfRequest>,
    ) -> Result<Response<api::StandbyPfResponse>, Status> {
        let (coordinator, pf) = (self.0.clone(), asked(request).pf);
        let begun = carried(async move { coordinator.standby_pf(&pf).await }).await?;
        let (operations, refused) = parted(begun);
        Ok(Response::new(api::StandbyPfResponse { operations, refused }))
    }

    async fn accelerate_pf(
        &self,
        request: Request<api::AcceleratePfRequest>,
    ) -> Result<Response<api::AcceleratePfResponse>, Status> {
        let (coordinator, pf) = (self.0.clone(), asked(request).pf);
        let begun = carried(async move { coordinator.accelerate_pf(&pf).await }).await?;
        let (operations, refused) = parted(begun);
        Ok(Response::new(api::AcceleratePfResponse { operations, refused }))
    }

    async fn quarantine_vf(
        &self,
        request: Request<api::QuarantineVfRequest>,
    ) -> Result<Response<api::QuarantineVfResponse>, Status> {
        let (coordinator, asked) = (self.0.clone(), asked(request));
        let done = async move { coordinator.quarantine_vf(&asked.vf, &asked.because).await };
        let vf = Some(vf(&carried(done).await?));
        Ok(Response::new(api::QuarantineVfResponse { vf }))
    }

    async fn release_vf(
        &self,
        request: Request<api::ReleaseVfRequest>,
    ) -> Result<Response<api::ReleaseVfResponse>, Status> {
        let (coordinator, asked) = (self.0.clone(), asked(request));
        let done = async move { coordinator.release_vf(&asked.vf).await };
        let vf = Some(vf(&carried(done).await?));
        Ok(Response::new(api::ReleaseVfResponse { vf }))
    }

    async fn check_vfs(
        &self,
        request: Request<api::CheckVfsRequest>,
    ) -> Result<Response<api::CheckVfsResponse>, Status> {
        let checked = self.0.check_vfs(&asked(request).vf).await?;
        let checks = checked.iter().map(trouble::vf_check).collect();
        Ok(Response::new(api::CheckVfsResponse { checks }))
    }

    async fn clean_vf(
        &self,
        request: Request<api::CleanVfRequest>,
    ) -> Result<Response<api::CleanVfResponse>, Status> {
        let (coordinator, asked) = (self.0.clone(), asked(request));
        let done = async move { coordinator.clean_vf(&asked.vf).await };
        let check = Some(trouble::vf_check(&carried(done).await?));
        Ok(Response::new(api::CleanVfResponse { check }))
    }

    async fn doctor(
        &self,
        request: Request<api::DoctorRequest>,
    ) -> Result<Response<api::DoctorResponse>, Status> {
        let guest = asked(request).guest;
        if guest.is_empty() {
            return Ok(Response::new(self.examine_host().await));
        }
        name("guest", &guest)?;
        Ok(Response::new(self.examine_guest(&guest).await?))
    }
}

/// Those that have begun, and those that were refused.
fn parted(begun: Vec<Result<View, Refused>>) -> (Vec<api::Migration>, Vec<api::Failure>) {
    let (mut operations, mut refused) = (Vec::new(), Vec::new());
    for one in begun {
        match one {
            Ok(view) => operations.push(words::migration(&view)),
            Err(why) => refused.push(why.failure()),
        }
    }
    (operations, refused)
}

impl<W: World> HostDesk<W> {
    /// A peer as it describes itself, under the name that it has here.
    async fn greeted(&self, peer: &str) -> api::Host {
        let silent = |problem| api::Host {
            name: peer.into(),
            problem,
            ..api::Host::default()
        };
        match tokio::time::timeout(GREETING, self.0.greet(peer)).await {
            Ok(Ok(host)) => api::Host {
                name: peer.into(),
                here: false,
                reachable: true,
                ..host
            },
            Ok(Err(cause)) => silent(cause.message),
            Err(_) => silent(format!("{peer} did not answer within {} s", GREETING.as_secs())),
        }
    }
}

pub(crate) fn vf(vf: &Vf) -> api::Vf {
    let (usage, by) = match &vf.usage {
        VfUse::Free => (api::VfUsage::Free, String::new()),
        VfUse::Held(migration) => (api::VfUsage::Held, migration.clone()),
        VfUse::Guest(guest) => (api::VfUsage::Guest, guest.clone()),
        VfUse::Quarantined(why) => (api::VfUsage::Quarantined, why.clone()),
        VfUse::Other(why) => (api::VfUsage::Other, why.clone()),
    };
    api::Vf {
        address: vf.address.to_string(),
        pool: vf.pool.clone(),
        pf: vf.pf.clone(),
        usage: usage.into(),
        by,
        profile: vf.profile.as_ref().map(words::profile),
    }
}

/// The pools that are named, and any other that has a VF.
fn pools(named: &[String], vfs: &[Vf]) -> Vec<api::Pool> {
    let mut pools: BTreeMap<&str, api::Pool> = BTreeMap::new();
    let with = vfs.iter().map(|vf| &vf.pool);
    for name in named.iter().chain(with) {
        pools.entry(name).or_default().name.clone_from(name);
    }
    for vf in vfs {
        let pool = pools.entry(&vf.pool).or_default();
        pool.vfs += 1;
        match &vf.usage {
            VfUse::Free => pool.free_vfs += 1,
            VfUse::Held(_) => pool.held_vfs += 1,
            VfUse::Guest(_) => pool.guest_vfs += 1,
            VfUse::Quarantined(_) => pool.quarantined_vfs += 1,
            VfUse::Other(_) => {}
        }
        if !pool.pfs.contains(&vf.pf) {
            pool.pfs.push(vf.pf.clone());
        }
    }
    pools.into_values().collect()
}

/// A hold, with what its migration is about and when it began here.
pub(crate) fn hold(hold: &Hold, brief: Option<&Brief>, begun_ms: Option<i64>) -> api::Hold {
    api::Hold {
        vf: hold.vf.clone(),
        migration: hold.migration.clone(),
        guest: brief.map(|brief| brief.guest.name.clone()).unwrap_or_default(),
        source: brief.map(|brief| brief.source.clone()).unwrap_or_default(),
        quarantined: hold.quarantined.clone().unwrap_or_default(),
        since: begun_ms.map(words::timestamp),
    }
}

#[cfg(test)]
mod tests;
