//! Who comes over the network.

use std::time::{Duration, Instant};

use godwit_api::{
    peer::v1::{ArrivalRequest, GreetRequest, peer_service_client::PeerServiceClient},
    v1::{
        AdoptGuestRequest, CancelMigrationRequest, CreateMigrationRequest, ListHoldsRequest,
        QuarantineVfRequest, guest_service_client::GuestServiceClient,
        host_service_client::HostServiceClient, migration_service_client::MigrationServiceClient,
    },
};
use godwit_server::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Status, transport::Channel};

use crate::{
    authority::Authority,
    host::{Beta, patient, reason, turned_away},
};

const UNKNOWN: &str = "01a20918-8969-750c-8743-00b2279665c6";

/// Asks about a migration that beta does not know: NOT_FOUND means that the caller was let in.
async fn ask(channel: Channel) -> Status {
    let request = ArrivalRequest {
        migration_id: UNKNOWN.into(),
    };
    let answer = PeerServiceClient::new(channel).arrival(request).await;
    answer.expect_err("beta knows no migration")
}

#[tokio::test]
async fn only_a_known_peer_with_a_certificate_of_our_authority_is_let_in() {
    let beta = Beta::new().await;
    let (ours, foreign) = (&beta.authority, Authority::new());
    let alpha = ask(beta.channel_as("alpha")).await;
    assert_eq!(
        (alpha.code(), reason(&alpha).as_str()),
        (Code::NotFound, "MIGRATION_UNKNOWN")
    );
    let stranger = ask(beta.channel_as("gamma")).await;
    assert_eq!(
        (stranger.code(), reason(&stranger).as_str()),
        (Code::PermissionDenied, "NOT_ALLOWED")
    );
    let (certificate_of, trusting) = (foreign.client("alpha"), ours.trusted());
    let forged = certificate_of.ca_certificate(tonic::transport::Certificate::from_pem(&ours.pem));
    for (what, tls) in [
        ("another authority", Some(forged)),
        ("no certificate", Some(trusting)),
        ("expired", Some(ours.client_until("alpha", 2001))),
        ("plain text", None),
        (
            "a caller that trusts another authority",
            Some(foreign.client("alpha")),
        ),
        ("a caller that looks for another host", Some(ours.client("alpha"))),
    ] {
        let channel = match what {
            "a caller that looks for another host" => {
                let uri = format!("https://{}", beta.address);
                let endpoint = tonic::transport::Endpoint::from_shared(uri).unwrap();
                endpoint
                    .tls_config(tls.unwrap().domain_name("delta"))
                    .unwrap()
                    .connect_lazy()
            }
            _ => beta.channel(tls),
        };
        let answer = ask(channel).await;
        assert!(turned_away(&answer), "{what}: {answer:?}");
    }
    let audited = beta.audited().await;
    let strange = audited.iter().find(|line| line["who"] == "certificate of gamma");
    assert_eq!(strange.unwrap()["reason"], "NOT_ALLOWED");
    let unnamed = audited
        .iter()
        .filter(|line| line["call"] == "TLS" && line["accepted"] == false);
    assert!(unnamed.count() >= 4, "{audited:?}");
}

#[tokio::test]
async fn each_may_do_what_its_role_says_and_hosts_only_what_hosts_need() {
    let beta = Beta::new().await;
    let codes = async |name: &str| {
        let channel = beta.channel_as(name);
        let mut hosts = HostServiceClient::new(channel.clone());
        let mut migrations = MigrationServiceClient::new(channel.clone());
        let code = |answer: Option<Status>| answer.map_or(Code::Ok, |status| status.code());
        let cancel = CancelMigrationRequest { id: UNKNOWN.into() };
        let keep = QuarantineVfRequest {
            vf: "0000:01:10.0".into(),
            because: String::new(),
        };
        [
            code(hosts.list_holds(ListHoldsRequest {}).await.err()),
            code(migrations.cancel_migration(cancel).await.err()),
            code(hosts.quarantine_vf(keep).await.err()),
            code(PeerServiceClient::new(channel).greet(GreetRequest {}).await.err()),
        ]
    };
    use Code::{FailedPrecondition as Done, NotFound, Ok as Yes, PermissionDenied as No};
    // Whoever may ask for them is told that there is no such migration, and no such VF.
    assert_eq!(codes("watcher").await, [Yes, No, No, No]);
    assert_eq!(codes("mover").await, [Yes, NotFound, No, No]);
    assert_eq!(codes("alpha").await, [No, No, No, Yes]);
    let local = HostServiceClient::new(beta.local())
        .quarantine_vf(QuarantineVfRequest {
            vf: "0000:01:10.0".into(),
            because: String::new(),
        })
        .await;
    assert_eq!(local.unwrap_err().code(), Done, "this host's own user may do all");
}

#[tokio::test]
async fn what_was_asked_is_written_down_and_no_name_writes_more_than_its_own_line() {
    let beta = Beta::new().await;
    let hostile = "web-1\n{\"who\":\"user root\",\"accepted\":true}";
    let request = CreateMigrationRequest {
        guest: hostile.into(),
        destination: "alpha".into(),
        ..Default::default()
    };
    let refused = MigrationServiceClient::new(beta.channel_as("mover"))
        .create_migration(request)
        .await;
    assert_eq!(reason(&refused.unwrap_err()), "INVALID");
    let request = AdoptGuestRequest {
        guest: "web-2".into(),
        policy: 0,
    };
    let denied = GuestServiceClient::new(beta.channel_as("watcher"))
        .adopt_guest(request)
        .await;
    assert!(
        denied
            .unwrap_err()
            .message()
            .contains("has the role view, and this needs operate")
    );
    let lines = beta.audited().await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["who"], "operator mover");
    assert_eq!(lines[0]["on"][0], format!("guest={hostile}"));
    assert_eq!(lines[0]["accepted"], false);
    assert!(lines[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(
        (&lines[1]["who"], &lines[1]["reason"]),
        (&"operator watcher".into(), &"NOT_ALLOWED".into())
    );
    // Nor may a viewer look at everything: what hosts ask each other is refused, and written down though it changes nothing.
    let greeted = PeerServiceClient::new(beta.channel_as("watcher"))
        .greet(GreetRequest {})
        .await;
    assert_eq!(reason(&greeted.unwrap_err()), "NOT_ALLOWED");
    let lines = beta.audited().await;
    assert_eq!((lines.len(), &lines[2]["who"]), (3, &"operator watcher".into()));
    // Looking at things is not written down.
    HostServiceClient::new(beta.channel_as("watcher"))
        .list_holds(ListHoldsRequest {})
        .await
        .unwrap();
    assert_eq!(beta.audited().await.len(), 3);
}

#[tokio::test]
async fn who_looked_is_written_down_where_that_is_wanted() {
    let beta = Beta::with_looks().await;
    HostServiceClient::new(beta.channel_as("watcher"))
        .list_holds(ListHoldsRequest {})
        .await
        .unwrap();
    let lines = beta.audited().await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["who"], &lines[0]["call"], &lines[0]["accepted"]),
        (
            &"operator watcher".into(),
            &"/godwit.v1.HostService/ListHolds".into(),
            &true.into()
        )
    );
}

#[tokio::test]
async fn new_keys_are_used_without_a_restart_and_broken_ones_are_not() {
    let beta = Beta::new().await;
    assert_eq!(ask(beta.channel_as("alpha")).await.code(), Code::NotFound);
    // Half of a renewal: certificate and key do not belong together, and the last good ones stay.
    let renewed = Authority::new();
    let other = tempfile::tempdir().unwrap();
    let fresh = renewed.files(other.path(), "beta", 2099);
    std::fs::copy(&fresh.certificate, beta.directory.path().join("host.pem")).unwrap();
    assert_eq!(ask(beta.channel_as("alpha")).await.code(), Code::NotFound);
    // All of it: another authority, and who only knows the old one comes in no more.
    std::fs::copy(&fresh.key, beta.directory.path().join("host.key")).unwrap();
    std::fs::copy(&fresh.ca, beta.directory.path().join("ca.pem")).unwrap();
    assert_eq!(
        ask(beta.channel(Some(renewed.client("alpha")))).await.code(),
        Code::NotFound
    );
    assert!(turned_away(&ask(beta.channel_as("alpha")).await));
}

#[tokio::test]
async fn who_is_revoked_comes_in_no_more_from_the_next_connection_on() {
    let beta = Beta::revoking().await;
    let as_alpha = |serial| beta.channel(Some(beta.authority.client_with_serial("alpha", serial)));
    let open = as_alpha(7);
    assert_eq!(ask(open.clone()).await.code(), Code::NotFound);
    let list = beta.directory.path().join("revoked.pem");
    std::fs::write(&list, beta.authority.list(&[7, 9])).unwrap();
    assert!(
        turned_away(&ask(as_alpha(7)).await),
        "the same certificate, again"
    );
    assert_eq!(
        ask(as_alpha(8)).await.code(),
        Code::NotFound,
        "the host's next one"
    );
    assert_eq!(ask(open).await.code(), Code::NotFound, "what is open stays");
    // A list that is none changes nothing; nor does one of another authority let anybody in again.
    std::fs::write(&list, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").unwrap();
    assert!(turned_away(&ask(as_alpha(9)).await));
    std::fs::remove_file(&list).unwrap();
    assert!(turned_away(&ask(as_alpha(9)).await));
    let refused = beta.audited().await;
    assert!(
        refused.iter().any(|line| line["why"]
            .as_str()
            .is_some_and(|why| why.contains("revoked") || why.contains("Revoked"))),
        "{refused:?}"
    );
}

/// The first message of a client that speaks TLS 1.2 and nothing newer: no supported_versions among its extensions.
fn hello_of_tls_1_2() -> Vec<u8> {
    let extensions: [&[u8]; 3] = [
        // supported_groups: secp256r1
        &[0, 10, 0, 4, 0, 2, 0, 23],
        // ec_point_formats: uncompressed
        &[0, 11, 0, 2, 1, 0],
        // signature_algorithms: ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4],
    ];
    let extensions = extensions.concat();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    // No session; ECDHE with ECDSA or RSA, AES-128-GCM; no compression.
    hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &hello[..]].concat()
}

#[tokio::test]
async fn who_speaks_tls_1_2_alone_is_refused_with_the_version() {
    let beta = Beta::new().await;
    let mut stream = TcpStream::connect(beta.address).await.unwrap();
    stream.write_all(&hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    read.expect("it is closed").unwrap();
    // A fatal alert, protocol_version (RFC 8446, 6.2).
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "{answer:?}");
    let audited = beta.audited().await;
    assert!(
        audited
            .iter()
            .any(|line| line["call"] == "TLS" && line["accepted"] == false),
        "{audited:?}"
    );
}

/// They come from one address, which has 64 places; who comes from many is tried at `godwit-sim`'s door.
#[tokio::test]
async fn a_thousand_silent_connections_of_one_address_keep_no_peer_out() {
    let beta = Beta::with(patient(), Duration::ZERO).await;
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        crowd.push(TcpStream::connect(beta.address).await.unwrap());
    }
    // The peer comes from the same address: its places are taken for half a second at most.
    let begun = Instant::now();
    loop {
        match ask(beta.channel_as("alpha")).await.code() {
            Code::NotFound => break,
            _ if begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            code => panic!("{code:?} after {:?}", begun.elapsed()),
        }
    }
    // And this host's own people were never kept waiting.
    HostServiceClient::new(beta.local())
        .list_holds(ListHoldsRequest {})
        .await
        .unwrap();
    drop(crowd);
    // A few lines tell of the crowd, and not one for each.
    let audited = beta.audited().await;
    let crowded = audited.iter().filter(|line| line["call"] == "connection");
    let crowded: Vec<_> = crowded.map(|line| (&line["reason"], &line["why"])).collect();
    assert!((1..100).contains(&crowded.len()), "{}", crowded.len());
    let why = "127.0.0.1 has 64 connections already";
    assert_eq!(crowded[0], (&"TOO_MANY_REQUESTS".into(), &why.into()));
}

#[tokio::test]
async fn who_says_nothing_or_says_it_byte_by_byte_is_put_out_in_time() {
    let beta = Beta::new().await;
    let ended = async |bytes: &'static [u8], pause: Duration| {
        let begun = Instant::now();
        let (mut reader, mut writer) = TcpStream::connect(beta.address).await.unwrap().into_split();
        let feeder = tokio::spawn(async move {
            for byte in bytes {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(pause).await;
            }
            // The connection stays open from this side.
            tokio::time::sleep(Duration::from_secs(20)).await;
            drop(writer);
        });
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut rest)).await;
        feeder.abort();
        assert!(read.is_ok(), "it is still open");
        begun.elapsed()
    };
    let limit = Duration::from_secs(3);
    assert!(ended(b"", Duration::ZERO).await < limit, "silence");
    // The beginning of a TLS handshake, slowly.
    let slow = ended(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        Duration::from_millis(200),
    );
    assert!(slow.await < limit, "byte by byte");
    let plain = ended(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Duration::ZERO);
    assert!(plain.await < limit, "plain HTTP/2 on the TLS port");
    let audited = beta.audited().await;
    let slow = |line: &&serde_json::Value| line["why"] == "TLS was not through in 500 ms";
    assert_eq!(audited.iter().filter(slow).count(), 2, "{audited:?}");
    assert!(
        audited
            .iter()
            .all(|line| line["call"] == "TLS" && line["accepted"] == false)
    );
}

/// Its certificate is a peer's, and its words are not.
#[tokio::test]
async fn who_shows_a_certificate_and_says_nothing_in_time_is_written_down_by_its_name() {
    let beta = Beta::new().await;
    let silent = beta.by_tls("alpha").await;
    tokio::time::sleep(patient().hello + Duration::from_millis(200)).await;
    drop(silent);
    let audited = beta.audited().await;
    assert_eq!(audited.len(), 1, "{audited:?}");
    assert_eq!(
        (&audited[0]["who"], &audited[0]["call"], &audited[0]["why"]),
        (
            &"host alpha".into(),
            &"HTTP/2".into(),
            &"HTTP/2 did not begin in 500 ms".into()
        )
    );
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again_and_nobody_else_is() {
    let limits = Limits {
        burst: 5,
        per_second: 1,
        ..patient()
    };
    let beta = Beta::with(limits, Duration::ZERO).await;
    let mut hosts = HostServiceClient::new(beta.channel_as("watcher"));
    for _ in 0..5 {
        hosts.list_holds(ListHoldsRequest {}).await.unwrap();
    }
    let status = hosts.list_holds(ListHoldsRequest {}).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_REQUESTS")
    );
    let wait = godwit_api::status::retry_after(&status).unwrap();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    assert_eq!(ask(beta.channel_as("alpha")).await.code(), Code::NotFound);
    tokio::time::sleep(wait + Duration::from_millis(100)).await;
    hosts.list_holds(ListHoldsRequest {}).await.unwrap();
}
