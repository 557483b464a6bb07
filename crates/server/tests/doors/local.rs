//! This host's socket: deadlines, sizes, and what does not speak HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use godwit_api::{
    peer::v1::{ReserveRequest, UnreserveRequest, peer_service_client::PeerServiceClient},
    v1::{
        AdoptGuestRequest, GetMigrationRequest, ListVfsRequest, Policy, WatchMigrationRequest,
        guest_service_client::GuestServiceClient, host_service_client::HostServiceClient,
        migration_service_client::MigrationServiceClient,
    },
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
    // Who opens it and goes has asked for nothing.
    drop(UnixStream::connect(&beta.socket).await.unwrap());
    let audited = beta.audited().await;
    assert_eq!(audited.len(), 2, "{audited:?}");
    let uid = rustix::process::getuid().as_raw();
    for line in audited {
        assert_eq!(
            (&line["from"], &line["call"], &line["reason"], &line["accepted"]),
            (
                &format!("uid {uid}").into(),
                &"HTTP/2".into(),
                &"INVALID".into(),
                &false.into()
            )
        );
    }
}

/// A watch of a second, at a door that answers within 300 ms, for a caller who would wait no longer.
#[tokio::test]
async fn a_watch_outlives_its_callers_deadline_and_ours() {
    let mut limits = patient();
    limits.answer = Duration::from_millis(300);
    let beta = Beta::with(limits, Duration::ZERO).await;
    let id = "01a20918-8969-750c-8743-00b2279665c6";
    let guest = "6f0e6a5e-0000-4000-8000-000000000001";
    let mut alpha = PeerServiceClient::new(beta.channel_as("alpha"));
    let request = ReserveRequest {
        migration_id: id.into(),
        guest: "web-1".into(),
        guest_uuid: guest.into(),
        policy: Policy::StandbyOnly.into(),
        ..Default::default()
    };
    // On a slow disk there is no answer in time, and what was begun goes on.
    let _ = alpha.reserve(request).await;
    let sender = bare(&beta).await;
    let bare = tower::service_fn(move |request| sender.clone().send_request(request));
    let mut client = MigrationServiceClient::with_origin(bare, "http://beta".parse().unwrap());
    let begun = Instant::now();
    let mut watch = loop {
        let mut request = Request::new(WatchMigrationRequest {
            id: id.into(),
            after_revision: 0,
        });
        let metadata = request.metadata_mut();
        metadata.insert("grpc-timeout", "300m".parse().unwrap());
        match client.watch_migration(request).await {
            Ok(watch) => break watch.into_inner(),
            Err(status) if begun.elapsed() < Duration::from_secs(10) => {
                assert_eq!(status.code(), Code::NotFound);
            }
            Err(status) => panic!("{status:?}"),
        }
    };
    let first = watch.message().await.unwrap().unwrap().migration.unwrap();
    assert!(!first.ended);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let request = UnreserveRequest {
        migration_id: id.into(),
        guest_uuid: guest.into(),
    };
    let _ = alpha.unreserve(request).await;
    let mut last = first;
    while let Some(answer) = watch.message().await.unwrap() {
        last = answer.migration.unwrap();
    }
    assert!(last.ended, "the watch went on to the end: {last:?}");
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The next frame: its kind, stream and payload.
async fn next(stream: &mut UnixStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    (head[3], number, payload)
}

#[tokio::test]
async fn a_connection_has_only_so_many_requests_at_once_and_one_more_is_refused() {
    let mut limits = patient();
    limits.streams = 3;
    let beta = Beta::with(limits, Duration::from_secs(60)).await;
    let mut stream = UnixStream::connect(&beta.socket).await.unwrap();
    // Who heeds nothing of what it is told: five requests whose bodies never end.
    let path = "/godwit.v1.HostService/ListVfs";
    let mut block = vec![0x83, 0x86, 0x44, u8::try_from(path.len()).unwrap()];
    block.extend(path.bytes());
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &[]));
    for request in [1, 3, 5, 7, 9] {
        // END_HEADERS alone.
        hello.extend(frame(HEADERS, 4, request, &block));
    }
    stream.write_all(&hello).await.unwrap();
    let (mut told, mut refused) = (None, Vec::new());
    while refused.len() < 2 {
        let frame = tokio::time::timeout(Duration::from_secs(5), next(&mut stream)).await;
        match frame.expect("two of them are refused") {
            (SETTINGS, 0, settings) => {
                let most = settings.chunks(6).find(|setting| setting[..2] == [0, 3]);
                told = told.or(most.map(|most| most[5]));
            }
            (RESET, request, code) => refused.push((request, code)),
            _ => {}
        }
    }
    assert_eq!(told, Some(3), "MAX_CONCURRENT_STREAMS");
    // REFUSED_STREAM: it was not begun, and may be asked again.
    assert_eq!(refused, [(7, vec![0, 0, 0, 7]), (9, vec![0, 0, 0, 7])]);
}
