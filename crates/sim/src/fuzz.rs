//! Requests that nobody meant, to every call of every service, of two hosts whose world keeps watch: each is answered, none by a fault of ours, and no
//! guest is without a path meanwhile or afterwards.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use godwit_api::{DESCRIPTORS, peer::v1 as peer, status::failure, v1::CreateMigrationResponse};
use godwit_api::{
    peer::v1::peer_service_server::PeerServiceServer,
    v1::{
        guest_service_server::GuestServiceServer, host_service_server::HostServiceServer,
        migration_service_server::MigrationServiceServer,
    },
};
use godwit_coordinator::{Caller, Coordinator, GuestDesk, HostDesk, MigrationDesk, PeerDesk};
use godwit_fuzz::Target;
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::ServiceExt;

use crate::{
    Layout,
    cluster::{Cluster, Journals},
    layout::FIRST_PF,
    pace::Pace,
    world::PretendWorld,
};

/// In a request: the id of the migration that was begun last. As long as one.
const LAST: &str = "01a20918-0000-7000-8000-00000000last";

const HOSTS: [&str; 2] = ["alpha", "beta"];

/// No call is without an answer for so long, by the world's own clock.
const ANSWERED: Duration = Duration::from_secs(900);

/// A call, and a request with something in each of its fields.
struct Call {
    path: String,
    whole: Vec<u8>,
    of_peers: bool,
}

fn calls() -> Vec<Call> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let file = set
        .file
        .iter()
        .find(|file| file.package() == "godwit.v1")
        .unwrap();
    let mut all = Vec::new();
    for service in &file.service {
        for method in &service.method {
            let input = method.input_type().rsplit('.').next().unwrap();
            let message = file.message_type.iter().find(|message| message.name() == input);
            all.push(Call {
                path: format!("/godwit.v1.{}/{}", service.name(), method.name()),
                whole: filled(message.unwrap()),
                of_peers: false,
            });
        }
    }
    all.extend(of_peers());
    all
}

/// Every text field has what its name suggests, every number is 1.
fn filled(message: &DescriptorProto) -> Vec<u8> {
    let mut whole = Vec::new();
    for field in &message.field {
        let number = field.number() as u32;
        let text = match field.name() {
            "destination" => "beta",
            "vf" => "0000:00:10.0",
            "pf" => FIRST_PF,
            "id" => LAST,
            "request_id" | "page_token" | "mac" => "",
            _ => "web-1",
        };
        match field.r#type() {
            Type::String => prost::encoding::string::encode(number, &text.to_owned(), &mut whole),
            Type::Bool => prost::encoding::bool::encode(number, &true, &mut whole),
            Type::Message => {}
            _ => prost::encoding::uint32::encode(number, &1, &mut whole),
        }
    }
    whole
}

fn of_peers() -> Vec<Call> {
    let (migration_id, guest_uuid) = (
        "m-1".to_owned(),
        "5eed0000-0000-4000-8000-000000000001".to_owned(),
    );
    let reserve = peer::ReserveRequest {
        migration_id: migration_id.clone(),
        guest: "web-1".into(),
        guest_uuid: guest_uuid.clone(),
        pairs: vec![peer::WantedPair {
            mac: "52:54:00:00:00:10".into(),
            pool: "fabric".into(),
            alias: "ua-godwit-0".into(),
            primary_mac: "52:54:00:00:00:10".into(),
            profile: None,
        }],
        ..Default::default()
    };
    let look = peer::LookRequest {
        migration_id: migration_id.clone(),
        guest_uuid: guest_uuid.clone(),
        close: true,
    };
    let unreserve = peer::UnreserveRequest {
        migration_id: migration_id.clone(),
        guest_uuid,
    };
    let plan = peer::PlanRequest {
        reserve: Some(reserve.clone()),
        needs: None,
    };
    let bodies = [
        ("Reserve", reserve.encode_to_vec()),
        ("Plan", plan.encode_to_vec()),
        (
            "Admit",
            peer::AdmitRequest {
                migration_id: migration_id.clone(),
            }
            .encode_to_vec(),
        ),
        ("Unreserve", unreserve.encode_to_vec()),
        ("Look", look.encode_to_vec()),
        ("Arrival", peer::ArrivalRequest { migration_id }.encode_to_vec()),
        ("Greet", Vec::new()),
        ("ListMacs", Vec::new()),
    ];
    let call = |(name, whole): (&str, Vec<u8>)| Call {
        path: format!("/godwit.peer.v1.PeerService/{name}"),
        whole,
        of_peers: true,
    };
    bodies.map(call).into()
}

/// `host, call, length, body`, again and again: as much of it as there is.
fn requests<'a>(mut input: &'a [u8], calls: &'a [Call]) -> Vec<(usize, &'a Call, &'a [u8])> {
    let mut all = Vec::new();
    while let [host, call, length, rest @ ..] = input {
        let (body, after) = rest.split_at((*length as usize).min(rest.len()));
        all.push((
            *host as usize % HOSTS.len(),
            &calls[*call as usize % calls.len()],
            body,
        ));
        input = after;
    }
    all
}

fn request(host: u8, call: usize, body: &[u8]) -> Vec<u8> {
    [&[host, call as u8, body.len() as u8][..], body].concat()
}

/// All but health and reflection, which take longer to make than all that is asked of them here.
fn services(coordinator: Coordinator<PretendWorld>) -> Routes {
    Routes::new(MigrationServiceServer::new(MigrationDesk(coordinator.clone())))
        .add_service(GuestServiceServer::new(GuestDesk(coordinator.clone())))
        .add_service(HostServiceServer::new(HostDesk(coordinator.clone())))
        .add_service(PeerServiceServer::new(PeerDesk(coordinator)))
}

/// One request and the first of what comes back.
async fn ask(routes: &Routes, call: &Call, body: &[u8], caller: &str) -> Result<Bytes, Status> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(body.len() as u32);
    framed.put_slice(body);
    let mut request = http::Request::new(Body::new(Full::new(framed.freeze())));
    *request.uri_mut() = call.path.parse().unwrap();
    *request.method_mut() = http::Method::POST;
    let grpc = http::HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    request.extensions_mut().insert(Caller(caller.into()));
    let Ok(response) = routes.clone().oneshot(request).await;
    if let Some(status) =
        Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok)
    {
        return Err(status);
    }
    let mut body = response.into_body();
    // A watch of what does not change says nothing more.
    let first = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
    match first {
        Ok(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Ok(data),
            Err(frame) => {
                let status = frame.trailers_ref().and_then(Status::from_header_map);
                status
                    .filter(|status| status.code() != Code::Ok)
                    .map_or(Ok(Bytes::new()), Err)
            }
        },
        Ok(Some(Err(status))) => Err(status),
        Ok(None) | Err(_) => Ok(Bytes::new()),
    }
}

/// The reason, or what gRPC itself says of bytes that are no message.
fn refused(status: &Status) -> String {
    let known = failure(status).filter(|failure| !failure.reason.is_empty());
    let Some(known) = known else {
        let unread = status.code() == Code::Internal && status.message().contains("decode");
        assert!(unread, "refused without a reason: {status:?}");
        return "no message".into();
    };
    assert!(
        status.code() != Code::Internal && status.code() != Code::Unknown,
        "a fault of ours: {status:?}"
    );
    known.reason
}

/// Of the migration that a call began.
fn id_of(answer: &Bytes) -> Option<String> {
    // Behind a flag and the length.
    let begun = CreateMigrationResponse::decode(answer.get(5..)?).ok()?;
    Some(begun.migration?.id)
}

async fn play(calls: &[Call], input: &[u8]) -> Vec<String> {
    let layout = Layout {
        extras: false,
        ..Layout::new(2, 2)
    };
    let journals = Journals::InMemory;
    let (cluster, orders) = Cluster::new(layout.build(), Pace::Speed(1.0), &journals, true).unwrap();
    tokio::spawn(Arc::clone(&cluster).obey(orders));
    let mut routes = Vec::new();
    for host in 0..HOSTS.len() {
        cluster.start(host).await.unwrap();
        let seat = cluster.shared.seat(host).clone().unwrap();
        routes.push(services(seat.coordinator));
    }
    let (mut ends, mut last) = (Vec::new(), LAST.to_owned());
    for (host, call, body) in requests(input, calls).into_iter().take(8) {
        let body = match call.of_peers {
            true => body.to_owned(),
            false => replaced(body, &last),
        };
        let caller = HOSTS[1 - host];
        let answer = tokio::time::timeout(ANSWERED, ask(&routes[host], call, &body, caller)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{} is not answered", call.path));
        ends.push(match answer {
            Ok(answer) => {
                last = id_of(&answer)
                    .filter(|_| call.path.ends_with("/CreateMigration"))
                    .unwrap_or(last);
                format!("{} {}", call.path, answer.len().min(1))
            }
            Err(status) => format!("{} {}", call.path, refused(&status)),
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    let wrong = {
        let mut model = cluster.shared.model();
        (0..2).for_each(|guest| model.check(guest, "all requests"));
        model.wrong.clone()
    };
    cluster.stop();
    assert!(wrong.is_empty(), "{wrong:?} after {ends:?}");
    ends
}

fn replaced(body: &[u8], last: &str) -> Vec<u8> {
    let mut body = body.to_owned();
    let place = body.windows(LAST.len()).position(|part| part == LAST.as_bytes());
    if let Some(at) = place.filter(|_| last.len() == LAST.len()) {
        body[at..at + LAST.len()].copy_from_slice(last.as_bytes());
    }
    body
}

#[test]
fn fuzz_requests() {
    let target = Target {
        name: "requests",
        words: &[
            "web-1",
            "web-2",
            "alpha",
            "beta",
            LAST,
            FIRST_PF,
            "0000:00:10.0",
            "0000:00:10.2",
            "fabric",
            "52:54:00:00:00:10",
        ],
        most: 2048,
    };
    let calls = calls();
    let create = calls
        .iter()
        .position(|call| call.path.ends_with("/CreateMigration"))
        .unwrap();
    // Each alone, and each while a guest moves.
    let mut seeds = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let alone = request(u8::from(call.of_peers), index, &call.whole);
        seeds.push([request(0, create, &calls[create].whole), alone.clone()].concat());
        seeds.push(alone);
    }
    target.run(seeds, |input| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            godwit_coordinator::repeatable(7);
            // Which call came before is no kind of outcome: there would be as many as inputs.
            play(&calls, input).await.pop()
        })
    });
}
