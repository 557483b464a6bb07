//! Storms: seeded random faults and requests over the real loop, faster than time; then it is calm, and everything
//! must settle well. A storm follows from its seed alone, so that one that failed can be looked at again.

mod guests;
mod one;
mod pairs;
mod person;
mod plan;
mod verdict;

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use godwit_api::v1 as api;
use tokio::time::Instant;

use self::plan::Plan;

/// At most so many storms that went wrong are told of.
const MOST_TOLD: usize = 20;

/// Which storms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By chance.
    Random,
    /// All pairs of faults.
    Pairs,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which storms.
    pub kind: Kind,
    /// Seed of the first.
    pub first: u64,
    /// How many; of the pairs, all.
    pub runs: u64,
    /// Threads; none: one for each processor.
    pub threads: Option<usize>,
    /// It is one that is looked at again.
    pub trace: bool,
    /// Not only up to the first that goes wrong.
    pub all: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Storms that were run.
    pub runs: u64,
    /// What happened in them.
    pub tally: Tally,
    /// Those that went wrong: seed, and why.
    pub failures: BTreeMap<u64, String>,
    /// How long it took.
    pub took: Duration,
}

/// What happened in storms.
#[derive(Debug, Default)]
pub struct Tally {
    /// Faults that struck, by phase and kind.
    pub struck: BTreeMap<String, u64>,
    /// Records by how they ended.
    pub ends: BTreeMap<String, u64>,
    /// Requests, and why some were refused.
    pub requests: u64,
    /// The refusals by their word.
    pub refused: BTreeMap<String, u64>,
    /// Coordinators that died at a random instant; those that died in a phase are among the faults.
    pub crashes: u64,
    /// Cancels that were asked for at a random instant.
    pub cancels: u64,
    /// VFs that nobody could clean.
    pub set_aside: u64,
    /// Frames of pauses, as the sources' records have them.
    pub frames: Frames,
}

/// What became of frames of pauses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// They came for a guest that stood still.
    pub came: u64,
    /// They were put into its way where it went.
    pub delivered: u64,
    /// It stayed, and had them.
    pub returned: u64,
    /// It did not get them, and that is told.
    pub missing: u64,
    /// Records that say that it is not known.
    pub not_known: u64,
}

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How far the storm of this thread is, by its own clock.
pub fn clock() -> Duration {
    BEGUN.get().map_or(Duration::ZERO, |begun| begun.elapsed())
}

fn set_clock(begun: Option<Instant>) {
    BEGUN.set(begun);
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let all = |map: &BTreeMap<String, u64>| {
            let each = map.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let sum = |map: &BTreeMap<String, u64>| map.values().sum::<u64>();
        writeln!(
            f,
            "{} requests, {} refused: {}",
            tally.requests,
            sum(&tally.refused),
            all(&tally.refused)
        )?;
        writeln!(f, "{} records: {}", sum(&tally.ends), all(&tally.ends))?;
        writeln!(f, "{} faults struck: {}", sum(&tally.struck), all(&tally.struck))?;
        let (crashes, cancels, set_aside) = (tally.crashes, tally.cancels, tally.set_aside);
        writeln!(
            f,
            "{crashes} crashes and {cancels} cancels at random instants; {set_aside} VFs set aside"
        )?;
        let frames = &tally.frames;
        writeln!(
            f,
            "{} frames came in pauses: {} delivered, {} for guests that stayed, {} missing; of {} moves more is not known",
            frames.came, frames.delivered, frames.returned, frames.missing, frames.not_known
        )?;
        write!(f, "{} storms in {:.1} s: ", self.runs, self.took.as_secs_f64())?;
        if self.failures.is_empty() {
            return f.write_str("all settled, nothing broken");
        }
        write!(f, "{} went wrong", self.failures.len())?;
        self.failures
            .iter()
            .take(MOST_TOLD)
            .try_for_each(|(seed, wrong)| write!(f, "\nstorm {seed}: {wrong}"))
    }
}

impl Tally {
    fn count(&mut self, record: &api::Migration) {
        let end = format!("{:?} {:?}", record.role(), record.moved());
        *self.ends.entry(end).or_default() += 1;
        if let Some(kept) = record
            .kept
            .as_ref()
            .filter(|_| record.role() == api::Role::Source)
        {
            self.frames.count(kept, record.moved());
        }
    }

    fn add(&mut self, other: Tally) {
        let sum = |into: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>| {
            from.into_iter()
                .for_each(|(name, count)| *into.entry(name).or_default() += count);
        };
        sum(&mut self.struck, other.struck);
        sum(&mut self.ends, other.ends);
        sum(&mut self.refused, other.refused);
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.cancels += other.cancels;
        self.set_aside += other.set_aside;
        self.frames.add(other.frames);
    }
}

impl Frames {
    fn count(&mut self, kept: &api::Kept, moved: api::Moved) {
        let (delivered, returned) = match moved {
            api::Moved::No => (0, kept.returned),
            _ => (kept.delivered + kept.brought, 0),
        };
        self.add(Frames {
            came: kept.frames,
            delivered,
            returned,
            missing: kept.frames - delivered - returned,
            not_known: u64::from(!kept.not_kept.is_empty()),
        });
    }

    fn add(&mut self, other: Frames) {
        self.came += other.came;
        self.delivered += other.delivered;
        self.returned += other.returned;
        self.missing += other.missing;
        self.not_known += other.not_known;
    }
}

fn plan(kind: Kind, seed: u64) -> Plan {
    match kind {
        Kind::Random => Plan::random(seed),
        Kind::Pairs => pairs::plan(seed),
    }
}

/// Runs one storm.
///
/// # Errors
/// What was broken.
pub fn one(kind: Kind, seed: u64) -> Result<Tally, String> {
    one::run(plan(kind, seed))
}

/// Runs them all, on several threads, up to the first that fails.
pub fn run(wanted: &Wanted, tell: &(dyn Fn(&str) + Sync)) -> Report {
    let begun = std::time::Instant::now();
    let runs = match wanted.kind {
        Kind::Pairs if !wanted.trace => pairs::count(),
        _ => wanted.runs,
    };
    let (next, end) = (AtomicU64::new(wanted.first), wanted.first.saturating_add(runs));
    let report = Mutex::new(Report::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            // Seeds are taken in their order, so every one before the first that failed is run to its end.
            let over = !wanted.all && !lock(&report).failures.is_empty();
            if seed >= end || over {
                return;
            }
            let ended = one(wanted.kind, seed);
            note(&mut lock(&report), seed, ended, (runs, tell));
        }
    };
    let threads = wanted
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1).min(runs.try_into().unwrap_or(usize::MAX)) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.took = begun.elapsed();
    report
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(report: &mut Report, seed: u64, ended: Result<Tally, String>, (runs, tell): (u64, &dyn Fn(&str))) {
    report.runs += 1;
    match ended {
        Ok(tally) => report.tally.add(tally),
        Err(wrong) => drop(report.failures.insert(seed, wrong)),
    }
    if report.runs.is_multiple_of(1000) && report.runs < runs {
        tell(&format!("{} of {runs} storms", report.runs));
    }
}
