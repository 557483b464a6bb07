//! The table `[transfer]`.

use godwit_migration::{
    Options,
    options::{AutoConverge, Compression, Storage, Timeout, TimeoutAction, Tls},
};
use serde::Deserialize;

/// What a transfer from this host is like, where whoever asks for it says nothing. What is left out is libvirt's choice.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TransferTable {
    /// Limit of the rate, MiB/s, 1 to 1,048,576.
    bandwidth: Option<u64>,
    /// The same after the switch to post-copy.
    post_copy_bandwidth: Option<u64>,
    /// How long QEMU may pause the guest for the last of its memory, ms, 1 to 2,000,000.
    downtime_ms: Option<u64>,
    /// Connections side by side, 0 to 255.
    parallel: Option<u32>,
    /// `true`, `false`, or its steps: `{ initial = 20, increment = 10 }`, per cent, 1 to 99.
    auto_converge: Option<Switch<Steps>>,
    /// The guest may go on at the destination before all of its memory is there.
    post_copy: Option<bool>,
    /// `xbzrle`, `mt`, `zlib`, `zstd`.
    compress: Option<Vec<Compression>>,
    /// `true`, `false`, or the name in the destination's certificate: `{ destination = "beta.example" }`.
    tls: Option<Switch<Certificate>>,
    /// `none`, `all` or `inc`.
    copy_storage: Option<CopyStorage>,
    /// What happens after so many seconds: `{ seconds = 600, action = "suspend" }`; `cancel`, `suspend` or `post-copy`.
    timeout: Option<TimeoutKeys>,
}

/// On, off, or on with more.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Switch<T> {
    Plain(bool),
    With(T),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    initial: Option<u32>,
    increment: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    destination: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CopyStorage {
    None,
    All,
    Inc,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeoutKeys {
    seconds: u64,
    action: TimeoutAction,
}

impl TransferTable {
    /// As the coordinator has them, checked.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let options = Options {
            bandwidth: self.bandwidth,
            post_copy_bandwidth: self.post_copy_bandwidth,
            downtime_ms: self.downtime_ms,
            parallel: self.parallel,
            auto_converge: self.auto_converge.as_ref().map(auto_converge),
            post_copy: self.post_copy,
            compression: self.compress.clone(),
            tls: self.tls.as_ref().map(tls),
            storage: self.copy_storage.map(storage),
            timeout: self
                .timeout
                .map(|TimeoutKeys { seconds, action }| Timeout { seconds, action }),
        };
        options.check().map_err(|wrong| format!("[transfer]: {wrong}"))?;
        Ok(options)
    }
}

fn auto_converge(keys: &Switch<Steps>) -> AutoConverge {
    match keys {
        Switch::Plain(false) => AutoConverge::Off,
        Switch::Plain(true) => AutoConverge::On {
            initial: None,
            increment: None,
        },
        Switch::With(Steps { initial, increment }) => AutoConverge::On {
            initial: *initial,
            increment: *increment,
        },
    }
}

fn tls(keys: &Switch<Certificate>) -> Tls {
    match keys {
        Switch::Plain(false) => Tls::Off,
        Switch::Plain(true) => Tls::On { destination: None },
        Switch::With(Certificate { destination }) => Tls::On {
            destination: Some(destination.clone()),
        },
    }
}

fn storage(keys: CopyStorage) -> Storage {
    match keys {
        CopyStorage::None => Storage::Shared,
        CopyStorage::All | CopyStorage::Inc => Storage::Copied {
            incremental: matches!(keys, CopyStorage::Inc),
            disks: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(keys: &str) -> Result<Options, String> {
        let table: TransferTable = toml::from_str(keys).map_err(|error| error.message().to_owned())?;
        table.options()
    }

    #[test]
    fn all_keys_are_read() {
        let keys = "bandwidth = 100\npost_copy_bandwidth = 50\ndowntime_ms = 300\nparallel = 4\n\
            auto_converge = { initial = 20, increment = 10 }\npost_copy = true\ncompress = [\"zstd\"]\n\
            tls = { destination = \"beta.example\" }\ncopy_storage = \"inc\"\n\
            timeout = { seconds = 600, action = \"post-copy\" }";
        let read = options(keys).unwrap();
        assert_eq!(
            (read.bandwidth, read.downtime_ms, read.parallel),
            (Some(100), Some(300), Some(4))
        );
        assert_eq!(
            read.auto_converge,
            Some(AutoConverge::On {
                initial: Some(20),
                increment: Some(10)
            })
        );
        assert_eq!(read.compression, Some(vec![Compression::Zstd]));
        let destination = Some("beta.example".into());
        assert_eq!(read.tls, Some(Tls::On { destination }));
        assert!(matches!(
            read.storage,
            Some(Storage::Copied {
                incremental: true,
                ..
            })
        ));
        assert_eq!(
            read.timeout.map(|timeout| timeout.action),
            Some(TimeoutAction::PostCopy)
        );
        assert_eq!(
            options("tls = true\nauto_converge = false").unwrap().tls,
            Some(Tls::On { destination: None })
        );
        assert!(options("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_at_start() {
        assert!(
            options("downtime_ms = 0")
                .unwrap_err()
                .starts_with("[transfer]: the downtime is not 1 to")
        );
        assert!(
            options("compress = [\"zstd\"]")
                .unwrap_err()
                .contains("needs parallel connections")
        );
        assert!(options("compress = [\"lz4\"]").unwrap_err().contains("lz4"));
        assert!(options("copy_storage = \"some\"").is_err());
        assert!(options("tls = { destinaton = \"x\" }").is_err());
        assert!(
            options("bandwith = 3")
                .unwrap_err()
                .contains("unknown field `bandwith`")
        );
    }
}
