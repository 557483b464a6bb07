//! Has the guest a working path? Two frames are followed through fabric, switch, bridge and bond.

use crate::world::{Guest, Host, Nic, Port, World};

impl World {
    /// A frame from the client comes to the guest on host `at`, and one of the guest's to the client.
    pub(crate) fn path(&self, at: usize) -> Result<(), &'static str> {
        if !self.comes_in(at) {
            return Err("a frame from the client does not come to the guest");
        }
        if !goes_out(&self.hosts[at]) {
            return Err("a frame of the guest does not come to the client");
        }
        Ok(())
    }

    /// Client, fabric, uplink, embedded switch, then VF or bridge and tap, then the bond.
    fn comes_in(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        let to_vf = host.vf.mac;
        let to_tap = !host.vf.mac || host.copy;
        self.fabric == at
            && (to_vf && accepts(&host.guest, Port::Vf) || to_tap && accepts(&host.guest, Port::Standby))
    }
}

/// The bond's active port, then tap and bridge, or the VF; the PF drops what a VF sends under a MAC it does not
/// have (spoof check).
fn goes_out(host: &Host) -> bool {
    match host.guest.active {
        Port::Standby => true,
        Port::Vf => host.guest.nic == Nic::Up && host.vf.mac,
    }
}

/// An inactive port drops what it receives, unless the bond was told to accept on all.
fn accepts(guest: &Guest, port: Port) -> bool {
    let works = port == Port::Standby || guest.nic == Nic::Up;
    works && (guest.accepts_all || guest.active == port)
}
