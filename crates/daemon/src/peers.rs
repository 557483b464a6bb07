//! The other hosts' daemons, as this host asks them.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use godwit_api::{
    peer::v1::{
        AdmitRequest, ArrivalRequest, GreetRequest, ListMacsRequest, ListMacsResponse, LookRequest,
        PlanRequest, PlanResponse, Sighting as WireSighting, UnreserveRequest,
        peer_service_client::PeerServiceClient,
    },
    status, v1 as api,
};
use godwit_coordinator::{retry::Policy, words};
use godwit_migration::{
    Brief, Cause, DestinationView, HostRefusal, MacAddress, PciAddress, Sighting, plan::Needs,
};
use godwit_server::{Files, Keys};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use crate::{
    cause::{CauseExt, cause, refused},
    config::{Config, Peer},
};

/// One request is not waited for longer.
const REQUEST: Duration = Duration::from_secs(10);

/// Who waits for room has its VF still: a destination that is away for a moment is waited for a little longer.
const ADMIT: Duration = Duration::from_secs(30);

/// As `told` says it of a call that a peer does not know.
const UNKNOWN_CALL: &str = "is older than this host's";

/// Every host that this one may ask.
#[derive(Debug, Clone)]
pub(crate) struct Peers(BTreeMap<String, (Peer, Channel)>);

/// TLS is to be through by then.
const CONNECT: Duration = Duration::from_secs(5);

/// The keys of the configuration.
pub(crate) fn keys(config: &Config) -> anyhow::Result<Option<Arc<Keys>>> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let files = Files {
        ca: tls.ca.clone(),
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        crl: tls.crl.clone(),
    };
    Ok(Some(Arc::new(Keys::read(files)?)))
}

/// A connection to the peer, with the keys as they are by then: it shows the peer's name, or is none.
async fn connect(peer: Peer, keys: Arc<Keys>) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let connect = async {
        let name = ServerName::try_from(peer.name.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(&peer.address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(keys.client()).connect(name, stream).await
    };
    let connected = tokio::time::timeout(CONNECT, connect).await;
    connected
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map(TokioIo::new)
}

impl Peers {
    /// Channels connect when they are first used, and again after every loss.
    pub(crate) fn new(config: &Config, keys: Option<&Arc<Keys>>) -> anyhow::Result<Peers> {
        let Some(keys) = keys else {
            return Ok(Peers(BTreeMap::new()));
        };
        let channel = |peer: &Peer| -> anyhow::Result<_> {
            // TLS is the connector's, so that it has the keys of the day.
            let endpoint = Endpoint::from_shared(format!("http://{}", peer.address))?
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5));
            let (to, keys) = (peer.clone(), Arc::clone(keys));
            let connector = service_fn(move |_| connect(to.clone(), Arc::clone(&keys)));
            Ok((
                peer.name.clone(),
                (peer.clone(), endpoint.connect_with_connector_lazy(connector)),
            ))
        };
        Ok(Peers(config.peers.iter().map(channel).collect::<Result<_, _>>()?))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.0.values().map(|(peer, _)| peer)
    }

    /// The peer of that name.
    pub(crate) fn peer(&self, name: &str) -> Result<&Peer, Cause> {
        Ok(&self.get(name)?.0)
    }

    /// The connection to the peer of that name, for what is no single question.
    pub(crate) fn channel(&self, name: &str) -> Result<Channel, Cause> {
        Ok(self.get(name)?.1.clone())
    }

    fn get(&self, name: &str) -> Result<&(Peer, Channel), Cause> {
        self.0.get(name).ok_or_else(|| {
            let known = self.0.keys().cloned().collect::<Vec<_>>().join(", ");
            refused(HostRefusal::Unknown {
                host: name.into(),
                here: "this host".into(),
                known,
            })
        })
    }

    /// Asks the destination to hold VFs; those that it holds.
    pub(crate) async fn reserve(
        &self,
        brief: &Brief,
        within: Duration,
    ) -> Result<Vec<(MacAddress, PciAddress)>, Cause> {
        let response = self
            .ask(
                brief,
                within,
                words::reserve_request(brief),
                async |mut client, request| client.reserve(request).await,
            )
            .await?;
        let odd = || {
            cause(
                "PEER_ANSWER",
                format!("{} answered Reserve with something else", brief.peer()),
            )
        };
        let held: Vec<_> = response
            .held
            .iter()
            .map(|held| Some((held.mac.parse().ok()?, held.vf.parse().ok()?)))
            .collect::<Option<_>>()
            .ok_or_else(odd)?;
        let complete = brief
            .pairs
            .iter()
            .all(|pair| held.iter().any(|(mac, _)| *mac == pair.mac));
        // With another policy there may be none at all.
        let may_lack = brief.policy != godwit_migration::Policy::Require && held.is_empty();
        if complete || may_lack {
            Ok(held)
        } else {
            Err(odd())
        }
    }

    /// What the destination would hold now, and what stands in the guest's way there; asked once.
    pub(crate) async fn plan(&self, brief: &Brief, needs: Option<&Needs>) -> Result<PlanResponse, Cause> {
        let (peer, channel) = self.get(brief.peer())?;
        let asked = match needs {
            Some(needs) => words::plan_request(brief, needs),
            None => PlanRequest {
                reserve: Some(words::reserve_request(brief)),
                ..Default::default()
            },
        };
        let mut client = PeerServiceClient::new(channel.clone()).max_decoding_message_size(1024 * 1024);
        let answer = tokio::time::timeout(REQUEST, client.plan(asked)).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let answer = answer.map_err(|status| told(&peer.name, &status))?;
        Ok(answer.into_inner())
    }

    /// The migration's place in the destination's queue of transfers; 0: it may begin.
    pub(crate) async fn admit(&self, brief: &Brief) -> Result<u32, Cause> {
        let request = AdmitRequest {
            migration_id: brief.id.clone(),
        };
        let answer = self.ask(brief, ADMIT, request, async |mut client, request| {
            client.admit(request).await
        });
        match answer.await {
            // A destination that is one version older knows no queue: it takes whoever comes.
            Err(cause) if cause.reason == "PEER_REFUSED" && cause.message.contains(UNKNOWN_CALL) => Ok(0),
            answer => Ok(answer?.place),
        }
    }

    /// Tells the destination that the guest stays.
    pub(crate) async fn unreserve(&self, brief: &Brief, within: Duration) -> Result<(), Cause> {
        let request = UnreserveRequest {
            migration_id: brief.id.clone(),
            guest_uuid: brief.guest.uuid.clone(),
        };
        self.ask(brief, within, request, async |mut client, request| {
            client.unreserve(request).await
        })
        .await?;
        Ok(())
    }

    /// What the destination sees of the guest; with `close`, and the guest absent, also its promise. A host that
    /// cannot be asked is unreadable: the second value says why.
    pub(crate) async fn look(
        &self,
        brief: &Brief,
        close: bool,
        within: Duration,
    ) -> (DestinationView, Option<Cause>) {
        let request = LookRequest {
            migration_id: brief.id.clone(),
            guest_uuid: brief.guest.uuid.clone(),
            close,
        };
        let looked = self.ask(brief, within, request, async |mut client, request| {
            client.look(request).await
        });
        match looked.await {
            Ok(answer) => {
                let mut view = DestinationView {
                    sighting: sighting(answer.sighting()),
                    closed: answer.closed,
                    ran: false,
                };
                // It may have come and gone on, or been shut down there.
                let not_there = matches!(view.sighting, Sighting::Absent | Sighting::ShutOff);
                if not_there && !view.closed {
                    view.ran = self.ran_there(brief, within).await;
                }
                (view, None)
            }
            Err(cause) => (
                DestinationView {
                    sighting: Sighting::Unreadable,
                    closed: false,
                    ran: false,
                },
                Some(cause),
            ),
        }
    }

    /// The destination's record says that the guest has come by this migration.
    pub(crate) async fn has_arrived(&self, brief: &Brief, within: Duration) -> bool {
        let record = self.arrival(brief, within).await;
        record.is_ok_and(|record| record.moved() == api::Moved::Yes)
    }

    /// The destination's record says that the guest arrived, whatever became of it then.
    async fn ran_there(&self, brief: &Brief, within: Duration) -> bool {
        match self.arrival(brief, within).await {
            Ok(record) => matches!(record.moved(), api::Moved::Yes | api::Moved::Gone),
            Err(_) => false,
        }
    }

    /// The other host's record of the migration.
    pub(crate) async fn arrival(&self, brief: &Brief, within: Duration) -> Result<api::Migration, Cause> {
        let request = ArrivalRequest {
            migration_id: brief.id.clone(),
        };
        let response = self
            .ask(brief, within, request, async |mut client, request| {
                client.arrival(request).await
            })
            .await?;
        response
            .migration
            .ok_or_else(|| cause("PEER_ANSWER", format!("{} has no record", brief.peer())))
    }

    /// The other host's record; none if it never heard of the migration.
    pub(crate) async fn record(&self, brief: &Brief) -> Result<Option<api::Migration>, Cause> {
        match self.arrival(brief, REQUEST).await {
            Err(cause) if cause.reason == "MIGRATION_UNKNOWN" => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// How the peer is. Asked once: whoever wants to know waits in front of a screen, and says for how long.
    pub(crate) async fn greet(&self, peer: &str) -> Result<api::Host, Cause> {
        let (peer, channel) = self.get(peer)?;
        let answer = PeerServiceClient::new(channel.clone())
            .greet(GreetRequest {})
            .await;
        let answer = answer.map_err(|status| told(&peer.name, &status))?.into_inner();
        answer
            .host
            .ok_or_else(|| cause("PEER_ANSWER", format!("{} did not say how it is", peer.name)))
    }

    /// The MACs that the peer has. Asked once.
    pub(crate) async fn macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        let (peer, channel) = self.get(peer)?;
        let mut client = PeerServiceClient::new(channel.clone()).max_decoding_message_size(1024 * 1024);
        let answer = client.list_macs(ListMacsRequest {}).await;
        Ok(answer.map_err(|status| told(&peer.name, &status))?.into_inner())
    }

    /// Asks until there is an answer or the time is over. Everything asked of a peer is harmless to repeat.
    async fn ask<Q: Clone, A>(
        &self,
        brief: &Brief,
        within: Duration,
        request: Q,
        call: impl AsyncFn(PeerServiceClient<Channel>, Q) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, Cause> {
        let (peer, channel) = self.get(brief.peer())?;
        let attempt = || async {
            let client = PeerServiceClient::new(channel.clone()).max_decoding_message_size(1024 * 1024);
            match tokio::time::timeout(REQUEST.min(within), call(client, request.clone())).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("no answer")),
            }
        };
        let answer = Policy::NEAR.retry(within, status::is_passing, attempt).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| told(&peer.name, &status))
    }
}

/// The peer's own words if it refused, or that it cannot be reached.
fn told(host: &str, status: &Status) -> Cause {
    if status.code() == Code::Unimplemented {
        let message = format!("{host} does not know what it was asked for: its godwitd {UNKNOWN_CALL}");
        return cause("PEER_REFUSED", message).hint(format!(
            "upgrade godwitd on {host}; `godwit hosts` shows the version of each host"
        ));
    }
    if let Some(failure) = status::failure(status) {
        return said_by(host, words::cause_of(failure));
    }
    if status::is_passing(status) {
        let detail = status.message().to_owned();
        return refused(HostRefusal::Unreachable {
            host: host.into(),
            detail,
        })
        .because(status);
    }
    peer_refused(host, status.message())
}

fn peer_refused(host: &str, words: &str) -> Cause {
    cause("PEER_REFUSED", format!("{host} refused: {words}"))
        .hint(format!("on {host}: journalctl -u godwitd"))
}

/// What a peer says of itself, for people at this host.
fn said_by(host: &str, said: Cause) -> Cause {
    let there = |text: String| match text.is_empty() || text.contains(host) {
        true => text,
        false => format!("on {host}: {text}"),
    };
    Cause {
        message: there(said.message),
        hint: there(said.hint),
        ..said
    }
}

fn sighting(wire: WireSighting) -> Sighting {
    match wire {
        WireSighting::Absent => Sighting::Absent,
        WireSighting::Incoming => Sighting::Incoming,
        WireSighting::Running => Sighting::Running,
        WireSighting::Paused => Sighting::Paused,
        WireSighting::ShutOff => Sighting::ShutOff,
        WireSighting::Split => Sighting::Split,
        WireSighting::Unreadable | WireSighting::Unspecified => Sighting::Unreadable,
    }
}

#[cfg(test)]
mod tests;
