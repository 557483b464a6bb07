//! A short slice of the storms; `cargo xtask test` runs many more.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

use godwit_sim::storm::{Kind, Wanted, one, run};

#[track_caller]
fn settles(kind: Kind, first: u64, runs: u64) {
    let wanted = Wanted {
        kind,
        first,
        runs,
        threads: None,
        trace: true,
        all: false,
    };
    let report = run(&wanted, &|_| ());
    let replay = match kind {
        Kind::Random => "godwit-sim storm --replay",
        Kind::Pairs => "godwit-sim storm --pairs --replay",
    };
    assert!(report.failures.is_empty(), "{report}\nTo see it: {replay} SEED");
    assert!(
        !report.tally.struck.is_empty() && !report.tally.ends.is_empty(),
        "{report}"
    );
}

#[test]
fn two_hundred_storms_settle() {
    settles(Kind::Random, 1, 200);
}

/// Every so many-th of the pairs, so that each fault of the catalogue is among them.
#[test]
fn some_pairs_of_faults_settle() {
    (0..40).for_each(|block| settles(Kind::Pairs, block * 331, 3));
}

#[test]
fn a_storm_follows_from_its_seed() {
    for seed in [3, 14, 15] {
        let twice = [one(Kind::Random, seed), one(Kind::Random, seed)].map(|tally| format!("{tally:?}"));
        assert_eq!(twice[0], twice[1]);
    }
}
