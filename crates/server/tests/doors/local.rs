//! This host's socket: deadlines, sizes, and what does not speak HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use godwit_api::v1::{
    AdoptGuestRequest, GetMigrationRequest, ListVfsRequest, guest_service_client::GuestServiceClient,
    host_service_client::HostServiceClient, migration_service_client::MigrationServiceClient,
};
use http_body_util::StreamBody;
use hyper::{body::Frame, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tokio_stream::StreamExt;
use tonic::{Code, Request, body::Body};

use crate::host::{Beta, patient, reason};

/// A connection without tonic's client.
async fn bare(beta: &Beta) -> SendRequest<Body> {
    let stream = UnixStream::connect(&beta.socket).await.unwrap();
    let hello = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = hello.await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_callers_deadline_is_kept_by_us_and_said_so() {
    let beta = Beta::with(patient(), Duration::from_secs(60)).await;
    // A connection of hyper's: tonic's would look at the clock itself, and hang up.
    let sender = bare(&beta).await;
    let bare = tower::service_fn(move |request| sender.clone().send_request(request));
    let mut request = Request::new(ListVfsRequest {});
    request
        .metadata_mut()
        .insert("grpc-timeout", "300m".parse().unwrap());
    let begun = Instant::now();
    let mut client = HostServiceClient::with_origin(bare, "http://beta".parse().unwrap());
    let status = client.list_vfs(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE")
    );
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_request_without_a_deadline_has_ours() {
    let mut limits = patient();
    limits.answer = Duration::from_millis(300);
    let beta = Beta::with(limits, Duration::from_secs(60)).await;
    let status = HostServiceClient::new(beta.local())
        .list_vfs(ListVfsRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_message_that_never_ends_is_not_waited_for() {
    let mut limits = patient();
    limits.answer = Duration::from_millis(500);
    let beta = Beta::with(limits, Duration::ZERO).await;
    let mut sender = bare(&beta).await;
    // Of a message of 1,000 bytes one byte at a time, for ever.
    let bytes = std::iter::once(Bytes::from_static(b"\0\0\0\x03\xe8"))
        .chain(std::iter::repeat(Bytes::from_static(b"x")));
    let pieces = tokio_stream::iter(bytes).throttle(Duration::from_millis(50));
    let frames = pieces.map(|bytes| Ok::<_, std::convert::Infallible>(Frame::data(bytes)));
    let request = http::Request::post("http://beta/godwit.v1.HostService/ListVfs")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(frames)))
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), sender.send_request(request)).await;
    let answer = answer.expect("it is answered").unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_the_connection_lives() {
    let beta = Beta::new().await;
    let channel = beta.local();
    let request = AdoptGuestRequest {
        guest: "x".repeat(2 << 20),
        policy: 0,
    };
    let status = GuestServiceClient::new(channel.clone())
        .adopt_guest(request)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "RESOURCE_EXHAUSTED")
    );
    let request = GetMigrationRequest { id: "01a2".into() };
    let next = MigrationServiceClient::new(channel)
        .get_migration(request)
        .await
        .unwrap_err();
    assert_eq!(
        (next.code(), reason(&next).as_str()),
        (Code::NotFound, "MIGRATION_UNKNOWN")
    );
}

#[tokio::test]
async fn tls_or_http_1_on_the_plain_socket_is_put_out() {
    let beta = Beta::new().await;
    let hello = b"\x16\x03\x01\x00\xfa\x01\x00\x00\xf6\x03\x03aaaaaaaaaaaaaaaaaaaaaaaa";
    for bytes in [&hello[..], b"GET / HTTP/1.1\r\nHost: beta\r\n\r\n"] {
        let mut stream = UnixStream::connect(&beta.socket).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        // Closed at once, or reset because more had come than was read.
        assert!(read.is_ok(), "it is still open");
        assert!(rest.is_empty(), "{rest:?}");
    }
}
