//! All pairs of faults, one after the other: one guest moves from alpha to beta, and two things go wrong.

use std::time::Duration;

use godwit_migration::Phase;

use super::plan::{Act, Ask, FATES, FORGETS, Plan, To};
use crate::{
    Layout,
    faults::{Fault, Kind},
};

/// Early, in the middle, and at the end of a phase.
const STEPS: [u8; 3] = [0, 3, 9];

/// Every fault that a phase can meet.
pub(super) fn catalogue() -> Vec<Fault> {
    let mut all = Vec::new();
    for phase in Phase::ALL {
        for host in hosts_of(phase) {
            for kind in kinds_of(phase) {
                let steps = if matches!(kind, Kind::Fate(_) | Kind::Silent(_)) {
                    &STEPS[..1]
                } else {
                    &STEPS[..]
                };
                let fault = |step: &u8| Fault {
                    host: Some(*host),
                    step: *step,
                    ..Fault::new(phase, kind)
                };
                all.extend(steps.iter().map(fault));
            }
        }
    }
    all
}

/// Where a phase is worked on: 0 the source, 1 the destination.
fn hosts_of(phase: Phase) -> &'static [usize] {
    match phase {
        Phase::Await => &[1],
        // The coordinator's own work: the world has no part in it that could go wrong, nor a moment that is not another phase's.
        Phase::Hold => &[],
        Phase::Plug | Phase::FailBack | Phase::Release => &[0, 1],
        _ => &[0],
    }
}

fn kinds_of(phase: Phase) -> Vec<Kind> {
    let while_ = Duration::from_secs(20);
    let mut kinds = vec![
        Kind::Crash(while_),
        Kind::Cut(while_),
        Kind::Part(while_),
        Kind::Stop,
        Kind::Reboot,
        Kind::Cancel,
    ];
    if phase != Phase::Await {
        kinds.extend([Kind::Fail, Kind::Half]);
    }
    // Where there is a deadline: as in the random storms.
    if !matches!(phase, Phase::Await | Phase::Transfer | Phase::Queue) {
        kinds.push(Kind::Hang);
    }
    if FORGETS.contains(&phase) {
        kinds.push(Kind::Forget(while_));
    }
    if phase == Phase::FailOver {
        kinds.push(Kind::Lie);
    }
    if phase == Phase::Unplug {
        kinds.extend([Kind::Silent(None), Kind::Silent(Some(Duration::from_secs(90)))]);
    }
    if phase == Phase::Transfer {
        kinds.extend(FATES.map(Kind::Fate));
    }
    kinds
}

/// How many pairs there are; a fault with itself is one of them.
pub(super) fn count() -> u64 {
    let single = catalogue().len() as u64;
    single * (single + 1) / 2
}

/// The pair of that number.
pub(super) fn plan(number: u64) -> Plan {
    let faults = catalogue();
    let (mut first, mut left) = (0, number % count());
    while left >= (faults.len() - first) as u64 {
        left -= (faults.len() - first) as u64;
        first += 1;
    }
    let ask = Ask {
        guest: 0,
        of: Some(0),
        to: To::Host(1),
        request: "request".into(),
        policy: godwit_api::v1::Policy::Unspecified,
    };
    Plan {
        layout: Layout {
            hosts: 2,
            guests: 1,
            vfs: 2,
            extras: false,
            pairs: 1,
        },
        faults: vec![faults[first].clone(), faults[first + left as usize].clone()],
        acts: vec![(0, Act::Migrate(ask, 1))],
        seed: number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::one;

    /// A catalogue of faults that never strike would prove nothing.
    #[test]
    fn each_fault_that_a_move_meets_strikes() {
        let meets = |fault: &Fault| match fault.host {
            Some(0) => matches!(
                fault.phase,
                Phase::Reserve
                    | Phase::Queue
                    | Phase::FailOver
                    | Phase::Unplug
                    | Phase::Transfer
                    | Phase::Locate
                    | Phase::Release
                    | Phase::Follow
            ),
            _ => matches!(fault.phase, Phase::Await | Phase::Plug | Phase::FailBack),
        };
        let mut words = Vec::new();
        for fault in catalogue().into_iter().filter(meets) {
            let word = format!("{} {}", fault.phase, fault.kind);
            let plan = Plan {
                faults: vec![fault],
                ..plan(0)
            };
            let tally = one::run(plan).unwrap_or_else(|wrong| panic!("{word}: {wrong}"));
            assert!(tally.struck.contains_key(&word), "{word} did not strike");
            words.push(word);
        }
        for wanted in [
            "reserve forget",
            "queue forget",
            "fail-over lie",
            "await crash",
            "plug half",
        ] {
            assert!(words.iter().any(|word| word == wanted), "{wanted}");
        }
    }
}
