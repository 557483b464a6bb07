//! The phases' works, as micro-steps. Each looks first, so that it may be repeated from anywhere.
//!
//! Make before break: the PF gets its copy of the guest's frames before a VF's MAC goes on or off.

use godwit_migration::{
    Course, DestinationView, Happening, Outcome, Phase, Policy, Sighting, SourceView, State, Verdict,
};

use crate::{
    driver::{Answer, Cluster, Step},
    world::{DESTINATION, Domain, FOR_EVER, Job, Nic, Port, SOURCE},
};
use Answer::{Fail, Next, Tell, Wait};

/// Rounds to wait for what the guest may never do.
pub(crate) const PATIENCE: u8 = 4;

/// The work of a state.
pub(crate) fn of(state: State) -> &'static [Step] {
    let Some(phase) = state.phase() else {
        return &[];
    };
    match phase {
        Phase::Reserve => &[
            ("look", still_here),
            ("hold here", hold_here),
            ("hold there", hold_there),
        ],
        Phase::Queue => &[("look", still_here)],
        Phase::Hold => &[("look", still_here), ("hold", hold_own)],
        Phase::FailOver => &[
            ("look", still_here),
            ("accept on both", accept_both),
            ("copy to the PF", copy_on),
            ("send by the standby", send_by_standby),
            ("announce", announce),
            ("confirm", confirm_standby),
        ],
        Phase::Unplug => &[
            ("look", look_at_unplug),
            ("ask", ask_unplug),
            ("wait", await_unplug),
            ("take MAC off", take_mac_off),
        ],
        Phase::Transfer => &[("start", start_job), ("watch", watch_job)],
        Phase::Locate => &[("settle", settle_there), ("read", locate)],
        Phase::Resume => &[("look", still_here), ("resume", resume)],
        Phase::Suspend => &[("suspend", suspend)],
        // One that stays here is on its standby now.
        Phase::Release if state == State::Work(Course::Withdraw, Phase::Release) => {
            &[("take MAC off", take_mac_off), ("give back", give_back)]
        }
        Phase::Release => &[
            ("take MAC off", take_mac_off),
            ("copy off", copy_off),
            ("give back", give_back),
        ],
        Phase::Follow => &[("ask", follow)],
        Phase::Await => &[("look", await_guest)],
        Phase::Plug => &[
            ("look", still_here),
            ("copy to the PF", copy_on),
            ("attach", attach),
            ("put MAC on", put_mac_on),
            ("driver up", driver_up),
        ],
        Phase::FailBack => &[
            ("look", still_here),
            ("steer back", steer_back),
            ("accept on both", accept_both),
            ("send by the VF", send_by_vf),
            ("announce", announce),
            ("accept on one", accept_one),
            ("copy off", copy_off),
        ],
        Phase::Unreserve => &[("tell", close_there)],
    }
}

/// Left is what only a look can say: the guest does not run here, and not by our doing.
pub(crate) fn still_here(cluster: &mut Cluster, at: usize) -> Answer {
    match cluster.world.hosts[at].domain {
        Domain::ShutOff | Domain::Absent => Tell(Happening::Left),
        _ => Next,
    }
}

fn hold_here(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.hosts[at].vf.held = true;
    Next
}

/// The other daemon sets a VF aside and begins its record, in one transaction.
fn hold_there(cluster: &mut Cluster, _: usize) -> Answer {
    if !cluster.connected() {
        return Fail;
    }
    let vf = &mut cluster.world.hosts[DESTINATION].vf;
    let there = &mut cluster.daemons[DESTINATION];
    if there.begun {
        return if there.ended() { Fail } else { Next };
    }
    let wanted = cluster.world.policy != Policy::StandbyOnly;
    if wanted && vf.free {
        (vf.free, vf.held) = (false, true);
    } else if cluster.world.policy == Policy::Require {
        return Fail;
    }
    there.begun = true;
    Next
}

/// What Reserve held is held; else one that has become free since is taken.
pub(crate) fn hold_own(cluster: &mut Cluster, at: usize) -> Answer {
    let in_guest = cluster.world.hosts[at].guest.nic != Nic::None;
    let vf = &mut cluster.world.hosts[at].vf;
    if vf.held || in_guest {
        vf.held = true;
        return Next;
    }
    if cluster.world.policy == Policy::StandbyOnly {
        return Tell(Happening::Unwanted);
    }
    if !vf.free {
        return Fail;
    }
    (vf.free, vf.held) = (false, true);
    Next
}

/// The agent answers only in a guest that runs.
pub(crate) fn accept_both(cluster: &mut Cluster, at: usize) -> Answer {
    if !cluster.world.runs(at) {
        return Fail;
    }
    cluster.world.hosts[at].guest.accepts_all = true;
    Next
}

pub(crate) fn copy_on(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.hosts[at].copy = true;
    Next
}

pub(crate) fn send_by_standby(cluster: &mut Cluster, at: usize) -> Answer {
    if !cluster.world.runs(at) {
        return Fail;
    }
    cluster.world.hosts[at].guest.active = Port::Standby;
    Next
}

pub(crate) fn announce(cluster: &mut Cluster, at: usize) -> Answer {
    if !cluster.world.runs(at) {
        return Fail;
    }
    cluster.world.fabric = at;
    Next
}

/// In one step: the VF's MAC is taken off in less time than a guest takes to boot, or not at all.
pub(crate) fn confirm_standby(cluster: &mut Cluster, at: usize) -> Answer {
    let guest = cluster.world.hosts[at].guest;
    cluster.daemons[at].confirmed_boot = guest.boot;
    if !cluster.world.runs(at) || guest.active != Port::Standby {
        return Fail;
    }
    cluster.world.hosts[at].vf.mac = false;
    Next
}

/// Of a fail over that is undone the VF may be without its MAC.
fn steer_back(cluster: &mut Cluster, at: usize) -> Answer {
    let host = &mut cluster.world.hosts[at];
    host.vf.mac |= host.guest.nic != Nic::None;
    Next
}

/// Is the VF still there, and is the fail over still true? After a reboot nothing is pending any more, and the
/// bond prefers the VF again.
pub(crate) fn look_at_unplug(cluster: &mut Cluster, at: usize) -> Answer {
    let host = &cluster.world.hosts[at];
    if matches!(host.domain, Domain::ShutOff | Domain::Absent) {
        return Tell(Happening::Left);
    }
    let rebooted = host.guest.boot != cluster.daemons[at].confirmed_boot;
    match cluster.daemons[at].state {
        _ if host.guest.nic == Nic::None => Next,
        State::Rest(Course::Withdraw, _) if rebooted => fail_over_again(cluster, at),
        State::Rest(..) if rebooted => Tell(Happening::Done),
        _ if rebooted => Tell(Happening::Failed),
        _ => Next,
    }
}

/// A guest that is to stay on standby is asked for its VF again, as the first time.
fn fail_over_again(cluster: &mut Cluster, at: usize) -> Answer {
    if !cluster.world.runs(at) {
        return Fail;
    }
    for step in [accept_both, copy_on, send_by_standby, announce, confirm_standby] {
        step(cluster, at);
    }
    Next
}

/// The fail over is asked again just before the unplug.
pub(crate) fn ask_unplug(cluster: &mut Cluster, at: usize) -> Answer {
    let guest = cluster.world.hosts[at].guest;
    if guest.nic != Nic::None && guest.active == Port::Vf {
        return Fail;
    }
    ask_unplug_unchecked(cluster, at)
}

/// For the sweeps that show what the look is good for.
pub(crate) fn ask_unplug_unchecked(cluster: &mut Cluster, at: usize) -> Answer {
    if cluster.world.hosts[at].guest.nic == Nic::None {
        return Next;
    }
    cluster.daemons[at].life.may_have_asked = true;
    cluster.world.ask_unplug(at);
    Next
}

/// DEVICE_REMOVED and the domain read again.
pub(crate) fn await_unplug(cluster: &mut Cluster, at: usize) -> Answer {
    if cluster.world.hosts[at].guest.nic == Nic::None {
        return Next;
    }
    match cluster.daemons[at].state {
        State::Work(..) if cluster.daemons[at].life.waited < PATIENCE => Wait,
        State::Work(..) => Tell(Happening::Silent),
        _ => Fail,
    }
}

pub(crate) fn take_mac_off(cluster: &mut Cluster, at: usize) -> Answer {
    let host = &mut cluster.world.hosts[at];
    if host.guest.nic != Nic::None && host.domain != Domain::Absent {
        return Fail;
    }
    host.vf.mac = false;
    Next
}

pub(crate) fn copy_off(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.hosts[at].copy = false;
    Next
}

/// A job that is over is not begun again by the life of the daemon that saw its end; nor by a later one unless the
/// destination still waits for the guest: what runs here may be the stale copy that the job left.
fn start_job(cluster: &mut Cluster, at: usize) -> Answer {
    if cluster.world.job_active() {
        return Next;
    }
    let host = &cluster.world.hosts[at];
    let ready = host.domain == Domain::Running && host.guest.nic == Nic::None && !host.unplug_pending;
    let wanted = matches!(cluster.daemons[at].state, State::Work(Course::Leave, _));
    let awaited = cluster.connected() && !has_run(cluster.daemons[DESTINATION].state);
    let doubtful = cluster.daemons[at].life.missed_events && cluster.rules.doubts_transfer && !awaited;
    let begun = cluster.job_result().is_some() || doubtful;
    if !ready || !wanted || begun {
        return Fail;
    }
    cluster.world.start_job();
    Next
}

fn watch_job(cluster: &mut Cluster, at: usize) -> Answer {
    if matches!(cluster.daemons[at].state, State::Work(Course::Turn, _)) {
        cluster.world.abort_job();
    }
    match cluster.world.job {
        Job::None => Fail,
        Job::Over { .. } if cluster.job_result() == Some(true) => Next,
        Job::Over { .. } => Fail,
        _ => Wait,
    }
}

fn sighting(cluster: &Cluster, at: usize) -> Sighting {
    match cluster.world.hosts[at].domain {
        Domain::Absent => Sighting::Absent,
        Domain::Incoming => Sighting::Incoming,
        Domain::Running => Sighting::Running,
        Domain::Paused => Sighting::Paused,
        Domain::ShutOff => Sighting::ShutOff,
    }
}

/// A guest that is still here may go on here only after the destination has promised not to run it.
fn settle_there(cluster: &mut Cluster, at: usize) -> Answer {
    let here = matches!(cluster.world.hosts[at].domain, Domain::Running | Domain::Paused);
    if here && !cluster.world.job_active() {
        close_there(cluster, at);
    }
    Next
}

fn locate(cluster: &mut Cluster, at: usize) -> Answer {
    Tell(Happening::Located(whereabouts(cluster, at)))
}

/// The destination's record says that the guest arrived.
pub(crate) fn has_run(there: State) -> bool {
    !matches!(there, State::Work(_, Phase::Await) | State::Done(Outcome::Closed))
}

/// The evidence of both hosts.
fn whereabouts(cluster: &Cluster, at: usize) -> Verdict {
    let missed = cluster.daemons[at].life.missed_events;
    let source = SourceView {
        sighting: sighting(cluster, at),
        job_over: !cluster.world.job_active(),
        switched_over: if missed {
            cluster.rules.doubts_events
        } else {
            cluster.world.hosts[at].switched_over
        },
        ended_as_migrated: !missed && cluster.world.hosts[at].ended_as_migrated,
    };
    let there = &cluster.daemons[DESTINATION];
    let unreadable = DestinationView {
        sighting: Sighting::Unreadable,
        closed: false,
        ran: false,
    };
    let destination = DestinationView {
        sighting: sighting(cluster, DESTINATION),
        closed: there.state == State::Done(Outcome::Closed),
        ran: has_run(there.state),
    };
    let connected = cluster.connected();
    (cluster.rules.read)(source, if connected { destination } else { unreadable }).verdict()
}

fn resume(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.hosts[at].domain = Domain::Running;
    Next
}

fn suspend(cluster: &mut Cluster, at: usize) -> Answer {
    if cluster.world.runs(at) {
        cluster.world.hosts[at].domain = Domain::Paused;
    }
    Next
}

pub(crate) fn give_back(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.give_back(at);
    Next
}

/// Until the destination has ended, or rests.
fn follow(cluster: &mut Cluster, _: usize) -> Answer {
    match cluster.daemons[DESTINATION].state {
        _ if !cluster.connected() => Fail,
        State::Done(_) | State::Rest(..) => Next,
        State::Work(..) => Wait,
    }
}

/// A guest that is shut off on the host that had no such domain at Reserve has come and gone.
fn await_guest(cluster: &mut Cluster, at: usize) -> Answer {
    match cluster.world.hosts[at].domain {
        Domain::Running => Tell(Happening::Done),
        Domain::ShutOff => Tell(Happening::Left),
        Domain::Absent if cluster.daemons[at].life.waited >= PATIENCE && sends_nobody(cluster) => {
            Tell(Happening::Closed)
        }
        _ => Wait,
    }
}

/// The source is asked about a guest that does not come: it never heard of the migration, or its guest stays.
fn sends_nobody(cluster: &Cluster) -> bool {
    let source = &cluster.daemons[SOURCE];
    let stays = matches!(
        source.state,
        State::Work(Course::Return | Course::Stay | Course::Quit, _)
            | State::Rest(Course::Return | Course::Quit, _)
            | State::Done(Outcome::Aborted | Outcome::Gone)
    );
    cluster.rules.asks_source && cluster.connected() && (!source.begun || stays)
}

pub(crate) fn attach(cluster: &mut Cluster, at: usize) -> Answer {
    if cluster.world.hosts[at].guest.nic != Nic::None {
        return Next;
    }
    if !cluster.world.runs(at) {
        return Fail;
    }
    if at == DESTINATION && cluster.world.plug_fails > 0 {
        cluster.world.plug_fails -= u8::from(cluster.world.plug_fails != FOR_EVER);
        return Fail;
    }
    cluster.world.attach(at);
    Next
}

pub(crate) fn put_mac_on(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.hosts[at].vf.mac = true;
    Next
}

pub(crate) fn driver_up(cluster: &mut Cluster, at: usize) -> Answer {
    if !cluster.world.runs(at) || cluster.world.hosts[at].guest.nic == Nic::None {
        return Fail;
    }
    cluster.world.hosts[at].guest.nic = Nic::Up;
    Next
}

fn send_by_vf(cluster: &mut Cluster, at: usize) -> Answer {
    if !cluster.world.hosts[at].vf.mac {
        return Fail;
    }
    send_by_vf_unchecked(cluster, at)
}

/// For the sweep that shows what the MAC is good for.
pub(crate) fn send_by_vf_unchecked(cluster: &mut Cluster, at: usize) -> Answer {
    let host = &mut cluster.world.hosts[at];
    if host.domain != Domain::Running || host.guest.nic != Nic::Up {
        return Fail;
    }
    host.guest.active = Port::Vf;
    Next
}

pub(crate) fn accept_one(cluster: &mut Cluster, at: usize) -> Answer {
    cluster.world.hosts[at].guest.accepts_all = false;
    Next
}

/// The destination promises, durably, not to run the guest. It cannot if it has it.
fn close_there(cluster: &mut Cluster, _: usize) -> Answer {
    if !cluster.connected() {
        return Fail;
    }
    let there = &cluster.daemons[DESTINATION];
    let has_it = !matches!(
        cluster.world.hosts[DESTINATION].domain,
        Domain::Absent | Domain::ShutOff
    );
    match there.state {
        _ if !there.begun => Next,
        State::Done(_) => Next,
        State::Work(Course::Arrive, Phase::Await) if !has_it => {
            cluster.daemons[DESTINATION].life.outcome = None;
            cluster.write(DESTINATION, Happening::Closed);
            Next
        }
        _ => Fail,
    }
}
