//! The two doors: a Unix socket for this host's operators, TLS for other hosts' daemons.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use godwit_api::{
    peer::v1::peer_service_server::PeerServiceServer,
    v1::{
        guest_service_server::GuestServiceServer, host_service_server::HostServiceServer,
        migration_service_server::MigrationServiceServer,
    },
};
use godwit_coordinator::{Caller, Coordinator, GuestDesk, HostDesk, MigrationDesk, PeerDesk, World};
use tokio::{net::UnixListener, sync::watch};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Status, transport::Server, transport::ServerTlsConfig};
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::peers::Keys;

/// Largest request.
const MESSAGE: usize = 1024 * 1024;

/// Requests at once on one connection.
const STREAMS: usize = 64;

/// Turns true when the daemon is to stop.
pub(crate) type Stop = watch::Receiver<bool>;

pub(crate) async fn stopped(mut stop: Stop) {
    // The sender lives in main: an error means that main is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
}

/// A socket of this mode; one that a dead daemon left is replaced, one that answers is not.
pub(crate) fn bind(path: &Path, mode: u32) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("socket directory {}", directory.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another godwitd listens on {}", path.display());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("stale socket");
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("socket {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Serves operators until told to stop.
pub(crate) async fn local<W: World>(
    coordinator: Coordinator<W>,
    listener: UnixListener,
    path: PathBuf,
    stop: Stop,
) -> anyhow::Result<()> {
    info!(socket = %path.display(), "listening for operators");
    let migrations = MigrationServiceServer::new(MigrationDesk(coordinator.clone()));
    let guests = GuestServiceServer::new(GuestDesk(coordinator.clone()));
    let hosts = HostServiceServer::new(HostDesk(coordinator));
    let served = server()
        .add_service(migrations.max_decoding_message_size(MESSAGE))
        .add_service(guests.max_decoding_message_size(MESSAGE))
        .add_service(hosts.max_decoding_message_size(MESSAGE))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped(stop))
        .await;
    let _ = fs::remove_file(&path);
    served.context("local socket")
}

/// Serves other hosts until told to stop. Mutual TLS; the caller is who its certificate says, and must be a known peer.
pub(crate) async fn peers<W: World>(
    coordinator: Coordinator<W>,
    address: SocketAddr,
    keys: Keys,
    known: Vec<String>,
    stop: Stop,
) -> anyhow::Result<()> {
    info!(%address, "listening for other hosts");
    let tls = ServerTlsConfig::new()
        .identity(keys.identity)
        .client_ca_root(keys.ca);
    let desk = PeerServiceServer::new(PeerDesk(coordinator)).max_decoding_message_size(MESSAGE);
    let service =
        tonic::service::interceptor::InterceptedService::new(desk, move |request| identify(&known, request));
    server()
        .tls_config(tls)
        .context("TLS")?
        .add_service(service)
        .serve_with_shutdown(address, stopped(stop))
        .await
        .with_context(|| format!("listening on {address}"))
}

/// Puts the caller's host name into the request, or refuses it.
fn identify(known: &[String], mut request: Request<()>) -> Result<Request<()>, Status> {
    let certificates = request.peer_certs().unwrap_or_default();
    let names = certificates
        .first()
        .map(|first| dns_names(first.as_ref()))
        .unwrap_or_default();
    let Some(name) = known.iter().find(|known| names.contains(known)) else {
        let shown = if names.is_empty() {
            "no name".into()
        } else {
            names.join(", ")
        };
        warn!(certificate = %shown, from = ?request.remote_addr(), "refused: not a known peer");
        return Err(Status::permission_denied(format!(
            "the certificate shows {shown}: not a peer of this host"
        )));
    };
    request.extensions_mut().insert(Caller(name.clone()));
    Ok(request)
}

fn dns_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests;
