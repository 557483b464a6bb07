//! `godwitd`, one per host: the coordinator and the real world.

mod agent;
mod ask;
mod bus;
mod caretaker;
mod cause;
mod config;
mod health;
mod hook;
mod keep;
mod libvirt;
mod machine;
mod page;
mod peers;
mod server;
mod vf;
mod world;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{CommandFactory, Parser};
use godwit_coordinator::{
    Coordinator, Expiry, Journal, Settings, Unasked, World,
    faults::{Faults, Faulty},
};
use godwit_server::{Audit, Health, Keys, Known};
use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tonic::service::Routes;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::{
    agent::Agents,
    config::{Config, PoolTable},
    hook::Hooks,
    keep::KeepDesk,
    libvirt::Libvirt,
    peers::Peers,
    vf::Vfs,
    world::{RealWorld, doctor::Practice},
};

/// Requests that are being answered get this long when the daemon stops.
const GOODBYE: Duration = Duration::from_secs(3);

/// The host service of Godwit: moves running VMs that own SR-IOV VFs without the VM losing its network.
#[derive(Debug, Parser)]
#[command(version, after_help = page::MORE, max_term_width = 110)]
struct Args {
    /// The configuration file.
    #[arg(long, default_value = "/etc/godwit/godwitd.toml")]
    config: PathBuf,
    /// Read and check the configuration, then end.
    #[arg(long)]
    check: bool,
    /// Let the `[[fault]]` tables of the configuration strike: for tests of a host, never for one that people rely on.
    #[arg(long)]
    allow_faults: bool,
    /// Print the manual page, then end.
    #[arg(long)]
    man: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // What was let in and what was not is told whatever else is asked for.
    let filter = match "audit=info".parse() {
        Ok(audit) => filter.add_directive(audit),
        Err(_) => filter,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Before there is a log to look into, a person reads this.
#[allow(clippy::print_stderr)]
fn say(error: &anyhow::Error) {
    eprintln!("Error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("Caused by: {cause}");
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.man {
        return Ok(page::print(Args::command())?);
    }
    let config = Config::read(&args.config)?;
    let keys = peers::keys(&config).context("[tls]")?;
    let faults = config.faults.len();
    anyhow::ensure!(
        faults == 0 || args.allow_faults,
        "the configuration orders {faults} [[fault]] on purpose, and godwitd was started without --allow-faults"
    );
    if args.check {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(config, keys));
    // A call to libvirt may hold a thread for minutes; what it does goes on in libvirtd and is found again at the next start.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config, keys: Option<Arc<Keys>>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("state directory {}", config.state.display()))?;
    let journal = Journal::open(&config.state)?;
    let groups = config.access.groups();
    let socket = server::bind(&config.socket, server::mode(&groups))?;
    let hooks = hook::bind(&config.hook.settings(&config.socket).socket)?;
    let audit = audit(&config)?;
    let known = Known {
        peers: config.peers.iter().map(|peer| peer.name.clone()).collect(),
        operators: config.operators().map_err(anyhow::Error::msg)?,
    };
    let faults = config.faults().map_err(anyhow::Error::msg)?;
    let faults = Arc::new(Faults::open(&config.state, faults, die)?);
    let vfs = Vfs::new(config.pools.iter().map(PoolTable::spec).collect());
    vfs.ensure().await;
    let world = Arc::new(real_world(&config, keys.as_ref(), &faults, vfs.clone())?);
    let (events, libvirt) = (world.events(), world.libvirt_open());
    let faulty = Arc::new(Faulty::new(Arc::clone(&world), faults));
    let settings = settings(&config, keys.as_ref());
    let coordinator = Coordinator::start(settings.clone(), faulty, journal).await?;
    info!(host = %config.host, version = env!("CARGO_PKG_VERSION"), "godwitd is up");

    let wake = Arc::new(Notify::new());
    let answers = Hooks::new(
        coordinator.clone(),
        Arc::clone(&world),
        &config,
        Arc::clone(&wake),
    );
    tokio::spawn(caretaker::look_after(
        coordinator.clone(),
        world,
        (events, wake),
        vfs,
    ));
    if config.dbus.enabled {
        tokio::spawn(bus::serve(coordinator.clone(), audit.clone(), None));
    }

    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(answers.serve(hooks, stopped.clone()));
    let health = kept_told(libvirt, coordinator.clone());
    let local = server::local(
        (coordinator.clone(), health.clone()),
        (socket, config.socket),
        groups,
        audit.clone(),
        stopped.clone(),
    );
    let peers = async {
        match (config.listen, keys) {
            (Some(address), Some(keys)) => {
                let routes = for_network((coordinator, &health), config.keep.settings()).await;
                server::network(routes, address, (keys, known), audit, stopped).await
            }
            _ => std::future::pending().await,
        }
    };
    let (mut local, mut peers) = (std::pin::pin!(local), std::pin::pin!(peers));
    tokio::select! {
        ended = &mut local => return ended,
        ended = &mut peers => return ended,
        name = asked_to_stop() => info!("{} asked to stop", name?),
    }
    stop.send_replace(true);
    let _ = tokio::time::timeout(GOODBYE, local).await;
    info!("stopped; what was begun goes on at the next start");
    Ok(())
}

/// Whether this host can do what it is asked, as long as it runs.
fn kept_told<W: World>(libvirt: tokio::sync::watch::Receiver<bool>, coordinator: Coordinator<W>) -> Health {
    let health = Health::default();
    tokio::spawn(health::keep_told(health.clone(), libvirt, async move || {
        let written = coordinator.can_be_written().await;
        written.map_err(|error| error.to_string())
    }));
    health
}

/// What other hosts and operators elsewhere may ask.
async fn for_network<W: World>(
    (coordinator, health): (Coordinator<W>, &Health),
    keep: keep::Settings,
) -> Routes {
    let desk = KeepDesk::new(coordinator.clone(), keep);
    let routes = godwit_server::for_network(coordinator, health).await;
    godwit_server::and_kept_frames(routes, desk)
}

fn audit(config: &Config) -> anyhow::Result<Audit> {
    let audit = match config.audit.keep() {
        Some(keep) => Audit::to_file(keep).context("[audit]")?,
        None => Audit::to_log(),
    };
    Ok(audit.with_looks(config.audit.looks))
}

fn settings(config: &Config, keys: Option<&Arc<Keys>>) -> Settings {
    Settings {
        host: config.host.clone(),
        peers: config.peers.iter().map(|peer| peer.name.clone()).collect(),
        deadlines: config.deadlines(),
        limits: config.limits(),
        history: config.history(),
        must_match: config.must_match(),
        pools: config.pools.iter().map(|pool| pool.name.clone()).collect(),
        certificate: expiry(keys),
        unasked: Unasked {
            probes: config.measure.probes,
            keep: config.keep.mode(),
            // Checked when the file was read.
            transfer: config.transfer.options().unwrap_or_default(),
        },
    }
}

/// When the certificate ends that stands in the file by then.
fn expiry(keys: Option<&Arc<Keys>>) -> Expiry {
    keys.map_or_else(Expiry::default, |keys| {
        let keys = Arc::clone(keys);
        Expiry::new(move || keys.ends_ms())
    })
}

/// As by `kill -9`: nothing is put in order.
fn die() {
    // Should the kernel refuse, the phase at hand still goes no further.
    let _ = kill_process(getpid(), Signal::KILL);
}

fn real_world(
    config: &Config,
    keys: Option<&Arc<Keys>>,
    faults: &Arc<Faults>,
    vfs: Vfs,
) -> anyhow::Result<RealWorld> {
    let peers = Peers::new(config, keys).context("[[peer]]")?;
    let libvirt = Libvirt::start(&config.libvirt);
    Ok(RealWorld::new(
        config.host.clone(),
        libvirt,
        vfs,
        peers,
        Agents::with(Arc::clone(faults))
            .asking(config.measure.ask)
            .reflected(config.measure.reflector),
    )
    .doubting(config.doubt())
    .matching(config.must_match())
    .keeping(config.keep.settings())
    .asking(config.measure.probes > 0)
    .examined(Practice {
        listens: config.listen.is_some(),
        certificate: expiry(keys),
        libvirt: config.libvirt.clone(),
        ..Practice::default()
    }))
}

async fn asked_to_stop() -> std::io::Result<&'static str> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        _ = int.recv() => Ok("SIGINT"),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    fn faults_on_purpose_need_the_flag() {
        let place = tempfile::tempdir().unwrap();
        let config = place.path().join("godwitd.toml");
        let checked = |text: &str, allow_faults| {
            std::fs::write(&config, text).unwrap();
            run(&Args {
                config: config.clone(),
                check: true,
                allow_faults,
                man: false,
            })
        };
        let fault = "host = \"alpha\"\n[[fault]]\nkind = \"silent\"\n";
        assert_eq!(
            checked(fault, false).unwrap_err().to_string(),
            "the configuration orders 1 [[fault]] on purpose, and godwitd was started without --allow-faults"
        );
        assert!(checked(fault, true).is_ok());
        assert!(checked("host = \"alpha\"\n", false).is_ok());
    }

    #[test]
    fn death_on_purpose_is_a_kill() {
        const CHILD: &str = "GODWIT_TEST_DIES";
        if std::env::var_os(CHILD).is_some() {
            die();
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::death_on_purpose_is_a_kill"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(9), "{child:?}");
    }
}
