//! What can be done to the world, by daemons, guests and people. A deed that must never be done says so.

use godwit_migration::{PciAddress, Profile, profile::told};

use super::{Domain, GuestId, HostId, Model, Nic, Pair, Port, Stage};

impl Model {
    /// The host sets a VF through its PF.
    pub(crate) fn set_profile(&mut self, at: HostId, vf: PciAddress, profile: Profile) {
        if let Some(vf) = self.hosts[at].vfs.get_mut(&vf) {
            vf.profile = profile;
        }
    }

    /// The host takes everything of a guest off a VF. One that a guest has is left as it is, and that is said.
    pub(crate) fn clean(&mut self, at: HostId, vf: PciAddress) -> Result<(), String> {
        let owner = self.hosts[at].vfs.get(&vf).and_then(|found| found.owner);
        if let Some(owner) = owner {
            let guest = &self.guests[owner].id.name;
            return Err(format!(
                "VF {vf} is still in use: the emulator of guest {guest} has it open"
            ));
        }
        self.take_off(at, vf);
        Ok(())
    }

    fn take_off(&mut self, at: HostId, vf: PciAddress) {
        self.hosts[at].switch.retain(|_, steered| *steered != vf);
        self.set_profile(at, vf, Profile::default());
    }

    /// The host puts a VF into the guest.
    pub(crate) fn attach(&mut self, at: HostId, guest: GuestId, pair: usize, vf: PciAddress) {
        let &Pair { mac, profile, .. } = &self.guests[guest].pairs[pair];
        let host = &mut self.hosts[at];
        let others = host.macs_of(vf).into_iter().any(|steered| steered != mac);
        let Some(found) = host.vfs.get_mut(&vf) else {
            return self.note(Some(guest), format!("VF {vf} does not exist"));
        };
        let taken = found.owner.is_some_and(|owner| owner != guest);
        let differs = profile.differences(&found.profile, None);
        found.owner = Some(guest);
        if taken {
            self.note(Some(guest), format!("VF {vf} is in two guests"));
        }
        if !differs.is_empty() {
            self.note(Some(guest), format!("VF {vf} is plugged with {}", told(&differs)));
        }
        if others {
            self.note(
                Some(guest),
                format!("VF {vf} is plugged with another guest's MAC on it"),
            );
        }
        if let Some(ports) = self.ports_mut(guest, at) {
            (ports[pair].nic, ports[pair].vf) = (Nic::Plugged, Some(vf));
        }
    }

    /// The switch gives the guest's frames to the VF.
    pub(crate) fn steer(&mut self, at: HostId, guest: GuestId, pair: usize, vf: PciAddress) {
        let mac = self.guests[guest].pairs[pair].mac;
        let before = self.hosts[at].switch.insert(mac, vf);
        if before.is_some_and(|before| before != vf) {
            self.note(Some(guest), "two VFs of one host have its MAC");
        }
    }

    /// The switch gives the guest's frames to its VF no more.
    pub(crate) fn steer_away(&mut self, at: HostId, guest: GuestId, pair: usize) {
        let vf = self.body(guest, at).and_then(|body| body.ports[pair].vf);
        let mac = self.guests[guest].pairs[pair].mac;
        let switch = &mut self.hosts[at].switch;
        if vf.is_some() && switch.get(&mac) == vf.as_ref() {
            switch.remove(&mac);
        }
    }

    /// The same, of a guest whose agent says that the VF works and does not carry the traffic.
    pub(crate) fn starve(&mut self, at: HostId, guest: GuestId, pair: usize) {
        let ports = self.body(guest, at).map(|body| body.ports[pair]);
        let idles = ports.is_some_and(|ports| ports.nic == Nic::Up && ports.active == Port::Standby);
        if idles && self.runs(guest, at) && self.guests[guest].agent {
            self.steer_away(at, guest, pair);
        }
    }

    /// The host asks the guest to let its VF go. Cannot be withdrawn. Whether it was not asked before.
    pub(crate) fn ask_unplug(&mut self, at: HostId, guest: GuestId, pair: usize) -> bool {
        let Some(ports) = self.ports_mut(guest, at) else {
            return false;
        };
        let carries = ports[pair].active == Port::Vf;
        let news = !std::mem::replace(&mut ports[pair].unplug_pending, true);
        if carries {
            self.note(
                Some(guest),
                "an unplug of the VF that carries the traffic is asked for",
            );
        }
        news
    }

    /// The VF leaves the guest; its MAC stays in the switch until somebody takes it off.
    pub(crate) fn leave(&mut self, at: HostId, guest: GuestId, pair: usize) {
        let Some(ports) = self.ports_mut(guest, at) else {
            return;
        };
        let carried = ports[pair].active == Port::Vf;
        let vf = ports[pair].vf.take();
        ports[pair].unplug_pending = false;
        ports[pair].nic = Nic::None;
        ports[pair].active = Port::Standby;
        self.disown(at, vf);
        if carried {
            self.note(Some(guest), "the VF left while it carried the traffic");
        }
    }

    fn disown(&mut self, at: HostId, vf: Option<PciAddress>) {
        let vf = vf.and_then(|vf| self.hosts[at].vfs.get_mut(&vf));
        if let Some(vf) = vf {
            vf.owner = None;
        }
    }

    /// The guest's QEMU ends on that host: its VFs go back to the host, which resets them and takes everything of the
    /// guest off them, as far as no migration does (see docs/simulator.md).
    pub(crate) fn end(&mut self, guest: GuestId, at: HostId) {
        let Some(ports) = self.ports_mut(guest, at) else {
            return;
        };
        let vfs: Vec<_> = ports.iter_mut().filter_map(|ports| ports.vf.take()).collect();
        for ports in ports.iter_mut() {
            (ports.nic, ports.active, ports.unplug_pending) = (Nic::None, Port::Standby, false);
        }
        for vf in vfs {
            self.disown(at, Some(vf));
            self.take_off(at, vf);
        }
        // Its daemon takes it off when the guest's tap has gone.
        for pair in &self.guests[guest].pairs {
            self.hosts[at].copies.remove(&pair.mac);
        }
    }

    /// The guest is on that host no more.
    pub(crate) fn forget(&mut self, guest: GuestId, at: HostId) {
        self.end(guest, at);
        self.guests[guest].at.remove(&at);
        self.guests[guest].stale.remove(&at);
        self.hosts[at].guests.remove(&guest);
    }

    /// The guest is shut down, or crashes, where it runs. Not in the switch-over: there is nobody who could.
    pub(crate) fn stop_guest(&mut self, guest: GuestId) -> bool {
        let running = self.running_on(guest);
        let unseen = self.guests[guest]
            .transfer
            .as_ref()
            .is_some_and(|transfer| !transfer.events.seen_there);
        // After a split, before the destination's daemon has seen the guest: nothing would be left that tells the
        // source's copy from one that never left.
        let split = !self.guests[guest].stale.is_empty() && unseen;
        let (&[at], false) = (&running[..], split || self.switches_over(guest)) else {
            return false;
        };
        self.end(guest, at);
        if let Some(body) = self.guests[guest].at.get_mut(&at) {
            body.domain = Domain::ShutOff;
        }
        self.guests[guest].stopped = true;
        if let Some(sent) = self.sent_now(guest) {
            sent.stopped = true;
        }
        self.break_job(guest, at);
        true
    }

    /// The guest reboots. QEMU ends a pending unplug at the reset; the bond then prefers a VF again and, as it
    /// enslaves it, puts the guest's MAC on it.
    pub(crate) fn reboot_guest(&mut self, guest: GuestId) -> bool {
        let running = self.running_on(guest);
        let (&[at], false) = (&running[..], self.switches_over(guest)) else {
            return false;
        };
        for pair in 0..self.guests[guest].pairs.len() {
            let Some(ports) = self.ports_mut(guest, at) else {
                return false;
            };
            ports[pair].accepts_all = false;
            ports[pair].active = Port::Standby;
            if ports[pair].unplug_pending {
                self.leave(at, guest, pair);
            } else if let Some(vf) = ports[pair].vf {
                (ports[pair].nic, ports[pair].active) = (Nic::Up, Port::Vf);
                self.steer(at, guest, pair, vf);
            }
        }
        true
    }

    fn switches_over(&self, guest: GuestId) -> bool {
        let stage = self.guests[guest]
            .transfer
            .as_ref()
            .map(|transfer| transfer.stage);
        matches!(stage, Some(Stage::SwitchOver | Stage::Finishing))
    }
}
