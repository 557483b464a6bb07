//! The JSON of `godwit dbus`.

use serde::Serialize;

/// `godwit dbus install`.
#[derive(Debug, Serialize)]
pub(crate) struct DbusInstalled {
    pub(crate) files: Vec<DbusFile>,
}

/// `godwit dbus check`.
#[derive(Debug, Serialize)]
pub(crate) struct DbusChecked {
    pub(crate) files: Vec<DbusFile>,
    /// Null: no bus was asked.
    pub(crate) on_bus: Option<bool>,
    pub(crate) because: String,
}

/// A file, and what it was found as: `missing`, `other-version` or `current`.
#[derive(Debug, Serialize)]
pub(crate) struct DbusFile {
    pub(crate) path: String,
    pub(crate) found: &'static str,
}
