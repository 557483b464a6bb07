//! libvirt's own options of a transfer: for people, as they are typed, and as JSON.

use godwit_api::v1::{self as api, CompressionMethod, StorageCopy, TimeoutAction, TransferOptions};
use serde::Serialize;

/// One sentence's worth of them.
pub(crate) fn words(options: &TransferOptions) -> String {
    let rate = |rate: u64| format!("{rate} MiB/s");
    let said = [
        options
            .bandwidth_mib_per_second
            .map(|limit| format!("at most {}", rate(limit))),
        options
            .post_copy_bandwidth_mib_per_second
            .map(|limit| format!("at most {} in post-copy", rate(limit))),
        options.downtime_ms.map(|ms| format!("downtime {ms} ms")),
        options.parallel_connections.map(connections),
        options.auto_converge.as_ref().map(auto_converge),
        options.post_copy.map(|on| with(on, "post-copy".into())),
        options.compression.as_ref().map(compression),
        options.tls.as_ref().map(tls),
        options.storage.as_ref().map(storage),
        options.timeout.as_ref().map(timeout),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn with(on: bool, what: String) -> String {
    if on { what } else { format!("no {what}") }
}

fn connections(count: u32) -> String {
    match count {
        0 => "no parallel connections".into(),
        1 => "1 parallel connection".into(),
        n => format!("{n} parallel connections"),
    }
}

fn auto_converge(converge: &api::AutoConverge) -> String {
    let initial = converge.initial_percent.map(|step| format!("{step} % first"));
    let increment = converge.increment_percent.map(|step| format!("{step} % more"));
    let steps: Vec<String> = initial.into_iter().chain(increment).collect();
    let steps = match steps.as_slice() {
        [] => String::new(),
        steps => format!(" ({})", steps.join(", ")),
    };
    with(converge.enabled, format!("auto-converge{steps}"))
}

fn compression(compression: &api::TransferCompression) -> String {
    let methods: Vec<&str> = compression.methods().filter_map(method).collect();
    match methods.as_slice() {
        [] => "no compression".into(),
        methods => format!("compressed by {}", methods.join(" and ")),
    }
}

fn method(method: CompressionMethod) -> Option<&'static str> {
    match method {
        CompressionMethod::Xbzrle => Some("xbzrle"),
        CompressionMethod::Mt => Some("mt"),
        CompressionMethod::Zlib => Some("zlib"),
        CompressionMethod::Zstd => Some("zstd"),
        CompressionMethod::Unspecified => None,
    }
}

fn tls(tls: &api::TransferTls) -> String {
    match tls.destination.as_str() {
        "" => with(tls.enabled, "TLS".into()),
        name => format!("TLS with {name}"),
    }
}

fn storage(storage: &api::TransferStorage) -> String {
    let disks = match storage.disks.as_slice() {
        [] => "its disks".into(),
        disks => disks.join(" and "),
    };
    match storage.copy() {
        StorageCopy::All => format!("{disks} copied"),
        StorageCopy::Incremental => format!("{disks} copied as far as they differ"),
        StorageCopy::None | StorageCopy::Unspecified => "no disk copied".into(),
    }
}

fn timeout(timeout: &api::TransferTimeout) -> String {
    let what = match timeout.action() {
        TimeoutAction::Cancel => "given up",
        TimeoutAction::Suspend => "guest paused",
        TimeoutAction::PostCopy => "post-copy",
        TimeoutAction::Unspecified => "something is done",
    };
    format!("{what} after {} s", timeout.seconds)
}

/// Each with a space before it.
pub(crate) fn typed(options: &TransferOptions) -> String {
    let number =
        |flag: &str, value: Option<u64>, unit: &str| value.map(|value| format!(" --{flag} {value}{unit}"));
    let said = [
        number("bandwidth", options.bandwidth_mib_per_second, "MiB/s"),
        number(
            "post-copy-bandwidth",
            options.post_copy_bandwidth_mib_per_second,
            "MiB/s",
        ),
        number("downtime", options.downtime_ms, "ms"),
        number("parallel", options.parallel_connections.map(u64::from), ""),
        options.auto_converge.as_ref().map(converge_typed),
        options
            .post_copy
            .map(|on| format!(" --post-copy={}", if on { "yes" } else { "no" })),
        options.compression.as_ref().map(compression_typed),
        options.tls.as_ref().map(tls_typed),
        options.storage.as_ref().map(storage_typed),
        options.timeout.as_ref().map(timeout_typed),
    ];
    said.into_iter().flatten().collect()
}

fn converge_typed(converge: &api::AutoConverge) -> String {
    match (
        converge.enabled,
        converge.initial_percent,
        converge.increment_percent,
    ) {
        (false, ..) => " --auto-converge=no".into(),
        (true, Some(initial), Some(increment)) => format!(" --auto-converge={initial},{increment}"),
        (true, ..) => " --auto-converge".into(),
    }
}

fn compression_typed(compression: &api::TransferCompression) -> String {
    let first = compression.methods().find_map(method);
    format!(" --compress {}", first.unwrap_or("no"))
}

fn tls_typed(tls: &api::TransferTls) -> String {
    match (tls.enabled, tls.destination.as_str()) {
        (false, _) => " --tls=no".into(),
        (true, "") => " --tls".into(),
        (true, name) => format!(" --tls={name}"),
    }
}

fn storage_typed(storage: &api::TransferStorage) -> String {
    let copy = copy_name(storage.copy()).unwrap_or("none");
    match storage.disks.as_slice() {
        [] => format!(" --copy-storage {copy}"),
        disks => format!(" --copy-storage {copy} --copy-disks {}", disks.join(",")),
    }
}

fn copy_name(copy: StorageCopy) -> Option<&'static str> {
    match copy {
        StorageCopy::None => Some("none"),
        StorageCopy::All => Some("all"),
        StorageCopy::Incremental => Some("inc"),
        StorageCopy::Unspecified => None,
    }
}

fn timeout_typed(timeout: &api::TransferTimeout) -> String {
    let action = action_name(timeout.action()).unwrap_or("cancel");
    format!(
        " --transfer-timeout {}s --timeout-action {action}",
        timeout.seconds
    )
}

fn action_name(action: TimeoutAction) -> Option<&'static str> {
    match action {
        TimeoutAction::Cancel => Some("cancel"),
        TimeoutAction::Suspend => Some("suspend"),
        TimeoutAction::PostCopy => Some("post-copy"),
        TimeoutAction::Unspecified => None,
    }
}

/// The API's message. What nothing was said of is null.
#[derive(Debug, Serialize)]
pub(crate) struct Transfer<'a> {
    bandwidth_mib_per_second: Option<u64>,
    post_copy_bandwidth_mib_per_second: Option<u64>,
    downtime_ms: Option<u64>,
    parallel_connections: Option<u32>,
    auto_converge: Option<Converge>,
    post_copy: Option<bool>,
    compression: Option<Vec<&'static str>>,
    tls: Option<Tls<'a>>,
    storage: Option<Storage<'a>>,
    timeout: Option<Timeout>,
}

#[derive(Debug, Serialize)]
struct Converge {
    enabled: bool,
    initial_percent: Option<u32>,
    increment_percent: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Tls<'a> {
    enabled: bool,
    destination: &'a str,
}

#[derive(Debug, Serialize)]
struct Storage<'a> {
    copy: Option<&'static str>,
    disks: &'a [String],
}

#[derive(Debug, Serialize)]
struct Timeout {
    seconds: u64,
    action: Option<&'static str>,
}

impl<'a> From<&'a TransferOptions> for Transfer<'a> {
    fn from(options: &'a TransferOptions) -> Transfer<'a> {
        let converge = options.auto_converge.as_ref();
        Transfer {
            bandwidth_mib_per_second: options.bandwidth_mib_per_second,
            post_copy_bandwidth_mib_per_second: options.post_copy_bandwidth_mib_per_second,
            downtime_ms: options.downtime_ms,
            parallel_connections: options.parallel_connections,
            auto_converge: converge.map(|converge| Converge {
                enabled: converge.enabled,
                initial_percent: converge.initial_percent,
                increment_percent: converge.increment_percent,
            }),
            post_copy: options.post_copy,
            compression: options
                .compression
                .as_ref()
                .map(|compression| compression.methods().filter_map(method).collect()),
            tls: options.tls.as_ref().map(|tls| Tls {
                enabled: tls.enabled,
                destination: &tls.destination,
            }),
            storage: options.storage.as_ref().map(|storage| Storage {
                copy: copy_name(storage.copy()),
                disks: &storage.disks,
            }),
            timeout: options.timeout.as_ref().map(|timeout| Timeout {
                seconds: timeout.seconds,
                action: action_name(timeout.action()),
            }),
        }
    }
}
