//! Runs the cluster to its end, and again with every fault struck at every point, and with every pair of them.
//!
//! A run is determined by the cluster alone, so a cluster that was met before, with as many faults left, need not be
//! run again: the runs merge. That is what makes all pairs affordable.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use godwit_migration::{Happening, State};

use crate::{
    driver::Cluster,
    faults::{Fault, Struck},
    world::{DESTINATION, SOURCE},
};

/// One sweep: from where, which faults, how many of them in one run, and where a run may rest at its end.
pub(crate) struct Sweep {
    pub(crate) start: Cluster,
    pub(crate) faults: Vec<Fault>,
    pub(crate) at_most: usize,
    pub(crate) rests: Vec<State>,
    merges: bool,
}

/// What a sweep did.
#[derive(Default)]
pub(crate) struct Tally {
    /// Runs begun: one without a fault, and one for each place where a fault struck.
    pub(crate) runs: usize,
    /// Micro-steps made and checked.
    pub(crate) steps: usize,
    /// Each different end of a run.
    pub(crate) ends: HashSet<String>,
    /// Each different journal, of an end or of where a run met another.
    pub(crate) journals: [HashSet<Vec<Happening>>; 2],
    /// The first failure, as one line that reproduces it.
    pub(crate) failure: Option<String>,
    seen: Keys,
}

type Keys = HashSet<u64, BuildHasherDefault<Mix>>;

/// A hash for small values; the standard one makes the sweeps several times slower without optimisation.
#[derive(Default)]
struct Mix(u64);

impl Mix {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }
}

impl Sweep {
    pub(crate) fn new(start: Cluster, faults: &[Fault], at_most: usize) -> Sweep {
        Sweep {
            start,
            faults: faults.to_vec(),
            at_most,
            rests: Vec::new(),
            merges: true,
        }
    }

    /// Every run is run to its end, so that every journal is whole.
    pub(crate) fn whole(mut self) -> Sweep {
        self.merges = false;
        self
    }

    pub(crate) fn resting(mut self, rests: &[State]) -> Sweep {
        self.rests = rests.to_vec();
        self
    }

    /// Runs all; stops at the first failure. Fewer faults first, so that what it reports is as short as can be.
    pub(crate) fn run(&self) -> Tally {
        self.run_on(Tally::default())
    }

    /// The same, after other sweeps with the same faults and rests: what they met is not run again.
    pub(crate) fn run_on(&self, mut tally: Tally) -> Tally {
        for at_most in 0..=self.at_most {
            self.follow(self.start.clone(), (0, at_most), &mut Vec::new(), &mut tally);
            if tally.failure.is_some() {
                break;
            }
        }
        tally
    }

    fn follow(
        &self,
        mut cluster: Cluster,
        (first, left): (usize, usize),
        struck: &mut Vec<Struck>,
        tally: &mut Tally,
    ) {
        tally.runs += 1;
        let mut own = Keys::default();
        for tick in first.. {
            let key = key(&cluster, left);
            if !own.insert(key) {
                return self.end(&cluster, struck, tally);
            }
            if !tally.seen.insert(key) && self.merges {
                return tally.keep_journals(&cluster);
            }
            if left > 0 {
                self.fork(&cluster, (tick, left - 1), struck, tally);
            }
            cluster.tick();
            tally.steps += 1;
            if let Err(wrong) = cluster.check() {
                tally.fail(&cluster, struck, &wrong);
            }
            if tally.failure.is_some() {
                return;
            }
        }
    }

    fn fork(
        &self,
        cluster: &Cluster,
        (tick, left): (usize, usize),
        struck: &mut Vec<Struck>,
        tally: &mut Tally,
    ) {
        for &fault in self.faults.iter().filter(|fault| fault.possible(cluster)) {
            let mut fork = cluster.clone();
            struck.push(Struck::at(tick, fault, cluster));
            fault.strike(&mut fork);
            match fork.check() {
                Ok(()) => self.follow(fork, (tick, left), struck, tally),
                Err(wrong) => tally.fail(&fork, struck, &wrong),
            }
            struck.pop();
            if tally.failure.is_some() {
                return;
            }
        }
    }

    fn end(&self, cluster: &Cluster, struck: &[Struck], tally: &mut Tally) {
        tally.keep_journals(cluster);
        tally.ends.insert(end_of(cluster));
        let mut over = cluster.clone();
        over.give_up_by_hand();
        if let Err(wrong) = over.check_end(&self.rests) {
            tally.fail(cluster, struck, &wrong);
        }
    }
}

impl Tally {
    fn keep_journals(&mut self, cluster: &Cluster) {
        for (journals, daemon) in self.journals.iter_mut().zip(&cluster.daemons) {
            if !journals.contains(&daemon.journal.0) {
                journals.insert(daemon.journal.0.clone());
            }
        }
    }

    fn fail(&mut self, cluster: &Cluster, struck: &[Struck], wrong: &str) {
        let faults: Vec<String> = struck.iter().map(Struck::to_string).collect();
        let faults = faults.join(", ");
        let (fate, end) = (cluster.world.fate, end_of(cluster));
        self.failure
            .get_or_insert(format!("{wrong}: fate {fate:?}, faults [{faults}], at {end}"));
    }

    /// Nothing failed.
    #[track_caller]
    pub(crate) fn holds(self) -> Tally {
        assert!(self.failure.is_none(), "{}", self.failure.unwrap_or_default());
        self
    }
}

/// Both hosts' states.
pub(crate) fn end_of(cluster: &Cluster) -> String {
    let there = &cluster.daemons[DESTINATION];
    let source = match cluster.world.hosts[SOURCE].on {
        true => cluster.daemons[SOURCE].state.to_string(),
        false => "switched off".into(),
    };
    let destination = if there.begun {
        there.state.to_string()
    } else {
        "-".into()
    };
    format!("{source} | {destination}")
}

fn key(cluster: &Cluster, left: usize) -> u64 {
    let mut hasher = Mix::default();
    (cluster, left).hash(&mut hasher);
    hasher.finish()
}
