//! Host beta, whose only peer is alpha, with both its doors open.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use godwit_api::status;
use godwit_coordinator::{Coordinator, Deadlines, Expiry, History, Journal, Limits as Transfers, Settings};
use godwit_migration::profile::MustMatch;
use godwit_server::{
    Audit, Door, Gate, Groups, Health, Keys, Known, Limits, Operator, Role, audit::Keep, for_network,
    for_this_host,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::service_fn;

use crate::{authority::Authority, empty::Empty};

pub(crate) struct Beta {
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) audit: PathBuf,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) health: Health,
    _stop: watch::Sender<bool>,
}

/// What its configuration has besides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Revokes,
    Looks,
    Roles,
}

pub(crate) fn patient() -> Limits {
    Limits {
        hello: Duration::from_millis(500),
        ..Limits::default()
    }
}

impl Beta {
    pub(crate) async fn new() -> Beta {
        Beta::with(patient(), Duration::ZERO).await
    }

    pub(crate) async fn with(limits: Limits, slow: Duration) -> Beta {
        Beta::made(limits, slow, Extra::None).await
    }

    /// What only looks is written down, too.
    pub(crate) async fn with_looks() -> Beta {
        Beta::made(patient(), Duration::ZERO, Extra::Looks).await
    }

    /// Every user of this host may open the socket, and members of three groups that every Linux has may do something there.
    pub(crate) async fn with_roles() -> Beta {
        Beta::made(patient(), Duration::ZERO, Extra::Roles).await
    }

    /// With a list of revoked certificates, `revoked.pem`; there is none in it yet.
    pub(crate) async fn revoking() -> Beta {
        Beta::made(patient(), Duration::ZERO, Extra::Revokes).await
    }

    async fn made(limits: Limits, slow: Duration, extra: Extra) -> Beta {
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            host: "beta".into(),
            peers: vec!["alpha".into()],
            deadlines: Deadlines::new([]),
            limits: Transfers::default(),
            history: History::default(),
            must_match: MustMatch::default(),
            pools: vec!["blue".into()],
            unasked: Default::default(),
            certificate: Expiry::default(),
        };
        let journal = Journal::open(directory.path()).unwrap();
        let coordinator = Coordinator::start(settings, Arc::new(Empty { slow }), journal);
        let coordinator = coordinator.await.unwrap();
        let mut files = authority.files(directory.path(), "beta", 2099);
        if extra == Extra::Revokes {
            let crl = directory.path().join("revoked.pem");
            std::fs::write(&crl, authority.list(&[])).unwrap();
            files.crl = Some(crl);
        }
        let keys = Keys::read(files).unwrap();
        let operator = |name: &str, role| Operator {
            name: name.into(),
            role,
        };
        let known = Known {
            peers: vec!["alpha".into()],
            operators: vec![operator("watcher", Role::View), operator("mover", Role::Operate)],
        };
        let (stop, stopped) = watch::channel(false);
        let audit = directory.path().join("audit.jsonl");
        let log = Audit::to_file(Keep {
            file: audit.clone(),
            most: 1 << 20,
            kept: 1,
        });
        let log = log.unwrap().with_looks(extra == Extra::Looks);
        let health = Health::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Gate::new(
            for_network(coordinator.clone(), &health).await,
            log.clone(),
            &limits,
        );
        let door = Door::new(gate, limits, stopped.clone());
        tokio::spawn(door.network(listener, Arc::new(keys), Arc::new(known)));
        let socket = directory.path().join("godwitd.sock");
        let gate = Gate::new(for_this_host(coordinator, &health).await, log, &limits);
        let door = Door::new(gate, limits, stopped);
        let listener = UnixListener::bind(&socket).unwrap();
        let groups = match extra {
            Extra::Roles => open(&socket),
            _ => Groups::default(),
        };
        tokio::spawn(door.local(listener, groups));
        Beta {
            authority,
            address,
            socket,
            audit,
            directory,
            health,
            _stop: stop,
        }
    }

    /// Over the network; lazily, so that what goes wrong is an answer to the first request.
    pub(crate) fn channel(&self, tls: Option<ClientTlsConfig>) -> Channel {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address)).unwrap();
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls.domain_name("beta")).unwrap();
        }
        endpoint.connect_lazy()
    }

    /// As that name, with a certificate of beta's own authority.
    pub(crate) fn channel_as(&self, name: &str) -> Channel {
        self.channel(Some(self.authority.client(name)))
    }

    /// TLS is through, as that name, and nothing is said.
    pub(crate) async fn by_tls(&self, name: &str) -> TlsStream<TcpStream> {
        let directory = self.directory.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        let keys = Keys::read(self.authority.files(&directory, name, 2099)).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let beta = ServerName::try_from("beta").unwrap();
        TlsConnector::from(keys.client())
            .connect(beta, stream)
            .await
            .unwrap()
    }

    /// Over the socket, as this test's user.
    pub(crate) fn local(&self) -> Channel {
        socket(self.socket.clone())
    }

    /// What was written down so far.
    pub(crate) async fn audited(&self) -> Vec<serde_json::Value> {
        // A line is handed over before the answer, and written at once after it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = std::fs::read_to_string(&self.audit).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Over a socket, as this process' user.
pub(crate) fn socket(path: PathBuf) -> Channel {
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://beta").connect_with_connector_lazy(connector)
}

/// The way to the socket, for everybody; and who may do what there.
fn open(socket: &Path) -> Groups {
    let mode = std::fs::Permissions::from_mode;
    std::fs::set_permissions(socket.parent().unwrap(), mode(0o711)).unwrap();
    std::fs::set_permissions(socket, mode(0o666)).unwrap();
    Groups {
        view: vec!["daemon".into()],
        operate: vec!["bin".into()],
        admin: vec!["sys".into()],
    }
}

/// The reason for programs.
pub(crate) fn reason(status: &Status) -> String {
    status::info(status).map(|info| info.reason).unwrap_or_default()
}

/// The connection ended it, and no answer of the host's.
pub(crate) fn turned_away(status: &Status) -> bool {
    let codes = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
    status::info(status).is_none() && codes.contains(&status.code())
}
