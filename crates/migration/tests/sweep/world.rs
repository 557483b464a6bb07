//! The pretend world: two hosts, one guest, one VF on each host, a fabric between a client and the hosts.
//!
//! It knows nothing of migrations. What must never happen to it is noted in [`World::wrong`] by the deed itself.

use godwit_migration::Policy;

pub(crate) const SOURCE: usize = 0;
pub(crate) const DESTINATION: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Domain {
    Absent,
    Incoming,
    Running,
    Paused,
    ShutOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Port {
    Standby,
    Vf,
}

/// The VF as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Nic {
    None,
    /// Plugged; the guest's driver is not up.
    Plugged,
    /// An enslaved, working port of the bond.
    Up,
}

/// The guest's memory, which a transfer copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guest {
    pub(crate) boot: u8,
    pub(crate) active: Port,
    /// Both ports accept frames (`all_slaves_active`).
    pub(crate) accepts_all: bool,
    pub(crate) nic: Nic,
}

/// The VF as its host sees it. "Free" is what its host would give to the next guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Vf {
    pub(crate) free: bool,
    pub(crate) held: bool,
    /// Another guest has it.
    pub(crate) taken: bool,
    /// The embedded switch gives it the frames for the guest's MAC.
    pub(crate) mac: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    pub(crate) on: bool,
    pub(crate) domain: Domain,
    pub(crate) guest: Guest,
    pub(crate) vf: Vf,
    /// The embedded switch gives the PF, and so bridge and tap, a copy of every frame for the guest.
    pub(crate) copy: bool,
    pub(crate) unplug_pending: bool,
    /// libvirt's events: SUSPENDED/MIGRATED and STOPPED/MIGRATED.
    pub(crate) switched_over: bool,
    pub(crate) ended_as_migrated: bool,
}

/// libvirt's migration job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    None,
    Copying(u8),
    /// The guest is paused here, its last memory is on the way.
    SwitchOver,
    /// It runs at the destination; the source has not heard so.
    Finishing,
    Over {
        reported_ok: bool,
    },
}

/// How a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    Success,
    /// It moved, and libvirt reports an error.
    MovedButError,
    FailsBefore,
    /// It fails in the switch-over; libvirt leaves the source's copy paused.
    FailsPaused,
    /// It fails in the switch-over; libvirt resumes the source's copy.
    FailsResumed,
    /// The Finish step is lost: libvirt resumes the source's copy although the destination runs it.
    Split,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) hosts: [Host; 2],
    /// Host whose uplink the fabric has learned for the guest's MAC.
    pub(crate) fabric: usize,
    /// The hosts do not hear each other for so many more rounds.
    pub(crate) link_down: u8,
    pub(crate) job: Job,
    pub(crate) fate: Fate,
    /// The guest was shut down or crashed.
    pub(crate) stopped: bool,
    /// The guest does not answer an unplug for so many more rounds.
    pub(crate) silent: u8,
    /// The next so many attempts to plug at the destination fail.
    pub(crate) plug_fails: u8,
    /// Other guests take a free VF at once.
    pub(crate) greedy: bool,
    /// Another guest has the destination's VF for so many more rounds.
    pub(crate) taken_for: u8,
    pub(crate) policy: Policy,
    pub(crate) ran_there: bool,
    pub(crate) wrong: Option<String>,
}

/// For ever, as far as one run goes.
pub(crate) const FOR_EVER: u8 = u8::MAX;

impl World {
    /// `web-1` runs on the source, accelerated; the destination's VF is free.
    pub(crate) fn new(fate: Fate) -> World {
        let guest = Guest {
            boot: 1,
            active: Port::Vf,
            accepts_all: false,
            nic: Nic::Up,
        };
        let vf = Vf {
            free: false,
            held: false,
            taken: false,
            mac: true,
        };
        let source = Host {
            on: true,
            domain: Domain::Running,
            guest,
            vf,
            copy: false,
            unplug_pending: false,
            switched_over: false,
            ended_as_migrated: false,
        };
        let mut destination = source;
        destination.domain = Domain::Absent;
        destination.guest.nic = Nic::None;
        destination.vf.free = true;
        destination.vf.mac = false;
        World {
            hosts: [source, destination],
            fabric: SOURCE,
            link_down: 0,
            job: Job::None,
            fate,
            stopped: false,
            silent: 0,
            plug_fails: 0,
            greedy: false,
            taken_for: 0,
            policy: Policy::Require,
            ran_there: false,
            wrong: None,
        }
    }

    pub(crate) fn note(&mut self, wrong: &str) {
        self.wrong.get_or_insert_with(|| wrong.to_owned());
    }

    pub(crate) fn linked(&self) -> bool {
        self.link_down == 0 && self.hosts[SOURCE].on && self.hosts[DESTINATION].on
    }

    pub(crate) fn runs(&self, at: usize) -> bool {
        self.hosts[at].on && self.hosts[at].domain == Domain::Running
    }

    pub(crate) fn job_active(&self) -> bool {
        matches!(self.job, Job::Copying(_) | Job::SwitchOver | Job::Finishing)
    }

    /// The host puts its VF into the guest.
    pub(crate) fn attach(&mut self, at: usize) {
        let vf = self.hosts[at].vf;
        if vf.taken {
            self.note("a VF is in two guests");
        } else if vf.free || !vf.held {
            self.note("a VF that nobody set aside is plugged");
        }
        self.hosts[at].guest.nic = Nic::Plugged;
    }

    /// The host asks the guest to let go of its VF. Cannot be withdrawn.
    pub(crate) fn ask_unplug(&mut self, at: usize) {
        if self.hosts[at].guest.active == Port::Vf {
            self.note("an unplug of the VF that carries the traffic is asked for");
        }
        self.hosts[at].unplug_pending = true;
    }

    /// The VF leaves the guest; its MAC stays in the switch until somebody takes it off.
    pub(crate) fn leave(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let carried = host.guest.active == Port::Vf;
        host.unplug_pending = false;
        host.guest.nic = Nic::None;
        host.guest.active = Port::Standby;
        if carried {
            self.note("the VF left while it carried the traffic");
        }
    }

    /// The host puts its VF back among the free ones.
    pub(crate) fn give_back(&mut self, at: usize) {
        self.hosts[at].vf.held = false;
        self.hosts[at].vf.free = !self.hosts[at].vf.taken;
    }

    /// The host whose copy is the guest; another is stale.
    pub(crate) fn home(&self) -> usize {
        usize::from(self.ran_there)
    }

    /// The guest is shut down, or crashes, where it runs.
    pub(crate) fn stop_guest(&mut self) {
        let at = self.home();
        self.hosts[at].domain = Domain::ShutOff;
        self.hosts[at].guest.nic = Nic::None;
        self.hosts[at].unplug_pending = false;
        // Its daemon takes it off when the guest's tap has gone.
        self.hosts[at].copy = false;
        self.stopped = true;
        if self.job_active() {
            self.hosts[DESTINATION].domain = Domain::Absent;
            self.job = Job::Over { reported_ok: false };
        }
    }

    /// The guest reboots. QEMU ends a pending unplug at the reset; the bond then prefers a VF again and,
    /// as it enslaves it, puts the guest's MAC on it.
    pub(crate) fn reboot_guest(&mut self) {
        let at = self.home();
        let host = &mut self.hosts[at];
        host.guest.boot += 1;
        host.guest.accepts_all = false;
        if host.unplug_pending {
            host.unplug_pending = false;
            host.guest.nic = Nic::None;
        }
        host.guest.active = Port::Standby;
        if host.guest.nic != Nic::None {
            host.guest.nic = Nic::Up;
            host.guest.active = Port::Vf;
            host.vf.mac = true;
        }
    }

    /// The source's power goes, for good.
    pub(crate) fn switch_off_source(&mut self) {
        self.hosts[SOURCE].on = false;
        self.hosts[SOURCE].domain = Domain::Absent;
        self.job = Job::Over { reported_ok: false };
    }
}
