//! The pretend hosts' sockets: one for each host, in a directory that is this user's alone; and their doors to the network, if they
//! are to have any.

mod network;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use godwit_coordinator::{Coordinator, World};
use godwit_server::{Audit, Door, Gate, Groups, Health, Limits, for_network, for_this_host};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use tracing::{info, warn};

use self::network::Listening;
pub use self::network::Network;
use crate::{
    Layout,
    cluster::{Cluster, Journals},
    faults::Wanted,
    ills::WantedIll,
    model::HostId,
    pace::Pace,
    world::Seat,
};

/// How often all is looked at once more.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be served.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the world begins with.
    pub layout: Layout,
    /// All pretend durations are divided by this.
    pub speed: f64,
    /// What goes wrong.
    pub faults: Vec<Wanted>,
    /// What the doctor is to find.
    pub ills: Vec<WantedIll>,
    /// Where the sockets are.
    pub sockets: PathBuf,
    /// Where the journals are kept; none: in a directory that ends with the process.
    pub state: Option<PathBuf>,
    /// Doors to the network.
    pub network: Option<Network>,
}

/// A sim that serves.
pub struct Sim {
    cluster: Arc<Cluster>,
    sockets: PathBuf,
    names: Vec<String>,
    /// Of each host that listens on the network.
    addresses: Vec<Option<SocketAddr>>,
    _state: Option<tempfile::TempDir>,
}

/// The directory for the sockets: the session's own if there is one.
pub fn default_directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => PathBuf::from(directory).join("godwit-sim"),
        None => std::env::temp_dir().join(format!("godwit-sim-{}", rustix::process::getuid().as_raw())),
    }
}

/// Makes the directory, for this user alone; one that is somebody else's, or open to others, is not used: whoever
/// owns it could put another socket there.
fn private(directory: &Path) -> anyhow::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("socket directory {}", directory.display())),
    }
    let found = fs::symlink_metadata(directory).with_context(|| directory.display().to_string())?;
    let own = found.is_dir() && found.uid() == rustix::process::getuid().as_raw();
    ensure!(
        own,
        "{} is not a directory of this user: name another with --sockets",
        directory.display()
    );
    let open = found.mode() & 0o077;
    ensure!(
        open == 0,
        "{} is open to others: chmod 700 {0}",
        directory.display()
    );
    Ok(())
}

impl Sim {
    /// Starts every host and its socket.
    ///
    /// # Errors
    /// A directory, socket or journal that cannot be had; a fault that names no host of this world.
    pub async fn start(options: Options) -> anyhow::Result<Sim> {
        private(&options.sockets)?;
        let mut model = options.layout.build();
        let names: Vec<String> = model.hosts.iter().map(|host| host.name.clone()).collect();
        let index = |option: &str, host: &str| {
            let known = || format!("{option}: no host `{host}`; there are: {}", names.join(", "));
            names.iter().position(|name| name == host).with_context(known)
        };
        for Wanted { host, mut fault } in options.faults {
            fault.host = host.map(|host| index("--fault", &host)).transpose()?;
            model.knobs.set(fault);
        }
        for WantedIll { host, ill } in options.ills {
            let only = host.map(|host| index("--ill", &host)).transpose()?;
            for host in (0..names.len()).filter(|host| only.is_none_or(|only| only == *host)) {
                ill.strike(&mut model, host);
            }
        }
        let (directory, temporary) = match options.state {
            Some(directory) => (directory, None),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("journals-")
                    .tempdir_in(&options.sockets)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let (cluster, orders) = Cluster::new(
            model,
            Pace::Speed(options.speed),
            &Journals::Under(directory),
            false,
        )?;
        tokio::spawn(Arc::clone(&cluster).obey(orders));
        let mut sim = Sim {
            cluster,
            sockets: options.sockets,
            names,
            addresses: Vec::new(),
            _state: temporary,
        };
        for host in 0..sim.names.len() {
            let network = match &options.network {
                Some(network) => network.open((host, &sim.names)).await?,
                None => None,
            };
            let (door, first) = network.unzip();
            sim.addresses.push(door.as_ref().map(|door| door.address));
            let listener = bind(&sim.socket(host))?;
            sim.cluster.start(host).await?;
            let doors = Doors {
                socket: sim.socket(host),
                network: door,
            };
            tokio::spawn(doors.serve(Arc::clone(&sim.cluster), host, (listener, first)));
        }
        if let Some(network) = &options.network {
            network.check(&sim.names, sim.addresses.iter().flatten().count())?;
        }
        tokio::spawn(keep_looking(Arc::clone(&sim.cluster)));
        Ok(sim)
    }

    /// The socket of a host.
    pub fn socket(&self, host: HostId) -> PathBuf {
        self.sockets.join(format!("{}.sock", self.names[host]))
    }

    /// Where a host listens on the network; none if it does not.
    pub fn address(&self, host: HostId) -> Option<SocketAddr> {
        self.addresses[host]
    }

    /// Names of the hosts.
    pub fn hosts(&self) -> &[String] {
        &self.names
    }

    /// The coordinator of a host as it is in this life; none while its daemon is dead. For what else a daemon serves.
    pub fn coordinator(&self, host: HostId) -> Option<Coordinator<impl World + use<>>> {
        let seat = self.cluster.shared.seat(host);
        seat.as_ref().map(|seat| seat.coordinator.clone())
    }

    /// Rules of the world that were broken so far: how many, and the first few.
    pub fn broken(&self) -> (u64, Vec<String>) {
        let model = self.cluster.shared.model();
        (model.wrongs, model.wrong.clone())
    }

    /// Ends every host and removes the sockets.
    pub fn stop(self) {
        self.cluster.stop();
        for host in 0..self.names.len() {
            let _ = fs::remove_file(self.socket(host));
        }
    }
}

fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another godwit-sim listens on {}", path.display());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("stale socket")?,
        _ => {}
    }
    UnixListener::bind(path).with_context(|| format!("socket {}", path.display()))
}

/// By which a host can be asked.
struct Doors {
    socket: PathBuf,
    network: Option<Listening>,
}

impl Doors {
    /// Serves a host, life after life; while its coordinator is dead nobody listens.
    async fn serve(self, cluster: Arc<Cluster>, host: HostId, first: (UnixListener, Option<TcpListener>)) {
        let mut listeners = Some(first);
        loop {
            let seat = cluster.shared.seat(host).clone();
            let Some(seat) = seat else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let bound = match listeners.take() {
                Some(first) => Ok(first),
                None => self.bind().await,
            };
            match bound {
                Ok(listeners) => self.serve_life(seat, listeners).await,
                Err(error) => return warn!("{error:#}"),
            }
            let _ = fs::remove_file(&self.socket);
        }
    }

    async fn bind(&self) -> anyhow::Result<(UnixListener, Option<TcpListener>)> {
        let network = match &self.network {
            Some(door) => Some(network::listen(door.address).await?),
            None => None,
        };
        Ok((bind(&self.socket)?, network))
    }

    /// Ends at once with the coordinator: connections break off, as they do when a daemon dies. The doors are a daemon's own.
    async fn serve_life(&self, seat: Seat, (socket, network): (UnixListener, Option<TcpListener>)) {
        let (_open, stop) = watch::channel(false);
        let health = Health::default();
        let (limits, elsewhere) = (Limits::of_this_host(), Limits::default());
        let services = for_this_host(seat.coordinator.clone(), &health).await;
        let local = Door::new(
            Gate::new(services, Audit::to_log(), &limits),
            limits,
            stop.clone(),
        );
        let away = async {
            let (Some(door), Some(listener)) = (&self.network, network) else {
                return std::future::pending().await;
            };
            let services = for_network(seat.coordinator.clone(), &health).await;
            let gate = Gate::new(services, Audit::to_log(), &elsewhere);
            let (keys, known) = (Arc::clone(&door.keys), Arc::clone(&door.known));
            Door::new(gate, elsewhere, stop)
                .network(listener, keys, known)
                .await;
        };
        tokio::select! {
            () = seat.death() => {}
            () = local.local(socket, Groups::default()) => {}
            () = away => {}
        }
    }
}

/// Looks at everything now and then, and says what was broken.
async fn keep_looking(cluster: Arc<Cluster>) {
    let mut told = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let (wrongs, guests) = {
            let mut model = cluster.shared.model();
            let guests = model.guests.len();
            (0..guests).for_each(|guest| model.check(guest, "a look at everything"));
            (model.wrongs, guests)
        };
        if wrongs > told {
            told = wrongs;
            info!("{wrongs} rules broken so far, {guests} guests");
        }
    }
}
