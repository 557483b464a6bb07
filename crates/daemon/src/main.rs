//! `godwitd`, one per host: the coordinator and the real world.

mod agent;
mod caretaker;
mod cause;
mod config;
mod libvirt;
mod peers;
mod server;
mod vf;
mod world;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Parser;
use godwit_coordinator::{Coordinator, Journal, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::{
    config::Config,
    libvirt::Libvirt,
    peers::{Keys, Peers},
    vf::Vfs,
    world::RealWorld,
};

/// Requests that are being answered get this long when the daemon stops.
const GOODBYE: Duration = Duration::from_secs(3);

/// The host service of Godwit: moves running VMs that own SR-IOV VFs without the VM losing its network.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The configuration file.
    #[arg(long, default_value = "/etc/godwit/godwitd.toml")]
    config: PathBuf,
    /// Read and check the configuration, then end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
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
    let config = Config::read(&args.config)?;
    let keys = Keys::read(&config).context("[tls]")?;
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

async fn serve(config: Config, keys: Option<Keys>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("state directory {}", config.state.display()))?;
    let journal = Journal::open(&config.state)?;
    let socket = server::bind(&config.socket)?;
    let world = Arc::new(real_world(&config, keys.as_ref())?);
    let settings = Settings {
        host: config.host.clone(),
        peers: config.peers.iter().map(|peer| peer.name.clone()).collect(),
        deadlines: config.deadlines(),
        limits: config.limits(),
    };
    let events = world.events();
    let coordinator = Coordinator::start(settings.clone(), world, journal).await?;
    info!(host = %config.host, version = env!("CARGO_PKG_VERSION"), "godwitd is up");

    tokio::spawn(caretaker::look_after(coordinator.clone(), events));

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let local = server::local(coordinator.clone(), socket, config.socket, stopped.clone());
    let peers = async {
        match (config.listen, keys) {
            (Some(address), Some(keys)) => {
                server::peers(coordinator, address, keys, settings.peers, stopped).await
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

fn real_world(config: &Config, keys: Option<&Keys>) -> anyhow::Result<RealWorld> {
    let peers = Peers::new(config, keys).context("[[peer]]")?;
    let pools = config
        .pools
        .iter()
        .map(|pool| (pool.name.clone(), pool.pfs.clone()))
        .collect();
    let libvirt = Libvirt::start(&config.libvirt);
    Ok(RealWorld::new(
        config.host.clone(),
        libvirt,
        Vfs::new(&pools),
        peers,
    ))
}

async fn asked_to_stop() -> std::io::Result<&'static str> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        _ = int.recv() => Ok("SIGINT"),
    }
}
