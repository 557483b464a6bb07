//! What is looked at before a guest moves, where it is; what is looked at where it would come to is in `coming.rs`. Each look has a
//! deadline of its own, all are made at once, one that fails hides no other, and nothing is changed. What they mean is in
//! `godwit_migration::plan`.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use godwit_api::{peer::v1 as peer, v1 as api};
use godwit_coordinator::{Planned, words};
use godwit_migration::{
    Brief, Cause, MacAddress, PciAddress,
    doctor::{Diagnosis, Fact, RouteFacts},
    plan::{self, Carried, KeepFacts, LeavingFacts, NetworkSeen, NicSeen, Pages},
    preflight::PairSeen,
};
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};

use super::{
    RealWorld,
    doctor::{in_time, route},
    networks::{connected, of_pair},
    reach::acquaint,
};
use crate::libvirt::{LibvirtError, XmlOf, xml::needs::Traveller};
use crate::machine::{self, Machine, Side};

/// So long the source tries it.
const TRY: Duration = Duration::from_secs(2);

impl RealWorld {
    /// A guest of this host is to leave.
    pub(super) async fn plan_leaving(
        &self,
        brief: &Brief,
        seen: &[PairSeen],
        carried: Option<&Carried>,
    ) -> Planned {
        let mut guest = match in_time(self.traveller(brief)).await {
            Ok(guest) => guest,
            Err(why) => return self.plan_of_vfs(brief, why).await,
        };
        let (tree, (), known) = tokio::join!(
            self.practice.look(),
            self.fill(&mut guest, brief, seen),
            self.known(brief)
        );
        let known = known.map(|known| acquaint(&mut guest.needs, known));
        guest.needs.lock_manager = tree.lock_manager.clone().ok().flatten();
        let (answer, pages, versions, local_disks, certificates, nics, route) = tokio::join!(
            self.peers.plan(brief, Some(&guest.needs)),
            in_time(self.pages(brief)),
            in_time(self.versions()),
            self.local_disks(&guest),
            in_time(self.certificates()),
            in_time(self.nics_seen(brief)),
            self.way(brief),
        );
        let own_versions = words::versions(&versions);
        let port = match &answer {
            Ok(answer) => self.reached(brief, answer).await,
            Err(cause) => Err(cause.message.clone()),
        };
        let carried = match carried {
            Some(known) => Ok(known.clone()),
            None => {
                let machine = self.practice.machine.clone();
                let (port, destination) = (port.clone(), brief.destination.clone());
                let look = spawn_blocking(move || speed(&machine, port, &destination));
                look.await.unwrap_or_else(|error| Err(error.to_string()))
            }
        };
        let facts = LeavingFacts {
            hosts: (brief.source.clone(), brief.destination.clone()),
            versions: (versions, words::versions_there(&answer)),
            pages: pages.clone(),
            local_disks,
            certificates,
            port: port.map(|reached| reached.map(|_| ())),
            route,
            carried,
        };
        let mut own = plan::leaving(&guest.needs, &brief.options, &facts);
        let mut nics = kept(brief, nics, &answer, &mut own);
        let unproved = words::prove(&mut nics, (&guest.needs, known), &answer, &brief.destination);
        let (findings, mut skipped) = words::diagnosis(own);
        skipped.extend(unproved);
        skipped.extend(words::pages_unseen(&guest.needs, &answer, &brief.destination));
        let parts = plan::estimate(
            guest.size,
            &brief.options,
            pages.ok(),
            facts.carried.as_ref().ok(),
        );
        let planned = words::planned(answer, findings, skipped);
        Planned {
            estimate: words::estimates(&parts),
            nics,
            versions: (own_versions, planned.versions.1.clone()),
            ..planned
        }
    }

    /// The VFs alone, as for a source that is older than all of this.
    async fn plan_of_vfs(&self, brief: &Brief, why: String) -> Planned {
        let answer = self.peers.plan(brief, None).await;
        let mut diagnosis = Diagnosis::default();
        diagnosis.skip(format!("domain of `{}`", brief.guest.name), why.clone());
        let nics = kept(brief, Err(why), &answer, &mut diagnosis);
        let (findings, skipped) = words::diagnosis(diagnosis);
        Planned {
            nics,
            ..words::planned(answer, findings, skipped)
        }
    }

    async fn traveller(&self, brief: &Brief) -> Fact<Traveller> {
        let xml = self.libvirt.xml(id(brief)?, XmlOf::Live).await.map_err(told)?;
        let standbys: Vec<MacAddress> = brief.pairs.iter().map(|pair| pair.mac).collect();
        Traveller::parse(&xml, &brief.options, &standbys).map_err(|error| error.to_string())
    }

    /// What is not in its XML, as far as it can be had: sizes of disks, flags of the CPU, what its NICs are connected to.
    async fn fill(&self, guest: &mut Traveller, brief: &Brief, seen: &[PairSeen]) {
        let machine = &self.practice.machine;
        let sizes = guest.needs.disks.iter().map(|disk| {
            let (machine, path) = (machine.clone(), disk.path.clone());
            let size = move || machine.disk_size(&path);
            self.practice.places.look(&disk.path, size)
        });
        let flags = async {
            let machine = machine.clone();
            let read = spawn_blocking(move || machine.cpu_flags());
            in_time(async { read.await.map_err(|error| error.to_string())? }).await
        };
        let networks = guest.needs.nics.iter().map(|nic| self.network(nic));
        let (sizes, flags, networks) = tokio::join!(join_all(sizes), flags, join_all(networks));
        for (disk, size) in guest.needs.disks.iter_mut().zip(sizes) {
            disk.bytes = size.unwrap_or(0);
        }
        if guest.has_host_cpu {
            guest.needs.cpu.flags = flags.unwrap_or_default();
        }
        for (nic, network) in guest.needs.nics.iter_mut().zip(networks) {
            if let Ok(NetworkSeen::There(network)) = network {
                connected(nic, &network);
            }
            of_pair(nic, &brief.pairs, seen);
        }
    }

    /// What its CPUs write, and what its VFs receive meanwhile.
    async fn pages(&self, brief: &Brief) -> Fact<Pages> {
        let id = id(brief)?;
        let begun = Instant::now();
        let before = self.received(brief).await;
        let written = self.libvirt.writes(id).await.map_err(told)?;
        let written = written.ok_or("QEMU did not say in time")?;
        let after = self.received(brief).await;
        let took = begun.elapsed().as_millis().max(1) as u64;
        let each = |(before, after): (u64, u64)| after.saturating_sub(before).saturating_mul(1000) / took;
        Ok(Pages {
            written,
            received: before.zip(after).map(each),
        })
    }

    /// By all of the guest's VFs; none where one is not counted.
    async fn received(&self, brief: &Brief) -> Option<u64> {
        let own: Vec<PciAddress> = brief.pairs.iter().filter_map(|pair| pair.source_vf).collect();
        if own.is_empty() {
            return Some(0);
        }
        let inventory = self.vfs.list().await;
        let names = inventory.vfs.iter().filter(|vf| own.contains(&vf.name.address));
        let counted = join_all(names.map(|vf| self.vfs.received(&vf.name))).await;
        (counted.len() == own.len())
            .then(|| counted.into_iter().sum::<Option<u64>>())
            .flatten()
    }

    pub(super) async fn versions(&self) -> Fact<godwit_migration::doctor::Versions> {
        self.libvirt.versions().await.map_err(told)
    }

    /// Of each disk that it has alone whether this host alone has it.
    async fn local_disks(&self, guest: &Traveller) -> Vec<(String, Fact<bool>)> {
        let own = guest.needs.disks.iter();
        let own = own.filter(|disk| guest.own_disks.contains(&disk.target));
        let looks = own.map(async |disk| {
            let (machine, path) = (self.practice.machine.clone(), disk.path.clone());
            let look = self
                .practice
                .places
                .look(&disk.path, move || machine.is_local(&path));
            (disk.target.clone(), look.await)
        });
        join_all(looks).await
    }

    /// Whether libvirt is reached where the guest is sent to.
    async fn way(&self, brief: &Brief) -> Option<RouteFacts> {
        let peer = self.peers.peer(&brief.destination).ok()?;
        Some(route(peer).await)
    }

    async fn certificates(&self) -> Fact<Option<String>> {
        let machine = self.practice.machine.clone();
        let look = spawn_blocking(move || machine.missing_certificate(Side::Client));
        look.await.map_err(|error| error.to_string())?
    }

    /// Whether the way of the memory is open, as it is configured or as libvirt would choose it; by which address of this host.
    async fn reached(&self, brief: &Brief, answer: &peer::PlanResponse) -> Fact<Result<IpAddr, String>> {
        let port = u16::try_from(answer.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| format!("{} does not listen at one", brief.destination))?;
        let peer = self
            .peers
            .peer(&brief.destination)
            .map_err(|cause| cause.message)?;
        let named = peer.memory_uri.as_deref().and_then(host_of);
        let host = named.unwrap_or(answer.host_name.as_str());
        if host.is_empty() {
            return Err(format!("{} does not tell its name", brief.destination));
        }
        let connect = TcpStream::connect((host, port));
        Ok(match timeout(TRY, connect).await {
            Ok(Ok(stream)) => Ok(stream.local_addr().map_err(|error| error.to_string())?.ip()),
            Ok(Err(error)) => Err(format!("{host} at port {port}: {error}")),
            Err(_) => Err(format!(
                "{host} at port {port}: no answer within {} s",
                TRY.as_secs()
            )),
        })
    }
}

/// Of the NIC by which the destination was reached. What is behind it may be slower.
fn speed(machine: &Machine, port: Fact<Result<IpAddr, String>>, destination: &str) -> Fact<Carried> {
    let Ok(Ok(own)) = port else {
        return Err(format!(
            "no transfer there is in the history, and {destination} was not reached"
        ));
    };
    let name = machine::interface_of(own).ok_or_else(|| format!("no NIC of this host has {own}"))?;
    Ok(Carried {
        rate: machine.speed(&name)?,
        because: format!("that is the speed of {name}, on the way to {destination}"),
    })
}

/// Whether frames that arrive in the pause will be kept; what speaks against it is found.
fn kept(
    brief: &Brief,
    nics: Fact<Vec<NicSeen>>,
    answer: &Result<peer::PlanResponse, Cause>,
    diagnosis: &mut Diagnosis,
) -> Vec<api::NicPlan> {
    let facts = KeepFacts {
        hosts: (brief.source.clone(), brief.destination.clone()),
        keep: brief.keep,
        nics,
        offer: words::offer(answer),
        pause_ms: plan::pause_ms(&brief.options),
    };
    let (nics, found) = plan::keeping(&brief.guest.name, &facts);
    diagnosis.findings.extend(found.findings);
    diagnosis.not_checked.extend(found.not_checked);
    words::nics(nics)
}

fn id(brief: &Brief) -> Fact<uuid::Uuid> {
    brief.guest.uuid.parse().map_err(|_| "it has no UUID".to_owned())
}

/// `tcp://10.1.0.2`, `tcp:10.1.0.2`, `rdma://[fd00::2]:49152`.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once(':')?;
    let rest = rest.trim_start_matches('/');
    let host = match rest.strip_prefix('[') {
        Some(inside) => inside.split(']').next()?,
        None => rest.split([':', '/', '?']).next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

pub(super) fn told(error: LibvirtError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_way_is_found_in_each_of_its_forms() {
        let found = [
            "tcp://10.1.0.2",
            "tcp:10.1.0.2",
            "tcp://beta:49152",
            "rdma://[fd00::2]:49152",
            "unix:",
            "x",
        ]
        .map(host_of);
        assert_eq!(
            found,
            [
                Some("10.1.0.2"),
                Some("10.1.0.2"),
                Some("beta"),
                Some("fd00::2"),
                None,
                None
            ]
        );
    }
}
