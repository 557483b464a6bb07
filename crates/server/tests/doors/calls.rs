//! A host that calls another one: with the keys of the day, and no one whose certificate was revoked.

use godwit_server::Keys;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{authority::Authority, host::Beta};

/// The beginning of HTTP/2, and settings: none.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Beta speaks: it has taken the certificate that it was shown, too.
async fn call(beta: &Beta, keys: &Keys) -> std::io::Result<()> {
    let stream = TcpStream::connect(beta.address).await?;
    let name = ServerName::try_from("beta").unwrap();
    let mut stream = TlsConnector::from(keys.client()).connect(name, stream).await?;
    stream.write_all(HELLO).await?;
    stream.read_exact(&mut [0; 9]).await.map(drop)
}

#[tokio::test]
async fn a_host_calls_with_new_keys_without_a_restart() {
    let beta = Beta::new().await;
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::read(Authority::new().files(directory.path(), "alpha", 2099)).unwrap();
    call(&beta, &keys).await.unwrap_err();
    // All of them, in the place of those before.
    beta.authority.files(directory.path(), "alpha", 2099);
    call(&beta, &keys).await.unwrap();
    // What cannot be used changes nothing.
    std::fs::write(directory.path().join("host.key"), "no key").unwrap();
    call(&beta, &keys).await.unwrap();
    // Its own authority's, and ended: beta does not take it.
    beta.authority.files(directory.path(), "alpha", 2001);
    call(&beta, &keys).await.unwrap_err();
}

#[tokio::test]
async fn a_called_host_whose_certificate_was_revoked_is_refused_from_the_next_connection_on() {
    let beta = Beta::new().await;
    let directory = tempfile::tempdir().unwrap();
    let mut files = beta.authority.files(directory.path(), "alpha", 2099);
    let list = directory.path().join("revoked.pem");
    std::fs::write(&list, beta.authority.list(&[])).unwrap();
    files.crl = Some(list.clone());
    let keys = Keys::read(files).unwrap();
    call(&beta, &keys).await.unwrap();
    let theirs = std::fs::read(beta.directory.path().join("host.pem")).unwrap();
    std::fs::write(&list, beta.authority.list_of(&theirs)).unwrap();
    let refused = call(&beta, &keys).await.unwrap_err();
    assert!(
        refused.to_string().to_lowercase().contains("revoked"),
        "{refused}"
    );
    // Beta did nothing wrong at its own door.
    assert!(beta.audited().await.iter().all(|line| line["call"] == "TLS"));
}
