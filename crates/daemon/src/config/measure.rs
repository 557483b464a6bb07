//! The table `[measure]`.

use std::net::IpAddr;

use serde::Deserialize;

/// How a guest's outage is measured: its agent sends probes while it is moved, or put on its standby or its VF.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MeasureTable {
    /// Probes a second for each pair, 0 to 1,000. 0: nothing is measured. Default 100.
    pub(crate) probes: u32,
    /// IP address that the guest asks; on a network of the pair's it proves ports, too. Default: its gateway, or else a neighbour
    /// that it knows.
    pub(crate) ask: Option<IpAddr>,
}

impl Default for MeasureTable {
    fn default() -> MeasureTable {
        MeasureTable {
            probes: 100,
            ask: None,
        }
    }
}
