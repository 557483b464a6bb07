//! Hostile bytes for whatever reads them: mutations of a corpus, as many as a budget allows, each run the same for the same seed.
//!
//! A target is a test of the crate whose reader it tries, named `fuzz...`; it hands its reader's outcome back, and an input whose outcome is a new one is kept
//! to be changed further. That is what stands in for a compiler's coverage: these targets need no other toolchain, no second build of all crates, and no
//! daemon cut in two, and run with the unit tests.
//!
//! | variable | meaning |
//! |---|---|
//! | `GODWIT_FUZZ_SECONDS` | how long a target runs [default: 500 inputs, or what 2 seconds allow] |
//! | `GODWIT_FUZZ_SEED` | the seed [default: 1, or by the clock where there are seconds; it is printed] |
//! | `GODWIT_FUZZ_INPUT` | a file: this input alone |
//! | `GODWIT_FUZZ_KEEP` | 1: of each kind of outcome that neither seeds nor corpus had, an input is made small and written to `tests/fuzz/corpus/TARGET/kept-...` |
//!
//! An input that fails is made smaller and written to `tests/fuzz/corpus/TARGET/failed-...`. It belongs into the commit that mends it: every
//! run of the target begins with all of its corpus, so a plain `cargo test` is its replay.

#![forbid(unsafe_code)]

pub mod chance;
mod mutate;
mod watch;

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Debug,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use self::chance::Chance;
use self::{mutate::mutated, watch::Watch};

/// Inputs of a target where no time is given, and what they may take.
const FEW: u64 = 500;
const SHORT: Duration = Duration::from_secs(2);

/// So many inputs are kept to be changed further.
const POOL: usize = 1024;

/// Tries to make an input that fails smaller.
const SMALLER: usize = 200;

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its name: a directory of the corpus.
    pub name: &'a str,
    /// Words that its reader knows.
    pub words: &'a [&'a str],
    /// No input is longer, in bytes.
    pub most: usize,
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
struct Budget {
    inputs: u64,
    time: Duration,
    seed: u64,
}

impl Budget {
    fn of_environment() -> Budget {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let time = number("GODWIT_FUZZ_SECONDS").map(Duration::from_secs);
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(1, |since| since.as_nanos() as u64)
        };
        let seed = number("GODWIT_FUZZ_SEED").unwrap_or_else(|| if time.is_some() { clock() } else { 1 });
        Budget {
            inputs: if time.is_some() { u64::MAX } else { FEW },
            time: time.unwrap_or(SHORT),
            seed,
        }
    }
}

impl Target<'_> {
    /// Runs `one` on the corpus, on the seeds, and on what can be made of them. It fails by a panic; what it returns is the kind of the outcome.
    ///
    /// # Panics
    /// An input failed: its file and its panic are named.
    pub fn run<T: Debug>(&self, seeds: impl IntoIterator<Item = Vec<u8>>, one: impl Fn(&[u8]) -> T) {
        let fuzz = Fuzz {
            target: *self,
            one: &one,
            watch: Watch::begin(self.name),
        };
        if let Some(file) = std::env::var_os("GODWIT_FUZZ_INPUT") {
            let input = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            one(&input);
            return;
        }
        let mut pool = corpus(&directory(self.name));
        pool.extend(seeds);
        pool.push(Vec::new());
        let new = fuzz.all(pool, Budget::of_environment());
        if std::env::var("GODWIT_FUZZ_KEEP").is_ok_and(|keep| keep == "1") {
            fuzz.keep(new);
        }
    }
}

/// A target at work.
struct Fuzz<'a, T> {
    target: Target<'a>,
    one: &'a dyn Fn(&[u8]) -> T,
    watch: Watch,
}

impl<T: Debug> Fuzz<'_, T> {
    /// Inputs that led to a kind of outcome that was new, by that kind.
    fn all(&self, mut pool: Vec<Vec<u8>>, budget: Budget) -> BTreeMap<u64, Vec<u8>> {
        let begun = Instant::now();
        let (mut seen, mut new) = (HashSet::new(), BTreeMap::new());
        for input in &pool {
            seen.insert(self.input(input));
        }
        let (mut chance, first) = (Chance::new(budget.seed), pool.len() as u64);
        let mut tried = 0;
        while tried < budget.inputs && begun.elapsed() < budget.time {
            let input = mutated(&pool, &self.target, &mut chance);
            let kind = self.input(&input);
            if seen.insert(kind) {
                new.insert(kind, input.clone());
                if pool.len() >= POOL {
                    let old = chance.below(pool.len());
                    pool.swap_remove(old);
                }
                pool.push(input);
            }
            tried += 1;
        }
        let (name, seed, seconds) = (self.target.name, budget.seed, begun.elapsed().as_secs_f64());
        tell(&format!(
            "  fuzz {name}: seed {seed}, {} inputs, {} kinds of outcome, {seconds:.1} s",
            first + tried,
            seen.len()
        ));
        new
    }

    /// Writes them down, each without whatever its outcome does not need.
    fn keep(&self, new: BTreeMap<u64, Vec<u8>>) {
        for (kind, input) in new {
            let small = self.smaller(input, |shorter| self.input(shorter) == kind);
            keep(self.target.name, "kept", &small);
        }
    }

    /// The outcome's kind.
    fn input(&self, input: &[u8]) -> u64 {
        match self.outcome(input) {
            Ok(outcome) => hash(&format!("{outcome:?}")),
            Err(panic) => self.failed(input, &panic),
        }
    }

    fn outcome(&self, input: &[u8]) -> Result<T, String> {
        self.watch.over(input, || {
            catch_unwind(AssertUnwindSafe(|| (self.one)(input))).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                text.unwrap_or_else(|| "a panic".into())
            })
        })
    }

    fn failed(&self, input: &[u8], panic: &str) -> ! {
        let small = self.smaller(input.to_owned(), |shorter| self.outcome(shorter).is_err());
        let file = keep(self.target.name, "failed", &small);
        panic!(
            "{}: {panic}\nThe input, {} bytes, is in {}; every run of this target tries it first.",
            self.target.name,
            small.len(),
            file.display()
        );
    }

    /// Without whatever is not needed for it to be so still.
    fn smaller(&self, mut input: Vec<u8>, so: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let (mut left, mut size) = (SMALLER, input.len() / 2);
        while size > 0 && left > 0 {
            let mut at = 0;
            while at < input.len() && left > 0 {
                let mut shorter = input.clone();
                shorter.drain(at..(at + size).min(input.len()));
                left -= 1;
                match so(&shorter) {
                    true => input = shorter,
                    false => at += size,
                }
            }
            size /= 2;
        }
        input
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Where a target's inputs are kept.
fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// All that is kept, in the order of the names.
fn corpus(directory: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(files) => files.flatten().map(|file| file.path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    let read = |file: &PathBuf| fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    files.iter().map(read).collect()
}

fn keep(target: &str, why: &str, input: &[u8]) -> PathBuf {
    let directory = directory(target);
    let file = directory.join(format!("{why}-{:016x}", hash(&format!("{input:?}"))));
    // What cannot be written is at least named with its place.
    let _ = fs::create_dir_all(&directory).and_then(|()| fs::write(&file, input));
    file
}

#[expect(clippy::print_stdout, reason = "for whoever reads the run's log")]
fn tell(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests;
