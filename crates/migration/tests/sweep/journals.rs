//! Every prefix of every journal replays, as a value too; and a run goes on from each of them.

use std::collections::HashSet;

use godwit_migration::{Brief, Cause, Entry, Event, Guest, Happening, Migration, Policy, Report, Role};

use crate::{
    FATES, cluster,
    driver::Cluster,
    explore::{Sweep, Tally},
    faults::Fault::{Crash, FailAfter, FailBefore},
    world::{DESTINATION, SOURCE},
};

/// Every prefix of every journal that the sweep's runs ended with. How many there were.
pub(crate) fn replay(tally: &Tally) -> usize {
    let roles = [Role::Source, Role::Destination].into_iter();
    roles
        .zip(&tally.journals)
        .map(|(role, journals)| replays(role, journals))
        .sum()
}

fn replays(role: Role, journals: &HashSet<Vec<Happening>>) -> usize {
    let mut prefixes = 0;
    for journal in journals {
        let entries: Vec<Entry> = (1..)
            .zip(journal)
            .map(|(at_ms, happening)| entry(at_ms, *happening))
            .collect();
        let mut grown = Migration::begin(brief(role), 0);
        for length in 0..=entries.len() {
            let replayed =
                Migration::replay(brief(role), 0, entries[..length].to_vec()).expect("a prefix replays");
            assert_eq!(replayed, grown, "{journal:?}");
            if let Some(entry) = entries.get(length) {
                grown.apply(entry.clone()).expect("a journal is legal");
            }
            prefixes += 1;
        }
    }
    prefixes
}

/// The moment an entry is durable both daemons are started again, with the world as it was then.
#[test]
fn a_run_goes_on_from_every_prefix() {
    for fate in FATES {
        let mut cluster = cluster(fate);
        let mut length = 0;
        for _ in 0..400 {
            cluster.tick();
            if written(&cluster) > length {
                length = written(&cluster);
                let mut again = cluster.clone();
                again.restart(SOURCE);
                again.restart(DESTINATION);
                Sweep::new(again, &[FailBefore, FailAfter, Crash], 1)
                    .run()
                    .holds();
            }
        }
        assert!(length > 8, "{fate:?}");
    }
}

fn written(cluster: &Cluster) -> usize {
    cluster.daemons.iter().map(|daemon| daemon.journal.0.len()).sum()
}

fn entry(at_ms: i64, happening: Happening) -> Entry {
    let event = match happening {
        Happening::Done => Event::Done(Report::default()),
        Happening::Failed => Event::Failed(Cause::default()),
        Happening::Silent => Event::Silent(Cause::default()),
        Happening::Located(verdict) => Event::Located {
            verdict,
            detail: String::new(),
        },
        Happening::CancelAsked => Event::CancelAsked,
        Happening::Closed => Event::Closed,
        Happening::Left => Event::Left(Cause::default()),
        Happening::Unwanted => Event::Unwanted,
        Happening::Swapped => Event::Swapped {
            held: Vec::new(),
            because: String::new(),
        },
        Happening::StandbyAsked => Event::StandbyAsked { sticky: false },
    };
    Entry { at_ms, event }
}

fn brief(role: Role) -> Brief {
    Brief {
        id: "m-1".into(),
        role,
        guest: Guest {
            name: "web-1".into(),
            uuid: "0".into(),
        },
        source: "alpha".into(),
        destination: "beta".into(),
        pairs: Vec::new(),
        policy: Policy::Require,
        sticky: false,
        teamed: false,
        nodes: Vec::new(),
        probes: 0,
        keep: Default::default(),
        options: Default::default(),
    }
}
