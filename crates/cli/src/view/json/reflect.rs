//! The JSON of a reflector.

use serde::Serialize;

/// It answers from now on.
#[derive(Debug, Serialize)]
pub(crate) struct Reflects<'a> {
    /// IP address and port.
    pub(crate) listen: &'a str,
}
