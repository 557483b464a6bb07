//! libvirt's own options of a transfer, as the wire has them.

use godwit_api::v1 as api;
use godwit_migration::{
    Options,
    options::{AutoConverge, Compression, Storage, Timeout, TimeoutAction, Tls},
};

/// For the wire; none where nothing is said of anything.
pub(crate) fn options(value: &Options) -> Option<api::TransferOptions> {
    if value.is_empty() {
        return None;
    }
    Some(api::TransferOptions {
        bandwidth_mib_per_second: value.bandwidth,
        post_copy_bandwidth_mib_per_second: value.post_copy_bandwidth,
        downtime_ms: value.downtime_ms,
        parallel_connections: value.parallel,
        auto_converge: value.auto_converge.map(auto_converge),
        post_copy: value.post_copy,
        compression: value
            .compression
            .as_ref()
            .map(|methods| api::TransferCompression {
                methods: methods.iter().map(|method| compression(*method).into()).collect(),
            }),
        tls: value.tls.as_ref().map(tls),
        storage: value.storage.as_ref().map(storage),
        timeout: value.timeout.map(timeout),
    })
}

/// From the wire, not yet checked.
///
/// # Errors
/// A word that this version does not know, named.
pub(crate) fn options_of(wire: &api::TransferOptions) -> Result<Options, String> {
    let methods = |wire: &api::TransferCompression| -> Result<Vec<Compression>, String> {
        // The generated iterator leaves out what it does not know.
        wire.methods
            .iter()
            .map(|method| compression_of(*method))
            .collect()
    };
    Ok(Options {
        bandwidth: wire.bandwidth_mib_per_second,
        post_copy_bandwidth: wire.post_copy_bandwidth_mib_per_second,
        downtime_ms: wire.downtime_ms,
        parallel: wire.parallel_connections,
        auto_converge: wire.auto_converge.map(auto_converge_of),
        post_copy: wire.post_copy,
        compression: wire.compression.as_ref().map(methods).transpose()?,
        tls: wire.tls.as_ref().map(tls_of),
        storage: wire.storage.as_ref().map(storage_of).transpose()?,
        timeout: wire.timeout.as_ref().map(timeout_of).transpose()?,
    })
}

fn auto_converge(value: AutoConverge) -> api::AutoConverge {
    match value {
        AutoConverge::Off => api::AutoConverge::default(),
        AutoConverge::On { initial, increment } => api::AutoConverge {
            enabled: true,
            initial_percent: initial,
            increment_percent: increment,
        },
    }
}

fn auto_converge_of(wire: api::AutoConverge) -> AutoConverge {
    match wire.enabled {
        true => AutoConverge::On {
            initial: wire.initial_percent,
            increment: wire.increment_percent,
        },
        false => AutoConverge::Off,
    }
}

fn compression(value: Compression) -> api::CompressionMethod {
    match value {
        Compression::Xbzrle => api::CompressionMethod::Xbzrle,
        Compression::Mt => api::CompressionMethod::Mt,
        Compression::Zlib => api::CompressionMethod::Zlib,
        Compression::Zstd => api::CompressionMethod::Zstd,
    }
}

fn compression_of(wire: i32) -> Result<Compression, String> {
    let found = Compression::ALL
        .into_iter()
        .find(|known| i32::from(compression(*known)) == wire);
    found.ok_or_else(|| "transfer.compression has a method that is not known here".into())
}

fn tls(value: &Tls) -> api::TransferTls {
    match value {
        Tls::Off => api::TransferTls::default(),
        Tls::On { destination } => api::TransferTls {
            enabled: true,
            destination: destination.clone().unwrap_or_default(),
        },
    }
}

fn tls_of(wire: &api::TransferTls) -> Tls {
    match wire.enabled {
        true => Tls::On {
            destination: Some(wire.destination.clone()).filter(|name| !name.is_empty()),
        },
        false => Tls::Off,
    }
}

fn storage(value: &Storage) -> api::TransferStorage {
    let (copy, disks) = match value {
        Storage::Shared => (api::StorageCopy::None, Vec::new()),
        Storage::Copied { incremental, disks } => (
            match incremental {
                true => api::StorageCopy::Incremental,
                false => api::StorageCopy::All,
            },
            disks.clone(),
        ),
    };
    api::TransferStorage {
        copy: copy.into(),
        disks,
    }
}

fn storage_of(wire: &api::TransferStorage) -> Result<Storage, String> {
    let incremental = match wire.copy() {
        api::StorageCopy::None if wire.disks.is_empty() => return Ok(Storage::Shared),
        api::StorageCopy::None => return Err("transfer.storage names disks and copies none".into()),
        api::StorageCopy::All => false,
        api::StorageCopy::Incremental => true,
        api::StorageCopy::Unspecified => {
            return Err("transfer.storage does not say whether disks are copied".into());
        }
    };
    Ok(Storage::Copied {
        incremental,
        disks: wire.disks.clone(),
    })
}

fn timeout(value: Timeout) -> api::TransferTimeout {
    let action = match value.action {
        TimeoutAction::Cancel => api::TimeoutAction::Cancel,
        TimeoutAction::Suspend => api::TimeoutAction::Suspend,
        TimeoutAction::PostCopy => api::TimeoutAction::PostCopy,
    };
    api::TransferTimeout {
        seconds: value.seconds,
        action: action.into(),
    }
}

fn timeout_of(wire: &api::TransferTimeout) -> Result<Timeout, String> {
    let action = match wire.action() {
        api::TimeoutAction::Cancel => TimeoutAction::Cancel,
        api::TimeoutAction::Suspend => TimeoutAction::Suspend,
        api::TimeoutAction::PostCopy => TimeoutAction::PostCopy,
        api::TimeoutAction::Unspecified => {
            return Err("transfer.timeout does not say what is to happen then".into());
        }
    };
    Ok(Timeout {
        seconds: wire.seconds,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_wire() {
        let on = Options {
            bandwidth: Some(100),
            post_copy_bandwidth: Some(50),
            downtime_ms: Some(300),
            parallel: Some(4),
            auto_converge: Some(AutoConverge::On {
                initial: Some(20),
                increment: None,
            }),
            post_copy: Some(true),
            compression: Some(Compression::ALL.to_vec()),
            tls: Some(Tls::On {
                destination: Some("beta".into()),
            }),
            storage: Some(Storage::Copied {
                incremental: true,
                disks: vec!["vda".into()],
            }),
            timeout: Some(Timeout {
                seconds: 60,
                action: TimeoutAction::PostCopy,
            }),
        };
        let off = Options {
            auto_converge: Some(AutoConverge::Off),
            post_copy: Some(false),
            compression: Some(Vec::new()),
            tls: Some(Tls::Off),
            storage: Some(Storage::Shared),
            ..Options::default()
        };
        for value in [on, off] {
            assert_eq!(options_of(&options(&value).unwrap()), Ok(value));
        }
        assert_eq!(options(&Options::default()), None);
    }

    #[test]
    fn what_is_left_open_or_newer_than_this_is_refused_and_not_guessed() {
        let wrong = |wire: api::TransferOptions| options_of(&wire).unwrap_err();
        let storage = wrong(api::TransferOptions {
            storage: Some(api::TransferStorage::default()),
            ..Default::default()
        });
        assert!(storage.contains("transfer.storage"), "{storage}");
        let timeout = wrong(api::TransferOptions {
            timeout: Some(api::TransferTimeout {
                seconds: 3,
                action: 99,
            }),
            ..Default::default()
        });
        assert!(timeout.contains("transfer.timeout"), "{timeout}");
        let methods = wrong(api::TransferOptions {
            compression: Some(api::TransferCompression { methods: vec![99] }),
            ..Default::default()
        });
        assert!(methods.contains("transfer.compression"), "{methods}");
    }
}
