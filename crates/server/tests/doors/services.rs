//! Health and reflection, as clients ask for them that know nothing of Godwit.

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::host::Beta;

/// All together, and each.
const SERVICES: [&str; 4] = [
    "",
    "godwit.v1.MigrationService",
    "godwit.v1.GuestService",
    "godwit.v1.HostService",
];

#[tokio::test]
async fn health_is_told_to_whoever_is_known_for_all_and_for_each_service() {
    let beta = Beta::new().await;
    for channel in [beta.local(), beta.channel_as("alpha"), beta.channel_as("watcher")] {
        let mut health = HealthClient::new(channel);
        for service in SERVICES {
            let request = HealthCheckRequest {
                service: service.into(),
            };
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        }
        let request = HealthCheckRequest {
            service: "godwit.v9.None".into(),
        };
        assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
    }
    let mut stranger = HealthClient::new(beta.channel_as("gamma"));
    let answer = stranger.check(HealthCheckRequest::default()).await;
    assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_host_that_cannot_do_what_it_is_asked_says_so_at_both_doors_until_it_can() {
    let beta = Beta::new().await;
    for channel in [beta.local(), beta.channel_as("watcher")] {
        let mut health = HealthClient::new(channel);
        for service in SERVICES {
            let request = HealthCheckRequest {
                service: service.into(),
            };
            let mut watch = health.watch(request.clone()).await.unwrap().into_inner();
            let mut becomes = async |status: ServingStatus| {
                while watch.message().await.unwrap().unwrap().status() != status {}
            };
            for (well, status) in [
                (true, ServingStatus::Serving),
                (false, ServingStatus::NotServing),
                (true, ServingStatus::Serving),
            ] {
                beta.health.tell(well);
                let told = tokio::time::timeout(std::time::Duration::from_secs(5), becomes(status)).await;
                assert!(told.is_ok(), "{service} does not become {status:?}");
            }
        }
    }
}

#[tokio::test]
async fn reflection_tells_the_whole_wire() {
    let beta = Beta::new().await;
    let mut client = ServerReflectionClient::new(beta.channel_as("watcher"));
    let mut ask = async |message: MessageRequest| {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let stream = tokio_stream::once(request);
        let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
        answers
            .message()
            .await
            .unwrap()
            .unwrap()
            .message_response
            .unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in [
        "godwit.v1.MigrationService",
        "godwit.v1.GuestService",
        "godwit.v1.HostService",
    ] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    assert!(
        !names.iter().any(|name| name.contains("peer")),
        "hosts need no reflection: {names:?}"
    );
    let symbol = MessageRequest::FileContainingSymbol("godwit.v1.MigrationService".into());
    let MessageResponse::FileDescriptorResponse(files) = ask(symbol).await else {
        panic!("no file");
    };
    let file = FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap();
    assert_eq!(file.service.len(), 3);
}
