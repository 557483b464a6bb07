//! What is looked at before a guest moves: where it is, and where it would come to. Each look has a deadline, all are made at once, and
//! nothing is changed. What they mean is in `godwit_migration::plan`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use godwit_api::{peer::v1 as peer, v1 as api};
use godwit_coordinator::{Planned, words};
use godwit_migration::{
    Brief, Cause, MacAddress, PciAddress,
    doctor::{Diagnosis, Fact},
    plan::{
        self, ArrivalFacts, Fit, FreeMemory, KeepFacts, LeavingFacts, Needs, NetworkSeen, NicSeen, Pages,
        PlaceSeen,
    },
    preflight::PairSeen,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    RealWorld,
    doctor::in_time,
    networks::{connected, of_pair},
};
use crate::{
    cause::cause,
    libvirt::{LibvirtError, XmlOf, xml::needs::Traveller},
};

/// So long somebody listens at a port of QEMU's for the source.
const LISTEN: Duration = Duration::from_secs(8);
/// So long the source tries it.
const TRY: Duration = Duration::from_secs(2);
/// So many listen at once.
static LISTENERS: Semaphore = Semaphore::const_new(4);

/// What the tree showed of places.
struct Places {
    memory: Fact<FreeMemory>,
    flags: Fact<Vec<String>>,
    disks: Vec<Fact<PlaceSeen>>,
    ports: (u16, u16),
}

impl RealWorld {
    /// A guest of this host is to leave.
    pub(super) async fn plan_leaving(&self, brief: &Brief, seen: &[PairSeen]) -> Result<Planned, Cause> {
        let mut guest = match in_time(self.traveller(brief, seen)).await {
            Ok(guest) => guest,
            Err(why) => return self.plan_of_vfs(brief, why).await,
        };
        let tree = self.practice.look().await;
        guest.needs.lock_manager = tree.lock_manager.clone().ok().flatten();
        let (answer, pages, versions, own, nics) = tokio::join!(
            self.peers.plan(brief, Some(&guest.needs)),
            in_time(self.pages(brief)),
            in_time(self.versions()),
            in_time(self.own_places(&guest)),
            in_time(self.nics_seen(brief)),
        );
        let answer = answer?;
        let port = self.reached(brief, &answer).await;
        let (local_disks, certificates) = match own {
            Ok((local, missing)) => (Ok(local), missing),
            Err(why) => (Err(why.clone()), Err(why)),
        };
        let facts = LeavingFacts {
            hosts: (brief.source.clone(), brief.destination.clone()),
            versions,
            pages: pages.clone(),
            local_disks,
            certificates,
            port,
        };
        let mut own = plan::leaving(&guest.needs, &brief.options, &facts);
        let nics = kept(brief, nics, &answer, &mut own);
        let (findings, skipped) = words::diagnosis(own);
        let parts = plan::estimate(guest.size, &brief.options, pages.ok());
        Ok(Planned {
            estimate: words::estimates(&parts),
            nics,
            ..words::planned(answer, findings, skipped)
        })
    }

    /// The VFs alone, as for a source that is older than all of this.
    async fn plan_of_vfs(&self, brief: &Brief, why: String) -> Result<Planned, Cause> {
        let answer = self.peers.plan(brief, None).await?;
        let mut diagnosis = Diagnosis::default();
        diagnosis.skip(format!("domain of `{}`", brief.guest.name), why.clone());
        let nics = kept(brief, Err(why), &answer, &mut diagnosis);
        let (findings, skipped) = words::diagnosis(diagnosis);
        Ok(Planned {
            nics,
            ..words::planned(answer, findings, skipped)
        })
    }

    async fn traveller(&self, brief: &Brief, seen: &[PairSeen]) -> Fact<Traveller> {
        let id = id(brief)?;
        let xml = self.libvirt.xml(id, XmlOf::Live).await.map_err(told)?;
        let standbys: Vec<MacAddress> = brief.pairs.iter().map(|pair| pair.mac).collect();
        let mut guest =
            Traveller::parse(&xml, &brief.options, &standbys).map_err(|error| error.to_string())?;
        let machine = self.practice.machine.clone();
        let filled = spawn_blocking(move || {
            for disk in &mut guest.needs.disks {
                disk.bytes = machine.disk_size(&disk.path);
            }
            if guest.has_host_cpu {
                guest.needs.cpu.flags = machine.cpu_flags().unwrap_or_default();
            }
            guest
        });
        let mut guest = filled.await.map_err(|error| error.to_string())?;
        let networks = join_all(guest.needs.nics.iter().map(|nic| self.network(nic))).await;
        for (nic, network) in guest.needs.nics.iter_mut().zip(networks) {
            if let Ok(NetworkSeen::There(network)) = network {
                connected(nic, &network);
            }
            of_pair(nic, &brief.pairs, seen);
        }
        Ok(guest)
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

    async fn versions(&self) -> Fact<godwit_migration::doctor::Versions> {
        self.libvirt.versions().await.map_err(told)
    }

    /// Disks that this host alone has, and QEMU's certificates.
    async fn own_places(&self, guest: &Traveller) -> Fact<(Vec<String>, Fact<Option<String>>)> {
        let machine = self.practice.machine.clone();
        let own = |target: &String| guest.own_disks.contains(target);
        let disks = guest.needs.disks.iter().filter(|disk| own(&disk.target));
        let disks: Vec<_> = disks
            .map(|disk| (disk.target.clone(), disk.path.clone()))
            .collect();
        let look = spawn_blocking(move || {
            let local = disks.into_iter().filter(|(_, path)| machine.is_local(path));
            (
                local.map(|(target, _)| target).collect(),
                machine.missing_certificate(),
            )
        });
        look.await.map_err(|error| error.to_string())
    }

    /// Whether the way of the memory is open: as it is configured, or as libvirt would choose it.
    async fn reached(&self, brief: &Brief, answer: &peer::PlanResponse) -> Fact<Result<String, String>> {
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
            Ok(Ok(_)) => Ok(format!("{host}:{port}")),
            Ok(Err(error)) => Err(format!("{host} at port {port}: {error}")),
            Err(_) => Err(format!(
                "{host} at port {port}: no answer within {} s",
                TRY.as_secs()
            )),
        })
    }

    /// A guest is to come.
    pub(super) async fn plan_arriving(&self, needs: &Needs) -> Result<Planned, Cause> {
        let (tree, places, machine, cpu, networks, name) = tokio::join!(
            self.practice.look(),
            in_time(self.places(needs)),
            in_time(self.machine_fits(needs)),
            in_time(self.cpu_fits(needs)),
            join_all(needs.nics.iter().map(|nic| self.network(nic))),
            in_time(async { self.libvirt.host_name().await.map_err(told) }),
        );
        let places =
            places.map_err(|why| cause("LIBVIRT", format!("{} cannot be looked at: {why}", self.host)))?;
        let facts = ArrivalFacts {
            host: self.host.clone(),
            machine,
            cpu,
            flags: places.flags,
            memory: places.memory,
            memlock: tree.memlock,
            disks: places.disks,
            nics: networks,
            lock_manager: tree.lock_manager,
        };
        let (findings, not_checked) = words::diagnosis(plan::arrival(needs, &facts));
        let port = listen(places.ports).await;
        Ok(Planned {
            findings,
            not_checked,
            port: port.map(|port| (port, name.unwrap_or_default())),
            offer: Some(self.keep_offer()),
            ..Planned::default()
        })
    }

    async fn places(&self, needs: &Needs) -> Fact<Places> {
        let (machine, needs) = (self.practice.machine.clone(), needs.clone());
        let turn = Arc::clone(&self.practice.turn).lock_owned().await;
        let look = spawn_blocking(move || {
            let places = Places {
                memory: machine.memory(needs.page_kib),
                flags: machine.cpu_flags(),
                disks: needs.disks.iter().map(|disk| machine.disk(&disk.path)).collect(),
                ports: machine.migration_ports(),
            };
            drop(turn);
            places
        });
        look.await.map_err(|error| error.to_string())
    }

    async fn machine_fits(&self, needs: &Needs) -> Fact<Fit> {
        if needs.machine.kind.is_empty() {
            return Err("its machine type is not known".into());
        }
        self.libvirt
            .has_machine(needs.machine.clone())
            .await
            .map_err(told)
    }

    async fn cpu_fits(&self, needs: &Needs) -> Fact<Option<Fit>> {
        if !needs.cpu.flags.is_empty() {
            return Ok(None);
        }
        if needs.cpu.element.is_empty() || needs.machine.virtualisation != "kvm" {
            return Err("the guest has the CPU that QEMU emulates".into());
        }
        let fits = self
            .libvirt
            .has_cpu(needs.machine.clone(), needs.cpu.element.clone())
            .await;
        fits.map(Some).map_err(told)
    }
}

/// Whether frames that arrive in the pause will be kept; what speaks against it is found.
fn kept(
    brief: &Brief,
    nics: Fact<Vec<NicSeen>>,
    answer: &peer::PlanResponse,
    diagnosis: &mut Diagnosis,
) -> Vec<api::NicPlan> {
    let facts = KeepFacts {
        hosts: (brief.source.clone(), brief.destination.clone()),
        keep: brief.keep,
        nics,
        offer: words::offer(answer),
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

/// Somebody listens for a while at the last free port of QEMU's: libvirt takes the first for the next guest, and looks first
/// whether it is free. Whoever comes is let go again at once.
async fn listen((first, last): (u16, u16)) -> Option<u16> {
    let place = LISTENERS.try_acquire().ok()?;
    for port in (first..=last).rev() {
        let bound = match TcpListener::bind(("::", port)).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                TcpListener::bind(("0.0.0.0", port)).await
            }
            bound => bound,
        };
        let Ok(listener) = bound else { continue };
        tokio::spawn(async move {
            let accept = async {
                loop {
                    // An error is one caller's; a pause keeps many of them from keeping a CPU busy.
                    let _ = listener.accept().await;
                    sleep(Duration::from_millis(20)).await;
                }
            };
            let _ = timeout(LISTEN, accept).await;
            drop(place);
        });
        return Some(port);
    }
    None
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

    #[tokio::test]
    async fn somebody_listens_at_a_port_of_the_range_and_lets_callers_go() {
        // Ports that the kernel gives nobody by itself.
        let port = listen((29_870, 29_879)).await.unwrap();
        assert!((29_870..=29_879).contains(&port));
        for _ in 0..3 {
            TcpStream::connect(("localhost", port)).await.unwrap();
        }
        let another = listen((port, port)).await;
        assert_eq!(another, None, "the port is taken");
    }
}
