//! The one call that moves a guest.

use uuid::Uuid;
use virt::connect::Connect;
use virt_sys as sys;

use super::{error::LibvirtError, ffi, job::Value};

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
    /// Limit of the rate, MiB/s; QEMU's when absent.
    pub bandwidth_mib_s: Option<u64>,
}

pub(super) fn run(conn: &Connect, request: &MigrateRequest) -> Result<(), LibvirtError> {
    let domain = conn.lookup_domain_by_uuid(request.uuid)?;
    let mut flags = sys::VIR_MIGRATE_LIVE | sys::VIR_MIGRATE_PEER2PEER;
    if request.persistent {
        flags |= sys::VIR_MIGRATE_PERSIST_DEST | sys::VIR_MIGRATE_UNDEFINE_SOURCE;
    }
    let texts = [
        (sys::VIR_MIGRATE_PARAM_URI, &request.migration_uri),
        (sys::VIR_MIGRATE_PARAM_DEST_XML, &request.live_xml),
        (sys::VIR_MIGRATE_PARAM_PERSIST_XML, &request.persistent_xml),
    ];
    let mut params: Vec<_> = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, Value::Text(text.clone()?))))
        .collect();
    if let Some(rate) = request.bandwidth_mib_s {
        params.push((sys::VIR_MIGRATE_PARAM_BANDWIDTH, Value::Unsigned(rate)));
    }
    ffi::migrate(&domain, &request.destination, &params, flags)
}
