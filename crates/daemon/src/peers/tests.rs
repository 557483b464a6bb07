//! What peers say, and what one says that is a version older.

use godwit_api::{
    peer::v1::{
        AdmitResponse, ArrivalResponse, GreetResponse, LookResponse, ReserveRequest, ReserveResponse,
        UnreserveResponse,
        peer_service_server::{PeerService, PeerServiceServer},
    },
    v1::Failure,
};
use godwit_migration::Guest;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response};

use super::*;

/// A host whose daemon has not heard of any of it: by gRPC alone or, with the words of its door, in a failure.
struct Older(Option<Failure>);

impl Older {
    fn unknown<A>(&self) -> Result<Response<A>, Status> {
        Err(match &self.0 {
            None => Status::unimplemented(""),
            Some(failure) => godwit_api::status::status(Code::Unimplemented, failure, Vec::new(), None),
        })
    }
}

#[tonic::async_trait]
impl PeerService for Older {
    async fn reserve(&self, _: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        self.unknown()
    }

    async fn plan(&self, _: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        self.unknown()
    }

    async fn admit(&self, _: Request<AdmitRequest>) -> Result<Response<AdmitResponse>, Status> {
        self.unknown()
    }

    async fn unreserve(&self, _: Request<UnreserveRequest>) -> Result<Response<UnreserveResponse>, Status> {
        self.unknown()
    }

    async fn look(&self, _: Request<LookRequest>) -> Result<Response<LookResponse>, Status> {
        self.unknown()
    }

    async fn arrival(&self, _: Request<ArrivalRequest>) -> Result<Response<ArrivalResponse>, Status> {
        self.unknown()
    }

    async fn greet(&self, _: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
        self.unknown()
    }

    async fn list_macs(&self, _: Request<ListMacsRequest>) -> Result<Response<ListMacsResponse>, Status> {
        self.unknown()
    }
}

/// Only beta is known, and it is such a host.
fn older(socket: &std::path::Path, words: Option<Failure>) -> Peers {
    let listener = UnixListener::bind(socket).unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(PeerServiceServer::new(Older(words)))
        .serve_with_incoming(UnixListenerStream::new(listener));
    tokio::spawn(server);
    let path = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://beta").connect_with_connector_lazy(connector);
    let beta = Peer {
        name: "beta".into(),
        address: "beta:7716".into(),
        migrate_uri: "qemu+tls://beta/system".into(),
        memory_uri: None,
    };
    Peers(BTreeMap::from([("beta".into(), (beta, channel))]))
}

#[tokio::test]
async fn a_peer_that_is_a_version_older_has_no_queue_and_is_told_by_its_name_where_a_call_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let door = Failure {
        reason: "UNIMPLEMENTED".into(),
        message: "godwitd does not know this call".into(),
        ..Failure::default()
    };
    let guest = Guest {
        name: "web-1".into(),
        uuid: "u".into(),
    };
    let brief = Brief::arrival("m".into(), guest, ("beta".into(), "alpha".into()), Vec::new());
    for (socket, words) in [("bare", None), ("door", Some(door))] {
        let peers = older(&directory.path().join(socket), words);
        let place = peers.admit(&brief).await;
        assert_eq!(place.unwrap(), 0, "it takes whoever comes");
        let short = Duration::from_secs(5);
        for refused in [
            peers.plan(&brief, None).await.unwrap_err(),
            peers.greet("beta").await.unwrap_err(),
            peers.unreserve(&brief, short).await.unwrap_err(),
        ] {
            assert_eq!(refused.reason, "PEER_REFUSED");
            assert_eq!(
                refused.message,
                "beta does not know what it was asked for: its godwitd is older than this host's"
            );
            assert_eq!(
                refused.hint,
                "upgrade godwitd on beta; `godwit hosts` shows the version of each host"
            );
        }
        let (view, why) = peers.look(&brief, true, short).await;
        assert_eq!((view.sighting, view.closed), (Sighting::Unreadable, false));
        assert!(
            why.is_some(),
            "that it is older says nothing of where the guest is"
        );
    }
}

#[test]
fn a_peers_words_say_whose_they_are() {
    let full = Cause {
        reason: "JOURNAL_FULL".into(),
        message: "journal /var/lib/godwit/godwit.db: there is no space".into(),
        hint: "df -h /var/lib/godwit".into(),
        ..Cause::default()
    };
    let told = said_by("alpha", full.clone());
    assert_eq!(told.message, format!("on alpha: {}", full.message));
    assert_eq!(told.hint, "on alpha: df -h /var/lib/godwit");
    assert_eq!(told.reason, full.reason);
    // Named already, or nothing to say.
    let named = Cause {
        message: "host alpha has no free VF in pool `fabric`".into(),
        ..Cause::default()
    };
    assert_eq!(said_by("alpha", named.clone()), named);
}
