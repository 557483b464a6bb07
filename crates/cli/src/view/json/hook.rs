//! The JSON of `godwit hook`.

use serde::Serialize;

/// `godwit hook install`.
#[derive(Debug, Serialize)]
pub(crate) struct HookInstalled<'a> {
    pub(crate) path: &'a str,
    pub(crate) restart_libvirt: bool,
}

/// `godwit hook check`.
#[derive(Debug, Serialize)]
pub(crate) struct HookChecked<'a> {
    pub(crate) path: &'a str,
    pub(crate) installed: bool,
    pub(crate) current: bool,
    pub(crate) executable: bool,
    pub(crate) policy: &'a str,
    pub(crate) deadline_ms: u64,
    pub(crate) socket: &'a str,
    pub(crate) answers: bool,
    pub(crate) because: &'a str,
}
