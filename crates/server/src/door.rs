//! Connections: taken in, made secure, bounded, and ended.

use std::{
    future::poll_fn,
    io::Cursor,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

use crate::{
    access::Operator,
    gate::{Gate, Turned},
    keys::Keys,
    limits::{HEADERS, Limits, WINDOW},
    local::Groups,
    names,
    places::{Place, Places},
    who::Who,
};

/// How HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A listener that fails (no file descriptor is left) is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// A door: a listener is given to it, and it serves until it is told to stop.
#[derive(Clone, Debug)]
pub struct Door {
    gate: Arc<Gate>,
    limits: Limits,
    places: Places,
    stop: watch::Receiver<bool>,
}

impl Door {
    /// In front of this gate; `stop` turns true, or its sender goes, when it is to close.
    pub fn new(gate: Gate, limits: Limits, stop: watch::Receiver<bool>) -> Door {
        Door {
            gate: Arc::new(gate),
            places: Places::new(limits.connections, limits.connections_of_one),
            limits,
            stop,
        }
    }

    /// Serves the users of this host. Dropped, it breaks off what is being answered.
    pub async fn local(self, listener: UnixListener, groups: Groups) {
        let groups = Arc::new(groups);
        let mut talks = JoinSet::new();
        while let Some(taken) = self
            .next(&mut talks, |context| listener.poll_accept(context))
            .await
        {
            let (stream, _) = taken;
            let Ok(credentials) = stream.peer_cred() else {
                continue;
            };
            let (uid, gid) = (credentials.uid(), credentials.gid());
            let Some(place) = self.place(format!("user {uid}"), format!("uid {uid}"), &mut talks) else {
                continue;
            };
            talks.spawn(
                self.clone()
                    .talk_local(stream, (uid, gid), Arc::clone(&groups), place),
            );
        }
        while talks.join_next().await.is_some() {}
    }

    /// Serves hosts and operators elsewhere: mutual TLS, or nothing.
    pub async fn network(self, listener: TcpListener, keys: Arc<Keys>, known: Arc<Known>) {
        let mut talks = JoinSet::new();
        while let Some((stream, from)) = self
            .next(&mut talks, |context| listener.poll_accept(context))
            .await
        {
            let Some(place) = self.place(address(from.ip()), from.to_string(), &mut talks) else {
                continue;
            };
            let guests = (Arc::clone(&keys), Arc::clone(&known));
            talks.spawn(self.clone().talk_tls(stream, from, guests, place));
        }
        while talks.join_next().await.is_some() {}
    }

    /// The next connection; none when it is time to stop.
    async fn next<C>(
        &self,
        talks: &mut JoinSet<()>,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<std::io::Result<C>> + Send,
    ) -> Option<C> {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return None,
                Some(_) = talks.join_next() => {}
                accepted = poll_fn(&mut accept) => match accepted {
                    Ok(connection) => return Some(connection),
                    Err(error) => {
                        warn!("no connection can be taken in: {error}");
                        tokio::time::sleep(AGAIN).await;
                    }
                },
            }
        }
    }

    /// Nobody who comes waits for the line about who did not get one.
    fn place(&self, whose: String, from: String, talks: &mut JoinSet<()>) -> Option<Place> {
        let taken = self.places.take(whose.clone());
        let turned = |why| Turned {
            who: "nobody".into(),
            from,
            address: whose,
            at: "connection",
            reason: "TOO_MANY_REQUESTS",
            why,
        };
        let gate = Arc::clone(&self.gate);
        taken
            .map_err(|why| talks.spawn(async move { gate.turned_away(turned(why)).await }))
            .ok()
    }

    async fn talk_local(self, stream: UnixStream, ids: (u32, u32), groups: Arc<Groups>, place: Place) {
        let asked = tokio::task::spawn_blocking(move || groups.who(ids.0, ids.1));
        match timeout(self.limits.hello, asked).await {
            Ok(Ok(who)) => self.talk(stream, who, place).await,
            _ => warn!("the user database says nothing of uid {} in time", ids.0),
        }
    }

    async fn talk_tls(
        self,
        stream: TcpStream,
        from: SocketAddr,
        (keys, known): (Arc<Keys>, Arc<Known>),
        place: Place,
    ) {
        // Small answers are not held back to be sent together.
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(keys.server());
        let why = match timeout(self.limits.hello, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return self.talk_as(stream, from, &known, place).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("TLS was not through in {} ms", self.limits.hello.as_millis()),
        };
        let turned = Turned {
            who: "nobody".into(),
            from: from.to_string(),
            address: address(from.ip()),
            at: "TLS",
            reason: "NOT_ALLOWED",
            why,
        };
        self.gate.turned_away(turned).await;
    }

    /// Who it is stands in its certificate.
    async fn talk_as(self, stream: TlsStream<TcpStream>, from: SocketAddr, known: &Known, place: Place) {
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let names = shown.first().map(|first| names::names(first)).unwrap_or_default();
        let who = Who::named(&names, &known.peers, &known.operators, from);
        self.talk(stream, who, place).await;
    }

    /// HTTP/2 until its end.
    async fn talk<IO>(mut self, stream: IO, who: Who, place: Place)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let name = who.name();
        let stream = match greeted(stream, self.limits.hello).await {
            Ok(stream) => stream,
            Err(None) => return debug!(who = %name, "it said nothing and went"),
            Err(Some(why)) => {
                let turned = Turned {
                    who: name,
                    from: who.from(),
                    address: place.whose().to_owned(),
                    at: "HTTP/2",
                    reason: "INVALID",
                    why,
                };
                return self.gate.turned_away(turned).await;
            }
        };
        let service = TowerToHyperService::new(self.gate.passage(who));
        let mut connection = std::pin::pin!(self.http().serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = stopped(&mut self.stop) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(who = %name, "its connection ended: {error}");
        }
    }

    fn http(&self) -> http2::Builder<TokioExecutor> {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(HEADERS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .keep_alive_interval(self.limits.silence)
            .keep_alive_timeout(self.limits.sign_of_life);
        http
    }
}

/// A sender that has gone is a stop as well.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whom a host knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Names of the hosts that it exchanges guests with.
    pub peers: Vec<String>,
    /// Who else may come in over the network.
    pub operators: Vec<Operator>,
}

/// The stream, once HTTP/2 has begun on it; else why it has not, where anything was said or waited for.
async fn greeted<IO>(
    stream: IO,
    within: Duration,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin, Option<String>>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut reader, writer) = tokio::io::split(stream);
    let mut hello = Vec::with_capacity(PREFACE.len());
    let most = PREFACE.len() as u64;
    let read = timeout(within, (&mut reader).take(most).read_to_end(&mut hello)).await;
    match read {
        Err(_) => Err(Some(format!("HTTP/2 did not begin in {} ms", within.as_millis()))),
        Ok(_) if hello.is_empty() => Err(None),
        Ok(_) if hello != PREFACE => Err(Some("it does not speak HTTP/2".into())),
        Ok(_) => Ok(tokio::io::join(Cursor::new(hello).chain(reader), writer)),
    }
}

/// Whose place it is: of IPv6 the network counts, because a host has as many addresses in it as it likes.
fn address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{:x}/64", u128::from(ip) >> 64),
    }
}
