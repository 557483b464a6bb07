//! The table, whole: every state that can be reached, everything that can happen in it, and what comes next.

mod page;
mod rules;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use godwit_migration::{Happening, Role, State, Verdict, table};

/// In the order in which they are told.
pub(crate) const HAPPENINGS: [Happening; 15] = [
    Happening::Done,
    Happening::Failed,
    Happening::Silent,
    Happening::Located(Verdict::Here),
    Happening::Located(Verdict::There),
    Happening::Located(Verdict::PausedHere),
    Happening::Located(Verdict::OnBoth),
    Happening::Located(Verdict::Gone),
    Happening::Located(Verdict::Unknown),
    Happening::CancelAsked,
    Happening::Closed,
    Happening::Left,
    Happening::Unwanted,
    Happening::Swapped,
    Happening::StandbyAsked,
];

/// The states that a role's migration can come to, course by course.
pub(crate) fn reachable(role: Role) -> Vec<State> {
    let mut states = reachable_from(role.start());
    states.sort_unstable();
    states
}

pub(crate) fn reachable_from(start: State) -> Vec<State> {
    let mut states = vec![start];
    let mut queue = VecDeque::from(states.clone());
    while let Some(state) = queue.pop_front() {
        for (_, next) in rows(state) {
            if !states.contains(&next) {
                states.push(next);
                queue.push_back(next);
            }
        }
    }
    states
}

/// What can happen in a state.
pub(crate) fn rows(state: State) -> Vec<(Happening, State)> {
    HAPPENINGS
        .into_iter()
        .filter_map(|happening| Some((happening, table::next(state, happening).ok()?)))
        .collect()
}

/// All states of all roles.
pub(crate) fn all() -> BTreeSet<State> {
    [
        Role::Source,
        Role::Destination,
        Role::Accelerate,
        Role::Decelerate,
    ]
    .into_iter()
    .flat_map(reachable)
    .collect()
}

/// The short word of a happening.
pub(crate) fn word(happening: Happening) -> String {
    match happening {
        Happening::Located(Verdict::PausedHere) => "paused here".into(),
        Happening::Located(Verdict::OnBoth) => "on both".into(),
        Happening::Located(verdict) => format!("{verdict:?}").to_lowercase(),
        Happening::CancelAsked => "cancel".into(),
        Happening::StandbyAsked => "standby asked".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// One line for each state: everything that can happen in it, those with one consequence together.
pub(crate) fn told(role: Role) -> String {
    let mut text = String::new();
    for state in reachable(role) {
        let mut nexts: BTreeMap<usize, (State, Vec<String>)> = BTreeMap::new();
        for (place, (happening, next)) in rows(state).into_iter().enumerate() {
            let met = nexts.values_mut().find(|(known, _)| *known == next);
            match met {
                Some((_, words)) => words.push(word(happening)),
                None => drop(nexts.insert(place, (next, vec![word(happening)]))),
            }
        }
        let nexts: Vec<String> = nexts
            .values()
            .map(|(next, words)| format!("{} -> {next}", words.join(" | ")))
            .collect();
        let nexts = if nexts.is_empty() {
            "-".into()
        } else {
            nexts.join("; ")
        };
        text.push_str(&format!("{:<22} {nexts}\n", state.to_string()));
    }
    text
}

/// Every state against everything that can happen; "-": it cannot.
fn grid() -> String {
    let mut text = String::new();
    for (role, name) in [(Role::Source, "source"), (Role::Destination, "destination")] {
        text.push_str(&format!("== {name}\n"));
        for state in reachable(role) {
            text.push_str(&format!("{state}\n"));
            for happening in HAPPENINGS {
                let next = table::next(state, happening);
                let next = next.map_or_else(|_| "-".to_owned(), |next| next.to_string());
                text.push_str(&format!("    {:<13} {next}\n", word(happening)));
            }
        }
    }
    text
}

#[test]
fn the_whole_table() {
    insta::assert_snapshot!(grid());
}
