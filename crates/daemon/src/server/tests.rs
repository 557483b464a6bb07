//! Who gets through the door for other hosts. Real TLS on loopback.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use godwit_api::peer::v1::{ArrivalRequest, ListMacsResponse, peer_service_client::PeerServiceClient};
use godwit_coordinator::{Deadlines, History, Job, Journal, Limits, Settings};
use godwit_migration::{
    Brief, Cause, Event, Guest, Pair, Policy, Sighting, Vf, doctor::Diagnosis, preflight::GuestFacts,
    profile::MustMatch,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::*;

/// A host with nothing on it.
struct Empty;

impl World for Empty {
    async fn work(&self, _: Job) -> Event {
        std::future::pending().await
    }

    async fn abort(&self, _: &Brief) -> Result<(), Cause> {
        Ok(())
    }

    async fn guests(&self, _: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _: &Guest, _: &[Pair], _: Policy) -> Result<(), Cause> {
        Ok(())
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        Ok(Vec::new())
    }

    async fn clean(&self, _: godwit_migration::PciAddress) -> Result<(), Cause> {
        Ok(())
    }

    async fn sight(&self, _: &str) -> Sighting {
        Sighting::Absent
    }

    async fn plan(&self, _: &Brief) -> Result<Vec<godwit_api::v1::PairPlan>, Cause> {
        Ok(Vec::new())
    }

    async fn greet(&self, _: &str) -> Result<godwit_api::v1::Host, Cause> {
        Err(Cause::default())
    }

    async fn macs(&self, _: &str) -> Result<ListMacsResponse, Cause> {
        Err(Cause::default())
    }

    async fn doctor(&self, _: Option<&GuestFacts>) -> Diagnosis {
        Diagnosis::default()
    }
}

/// An authority, and the hosts' keys that it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn host(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }
}

/// The door of host beta, whose only peer is alpha.
async fn beta(authority: &Authority, state: &Path) -> (SocketAddr, watch::Sender<bool>) {
    let settings = Settings {
        host: "beta".into(),
        peers: vec!["alpha".into()],
        deadlines: Deadlines::new([]),
        limits: Limits::default(),
        history: History::default(),
        must_match: MustMatch::default(),
        pools: vec!["blue".into()],
        certificate_ends_ms: None,
        probes: 0,
    };
    let journal = Journal::open(state).unwrap();
    let coordinator = Coordinator::start(settings, Arc::new(Empty), journal)
        .await
        .unwrap();
    let keys = Keys {
        ca: Certificate::from_pem(&authority.pem),
        ends_ms: None,
        identity: authority.host("beta"),
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(peers(coordinator, free, keys, vec!["alpha".into()], stopped));
    (free, stop)
}

/// Asks about a migration that beta does not know: NOT_FOUND means that the caller was let in.
async fn ask(address: SocketAddr, tls: Option<ClientTlsConfig>) -> Result<Code, tonic::transport::Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.domain_name("beta"))?;
    }
    let channel: Channel = connect(endpoint).await?;
    let request = ArrivalRequest {
        migration_id: "01a20918-8969-750c-8743-00b2279665c6".into(),
    };
    let answer = PeerServiceClient::new(channel).arrival(request).await;
    Ok(answer.expect_err("beta knows no migration").code())
}

/// The server is started beside us: refused connections are tried again for a while.
async fn connect(endpoint: Endpoint) -> Result<Channel, tonic::transport::Error> {
    let mut tried = 0;
    loop {
        match endpoint.connect().await {
            Err(_) if tried < 20 => {
                tried += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            connected => return connected,
        }
    }
}

#[tokio::test]
async fn only_a_known_peer_with_a_certificate_of_our_authority_is_let_in() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let state = tempfile::tempdir().unwrap();
    let (address, _stop) = beta(&ours, state.path()).await;
    let trusting = || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ours.pem));

    let alpha = ask(address, Some(trusting().identity(ours.host("alpha")))).await;
    assert_eq!(alpha.unwrap(), Code::NotFound, "a peer is let in");
    let stranger = ask(address, Some(trusting().identity(ours.host("gamma")))).await;
    assert_eq!(stranger.unwrap(), Code::PermissionDenied, "not a peer");
    let forged = ask(address, Some(trusting().identity(foreign.host("alpha")))).await;
    assert!(refused(&forged), "another authority: {forged:?}");
    let nobody = ask(address, Some(trusting())).await;
    assert!(refused(&nobody), "no certificate: {nobody:?}");
    let plain = ask(address, None).await;
    assert!(refused(&plain), "plain text: {plain:?}");
    let mistaken = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&foreign.pem));
    let mistaken = ask(address, Some(mistaken.identity(ours.host("alpha")))).await;
    assert!(
        mistaken.is_err(),
        "a caller that trusts another authority does not talk to us"
    );
}

/// TLS ended it: at the connect, or at the first request where the client learns of it only then.
fn refused(answer: &Result<Code, tonic::transport::Error>) -> bool {
    matches!(
        answer,
        Err(_) | Ok(Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
    )
}

#[tokio::test]
async fn a_socket_that_answers_is_not_taken_and_a_dead_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/godwitd.sock");
    let first = bind(&path, 0o660).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(
        bind(&path, 0o660)
            .unwrap_err()
            .to_string()
            .contains("another godwitd listens")
    );
    drop(first);
    bind(&path, 0o660).unwrap();
}
