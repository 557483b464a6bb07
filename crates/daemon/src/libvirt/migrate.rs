//! The one call that moves a guest, and what may be asked of the job meanwhile.

use std::ffi::CStr;

use godwit_migration::options::{AutoConverge, Compression, Options, Storage, Tls};
use uuid::Uuid;
use virt::connect::Connect;
use virt_sys as sys;

use super::{LOCKED, Libvirt, error::LibvirtError, ffi, find, job::Value};

/// A migration to ask libvirt for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MigrateRequest {
    /// The domain.
    pub uuid: Uuid,
    /// URI of the destination's libvirtd as this host's libvirtd reaches it (`qemu+tls://beta/system`).
    pub destination: String,
    /// Where QEMU sends the guest (`tcp://10.0.0.2`); libvirt chooses when absent.
    pub migration_uri: Option<String>,
    /// The domain is also defined: define it there and undefine it here.
    pub persistent: bool,
    /// Live XML for the destination instead of this host's own.
    pub live_xml: Option<String>,
    /// Persistent XML for the destination instead of this host's own.
    pub persistent_xml: Option<String>,
    /// libvirt's own options.
    pub options: Options,
}

/// One of libvirt's parameters.
type Param = (&'static CStr, Value);

pub(super) fn run(conn: &Connect, request: &MigrateRequest) -> Result<(), LibvirtError> {
    let domain = find(conn, request.uuid)?;
    let before = request.options.downtime_ms.map(|_| ffi::max_downtime(&domain));
    if let Some(downtime) = request.options.downtime_ms {
        domain.migrate_set_max_downtime(downtime, 0)?;
    }
    let migrated = ffi::migrate(&domain, &request.destination, &params(request), flags(request));
    // QEMU keeps it until it ends: a guest that stayed is not to have it at its next move.
    if let (Err(_), Some(Ok(before))) = (&migrated, before) {
        let _ = domain.migrate_set_max_downtime(before, 0);
    }
    migrated
}

/// `virDomainMigrateFlags` of a request.
fn flags(request: &MigrateRequest) -> u32 {
    let options = &request.options;
    let persistent = sys::VIR_MIGRATE_PERSIST_DEST | sys::VIR_MIGRATE_UNDEFINE_SOURCE;
    let storage = match options.storage {
        Some(Storage::Copied {
            incremental: true, ..
        }) => sys::VIR_MIGRATE_NON_SHARED_INC,
        Some(Storage::Copied { .. }) => sys::VIR_MIGRATE_NON_SHARED_DISK,
        Some(Storage::Shared) | None => 0,
    };
    let when = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
    let converges = matches!(options.auto_converge, Some(AutoConverge::On { .. }));
    let encrypts = matches!(options.tls, Some(Tls::On { .. }));
    sys::VIR_MIGRATE_LIVE
        | sys::VIR_MIGRATE_PEER2PEER
        | when(request.persistent, persistent)
        | when(options.connections().is_some(), sys::VIR_MIGRATE_PARALLEL)
        | when(converges, sys::VIR_MIGRATE_AUTO_CONVERGE)
        | when(options.post_copies(), sys::VIR_MIGRATE_POSTCOPY)
        | when(encrypts, sys::VIR_MIGRATE_TLS)
        | storage
}

/// `VIR_MIGRATE_PARAM_*` of a request, each of the type that libvirt wants. The downtime is none of them.
fn params(request: &MigrateRequest) -> Vec<Param> {
    let texts = [
        (sys::VIR_MIGRATE_PARAM_URI, &request.migration_uri),
        (sys::VIR_MIGRATE_PARAM_DEST_XML, &request.live_xml),
        (sys::VIR_MIGRATE_PARAM_PERSIST_XML, &request.persistent_xml),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, Value::Text(text.clone()?))));
    texts.chain(option_params(&request.options)).collect()
}

fn option_params(options: &Options) -> Vec<Param> {
    let rates = [
        (sys::VIR_MIGRATE_PARAM_BANDWIDTH, options.bandwidth),
        (
            sys::VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY,
            options.post_copy_bandwidth,
        ),
    ];
    let (initial, increment) = match options.auto_converge {
        Some(AutoConverge::On { initial, increment }) => (initial, increment),
        Some(AutoConverge::Off) | None => (None, None),
    };
    let numbers = [
        (sys::VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, options.connections()),
        (sys::VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, initial),
        (sys::VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, increment),
    ];
    let destination = match &options.tls {
        Some(Tls::On { destination }) => destination.as_deref(),
        Some(Tls::Off) | None => None,
    };
    let methods = options.compression.iter().flatten();
    let methods = methods.map(|method: &Compression| (sys::VIR_MIGRATE_PARAM_COMPRESSION, method.name()));
    let disks = options.disks().iter();
    let disks = disks.map(|disk| (sys::VIR_MIGRATE_PARAM_MIGRATE_DISKS, disk.as_str()));
    let destination = destination.map(|name| (sys::VIR_MIGRATE_PARAM_TLS_DESTINATION, name));
    let texts = destination.into_iter().chain(methods).chain(disks);
    let rates = rates
        .into_iter()
        .filter_map(|(name, rate)| Some((name, Value::Unsigned(rate?))));
    let numbers = numbers
        .into_iter()
        .filter_map(|(name, number)| Some((name, Value::Int(number?.into()))));
    rates
        .chain(numbers)
        .chain(texts.map(|(name, text)| (name, Value::Text(text.to_owned()))))
        .collect()
}

impl Libvirt {
    /// Lets the guest of an outgoing migration go on at the destination now. Needs a migration that may.
    pub(crate) async fn start_post_copy(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        self.locked("switch to post-copy", LOCKED, move |conn| {
            ffi::start_post_copy(&find(conn, uuid)?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use godwit_migration::options::{Timeout, TimeoutAction};

    use super::*;

    fn request(options: Options) -> MigrateRequest {
        MigrateRequest {
            uuid: Uuid::nil(),
            destination: "qemu+tls://beta/system".into(),
            migration_uri: Some("tcp://10.0.0.2".into()),
            persistent: false,
            live_xml: None,
            persistent_xml: None,
            options,
        }
    }

    fn told(options: Options) -> Vec<String> {
        let params = params(&request(options)).into_iter();
        params
            .map(|(name, value)| format!("{} {value:?}", name.to_string_lossy()))
            .collect()
    }

    #[test]
    fn without_options_it_is_asked_as_ever() {
        let plain = request(Options::default());
        assert_eq!(flags(&plain), sys::VIR_MIGRATE_LIVE | sys::VIR_MIGRATE_PEER2PEER);
        assert_eq!(told(Options::default()), ["migrate_uri Text(\"tcp://10.0.0.2\")"]);
        // What is switched off is as what was never spoken of.
        let off = Options {
            parallel: Some(0),
            auto_converge: Some(AutoConverge::Off),
            post_copy: Some(false),
            compression: Some(Vec::new()),
            tls: Some(Tls::Off),
            storage: Some(Storage::Shared),
            timeout: Some(Timeout {
                seconds: 9,
                action: TimeoutAction::Cancel,
            }),
            ..Options::default()
        };
        assert_eq!(flags(&request(off.clone())), flags(&plain));
        assert_eq!(told(off), told(Options::default()));
        let persistent = MigrateRequest {
            persistent: true,
            ..plain
        };
        let kept = sys::VIR_MIGRATE_PERSIST_DEST | sys::VIR_MIGRATE_UNDEFINE_SOURCE;
        assert_eq!(flags(&persistent) & kept, kept);
    }

    #[test]
    fn each_option_is_a_flag_or_a_parameter_of_libvirts_type() {
        let all = Options {
            bandwidth: Some(100),
            post_copy_bandwidth: Some(50),
            downtime_ms: Some(300),
            parallel: Some(4),
            auto_converge: Some(AutoConverge::On {
                initial: Some(20),
                increment: Some(10),
            }),
            post_copy: Some(true),
            compression: Some(vec![Compression::Zstd]),
            tls: Some(Tls::On {
                destination: Some("beta.example".into()),
            }),
            storage: Some(Storage::Copied {
                incremental: false,
                disks: vec!["vda".into(), "vdb".into()],
            }),
            timeout: None,
        };
        let wanted = sys::VIR_MIGRATE_LIVE
            | sys::VIR_MIGRATE_PEER2PEER
            | sys::VIR_MIGRATE_PARALLEL
            | sys::VIR_MIGRATE_AUTO_CONVERGE
            | sys::VIR_MIGRATE_POSTCOPY
            | sys::VIR_MIGRATE_TLS
            | sys::VIR_MIGRATE_NON_SHARED_DISK;
        assert_eq!(flags(&request(all.clone())), wanted);
        // Types as libvirt's qemuMigrationParamsTPMap has them: rates are unsigned long long, the others int.
        assert_eq!(
            told(all)[1..],
            [
                "bandwidth Unsigned(100)",
                "bandwidth.postcopy Unsigned(50)",
                "parallel.connections Int(4)",
                "auto_converge.initial Int(20)",
                "auto_converge.increment Int(10)",
                "tls.destination Text(\"beta.example\")",
                "compression Text(\"zstd\")",
                "migrate_disks Text(\"vda\")",
                "migrate_disks Text(\"vdb\")",
            ]
        );
        let incremental = Storage::Copied {
            incremental: true,
            disks: Vec::new(),
        };
        let some = Options {
            storage: Some(incremental),
            auto_converge: Some(AutoConverge::On {
                initial: None,
                increment: None,
            }),
            ..Options::default()
        };
        let both = sys::VIR_MIGRATE_NON_SHARED_INC | sys::VIR_MIGRATE_AUTO_CONVERGE;
        assert_eq!(
            flags(&request(some)),
            both | sys::VIR_MIGRATE_LIVE | sys::VIR_MIGRATE_PEER2PEER
        );
    }
}
