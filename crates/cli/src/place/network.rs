//! A connection to a daemon over the network: TLS 1.3, our certificate, and the name that the host's must have; as the
//! daemons have it among themselves. No proxy is used, whatever the environment says.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use godwit_server::Keys;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, CertificateError, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Remote;

/// From the first packet to the host's first word.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// How HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody there, or nobody in time.
    #[error("{address} cannot be reached")]
    Away { address: String, source: io::Error },
    /// What is there is not the host that is meant.
    #[error("{address} is not known to be {name}: {detail}")]
    NotTrusted {
        address: String,
        name: String,
        detail: String,
    },
    /// The host is the one, and does not take our certificate.
    #[error("{address} does not accept the certificate of context {context}")]
    NotTaken {
        address: String,
        context: String,
        source: io::Error,
    },
}

/// A connection on which the host has said its first word, so that whoever it does not let in knows why.
pub(crate) async fn connect(remote: &Remote, keys: &Keys) -> Result<Begun, ConnectError> {
    let away = |source| ConnectError::Away {
        address: remote.address.to_string(),
        source,
    };
    match timeout(CONNECT, begin(remote, keys)).await {
        Ok(begun) => begun,
        Err(_) => {
            let silence = format!("no answer within {} s", CONNECT.as_secs());
            Err(away(io::Error::new(io::ErrorKind::TimedOut, silence)))
        }
    }
}

async fn begin(remote: &Remote, keys: &Keys) -> Result<Begun, ConnectError> {
    let away = |source| ConnectError::Away {
        address: remote.address.to_string(),
        source,
    };
    let not_trusted = |detail| ConnectError::NotTrusted {
        address: remote.address.to_string(),
        name: remote.name.clone(),
        detail,
    };
    let name = ServerName::try_from(remote.name.clone())
        .map_err(|_| not_trusted("that is no name that a certificate can have".into()))?;
    let to = (remote.address.host.as_str(), remote.address.port);
    let stream = TcpStream::connect(to).await.map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    let shaken = TlsConnector::from(keys.client()).connect(name, stream).await;
    let stream = shaken.map_err(|error| match tls(&error) {
        Some(rustls::Error::AlertReceived(_)) => not_taken(remote, error),
        Some(told) => not_trusted(told_of(told, remote)),
        None => away(error),
    })?;
    // With TLS 1.3 a client is through before the host has looked at its certificate. So HTTP/2 is begun here, and the
    // host's first word is waited for: its settings, or that it does not take the certificate.
    let mut stream = BufReader::new(stream);
    let greeted = async {
        stream.write_all(PREFACE).await?;
        stream.flush().await?;
        match stream.fill_buf().await?.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    };
    greeted.await.map_err(|error| not_taken(remote, error))?;
    Ok(Begun {
        stream,
        said: PREFACE.len(),
    })
}

fn not_taken(remote: &Remote, source: io::Error) -> ConnectError {
    ConnectError::NotTaken {
        address: remote.address.to_string(),
        context: remote.context.clone(),
        source,
    }
}

fn tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn told_of(error: &rustls::Error, remote: &Remote) -> String {
    use CertificateError::*;
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            UnknownIssuer | BadSignature => format!(
                "its certificate is not of the authority in {}",
                remote.files.ca.display()
            ),
            NotValidForName | NotValidForNameContext { .. } => "its certificate has another name".into(),
            Expired | ExpiredContext { .. } => "its certificate has ended".into(),
            NotValidYet | NotValidYetContext { .. } => {
                "its certificate is not valid yet (or a clock is wrong)".into()
            }
            Revoked => "its certificate was revoked".into(),
            other => other.to_string(),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".into(),
        other => other.to_string(),
    }
}

/// The connection for HTTP/2, whose beginning was sent already.
#[derive(Debug)]
pub(crate) struct Begun {
    stream: BufReader<TlsStream<TcpStream>>,
    /// Bytes of [`PREFACE`] that HTTP/2 will want to send once more.
    said: usize,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let again = self.said.min(bytes.len());
        if again > 0 {
            self.said -= again;
            return Poll::Ready(Ok(again));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
