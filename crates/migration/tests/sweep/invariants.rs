//! What must hold after every micro-step, and what must hold when nothing moves any more.

use godwit_migration::{Course, Outcome, Phase, State};

use crate::{
    driver::Cluster,
    world::{DESTINATION, Domain, Nic, Port, SOURCE},
};

impl Cluster {
    /// After every micro-step.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(wrong) = &self.world.wrong {
            return Err(wrong.clone());
        }
        for (host, name) in self.world.hosts.iter().zip(["alpha", "beta"]) {
            let in_guest = host.guest.nic != Nic::None && host.domain == Domain::Running;
            if host.vf.free && (in_guest || host.vf.held || host.vf.taken) {
                return Err(format!("{name}: a VF is free although it is in use or held"));
            }
            if (host.vf.free || host.vf.taken) && host.vf.mac {
                return Err(format!("{name}: a VF was given back with the old MAC on it"));
            }
        }
        if self.world.ran_there && self.undoes() {
            return Err("the source undoes although the guest ran at the destination".into());
        }
        if self.world.stopped {
            return self.check_stopped();
        }
        self.check_guest()
    }

    /// A guest that was shut down stays so. A stale copy that libvirt resumed may run until it is noticed.
    fn check_stopped(&self) -> Result<(), String> {
        let back = self.world.ran_there && self.world.runs(DESTINATION);
        if back {
            return Err("the guest runs although it was shut down".into());
        }
        Ok(())
    }

    fn undoes(&self) -> bool {
        let state = self.daemons[SOURCE].state;
        matches!(
            state,
            State::Work(Course::Return | Course::Stay, _) | State::Rest(Course::Return, _)
        )
    }

    /// On one host, with a path. Allowed are the pause of the switch-over, and libvirt's split as long as the
    /// source is on its way to notice.
    fn check_guest(&self) -> Result<(), String> {
        let at = match (self.world.runs(SOURCE), self.world.runs(DESTINATION)) {
            (true, false) => SOURCE,
            (false, true) => DESTINATION,
            (true, true) if self.may_be_split() => DESTINATION,
            (true, true) => return Err("the guest runs on both hosts, and nobody will notice".into()),
            (false, false) if self.paused_for_switch_over() => return Ok(()),
            (false, false) => return Err("the guest runs on no host".into()),
        };
        self.world.path(at).map_err(str::to_owned)
    }

    fn may_be_split(&self) -> bool {
        let phase = self.daemons[SOURCE].state.phase();
        matches!(phase, Some(Phase::Transfer | Phase::Locate | Phase::Suspend))
    }

    fn paused_for_switch_over(&self) -> bool {
        let source = &self.world.hosts[SOURCE];
        source.domain == Domain::Paused && source.switched_over && !self.world.ran_there
    }

    /// The records tell the truth.
    fn check_outcome(&self) -> Result<(), String> {
        let true_there = match self.daemons[DESTINATION].state {
            State::Done(Outcome::Accelerated | Outcome::OnStandby) => self.world.ran_there,
            State::Done(Outcome::Left) => self.world.ran_there && self.world.stopped,
            _ => true,
        };
        let true_here = match self.daemons[SOURCE].state {
            State::Done(Outcome::Moved) => self.world.ran_there,
            State::Done(Outcome::Aborted) => !self.world.ran_there,
            State::Done(Outcome::Gone) => self.world.stopped,
            _ => true,
        };
        if true_here && true_there {
            return Ok(());
        }
        Err("a record ends with what is not true".into())
    }

    /// When nothing moves any more and no fault is left: everything is over, or rests where it is allowed to.
    pub(crate) fn check_end(&self, rests: &[State]) -> Result<(), String> {
        let mut resting = false;
        for (at, daemon) in self.daemons.iter().enumerate() {
            let rests_well = rests.contains(&daemon.state);
            resting |= rests_well;
            if daemon.begun && self.world.hosts[at].on && !daemon.ended() && !rests_well {
                return Err(format!(
                    "it never ends: {} at {}",
                    ["alpha", "beta"][at],
                    daemon.state
                ));
            }
        }
        self.check_outcome()?;
        if resting {
            return Ok(());
        }
        let accelerated = |at: usize| {
            let guest = self.world.hosts[at].guest;
            self.world.runs(at) && guest.active == Port::Vf && guest.nic == Nic::Up && !guest.accepts_all
        };
        let lowered = self.daemons[DESTINATION].state == State::Done(Outcome::OnStandby);
        if lowered && self.world.hosts[DESTINATION].guest.nic != Nic::None {
            return Err("the guest is said to be on its standby, and has its VF".into());
        }
        if !self.world.stopped && !lowered && accelerated(SOURCE) == accelerated(DESTINATION) {
            return Err("all is over and the guest is not accelerated".into());
        }
        self.check_given_back()
    }

    /// Nothing is held or left behind on a host that is on.
    fn check_given_back(&self) -> Result<(), String> {
        for (host, name) in self
            .world
            .hosts
            .iter()
            .zip(["alpha", "beta"])
            .filter(|(host, _)| host.on)
        {
            let in_guest = host.domain == Domain::Running && host.guest.nic == Nic::Up;
            if host.vf.held {
                return Err(format!("{name}: a VF is held although all is over"));
            }
            if !in_guest && !host.vf.free && !host.vf.taken {
                return Err(format!("{name}: a VF was never given back"));
            }
            let waits = host.domain == Domain::Running && host.guest.nic == Nic::None;
            if host.copy && !waits {
                return Err(format!("{name}: the PF still gets copies of the guest's frames"));
            }
        }
        Ok(())
    }
}
