//! libvirt's migration job, as the world sees it: it goes on whatever becomes of our daemons.

use tokio::time::Instant;

use super::{Body, Domain, GuestId, HostId, Model, Nic, Port, Ports};

/// How a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Well.
    Success,
    /// The guest moved, and libvirt reports an error.
    MovedButError,
    /// It fails while memory is copied.
    FailsBefore,
    /// It fails in the switch-over; libvirt leaves the source's copy paused.
    FailsPaused,
    /// It fails in the switch-over; libvirt resumes the source's copy.
    FailsResumed,
    /// The Finish step is lost: libvirt resumes the source's copy although the destination runs it.
    Split,
    /// It never converges: it copies until somebody aborts it.
    Hangs,
    /// Well, but the guest stands still for seconds.
    Slow,
    /// It switches to post-copy, and the connection breaks at once: neither half can run.
    Torn,
}

/// So many pieces of the job a slow switch-over has.
const SLOW: u32 = 40;

/// How far the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Copying,
    /// The guest is paused here, its last memory is on the way.
    SwitchOver,
    /// It runs at the destination; the source has not heard so.
    Finishing,
    Over {
        reported_ok: bool,
    },
}

/// The guest's last transfer.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) migration: String,
    /// Which transfer of this world it is.
    pub(crate) number: u64,
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) stage: Stage,
    pub(crate) fate: Fate,
    /// It was asked to end early.
    pub(crate) abort: bool,
    pub(crate) events: Events,
    pub(crate) copied: Copied,
    /// Pieces of the switch-over that are still to come.
    pub(crate) stands: u32,
}

/// What has happened in a transfer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    /// libvirt's events SUSPENDED/MIGRATED and STOPPED/MIGRATED.
    pub(crate) switched_over: bool,
    pub(crate) ended_as_migrated: bool,
    pub(crate) ran_there: bool,
    /// The destination's daemon has written down that it came.
    pub(crate) seen_there: bool,
}

/// How far the memory is.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    /// Bytes.
    pub(crate) processed: u64,
    pub(crate) begun: Instant,
    pub(crate) downtime_ms: Option<u64>,
}

impl Transfer {
    pub(crate) fn active(&self) -> bool {
        !matches!(self.stage, Stage::Over { .. })
    }
}

impl Model {
    /// libvirt takes the order to migrate, or refuses it. The job's number.
    pub(crate) fn start_job(&mut self, guest: GuestId, (from, to): (HostId, HostId), migration: &str) -> u64 {
        let pending = |ports: &Ports| ports.nic != Nic::None || ports.unplug_pending;
        if self
            .body(guest, from)
            .is_some_and(|body| body.ports.iter().any(pending))
        {
            self.note(
                Some(guest),
                "a transfer starts with a VF plugged or an unplug pending",
            );
        }
        let fate = self.knobs.fate(guest, from).unwrap_or(Fate::Success);
        let possible = self.linked(from, to)
            && self
                .body(guest, to)
                .is_none_or(|body| body.domain == Domain::ShutOff);
        let stage = if possible {
            Stage::Copying
        } else {
            Stage::Over { reported_ok: false }
        };
        self.transfers += 1;
        self.guests[guest].transfer = Some(Transfer {
            migration: migration.into(),
            number: self.transfers,
            from,
            to,
            stage,
            fate,
            abort: false,
            events: Events::default(),
            copied: Copied {
                processed: 0,
                begun: Instant::now(),
                downtime_ms: None,
            },
            stands: if fate == Fate::Slow { SLOW } else { 0 },
        });
        if possible {
            self.incoming(guest, to);
            self.flow_begins(guest, from, migration);
        }
        self.transfers
    }

    fn incoming(&mut self, guest: GuestId, to: HostId) {
        let empty = Ports {
            active: Port::Standby,
            accepts_all: false,
            nic: Nic::None,
            vf: None,
            unplug_pending: false,
        };
        let body = Body {
            domain: Domain::Incoming,
            ports: vec![empty; self.guests[guest].pairs.len()],
        };
        self.guests[guest].at.insert(to, body);
        self.hosts[to].guests.insert(guest);
    }

    /// One small piece of the job: so many more bytes, or the next stage. False when it is over.
    pub(crate) fn job_goes_on(&mut self, guest: GuestId, number: u64, bytes: u64) -> bool {
        let memory = self.guests[guest].memory;
        let Some(mut job) = self.guests[guest]
            .transfer
            .clone()
            .filter(|job| job.number == number)
        else {
            return false;
        };
        let linked = self.linked(job.from, job.to);
        match job.stage {
            Stage::Over { .. } => return false,
            Stage::Copying if job.abort || !linked => self.fail_job(guest, &mut job, Domain::Running),
            Stage::Copying if job.fate == Fate::Hangs => {}
            Stage::Copying if job.copied.processed < memory => {
                job.copied.processed = (job.copied.processed + bytes).min(memory)
            }
            Stage::Copying if job.fate == Fate::FailsBefore => {
                self.fail_job(guest, &mut job, Domain::Running)
            }
            Stage::Copying => {
                self.set_domain(guest, job.from, Domain::Paused);
                (job.events.switched_over, job.stage) = (true, Stage::SwitchOver);
            }
            Stage::SwitchOver if !linked || job.fate == Fate::FailsPaused => {
                self.fail_job(guest, &mut job, Domain::Paused);
            }
            Stage::SwitchOver if job.fate == Fate::FailsResumed => {
                self.fail_job(guest, &mut job, Domain::Running)
            }
            // Cancelled in the pause: QEMU resumes the source's guest.
            Stage::SwitchOver if job.abort => self.fail_job(guest, &mut job, Domain::Running),
            Stage::SwitchOver if job.stands > 0 => job.stands -= 1,
            Stage::SwitchOver if job.fate == Fate::Torn => {
                self.set_domain(guest, job.from, Domain::Torn);
                self.set_domain(guest, job.to, Domain::Torn);
                if let Some(sent) = self.sent_now(guest) {
                    sent.torn = true;
                }
                job.stage = Stage::Over { reported_ok: false };
            }
            Stage::SwitchOver => self.run_there(guest, &mut job),
            Stage::Finishing => self.finish(guest, &mut job, linked),
        }
        let active = job.active();
        self.guests[guest].transfer = Some(job);
        active
    }

    pub(crate) fn set_domain(&mut self, guest: GuestId, at: HostId, domain: Domain) {
        if let Some(body) = self.guests[guest].at.get_mut(&at) {
            body.domain = domain;
        }
    }

    /// The job failed before the destination ran the guest.
    fn fail_job(&mut self, guest: GuestId, job: &mut Transfer, source: Domain) {
        self.set_domain(guest, job.from, source);
        self.forget(guest, job.to);
        job.stage = Stage::Over { reported_ok: false };
    }

    /// The guest ended while its memory was copied.
    pub(super) fn break_job(&mut self, guest: GuestId, at: HostId) {
        let Some(mut job) = self.guests[guest].transfer.clone() else {
            return;
        };
        if job.active() && job.from == at {
            self.fail_job(guest, &mut job, Domain::ShutOff);
            self.guests[guest].transfer = Some(job);
        }
    }

    /// The guest's memory is complete over there: it runs, and QEMU announces it.
    fn run_there(&mut self, guest: GuestId, job: &mut Transfer) {
        let ports = self.body(guest, job.from).map(|body| body.ports.clone());
        for (there, here) in self
            .ports_mut(guest, job.to)
            .into_iter()
            .flatten()
            .zip(ports.into_iter().flatten())
        {
            there.accepts_all = here.accepts_all;
        }
        self.set_domain(guest, job.to, Domain::Running);
        for pair in &mut self.guests[guest].pairs {
            pair.fabric = job.to;
        }
        self.arrivals.insert(job.migration.clone(), job.to);
        (job.events.ran_there, job.stage) = (true, Stage::Finishing);
    }

    /// Both halves wait for somebody.
    pub(crate) fn is_torn(&self, guest: GuestId) -> bool {
        let torn = |body: &Body| body.domain == Domain::Torn;
        self.guests[guest].at.values().filter(|body| torn(body)).count() == 2
    }

    /// Somebody resumes the post-copy (`virsh migrate --postcopy-resume`): the rest of the memory comes, and the guest runs at the
    /// destination.
    pub(crate) fn resume_post_copy(&mut self, guest: GuestId) {
        let torn = self.is_torn(guest);
        if let Some(mut job) = self.guests[guest].transfer.clone().filter(|_| torn) {
            self.run_there(guest, &mut job);
            self.finish(guest, &mut job, true);
            self.guests[guest].transfer = Some(job);
        }
    }

    /// The destination loses its half: the guest is nowhere any more.
    pub(crate) fn lose_half(&mut self, guest: GuestId) {
        let torn = self.is_torn(guest);
        if let Some(job) = self.guests[guest].transfer.clone().filter(|_| torn) {
            self.forget(guest, job.to);
            self.guests[guest].stopped = true;
        }
    }

    fn finish(&mut self, guest: GuestId, job: &mut Transfer, linked: bool) {
        if !linked || job.fate == Fate::Split {
            self.set_domain(guest, job.from, Domain::Running);
            self.guests[guest].stale.insert(job.from);
            job.stage = Stage::Over { reported_ok: false };
        } else {
            self.forget(guest, job.from);
            job.events.ended_as_migrated = true;
            job.stage = Stage::Over {
                reported_ok: job.fate != Fate::MovedButError,
            };
        }
    }
}
