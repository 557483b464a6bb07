//! The doctor's facts, collected: each with a deadline, all at once, and nothing changed. What they mean is in
//! `godwit_migration::doctor`.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use godwit_coordinator::Expiry;
use godwit_migration::{
    PciAddress,
    doctor::{
        self, Diagnosis, DomainFacts, Fact, HostFacts, LibvirtFacts, MachineFacts, Memlock, OwnFacts,
        RouteFacts,
    },
    preflight::GuestFacts,
};
use tokio::{net::TcpStream, sync::Mutex, task::spawn_blocking, time::timeout};

use super::{RealWorld, facts, places::Places};
use crate::{
    config::Peer,
    libvirt::{Libvirt, LibvirtError, XmlOf, examine, xml::examine::Examined},
    machine::Machine,
};

/// One thing is not waited for longer.
const LOOK: Duration = Duration::from_secs(5);

/// What the doctor knows of this daemon, and where it looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Practice {
    /// It listens for peers.
    pub(crate) listens: bool,
    /// When its certificate ends.
    pub(crate) certificate: Expiry,
    /// URI of this host's libvirtd.
    pub(crate) libvirt: String,
    /// The tree that is read.
    pub(crate) machine: Machine,
    /// One look at the tree at a time: one that hangs keeps one thread, and not another with each question.
    pub(crate) turn: Arc<Mutex<()>>,
    /// Places of disks are looked at by themselves.
    pub(crate) places: Places,
}

/// What the tree showed.
pub(super) struct Tree {
    machine: MachineFacts,
    pub(super) memlock: Fact<Memlock>,
    pub(super) lock_manager: Fact<Option<String>>,
}

impl Practice {
    /// The tree, or why nothing of it is known.
    pub(super) async fn look(&self) -> Tree {
        let (machine, uri) = (self.machine.clone(), self.libvirt.clone());
        let look = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let looked = spawn_blocking(move || {
                let tree = Tree {
                    machine: machine.facts(),
                    memlock: examine::memlock(&machine, &uri),
                    lock_manager: examine::lock_manager(&machine),
                };
                drop(turn);
                tree
            });
            looked.await.map_err(|error| error.to_string())
        };
        in_time(look).await.unwrap_or_else(|why| Tree::unknown(&why))
    }

    /// Days until the certificate ends.
    fn certificate_days(&self) -> Fact<Option<i64>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now
            .map_err(|_| "this host's clock is before 1970".to_owned())?
            .as_millis() as i64;
        Ok(self.certificate.ends_ms().map(|end| doctor::days_left(end, now)))
    }
}

impl Tree {
    fn unknown(why: &str) -> Tree {
        let why = || why.to_owned();
        Tree {
            machine: MachineFacts {
                cpu: Err(why()),
                kvm: Err(why()),
                iommus: Err(why()),
                firmware: Err(why()),
                command_line: Err(why()),
                vfio_pci: Err(why()),
                vfio_iommu: Err(why()),
                vfio_device: Err(why()),
                tcp_retries: Err(why()),
            },
            memlock: Err(why()),
            lock_manager: Err(why()),
        }
    }
}

impl RealWorld {
    pub(super) async fn diagnosis(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        match guest {
            None => doctor::host(&self.host_facts().await),
            Some(guest) => match self.domain_facts(guest).await {
                Ok(facts) => doctor::domain(guest, &facts),
                Err(why) => {
                    let mut diagnosis = Diagnosis::default();
                    diagnosis.skip(format!("domain of `{}`", guest.guest.name), why);
                    diagnosis
                }
            },
        }
    }

    async fn host_facts(&self) -> HostFacts {
        let routes = join_all(self.peers.all().map(route));
        let (tree, pfs, versions, routes) = tokio::join!(
            self.practice.look(),
            self.vfs.examine(LOOK),
            in_time(versions(&self.libvirt)),
            routes
        );
        HostFacts {
            machine: tree.machine,
            pfs,
            libvirt: LibvirtFacts {
                versions,
                memlock: tree.memlock,
                lock_manager: tree.lock_manager,
                disk_locks: self.doubt.disk_locks,
            },
            own: OwnFacts {
                listens: self.practice.listens,
                certificate_days: self.practice.certificate_days(),
                routes,
            },
        }
    }

    async fn domain_facts(&self, guest: &GuestFacts) -> Fact<DomainFacts> {
        let id: uuid::Uuid = guest
            .guest
            .uuid
            .parse()
            .map_err(|_| "it has no UUID".to_owned())?;
        let state = in_time(async { self.libvirt.state(id).await.map_err(told) }).await?;
        let state = state.ok_or("it is not here any more")?;
        if facts::is_arriving(state.run) {
            // Reading it waits for the end of its arrival.
            return Err(format!("it is {}", state.run));
        }
        let xml = async |of| in_time(async { self.libvirt.xml(id, of).await.map_err(told) }).await;
        let read = async |of| Examined::parse(&xml(of).await?).map_err(|error| error.to_string());
        let of = match state.run.is_active() {
            true => XmlOf::Live,
            false => XmlOf::Persistent,
        };
        let vfs = async {
            let inventory = self.vfs.list().await;
            Ok(inventory
                .vfs
                .iter()
                .map(|vf| vf.name.address)
                .collect::<Vec<PciAddress>>())
        };
        let (now, stored, vfs, tree, snapshots) = tokio::join!(
            read(of),
            read(XmlOf::Persistent),
            in_time(vfs),
            self.practice.look(),
            in_time(async { self.libvirt.snapshots(id).await.map_err(told) })
        );
        let (now, vfs) = (now?, vfs.unwrap_or_default());
        let own = now.vfs(&vfs);
        let pairs = guest.pairs.iter().filter_map(|pair| pair.vf);
        let paired: Vec<PciAddress> = own.iter().copied().chain(pairs).collect();
        Ok(DomainFacts {
            machine: now.devices.machine.clone(),
            // Without its machine type nothing is known.
            slow_unplug: now.devices.native_hotplug && !now.devices.machine.is_empty(),
            free_ports: now.has_root_ports.then_some(now.devices.free_root_ports),
            fixed: now
                .fixed
                .iter()
                .copied()
                .filter(|fixed| own.contains(fixed))
                .collect(),
            memory: now.memory,
            stored: match state.persistent {
                true => stored.map(|stored| Some(stored.vfs(&vfs))),
                false => Ok(None),
            },
            memlock: tree.memlock,
            snapshots,
            passed: now.passed(&paired),
        })
    }
}

async fn versions(libvirt: &Libvirt) -> Fact<doctor::Versions> {
    libvirt.versions().await.map_err(told)
}

/// Whether somebody listens where guests are sent to; where that is no place at all, nothing is tried.
pub(super) async fn route(peer: &Peer) -> RouteFacts {
    let place = doctor::endpoint(&peer.migrate_uri).ok();
    let reached = match place {
        None => None,
        Some(place) => {
            let connect = async {
                let connected = TcpStream::connect((place.host.as_str(), place.port)).await;
                connected.map(drop).map_err(|error| error.to_string())
            };
            Some(in_time(connect).await)
        }
    };
    RouteFacts {
        peer: peer.name.clone(),
        migrate_uri: peer.migrate_uri.clone(),
        reached,
    }
}

pub(super) async fn in_time<T>(look: impl Future<Output = Fact<T>>) -> Fact<T> {
    let late = || format!("no answer within {} s", LOOK.as_secs());
    timeout(LOOK, look).await.unwrap_or_else(|_| Err(late()))
}

fn told(error: LibvirtError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use godwit_coordinator::faults::Faults;

    use super::*;
    use crate::{
        agent::Agents,
        config::Config,
        peers::Peers,
        vf::{PoolSpec, Vfs},
    };

    fn practice(root: &std::path::Path) -> Practice {
        Practice {
            listens: true,
            certificate: Expiry::default(),
            libvirt: "qemu:///system".into(),
            machine: Machine::at(root),
            turn: Arc::default(),
            places: Places::default(),
        }
    }

    fn peer(migrate_uri: String) -> Peer {
        Peer {
            name: "beta".into(),
            address: "127.0.0.1:7716".into(),
            migrate_uri,
            memory_uri: None,
        }
    }

    #[tokio::test]
    async fn a_route_is_tried_where_it_leads_somewhere() {
        let nowhere = route(&peer("qemu:///system".into())).await;
        assert_eq!(nowhere.reached, None);
        // The machine's own address, so that it is plausible; nobody listens at a port that was just given back.
        let free = std::net::TcpListener::bind("[::1]:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let uri = format!("qemu+tcp://ip6-localhost:{free}/system");
        let deaf = route(&peer(uri)).await.reached.unwrap();
        assert!(deaf.is_err(), "{deaf:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_told_and_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let practice = practice(folder.path());
        let held = Arc::clone(&practice.turn).lock_owned().await;
        let tree = practice.look().await;
        assert_eq!(tree.machine.iommus, Err("no answer within 5 s".into()));
        assert_eq!(tree.memlock, Err("no answer within 5 s".into()));
        drop(held);
    }

    #[tokio::test]
    async fn an_empty_tree_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let tree = practice(folder.path()).look().await;
        assert_eq!(tree.machine.kvm, Ok(false));
        assert_eq!(tree.lock_manager, Ok(None));
    }

    #[test]
    fn days_are_counted_down() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        const DAY: i64 = 86_400_000;
        let end = |days: i64| Practice {
            certificate: Expiry::new(move || Some(now.as_millis() as i64 + days * DAY + DAY / 2)),
            ..practice(std::path::Path::new("/"))
        };
        assert_eq!(end(10).certificate_days(), Ok(Some(10)));
        assert_eq!(end(-1).certificate_days(), Ok(Some(-1)));
        assert_eq!(practice(std::path::Path::new("/")).certificate_days(), Ok(None));
    }

    /// A world on libvirt's test driver, with an empty tree.
    async fn world(root: &std::path::Path, pools: &[(&str, &str)]) -> RealWorld {
        let config: Config = toml::from_str("host = \"alpha\"").unwrap();
        let peers = Peers::new(&config, None).unwrap();
        let libvirt = Libvirt::start("test:///default");
        libvirt.connected(LOOK).await.unwrap();
        let pools = pools.iter().map(|(pool, pf)| PoolSpec {
            name: (*pool).to_owned(),
            pfs: vec![(*pf).to_owned()],
            ..PoolSpec::default()
        });
        let vfs = Vfs::new(pools.collect());
        let agents = Agents::with(Arc::new(Faults::none()));
        RealWorld::new("alpha".into(), libvirt, vfs, peers, agents).examined(practice(root))
    }

    #[tokio::test]
    async fn a_host_is_examined() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), &[("fabric", "no-such-pf")]).await;
        let diagnosis = world.diagnosis(None).await;
        let reasons: Vec<&str> = diagnosis.findings.iter().map(|found| found.reason).collect();
        assert!(
            reasons.contains(&"KVM_MISSING") && reasons.contains(&"PF_MISSING"),
            "{reasons:?}"
        );
        assert!(
            !reasons.contains(&"LIBVIRT") && !reasons.contains(&"NO_POOL"),
            "{reasons:?}"
        );
        let skipped = diagnosis.not_checked.iter().map(|skipped| skipped.check.as_str());
        assert!(
            skipped.into_iter().any(|check| check == "IOMMUs in use"),
            "{diagnosis:?}"
        );
    }

    #[tokio::test]
    async fn a_guests_domain_is_examined() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), &[]).await;
        let guest = world.guest_facts(Some("test")).await.unwrap().remove(0);
        let facts = world.domain_facts(&guest).await.unwrap();
        assert_eq!((facts.stored, facts.free_ports), (Ok(Some(Vec::new())), None));
        assert!(facts.memory.size > 0 && facts.memlock.is_err());
        let mut gone = guest;
        gone.guest.uuid = "00000000-0000-4000-8000-000000000001".into();
        assert_eq!(
            world.domain_facts(&gone).await,
            Err("it is not here any more".into())
        );
        let diagnosis = world.diagnosis(Some(&gone)).await;
        assert_eq!(diagnosis.not_checked[0].check, "domain of `test`");
    }
}
