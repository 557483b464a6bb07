//! libvirt's own options of a transfer: checked before anything is changed, kept in the record, and the same after a restart.

use godwit_api::v1::{self as api, migration_service_server::MigrationService};
use godwit_coordinator::MigrationDesk;
use godwit_migration::{
    Options, Phase,
    options::{Compression, Storage},
};
use tonic::{Code, Request};

use crate::host::{Desk, Host, No, no};

async fn migrate(alpha: &Desk, transfer: api::TransferOptions) -> Result<api::Migration, No> {
    let desk = MigrationDesk(alpha.coordinator.clone());
    let asked = api::CreateMigrationRequest {
        guest: "web-1".into(),
        destination: "beta".into(),
        transfer: Some(transfer),
        ..Default::default()
    };
    let answer = desk.create_migration(Request::new(asked)).await.map_err(no)?;
    Ok(answer.into_inner().migration.unwrap())
}

fn transfers_like(host: &Host, options: Options) {
    *host.transfer.lock().unwrap() = options;
}

fn slow() -> api::TransferOptions {
    api::TransferOptions {
        bandwidth_mib_per_second: Some(100),
        post_copy: Some(true),
        ..Default::default()
    }
}

#[test]
fn what_was_asked_for_wins_over_the_configuration_and_outlives_the_daemon() {
    let host = Host::source();
    transfers_like(
        &host,
        Options {
            bandwidth: Some(7),
            downtime_ms: Some(250),
            storage: Some(Storage::Shared),
            ..Options::default()
        },
    );
    host.world.hold(Phase::Transfer);
    let id = host.live(async |alpha| {
        let begun = migrate(&alpha, slow()).await.unwrap();
        alpha.world.attempts(Phase::Transfer, 1).await;
        begun.id
    });
    let kept = host.world.knobs().options.clone();
    // The configuration of the next life is another: what was begun goes on as it was asked for.
    transfers_like(&host, Options::default());
    host.world.free(Phase::Transfer);
    host.live_fast(async |alpha| {
        let shown = alpha.ended(&id).await.transfer.unwrap();
        assert_eq!(
            (shown.bandwidth_mib_per_second, shown.downtime_ms, shown.post_copy),
            (Some(100), Some(250), Some(true))
        );
    });
    let worked = host.world.knobs().options.clone();
    assert_eq!(worked.bandwidth, Some(100));
    assert_eq!(
        worked, kept,
        "the world was asked for something else after the restart"
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_changed() {
    let host = Host::source();
    host.live(async |alpha| {
        let wrong = [
            (
                api::TransferOptions {
                    downtime_ms: Some(0),
                    ..Default::default()
                },
                "the downtime is not 1 to 2,000,000 ms",
            ),
            (
                api::TransferOptions {
                    compression: Some(api::TransferCompression {
                        methods: vec![api::CompressionMethod::Zstd.into()],
                    }),
                    ..Default::default()
                },
                "needs parallel connections",
            ),
            (
                api::TransferOptions {
                    storage: Some(api::TransferStorage::default()),
                    ..Default::default()
                },
                "transfer.storage does not say",
            ),
        ];
        for (transfer, words) in wrong {
            let no = migrate(&alpha, transfer).await.unwrap_err();
            assert_eq!(
                (no.code, no.failure.reason.as_str()),
                (Code::InvalidArgument, "INVALID")
            );
            assert!(no.failure.message.contains(words), "{:?}", no.failure);
        }
        assert_eq!(alpha.list("", 0).await.len(), 0, "something was begun");
    });
    // One that is right by itself, and not with what the configuration has.
    transfers_like(
        &host,
        Options {
            compression: Some(vec![Compression::Xbzrle]),
            ..Options::default()
        },
    );
    host.live(async |alpha| {
        let parallel = api::TransferOptions {
            parallel_connections: Some(4),
            ..Default::default()
        };
        let no = migrate(&alpha, parallel).await.unwrap_err();
        let message = no.failure.message;
        assert!(
            message.ends_with("([transfer] in the configuration has one of them)"),
            "{message}"
        );
    });
    assert_eq!(host.world.works(), []);
}
