//! Can the sweeps fail? Each test breaks one thing, in the table, the evidence, or a phase's work, and the sweep
//! must find it and say what it does to the guest.

use godwit_migration::{
    Course, DestinationView, Happening, Illegal, Outcome, Phase, Policy, Sighting, SourceView, State,
    Verdict, Whereabouts, table,
};

use crate::{
    driver::{Cluster, RULES, Rules, Step},
    explore::Sweep,
    faults::Fault,
    most_failures,
    works::{self, *},
    world::{DESTINATION, Fate, World},
};
use Happening as H;
use State::{Done, Rest, Work};

/// The broken rules are found in a sweep of pairs over this fate, and it is this that goes wrong.
#[track_caller]
fn finds(rules: Rules, fate: Fate, wrong: &str) {
    finds_in(rules, World::new(fate), wrong);
}

#[track_caller]
fn finds_in(rules: Rules, world: World, wrong: &str) {
    let tally = Sweep::new(Cluster::new(world, rules), &Fault::ALL, 2).run();
    let failure = tally.failure.expect("the sweep found nothing");
    assert!(failure.contains(wrong), "{failure}");
}

macro_rules! table_with {
    ($pattern:pat => $next:expr) => {{
        fn next(state: State, happening: Happening) -> Result<State, Illegal> {
            match (state, happening) {
                $pattern => Ok($next),
                _ => table::next(state, happening),
            }
        }
        Rules { next, ..RULES }
    }};
}

macro_rules! work_with {
    ($phase:pat => $steps:expr) => {{
        fn of(state: State) -> &'static [Step] {
            match state.phase() {
                Some($phase) => $steps,
                _ => works::of(state),
            }
        }
        Rules { works: of, ..RULES }
    }};
}

#[test]
fn a_transfer_that_failed_is_undone_without_locating() {
    let rules =
        table_with!((Work(Course::Leave, Phase::Transfer), H::Failed) => Work(Course::Return, Phase::Plug));
    finds(
        rules,
        Fate::MovedButError,
        "undoes although the guest ran at the destination",
    );
}

/// It heals, by a rest on standby that nobody needed: one failure is the cause of another.
#[test]
fn an_unplug_that_failed_is_undone_without_a_plug() {
    let rules =
        table_with!((Work(Course::Leave, Phase::Unplug), H::Failed) => Work(Course::Return, Phase::FailBack));
    let start = Cluster::new(World::new(Fate::Success), rules);
    let tally = Sweep::new(start, &[Fault::FailAfter], 1).whole().run();
    assert_eq!(most_failures(&tally), 2);
}

#[test]
fn a_fail_back_that_failed_counts_as_accelerated() {
    let rules = table_with!((Work(Course::Arrive, Phase::FailBack), H::Failed) => Done(Outcome::Accelerated));
    finds(rules, Fate::Success, "not accelerated");
}

#[test]
fn cancel_is_taken_after_the_transfer() {
    let rules = table_with!((Work(Course::Leave, Phase::Locate), H::CancelAsked) => Work(Course::Return, Phase::Plug));
    finds(rules, Fate::Success, "undoes although");
}

#[test]
fn the_way_back_forgets_the_destinations_hold() {
    let rules = table_with!((Work(Course::Return, Phase::FailBack), H::Done) => Done(Outcome::Aborted));
    // The destination's own question would end what it holds all the same, only later.
    let rules = Rules {
        asks_source: false,
        ..rules
    };
    finds(rules, Fate::Success, "it never ends: beta at Arrive/Await");
}

#[test]
fn the_destination_asks_no_source_whether_it_sends_its_guest() {
    let rules = Rules {
        asks_source: false,
        ..RULES
    };
    finds(rules, Fate::Success, "it never ends: beta at Arrive/Await");
}

#[test]
fn a_silent_unplug_counts_as_failed() {
    let rules =
        table_with!((Work(Course::Leave, Phase::Unplug), H::Silent) => Work(Course::Return, Phase::Plug));
    let mut world = World::new(Fate::Success);
    world.silent = 60;
    finds_in(rules, world, "the VF left while it carried the traffic");
}

#[test]
fn a_guest_on_both_hosts_is_left_so() {
    let rules = table_with!(
        (Work(Course::Leave, Phase::Locate), H::Located(Verdict::OnBoth)) => Work(Course::Leave, Phase::Release)
    );
    finds(rules, Fate::Split, "the guest runs on both hosts");
}

#[test]
fn a_paused_guest_is_not_resumed() {
    let rules = table_with!(
        (Work(Course::Leave, Phase::Locate) | Rest(Course::Leave, Phase::Locate), H::Located(Verdict::PausedHere))
            => Rest(Course::Leave, Phase::Locate)
    );
    finds(
        rules,
        Fate::FailsPaused,
        "it never ends: alpha at rest Leave/Locate",
    );
}

#[test]
fn the_source_forgets_the_old_vf() {
    let rules = table_with!((Work(Course::Leave, Phase::Locate), H::Located(Verdict::There)) => Work(Course::Leave, Phase::Follow));
    finds(rules, Fate::Success, "alpha: a VF is held although all is over");
}

/// The table's own first version.
#[test]
fn a_guest_that_came_and_was_shut_down_at_once_is_awaited_for_ever() {
    fn next(state: State, happening: Happening) -> Result<State, Illegal> {
        match (state, happening) {
            (Work(Course::Arrive, Phase::Await), H::Left) => Err(Illegal { state, happening }),
            _ => table::next(state, happening),
        }
    }
    finds(
        Rules { next, ..RULES },
        Fate::Success,
        "Left cannot happen in Arrive/Await",
    );
}

#[test]
fn silence_is_read_as_absence() {
    fn read(source: SourceView, mut destination: DestinationView) -> Whereabouts {
        if destination.sighting == Sighting::Unreadable {
            destination.sighting = Sighting::Absent;
        }
        Whereabouts::read(source, destination)
    }
    finds(
        Rules { read, ..RULES },
        Fate::Success,
        "a record ends with what is not true",
    );
}

#[test]
fn a_running_source_is_enough_evidence() {
    fn read(source: SourceView, destination: DestinationView) -> Whereabouts {
        match source.sighting {
            Sighting::Running => Whereabouts::SourceRunning,
            _ => Whereabouts::read(source, destination),
        }
    }
    finds(Rules { read, ..RULES }, Fate::Split, "undoes although");
}

#[test]
fn missed_events_are_taken_for_no_events() {
    let rules = Rules {
        doubts_events: false,
        ..RULES
    };
    finds(rules, Fate::Split, "undoes although");
}

#[test]
fn a_restarted_daemon_takes_it_that_no_unplug_was_asked_for() {
    let rules = Rules {
        doubts_unplug: false,
        ..RULES
    };
    let mut world = World::new(Fate::Success);
    world.silent = 60;
    finds_in(rules, world, "the VF left while it carried the traffic");
}

/// Found by a storm of `godwit-sim`: split, shut down over there, and the copy here sent again.
#[test]
fn a_restarted_daemon_sends_what_a_transfer_left_behind() {
    let rules = Rules {
        doubts_transfer: false,
        ..RULES
    };
    finds(rules, Fate::Split, "the guest runs although it was shut down");
}

/// Found by a storm of `godwit-sim`: the evidence of a guest that went on, or was shut down, over there.
#[test]
fn what_ran_there_and_is_there_no_more_is_forgotten() {
    fn read(source: SourceView, destination: DestinationView) -> Whereabouts {
        Whereabouts::read(
            source,
            DestinationView {
                ran: false,
                ..destination
            },
        )
    }
    finds(
        Rules { read, ..RULES },
        Fate::Split,
        "it never ends: alpha at rest Leave/Locate",
    );
}

#[test]
fn a_vf_is_given_back_before_it_is_clean() {
    let rules =
        work_with!(Phase::Release => &[("back", give_back), ("clean", take_mac_off), ("copy off", copy_off)]);
    finds(rules, Fate::Success, "a VF was given back with the old MAC on it");
}

#[test]
fn the_fail_over_is_not_asked_again_before_the_unplug() {
    let rules = work_with!(Phase::Unplug => &[
        ("ask", ask_unplug_unchecked),
        ("wait", await_unplug),
        ("take MAC off", take_mac_off),
        ("copy off", copy_off),
    ]);
    finds(
        rules,
        Fate::Success,
        "an unplug of the VF that carries the traffic",
    );
}

#[test]
fn the_mac_is_put_on_before_the_pf_gets_its_copy() {
    let rules = work_with!(Phase::Plug => &[
        ("look", still_here),
        ("attach", attach),
        ("put MAC on", put_mac_on),
        ("driver up", driver_up),
    ]);
    finds(
        rules,
        Fate::Success,
        "a frame from the client does not come to the guest",
    );
}

#[test]
fn the_old_mac_is_left_in_the_switch() {
    let rules = work_with!(Phase::Unplug => &[
        ("look", look_at_unplug),
        ("leave the MAC", put_mac_on),
        ("ask", ask_unplug),
        ("wait", await_unplug),
        ("copy off", copy_off),
    ]);
    finds(
        rules,
        Fate::Success,
        "a frame from the client does not come to the guest",
    );
}

#[test]
fn a_fail_over_that_is_undone_leaves_the_vf_without_its_mac() {
    let rules = work_with!(Phase::FailBack => &[
        ("look", still_here),
        ("accept on both", accept_both),
        ("send by the VF", send_by_vf_unchecked),
        ("announce", announce),
        ("accept on one", accept_one),
        ("copy off", copy_off),
    ]);
    finds(
        rules,
        Fate::Success,
        "a frame of the guest does not come to the client",
    );
}

#[test]
fn the_standby_does_not_accept_before_the_switch_steers_to_it() {
    let rules = work_with!(Phase::FailOver => &[
        ("look", still_here),
        ("send by the standby", send_by_standby),
        ("announce", announce),
        ("copy to the PF", copy_on),
        ("confirm", confirm_standby),
    ]);
    finds(
        rules,
        Fate::Success,
        "a frame from the client does not come to the guest",
    );
}

/// The same of a guest that stays: what may go wrong while it is put on its standby.
#[test]
fn a_silent_unplug_on_the_way_down_counts_as_failed() {
    let rules =
        table_with!((Work(Course::Withdraw, Phase::Unplug), H::Silent) => Work(Course::Arrive, Phase::Hold));
    let mut start = Cluster::new(World::new(Fate::Success), rules);
    while start.daemons[DESTINATION].state != Work(Course::Arrive, Phase::FailBack) {
        start.tick();
    }
    // From now on the guest answers no unplug for a while.
    start.world.silent = 60;
    let tally = Sweep::new(start, &Fault::ALL, 2).run();
    let failure = tally.failure.expect("the sweep found nothing");
    assert!(
        failure.contains("the VF left while it carried the traffic"),
        "{failure}"
    );
}

#[test]
fn a_standby_that_failed_counts_as_done() {
    let rules = table_with!((Work(Course::Withdraw, Phase::FailOver), H::Failed) => Done(Outcome::OnStandby));
    finds(rules, Fate::Success, "a VF is held although all is over");
}

#[test]
fn the_pf_of_a_host_that_the_guest_left_keeps_its_copy() {
    let rules = work_with!(Phase::Release => &[("take MAC off", take_mac_off), ("give back", give_back)]);
    finds(rules, Fate::Success, "the PF still gets copies");
}

#[test]
fn a_vf_is_plugged_that_was_not_held() {
    let rules = work_with!(Phase::Hold => &[("look", still_here)]);
    let mut world = World::new(Fate::Success);
    world.policy = Policy::Prefer;
    world.taken_for = 9;
    let vf = &mut world.hosts[DESTINATION].vf;
    (vf.free, vf.taken) = (false, true);
    finds_in(rules, world, "a VF that nobody set aside is plugged");
}

/// The phase at work is torn apart instead of being ended: the plug comes after the unplug was looked for.
#[test]
fn standby_that_is_asked_for_forgets_the_vf() {
    let rules = table_with!(
        (Work(Course::Halt, Phase::Hold | Phase::Plug | Phase::FailBack), H::Done | H::Failed)
            => Work(Course::Withdraw, Phase::Release)
    );
    finds(rules, Fate::Success, "VF");
}
