//! The table `[measure]`.

use std::net::{IpAddr, SocketAddr};

use godwit_migration::Brief;
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
    /// IP address and port of a reflector (`godwit reflect`) that the guest asks instead, if it answers: which way each probe was lost is
    /// then told. It proves no port. Default: none.
    pub(crate) reflector: Option<SocketAddr>,
}

impl MeasureTable {
    /// What cannot be.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.probes > Brief::MOST_PROBES {
            return Err("measure.probes is not 0 to 1000 a second".into());
        }
        let nowhere = |at: &SocketAddr| {
            let ip = at.ip();
            let everybody = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            at.port() == 0 || everybody || ip.is_unspecified() || ip.is_multicast() || ip.is_loopback()
        };
        match self.reflector.filter(nowhere) {
            None => Ok(()),
            Some(at) => Err(format!(
                "measure.reflector is {at}: no guest reaches that; it is the address and the port that `godwit reflect` listens at, as 10.77.0.9:7007"
            )),
        }
    }
}

impl Default for MeasureTable {
    fn default() -> MeasureTable {
        MeasureTable {
            probes: 100,
            ask: None,
            reflector: None,
        }
    }
}
