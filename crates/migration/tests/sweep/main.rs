//! The workflow, swept over a small pretend world: every phase fails, repeats and crashes everywhere.
//!
//! Read `works.rs` for what the phases do here, `invariants.rs` for what must hold after each micro-step.

mod driver;
mod explore;
mod faults;
mod invariants;
mod journals;
mod libvirt;
mod mutants;
mod packets;
mod works;
mod world;

use driver::{Cluster, RULES};
use explore::{Sweep, Tally};
use faults::Fault::{self, Again, Cancel, Crash, DestinationDown, FailAfter, FailBefore, LinkLost};
use faults::Fault::{SourceDown, SourceOff, Stop};
use godwit_migration::{Course, Happening, Phase, Policy, State};
use world::{DESTINATION, FOR_EVER, Fate, SOURCE, World};

const FATES: [Fate; 6] = [
    Fate::Success,
    Fate::MovedButError,
    Fate::FailsBefore,
    Fate::FailsPaused,
    Fate::FailsResumed,
    Fate::Split,
];

fn cluster(fate: Fate) -> Cluster {
    Cluster::new(World::new(fate), RULES)
}

fn sweep(fate: Fate, faults: &[Fault], at_most: usize) -> Tally {
    Sweep::new(cluster(fate), faults, at_most).run().holds()
}

fn ends(tally: &Tally) -> String {
    let mut ends: Vec<&str> = tally.ends.iter().map(String::as_str).collect();
    ends.sort_unstable();
    ends.join("\n")
}

/// The most failures that one journal tells of.
fn most_failures(tally: &Tally) -> usize {
    let failed = |happening: &&Happening| matches!(happening, Happening::Failed | Happening::Silent);
    let journals = tally.journals.iter().flatten();
    journals
        .map(|journal| journal.iter().filter(failed).count())
        .max()
        .unwrap_or(0)
}

#[test]
fn without_a_fault_the_transfers_outcome_decides() {
    let told = FATES.map(|fate| format!("{fate:?}: {}", ends(&sweep(fate, &[], 0))));
    insta::assert_snapshot!(told.join("\n"), @"
    Success: Moved | Accelerated
    MovedButError: Moved | Accelerated
    FailsBefore: Aborted | Closed
    FailsPaused: Aborted | Closed
    FailsResumed: Aborted | Closed
    Split: Moved | Accelerated
    ");
}

/// A phase that fails is undone, or waits on standby; and one failure is not the cause of another.
#[test]
fn each_step_fails() {
    for fate in FATES {
        let sweep = Sweep::new(cluster(fate), &[FailBefore, FailAfter], 1).whole();
        let tally = sweep.run().holds();
        // The transfer's own failure counts as well.
        assert!(
            most_failures(&tally) <= 1 + usize::from(fate != Fate::Success),
            "{fate:?}"
        );
    }
}

#[test]
fn each_phase_is_repeated_and_each_daemon_crashes_everywhere() {
    for fate in FATES {
        let tally = sweep(fate, &[Again, Crash], 1);
        let undisturbed = ends(&sweep(fate, &[], 0));
        assert_eq!(ends(&tally), undisturbed, "a crash alone changes no outcome");
    }
}

/// The widest of the sweeps: whatever can go wrong, twice, whatever becomes of the transfer. Every prefix of every
/// journal that it makes replays.
#[test]
fn every_pair_of_faults() {
    let (mut runs, mut steps, mut prefixes) = (0, 0, 0);
    for fate in FATES {
        let tally = sweep(fate, &Fault::ALL, 2);
        (runs, steps) = (runs + tally.runs, steps + tally.steps);
        prefixes += journals::replay(&tally);
    }
    println!("pairs: {runs} runs, {steps} micro-steps, {prefixes} prefixes of journals");
    assert!(runs > 50_000, "the sweep has become small: {runs} runs");
}

/// Cancel turns it round wherever it is taken; when it comes too late for the transfer, the guest has moved.
#[test]
fn cancel_is_asked_at_every_point() {
    let tally = sweep(Fate::Success, &[Cancel], 1);
    insta::assert_snapshot!(ends(&tally), @"
    Aborted | Closed
    Moved | Accelerated
    ");
    let tally = sweep(
        Fate::Success,
        &[Cancel, FailBefore, FailAfter, Crash, LinkLost],
        3,
    );
    println!("cancel: {} runs, {} micro-steps", tally.runs, tally.steps);
}

/// What is held for a guest that nobody sends any more is held by nobody: the destination asks, and is told so.
#[test]
fn the_source_loses_its_journal_before_the_transfer() {
    let faults = [Fault::SourceForgets, Crash, LinkLost, DestinationDown, Stop];
    let tally = sweep(Fate::Success, &faults, 3);
    assert!(tally.ends.contains("Leave/Reserve | Closed"), "{:?}", tally.ends);
}

#[test]
fn the_source_is_switched_off_and_the_destination_finishes_alone() {
    for fate in [Fate::Success, Fate::MovedButError, Fate::Split] {
        let tally = sweep(fate, &[SourceOff], 1);
        assert!(
            tally.ends.contains("switched off | Accelerated"),
            "{:?}",
            tally.ends
        );
    }
}

/// From any moment on they never hear each other again. Nobody ends well, but nothing is broken, and each rests
/// where it says why; what the destination still holds for a guest that has not come, a person gives up.
#[test]
fn the_hosts_never_hear_each_other_again() {
    let rests = [
        State::Rest(Course::Leave, Phase::Locate),
        State::Rest(Course::Return, Phase::Unreserve),
        State::Rest(Course::Quit, Phase::Unreserve),
    ];
    let mut tally = Tally::default();
    for mut start in FATES.into_iter().flat_map(|fate| moments(cluster(fate))) {
        start.world.link_down = FOR_EVER;
        let sweep = Sweep::new(start, &[FailBefore, Crash, Stop], 2).resting(&rests);
        tally = sweep.run_on(tally).holds();
    }
}

/// Every cluster of an undisturbed run.
fn moments(mut cluster: Cluster) -> Vec<Cluster> {
    let mut moments = Vec::new();
    while !(cluster.daemons[SOURCE].ended() && cluster.daemons[DESTINATION].ended()) {
        moments.push(cluster.clone());
        cluster.tick();
        assert!(moments.len() < 1000, "it never ends");
    }
    moments
}

/// The guest answers the unplug late: it goes on, or returns once the VF has left. Never: it rests, and says so.
#[test]
fn the_guest_is_silent() {
    let rests = [State::Rest(Course::Return, Phase::Unplug)];
    for rounds in [1, 3, 25, 60, FOR_EVER] {
        let mut start = cluster(Fate::Success);
        start.world.silent = rounds;
        let faults = [FailBefore, FailAfter, Crash, Cancel, Stop, Fault::Reboot];
        let sweep = Sweep::new(start, &faults, 2);
        let for_ever = rounds == FOR_EVER;
        let tally = sweep.resting(if for_ever { &rests } else { &[] }).run().holds();
        let rested = tally.ends.iter().any(|end| end.starts_with("rest Return/Unplug"));
        assert_eq!(rested, for_ever, "{:?}", tally.ends);
    }
}

#[test]
fn the_destination_cannot_plug_at_first() {
    for fails in [1, 2, 7, FOR_EVER] {
        let mut start = cluster(Fate::Success);
        start.world.plug_fails = fails;
        let faults = [FailBefore, Crash, Stop, SourceDown, DestinationDown, SourceOff];
        let rests = [State::Rest(Course::Arrive, Phase::Plug)];
        let for_ever = fails == FOR_EVER;
        let sweep = Sweep::new(start, &faults, 2).resting(if for_ever { &rests } else { &[] });
        let tally = sweep.run().holds();
        let end = if for_ever {
            "Moved | rest Arrive/Plug"
        } else {
            "Moved | Accelerated"
        };
        assert!(tally.ends.contains(end), "{:?}", tally.ends);
    }
}

/// A guest that needs no VF to move goes although there is none, and gets one when it becomes free.
#[test]
fn a_guest_that_prefers_a_vf_moves_without_and_gets_one_later() {
    for rounds in [1, 9, 40, FOR_EVER] {
        let mut start = cluster(Fate::Success);
        start.world.policy = Policy::Prefer;
        start.world.taken_for = rounds;
        let vf = &mut start.world.hosts[DESTINATION].vf;
        (vf.free, vf.taken) = (false, true);
        let rests = [State::Rest(Course::Arrive, Phase::Hold)];
        let for_ever = rounds == FOR_EVER;
        let sweep = Sweep::new(start, &Fault::ALL, 2).resting(if for_ever { &rests } else { &[] });
        let tally = sweep.run().holds();
        let end = if for_ever {
            "Moved | rest Arrive/Hold"
        } else {
            "Moved | Accelerated"
        };
        assert!(tally.ends.contains(end), "{:?}", tally.ends);
        assert!(tally.ends.contains("Moved | OnStandby"), "{:?}", tally.ends);
    }
}

#[test]
fn a_guest_that_wants_no_vf_moves_and_stays_on_its_standby() {
    for fate in FATES {
        let mut start = cluster(fate);
        start.world.policy = Policy::StandbyOnly;
        let tally = Sweep::new(start, &Fault::ALL, 2).run().holds();
        assert!(!tally.ends.contains("Moved | Accelerated"), "{:?}", tally.ends);
    }
}

/// Standby is asked for at every moment of an arrival, with whatever else can go wrong.
#[test]
fn standby_is_asked_for_while_the_guest_is_accelerated() {
    let faults = [
        Fault::StandbyAsked,
        FailBefore,
        FailAfter,
        Crash,
        Stop,
        Fault::Reboot,
    ];
    let tally = sweep(Fate::Success, &faults, 3);
    assert!(tally.ends.contains("Moved | OnStandby"), "{:?}", tally.ends);
    for rounds in [1, 25, FOR_EVER] {
        let mut start = cluster(Fate::Success);
        start.world.silent = rounds;
        let rests = [
            State::Rest(Course::Return, Phase::Unplug),
            State::Rest(Course::Withdraw, Phase::Unplug),
        ];
        let sweep = Sweep::new(start, &faults, 2);
        sweep
            .resting(if rounds == FOR_EVER { &rests } else { &[] })
            .run()
            .holds();
    }
}

/// Other guests take every VF the moment it is free: what is still needed must be held.
#[test]
fn neighbours_take_every_free_vf() {
    for fate in FATES {
        let mut start = cluster(fate);
        start.world.greedy = true;
        Sweep::new(start, &Fault::ALL, 1).run().holds();
        // They come after Reserve.
        let reserved = |cluster: &Cluster| cluster.daemons[DESTINATION].begun;
        let mut start = moments(cluster(fate)).into_iter().find(reserved).unwrap();
        start.world.greedy = true;
        Sweep::new(start, &[FailBefore, FailAfter, Crash, LinkLost], 2)
            .run()
            .holds();
    }
}
