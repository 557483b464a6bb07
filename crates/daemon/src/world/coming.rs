//! What is looked at before a guest moves, where it would come to. Each look has a deadline of its own, all are made at once, and one that
//! fails hides no other.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use godwit_coordinator::{Planned, words};
use godwit_migration::{
    doctor::Fact,
    plan::{self, ArrivalFacts, Fit, FreeMemory, Heard, Needs, NetworkSeen, PlaceSeen},
};
use tokio::{
    net::TcpListener,
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{RealWorld, ahead::told, doctor::in_time};
use crate::machine::Side;

/// So long somebody listens at a port of QEMU's for the source.
const LISTEN: Duration = Duration::from_secs(8);
/// So many listen at once.
static LISTENERS: Semaphore = Semaphore::const_new(4);

/// What the tree showed.
struct Room {
    memory: Fact<FreeMemory>,
    flags: Fact<Vec<String>>,
    certificates: Fact<Option<String>>,
    ports: Option<(u16, u16)>,
}

impl Room {
    fn unknown(why: &str) -> Room {
        Room {
            memory: Err(why.into()),
            flags: Err(why.into()),
            certificates: Err(why.into()),
            ports: None,
        }
    }
}

impl RealWorld {
    /// A guest is to come.
    pub(super) async fn plan_arriving(&self, needs: &Needs, peer: &str) -> Planned {
        let (tree, room, disks, machine, cpu, (networks, asked), name, versions) = tokio::join!(
            self.practice.look(),
            in_time(self.room(needs)),
            self.disks(needs),
            in_time(self.machine_fits(needs)),
            in_time(self.cpu_fits(needs)),
            self.networks(needs, peer),
            in_time(async { self.libvirt.host_name().await.map_err(told) }),
            in_time(self.versions()),
        );
        let room = room.unwrap_or_else(|why| Room::unknown(&why));
        let facts = ArrivalFacts {
            host: self.host.clone(),
            machine,
            cpu,
            flags: room.flags,
            memory: room.memory,
            memlock: tree.memlock,
            disks,
            nics: networks,
            asked,
            lock_manager: tree.lock_manager,
            certificates: room.certificates,
        };
        let (findings, not_checked) = words::diagnosis(plan::arrival(needs, &facts));
        let port = match room.ports {
            Some(ports) => listen(ports).await,
            None => None,
        };
        Planned {
            findings,
            not_checked,
            proved: plan::proved(needs, &facts),
            port: port.map(|port| (port, name.unwrap_or_default())),
            offer: Some(self.keep_offer()),
            versions: (words::versions(&versions), None),
            ..Planned::default()
        }
    }

    /// What the NICs would be connected to, and who answers there.
    async fn networks(&self, needs: &Needs, peer: &str) -> (Vec<Fact<NetworkSeen>>, Vec<Vec<Fact<Heard>>>) {
        let networks = join_all(needs.nics.iter().map(|nic| self.network(nic))).await;
        let asked = self.asked(needs, &networks, peer).await;
        (networks, asked)
    }

    async fn room(&self, needs: &Needs) -> Fact<Room> {
        let (machine, pages) = (self.practice.machine.clone(), needs.pages.clone());
        let turn = Arc::clone(&self.practice.turn).lock_owned().await;
        let look = spawn_blocking(move || {
            let room = Room {
                memory: machine.memory(&pages),
                flags: machine.cpu_flags(),
                certificates: machine.missing_certificate(Side::Server),
                ports: Some(machine.migration_ports()),
            };
            drop(turn);
            room
        });
        look.await.map_err(|error| error.to_string())
    }

    /// Each by itself: one whose storage does not answer hides no other. libvirt is asked for its storage pools once, if one is to be made.
    async fn disks(&self, needs: &Needs) -> Vec<Fact<PlaceSeen>> {
        let pools = OnceCell::new();
        let folders = || in_time(async { self.libvirt.pool_folders().await.map_err(told) });
        let pools = &pools;
        let looks = needs.disks.iter().map(async |disk| {
            let (machine, path) = (self.practice.machine.clone(), disk.path.clone());
            let look = self.practice.places.look(&disk.path, move || machine.disk(&path));
            Ok(match look.await?? {
                PlaceSeen::Missing { free, .. } if disk.copied => PlaceSeen::Missing {
                    free,
                    pool: makes(&disk.path, pools.get_or_init(folders).await),
                },
                seen => seen,
            })
        });
        join_all(looks).await
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

/// libvirt would make that file: an active storage pool has its directory. None: not known, or it is no file of a directory.
fn makes(path: &str, pools: &Fact<Vec<String>>) -> Option<bool> {
    let (folder, _) = path.rsplit_once('/')?;
    let pools = pools.as_ref().ok()?;
    Some(pools.iter().any(|pool| pool.trim_end_matches('/') == folder))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_file_is_made_where_a_pool_has_its_directory_and_nowhere_else() {
        let pools = Ok(vec!["/var/lib/images/".to_owned(), "/".to_owned()]);
        for (path, made) in [
            ("/var/lib/images/a.raw", Some(true)),
            ("/a.raw", Some(true)),
            ("/var/lib/images/deeper/a.raw", Some(false)),
            ("/var/lib/images2/a.raw", Some(false)),
            ("pool", None),
        ] {
            assert_eq!(makes(path, &pools), made, "{path}");
        }
        assert_eq!(makes("/a.raw", &Err("no answer".into())), None);
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
