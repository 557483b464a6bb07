//! The rules of the design that a table can hold, asked of every state that can be reached.

use std::collections::BTreeSet;

use godwit_migration::{
    Course::{self, Arrive, Halt, Leave, Quit, Return, Stay, Turn, Withdraw},
    Happening as H, Outcome, Phase, Role,
    State::{self, Done, Rest, Work},
    Verdict, table,
};

use crate::{HAPPENINGS, all, reachable, reachable_from, rows};

#[test]
fn every_state_can_end() {
    for state in all() {
        let ends = reachable_from(state)
            .into_iter()
            .any(|state| matches!(state, Done(_)));
        assert!(ends, "{state}");
    }
}

#[test]
fn nothing_happens_after_the_end() {
    for state in all() {
        assert_eq!(matches!(state, Done(_)), rows(state).is_empty(), "{state}");
    }
}

/// What is not reached is not in the table either: no row is dead.
#[test]
fn every_row_can_be_reached() {
    let reached = all();
    for course in [Leave, Turn, Return, Stay, Quit, Arrive, Halt, Withdraw] {
        for phase in Phase::ALL {
            for state in [Work(course, phase), Rest(course, phase)] {
                assert!(
                    reached.contains(&state) || rows(state).is_empty(),
                    "{state} has rows"
                );
            }
        }
    }
}

#[test]
fn each_role_keeps_to_its_courses() {
    let courses = |role| {
        let states = reachable(role).into_iter();
        let course = |state| match state {
            Work(course, _) | Rest(course, _) => Some(course),
            Done(_) => None,
        };
        states.filter_map(course).collect::<BTreeSet<Course>>()
    };
    assert_eq!(
        courses(Role::Source),
        BTreeSet::from([Leave, Turn, Return, Stay, Quit])
    );
    for here in [Role::Destination, Role::Accelerate, Role::Decelerate] {
        assert_eq!(courses(here), BTreeSet::from([Arrive, Halt, Withdraw]));
    }
}

/// The source never plugs for the guest's sake once it has gone: rule 3, and responsibility moves with the guest.
#[test]
fn nothing_is_undone_once_the_guest_is_there() {
    for state in [Work(Leave, Phase::Locate), Rest(Leave, Phase::Locate)] {
        let there = table::next(state, H::Located(Verdict::There)).unwrap();
        for later in reachable_from(there) {
            let forward = matches!(
                later,
                Work(Leave, Phase::Release | Phase::Follow) | Done(Outcome::Moved)
            );
            assert!(forward, "{later}");
        }
        let both = table::next(state, H::Located(Verdict::OnBoth)).unwrap();
        assert_eq!(both, Work(Leave, Phase::Suspend));
        assert!(
            rows(both)
                .iter()
                .all(|(_, next)| next.phase() == Some(Phase::Locate))
        );
    }
}

/// Rule 1: the loop alone says "failed", for the transfer only after it located the guest.
#[test]
fn a_transfer_is_followed_by_looking_whatever_it_returned() {
    for course in [Leave, Turn] {
        for happening in [H::Done, H::Failed] {
            let next = table::next(Work(course, Phase::Transfer), happening);
            assert_eq!(next, Ok(Work(Leave, Phase::Locate)));
        }
    }
    for state in all() {
        for (happening, next) in rows(state) {
            let returns = matches!(next, Work(Return, _) | Rest(Return, _));
            let located = state.phase() == Some(Phase::Locate);
            let undoes =
                happening == H::Located(Verdict::Here) || happening == H::Located(Verdict::PausedHere);
            assert!(!(returns && located) || undoes, "{state} {happening:?}");
        }
    }
}

#[test]
fn unknown_waits() {
    for state in [Work(Leave, Phase::Locate), Rest(Leave, Phase::Locate)] {
        let next = table::next(state, H::Located(Verdict::Unknown));
        assert_eq!(next, Ok(Rest(Leave, Phase::Locate)));
    }
}

/// Rule 2: what failed may have half happened, so it is undone as well.
#[test]
fn a_phase_that_failed_is_undone_too() {
    let undone = [
        (Phase::Reserve, Phase::Unreserve),
        (Phase::Queue, Phase::Unreserve),
        (Phase::FailOver, Phase::FailBack),
        (Phase::Unplug, Phase::Plug),
    ];
    for (phase, undo) in undone {
        for course in [Leave, Turn] {
            assert_eq!(
                table::next(Work(course, phase), H::Failed),
                Ok(Work(Return, undo))
            );
        }
        // Turned round, success is undone the same way.
        assert_eq!(table::next(Work(Turn, phase), H::Done), Ok(Work(Return, undo)));
    }
}

/// Rule 4.
#[test]
fn cancel_is_taken_up_to_the_transfer_and_nowhere_else() {
    let taken: Vec<State> = all()
        .into_iter()
        .filter(|state| table::can_cancel(*state))
        .collect();
    let phases = [
        Phase::Reserve,
        Phase::Queue,
        Phase::FailOver,
        Phase::Unplug,
        Phase::Transfer,
    ];
    assert_eq!(taken, phases.map(|phase| Work(Leave, phase)));
    for phase in phases {
        assert_eq!(
            table::next(Work(Leave, phase), H::CancelAsked),
            Ok(Work(Turn, phase))
        );
    }
}

/// Turned round, it leaves only if the transfer was at work and the guest is found over there.
#[test]
fn after_cancel_no_phase_of_leaving_begins() {
    let phases = [
        Phase::Reserve,
        Phase::Queue,
        Phase::FailOver,
        Phase::Unplug,
        Phase::Transfer,
    ];
    for phase in phases {
        for (_, next) in rows(Work(Turn, phase)) {
            assert!(!matches!(next, Work(Turn, _)) || next.phase() == Some(phase));
            assert!(
                !matches!(next, Work(Leave, phase) if phase != Phase::Locate),
                "{next}"
            );
        }
    }
}

/// A transfer is begun by an unplug that is done, and by nothing else.
#[test]
fn only_a_done_unplug_leads_to_the_transfer() {
    for state in all() {
        for (happening, next) in rows(state) {
            if next == Work(Leave, Phase::Transfer) {
                assert_eq!((state, happening), (Work(Leave, Phase::Unplug), H::Done));
            }
        }
    }
}

#[test]
fn an_unplug_that_cannot_be_withdrawn_rests_until_the_vf_has_left() {
    let rest = Rest(Return, Phase::Unplug);
    for course in [Leave, Turn] {
        assert_eq!(table::next(Work(course, Phase::Unplug), H::Silent), Ok(rest));
    }
    let only = [
        (H::Done, Work(Return, Phase::Plug)),
        (H::Left, Work(Quit, Phase::Release)),
    ];
    assert_eq!(rows(rest), only);
}

/// At the destination a failure leaves the guest on standby, and it is tried again; only the guest ends it.
#[test]
fn the_destination_never_gives_up() {
    for phase in [Phase::Plug, Phase::FailBack] {
        assert_eq!(
            table::next(Work(Arrive, phase), H::Failed),
            Ok(Rest(Arrive, Phase::Plug))
        );
    }
    for state in reachable(Role::Destination) {
        for (happening, next) in rows(state) {
            match next {
                Done(Outcome::Accelerated) => assert_eq!(state, Work(Arrive, Phase::FailBack)),
                Done(Outcome::Closed) => {
                    assert_eq!((state, happening), (Work(Arrive, Phase::Await), H::Closed))
                }
                Done(Outcome::Left) => assert_eq!(state, Work(Arrive, Phase::Release)),
                Done(Outcome::OnStandby) => assert_eq!(state, Work(Withdraw, Phase::Release)),
                _ => {}
            }
        }
    }
}

/// No VF is given up before the transfer may start: the queue comes before anything is done to the guest.
#[test]
fn the_queue_comes_before_the_guest_is_touched() {
    for state in all() {
        for (happening, next) in rows(state) {
            if next == Work(Leave, Phase::FailOver) {
                assert_eq!((state, happening), (Work(Leave, Phase::Queue), H::Done));
            }
        }
    }
}

/// Decelerate: only what was asked for takes a VF from a guest that stays, never before its traffic left it, and what
/// fails of it is accelerated again.
#[test]
fn a_guest_that_stays_is_decelerated_only_when_that_was_asked_for() {
    for state in all() {
        for (happening, next) in rows(state) {
            match next {
                Work(Withdraw, Phase::FailOver) => assert!(matches!(state, Work(Halt, _)), "{state}"),
                Work(Withdraw, Phase::Unplug) => assert_eq!(state, Work(Withdraw, Phase::FailOver)),
                Work(Halt, _) => assert_eq!(happening, H::StandbyAsked, "{state}"),
                _ => {}
            }
        }
    }
    for phase in [Phase::FailOver, Phase::Unplug] {
        let failed = table::next(Work(Withdraw, phase), H::Failed);
        assert_eq!(failed, Ok(Work(Arrive, Phase::Hold)));
    }
    // An unplug that was asked for cannot be withdrawn, and here it is what was wanted: it is waited for.
    let only = [
        (H::Done, Work(Withdraw, Phase::Release)),
        (H::Left, Work(Arrive, Phase::Release)),
    ];
    assert_eq!(rows(Rest(Withdraw, Phase::Unplug)), only);
}

/// Another VF changes nothing of what is waited for.
#[test]
fn another_vf_is_taken_only_at_rest() {
    for state in all() {
        if let Ok(next) = table::next(state, H::Swapped) {
            assert!(
                matches!(state, Rest(Arrive | Return, Phase::Plug)) && next == state,
                "{state}"
            );
        }
    }
}

/// Aborted means: accelerated here, and the destination holds nothing.
#[test]
fn aborted_needs_the_other_hold_given_back() {
    for state in reachable(Role::Source) {
        for (happening, next) in rows(state) {
            if next == Done(Outcome::Aborted) {
                assert!(
                    state.phase() == Some(Phase::Unreserve) && happening == H::Done,
                    "{state}"
                );
            }
            if next == Done(Outcome::Gone) {
                assert!(
                    state.phase() == Some(Phase::Unreserve) && happening == H::Done,
                    "{state}"
                );
            }
        }
    }
}

/// A source that gave up what the destination held for its guest, and hears that the guest runs there as well, stops its own copy.
#[test]
fn a_wrong_word_is_undone_by_suspending_the_copy_here() {
    for state in [
        Work(Return, Phase::Unreserve),
        Rest(Return, Phase::Unreserve),
        Work(Stay, Phase::Unreserve),
    ] {
        let next = table::next(state, H::Located(Verdict::OnBoth));
        assert_eq!(next, Ok(Work(Leave, Phase::Suspend)), "{state}");
    }
    for (happening, _) in all().into_iter().flat_map(rows_of_unreserve) {
        let known = matches!(happening, H::Done | H::Failed | H::Located(Verdict::OnBoth));
        assert!(known, "{happening:?} settles a debt");
    }
}

fn rows_of_unreserve(state: State) -> Vec<(H, State)> {
    let debt = state.phase() == Some(Phase::Unreserve) && !matches!(state, Work(Quit, _) | Rest(Quit, _));
    if debt { rows(state) } else { Vec::new() }
}

/// A rest has a way on, and is left only by what it waits for.
#[test]
fn every_rest_has_a_way_on() {
    for state in all() {
        if let Rest(..) = state {
            assert!(!rows(state).is_empty(), "{state}");
            assert!(
                table::next(state, H::Failed).is_err(),
                "{state}: a retry that fails is not an event"
            );
        }
    }
}

#[test]
fn what_cannot_happen_is_named() {
    let illegal = table::next(Work(Arrive, Phase::Await), H::CancelAsked).unwrap_err();
    assert_eq!(illegal.to_string(), "CancelAsked cannot happen in Arrive/Await");
    assert_eq!(HAPPENINGS.iter().collect::<BTreeSet<_>>().len(), HAPPENINGS.len());
}
