//! What goes on in the world by itself, one small piece per round: guests answer, libvirt's job goes on.

use crate::world::{DESTINATION, Domain, FOR_EVER, Fate, Job, Nic, Port, SOURCE, World};

impl World {
    /// One round of everything that no daemon of ours does.
    pub(crate) fn goes_on(&mut self) {
        self.job_goes_on();
        for at in [SOURCE, DESTINATION] {
            let host = &self.hosts[at];
            if host.unplug_pending && self.silent == 0 && host.domain == Domain::Running {
                self.leave(at);
            }
            let vf = &mut self.hosts[at].vf;
            if self.greedy && vf.free {
                (vf.free, vf.taken) = (false, true);
            }
        }
        self.neighbour_goes_on();
        for timer in [&mut self.link_down, &mut self.silent] {
            if *timer != FOR_EVER {
                *timer = timer.saturating_sub(1);
            }
        }
    }

    /// Another guest of the destination gives its VF back after a while.
    fn neighbour_goes_on(&mut self) {
        let vf = &mut self.hosts[DESTINATION].vf;
        match self.taken_for {
            0 | FOR_EVER => {}
            1 => {
                self.taken_for = 0;
                (vf.free, vf.taken) = (true, false);
            }
            _ => self.taken_for -= 1,
        }
    }

    /// libvirt takes the order to migrate, or refuses it.
    pub(crate) fn start_job(&mut self) {
        let source = &self.hosts[SOURCE];
        if source.guest.nic != Nic::None || source.unplug_pending {
            self.note("a transfer starts with a VF plugged or an unplug pending");
        }
        // A domain that is defined and shut off is replaced.
        let room = matches!(self.hosts[DESTINATION].domain, Domain::Absent | Domain::ShutOff);
        self.job = if self.linked() && room {
            self.hosts[DESTINATION].domain = Domain::Incoming;
            Job::Copying(2)
        } else {
            Job::Over { reported_ok: false }
        };
    }

    /// `virDomainAbortJob`: before the switch-over it is as if nothing had been.
    pub(crate) fn abort_job(&mut self) {
        if matches!(self.job, Job::Copying(_)) {
            self.end_job(Domain::Running);
        }
    }

    fn job_goes_on(&mut self) {
        let linked = self.linked();
        match self.job {
            Job::None | Job::Over { .. } => {}
            Job::Copying(_) if !linked => self.end_job(Domain::Running),
            Job::Copying(0) if self.fate == Fate::FailsBefore => self.end_job(Domain::Running),
            Job::Copying(0) => {
                self.hosts[SOURCE].domain = Domain::Paused;
                self.hosts[SOURCE].switched_over = true;
                self.job = Job::SwitchOver;
            }
            Job::Copying(left) => self.job = Job::Copying(left - 1),
            Job::SwitchOver if !linked || self.fate == Fate::FailsPaused => self.end_job(Domain::Paused),
            Job::SwitchOver if self.fate == Fate::FailsResumed => self.end_job(Domain::Running),
            Job::SwitchOver => self.run_there(),
            Job::Finishing => self.finish(linked),
        }
    }

    /// The job failed before the destination ran the guest.
    fn end_job(&mut self, source: Domain) {
        self.hosts[SOURCE].domain = source;
        self.hosts[DESTINATION].domain = Domain::Absent;
        self.job = Job::Over { reported_ok: false };
    }

    /// The guest's memory is complete over there: it runs, and QEMU announces it.
    fn run_there(&mut self) {
        self.hosts[DESTINATION].guest = self.hosts[SOURCE].guest;
        self.hosts[DESTINATION].guest.nic = Nic::None;
        self.hosts[DESTINATION].guest.active = Port::Standby;
        self.hosts[DESTINATION].domain = Domain::Running;
        self.fabric = DESTINATION;
        self.ran_there = true;
        self.job = Job::Finishing;
    }

    fn finish(&mut self, linked: bool) {
        let reported_ok = self.fate == Fate::Success;
        if !linked || self.fate == Fate::Split {
            self.hosts[SOURCE].domain = Domain::Running;
            self.job = Job::Over { reported_ok: false };
        } else {
            self.hosts[SOURCE].domain = Domain::Absent;
            self.hosts[SOURCE].ended_as_migrated = true;
            self.job = Job::Over { reported_ok };
        }
    }
}
