//! The two doors, as the configuration has them: a Unix socket for this host's operators, TLS for other hosts' daemons
//! and for operators elsewhere.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use godwit_coordinator::{Coordinator, World};
use godwit_server::{Audit, Door, Gate, Groups, Health, Keys, Known, Limits, for_this_host};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use tonic::service::Routes;
use tracing::info;

/// Turns true when the daemon is to stop.
pub(crate) type Stop = watch::Receiver<bool>;

pub(crate) async fn stopped(mut stop: Stop) {
    // The sender lives in main: an error means that main is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The operators' socket: where groups have roles everybody can open it, and who it is decides what comes of that; otherwise
/// only root and its group can.
pub(crate) fn mode(groups: &Groups) -> u32 {
    if groups.any() { 0o666 } else { 0o660 }
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

/// Serves this host's operators until told to stop.
pub(crate) async fn local<W: World>(
    (coordinator, health): (Coordinator<W>, Health),
    (listener, path): (UnixListener, PathBuf),
    groups: Groups,
    audit: Audit,
    stop: Stop,
) -> anyhow::Result<()> {
    info!(socket = %path.display(), "listening for operators");
    let limits = Limits::of_this_host();
    let gate = Gate::new(for_this_host(coordinator, &health).await, audit, &limits);
    Door::new(gate, limits, stop).local(listener, groups).await;
    let _ = fs::remove_file(&path);
    Ok(())
}

/// Serves other hosts, and operators elsewhere, until told to stop.
pub(crate) async fn network(
    routes: Routes,
    address: SocketAddr,
    (keys, known): (Arc<Keys>, Known),
    audit: Audit,
    stop: Stop,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    info!(%address, "listening for other hosts");
    let limits = Limits::default();
    let gate = Gate::new(routes, audit, &limits);
    Door::new(gate, limits, stop)
        .network(listener, keys, Arc::new(known))
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_answers_is_not_taken_and_a_dead_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/godwitd.sock");
        let has = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let first = bind(&path, mode(&Groups::default())).unwrap();
        assert_eq!(has(), 0o660);
        let again = bind(&path, mode(&Groups::default())).unwrap_err();
        assert!(again.to_string().contains("another godwitd listens"));
        drop(first);
        let groups = Groups {
            view: vec!["wheel".into()],
            ..Groups::default()
        };
        bind(&path, mode(&groups)).unwrap();
        assert_eq!(has(), 0o666);
    }
}
