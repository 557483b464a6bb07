//! What must hold after every micro-step, whatever fails.

use godwit_migration::{MacAddress, PciAddress};

use super::{Domain, GuestId, HostId, Model, Nic, Port};

impl Model {
    /// Looks at one guest after a deed that touched it.
    pub(crate) fn check(&mut self, guest: GuestId, after: &str) {
        if let Err(wrong) = self.check_guest(guest) {
            self.note(Some(guest), format!("{wrong}, after: {after}"));
        }
    }

    /// On one host, with a path. Allowed are the pause of the switch-over, and a stale copy that libvirt resumed.
    fn check_guest(&self, guest: GuestId) -> Result<(), String> {
        self.check_vfs(guest)?;
        let running = self.running_on(guest);
        match running[..] {
            [at] => self.path(guest, at),
            [] if self.guests[guest].stopped => Ok(()),
            [] if self.pauses(guest) => Ok(()),
            [] => Err("it runs nowhere".into()),
            _ => Err(format!("it runs on {} hosts by our doing", running.len())),
        }
    }

    /// Paused for the switch-over, or for good after it broke in post-copy, and not yet run at the destination.
    fn pauses(&self, guest: GuestId) -> bool {
        let transfer = self.guests[guest].transfer.as_ref();
        transfer.is_some_and(|transfer| {
            let source = self.body(guest, transfer.from).map(|body| body.domain);
            let pauses = matches!(source, Some(Domain::Paused | Domain::Torn));
            transfer.events.switched_over && !transfer.events.ran_there && pauses
        })
    }

    fn check_vfs(&self, guest: GuestId) -> Result<(), String> {
        for (at, body) in &self.guests[guest].at {
            for ports in &body.ports {
                let vf = ports.vf.and_then(|vf| self.hosts[*at].vfs.get(&vf));
                if ports.nic != Nic::None && vf.is_none_or(|vf| vf.owner != Some(guest)) {
                    return Err(format!("its VF on {} is another guest's", self.hosts[*at].name));
                }
            }
        }
        Ok(())
    }

    /// On its VFs there, and nothing left behind that only a switch needs.
    pub(crate) fn accelerated(&self, guest: GuestId, at: HostId) -> Result<(), String> {
        let Some(body) = self.body(guest, at) else {
            return Err("it is not there".into());
        };
        for (pair, ports) in self.guests[guest].pairs.iter().zip(&body.ports) {
            let well = ports.active == Port::Vf && ports.nic == Nic::Up && !ports.accepts_all;
            if !well {
                return Err(format!("pair {} is at {ports:?}", pair.mac));
            }
            let vf = ports.vf.and_then(|vf| self.hosts[at].vfs.get(&vf));
            if vf.is_none_or(|vf| vf.profile != pair.profile) {
                return Err(format!("pair {} is not on a VF like its first: {vf:?}", pair.mac));
            }
        }
        Ok(())
    }

    /// On its standby, with nothing of a VF.
    pub(crate) fn lowered(&self, guest: GuestId, at: HostId) -> bool {
        let standby = |ports: &super::Ports| ports.active == Port::Standby && ports.nic == Nic::None;
        self.body(guest, at)
            .is_some_and(|body| body.ports.iter().all(standby))
    }

    /// Nothing of any guest is left on a host where it does not run. One that waits there on its standby may get its
    /// frames by the PF: that is taken away when it gets a VF, or leaves.
    pub(crate) fn leftovers(&self, at: HostId) -> Result<(), String> {
        let host = &self.hosts[at];
        let waits = |mac: &&MacAddress| {
            let mut guests = (0..self.guests.len()).filter(|&guest| self.lowered(guest, at));
            guests.any(|guest| self.guests[guest].pairs.iter().any(|pair| pair.mac == **mac))
        };
        if let Some(mac) = host.copies.iter().find(|mac| !waits(mac)) {
            return Err(format!(
                "{}: the PF still gets copies of frames for {mac}",
                host.name
            ));
        }
        for (mac, vf) in &host.switch {
            if host.vfs.get(vf).is_none_or(|vf| vf.owner.is_none()) {
                return Err(format!(
                    "{}: VF {vf} is in no guest and has MAC {mac} on it",
                    host.name
                ));
            }
        }
        let left = |vf: &&PciAddress| host.vfs[*vf].owner.is_none() && !host.is_neutral(**vf);
        match host.vfs.keys().find(left) {
            Some(vf) => Err(format!("{}: VF {vf} is in no guest and set for one", host.name)),
            None => Ok(()),
        }
    }
}
