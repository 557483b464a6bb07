//! Has the guest a working path? Two frames are followed through fabric, switch, bridge and bond.
//!
//! The same rule as in `crates/migration/tests/sweep/packets.rs`, for many guests; the test `same_packets` holds the
//! two equal.

use super::{GuestId, HostId, Model, Nic, Port, Ports};

/// All that decides about one pair's frames on one host.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The fabric sends what is for the guest to this host.
    pub fabric: bool,
    /// The embedded switch gives it to a VF (`Some(true)`: to the guest's own).
    pub steered: Option<bool>,
    /// The switch copies it to the PF, and so to bridge and tap.
    pub copy: bool,
    /// The guest has a virtio NIC.
    pub standby: bool,
    /// Bond and device.
    pub ports: Ports,
}

impl Way {
    /// A frame from the client comes to the guest, and one of the guest's to the client.
    ///
    /// # Errors
    /// Which of them does not.
    pub fn check(&self) -> Result<(), &'static str> {
        if !self.comes_in() {
            return Err("a frame from the client does not come to the guest");
        }
        if !self.goes_out() {
            return Err("a frame of the guest does not come to the client");
        }
        Ok(())
    }

    /// A frame from a neighbour on the same NIC comes to the guest. The switch alone decides, and for longer than the bond
    /// accepts on both of its ports.
    ///
    /// # Errors
    /// It does not.
    pub fn check_neighbour(&self) -> Result<(), &'static str> {
        let alone = Ports {
            accepts_all: false,
            ..self.ports
        };
        let way = Way {
            ports: alone,
            ..*self
        };
        match way.steered {
            Some(true) if !way.accepts(Port::Vf) => {
                Err("the switch gives a neighbour's frame to a VF that is not used")
            }
            _ => Ok(()),
        }
    }

    /// Client, fabric, uplink, embedded switch, then VF or bridge and tap, then the bond.
    fn comes_in(&self) -> bool {
        let to_vf = self.steered == Some(true);
        let to_tap = self.steered.is_none() || self.copy;
        self.fabric && (to_vf && self.accepts(Port::Vf) || to_tap && self.accepts(Port::Standby))
    }

    /// The bond's active port, then tap and bridge, or the VF; the PF drops what a VF sends under a MAC it does not
    /// have (spoof check).
    fn goes_out(&self) -> bool {
        match self.ports.active {
            Port::Standby => self.standby,
            Port::Vf => self.ports.nic == Nic::Up && self.steered == Some(true),
        }
    }

    /// An inactive port drops what it receives, unless the bond was told to accept on all.
    fn accepts(&self, port: Port) -> bool {
        let works = match port {
            Port::Standby => self.standby,
            Port::Vf => self.ports.nic == Nic::Up,
        };
        works && (self.ports.accepts_all || self.ports.active == port)
    }
}

impl Model {
    /// Every pair of the guest has its path on that host.
    pub(crate) fn path(&self, guest: GuestId, at: HostId) -> Result<(), String> {
        self.ways(guest, at, Way::check)
    }

    /// While a plug rests, whoever is on the same NIC reaches the guest: by the standby, if its VF is not used. Of a VF that does not
    /// work yet, or whose guest says nothing, nobody knows that.
    pub(crate) fn check_rest(&mut self, guest: GuestId, at: HostId) {
        if !self.runs(guest, at) || !self.guests[guest].agent {
            return;
        }
        let known = |way: &Way| match way.ports.nic {
            Nic::Up => way.check_neighbour(),
            Nic::None | Nic::Plugged => Ok(()),
        };
        if let Err(wrong) = self.ways(guest, at, known) {
            self.note(Some(guest), wrong);
        }
    }

    fn ways(
        &self,
        guest: GuestId,
        at: HostId,
        check: impl Fn(&Way) -> Result<(), &'static str>,
    ) -> Result<(), String> {
        let Some(body) = self.body(guest, at) else {
            return Err("it is not there".into());
        };
        let host = &self.hosts[at];
        for (pair, ports) in self.guests[guest].pairs.iter().zip(&body.ports) {
            let steered = host.switch.get(&pair.mac).map(|vf| Some(*vf) == ports.vf);
            let way = Way {
                fabric: pair.fabric == at,
                steered,
                copy: host.copies.contains(&pair.mac),
                standby: pair.standby,
                ports: *ports,
            };
            check(&way).map_err(|why| format!("{why} on {} ({way:?})", host.name))?;
        }
        Ok(())
    }
}
