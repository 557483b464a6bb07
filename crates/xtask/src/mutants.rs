//! `cargo xtask mutants`: breaks of the code, made one after the other in a copy of the tree, each with the test that must then
//! fail. A test that holds a promise and cannot fail is found so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use godwit_rig::Rig;
use godwit_rig::command::{command, output};
use serde::Deserialize;

use crate::steps::say;

/// Where they stand, from the tree's root.
const LIST: &str = "tests/mutants.toml";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only those that have one of these words in what is broken, in their file or in their test.
    words: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

/// One break; what each part is stands in the list itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    what: String,
    file: String,
    from: String,
    to: String,
    package: String,
    target: String,
    test: String,
}

/// A copy of the tree that may be broken, and its builds.
struct Copy {
    root: PathBuf,
    builds: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let checkout = Rig::from_environment()?.place.checkout;
    let mut mutants = read(&checkout)?;
    mutants.retain(|mutant| mutant.is_wanted(&arguments.words));
    ensure!(!mutants.is_empty(), "no mutant has any of these words");
    // Those of one program follow each other: less is built.
    mutants.sort_by(|one, other| one.program().cmp(&other.program()));
    let copy = Copy::of(&checkout)?;
    copy.passes(&mutants)?;
    let mut missed = 0;
    for mutant in &mutants {
        let caught = copy.catches(mutant)?;
        missed += usize::from(!caught);
        let verdict = if caught { "caught" } else { "NOT CAUGHT" };
        say(&format!("mutant {verdict} by {}: {}", mutant.test, mutant.what));
    }
    say(&format!(
        "{} of {} mutants caught",
        mutants.len() - missed,
        mutants.len()
    ));
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(checkout: &Path) -> Result<Vec<Mutant>> {
    let text = fs::read_to_string(checkout.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let list: List = toml::from_str(&text).with_context(|| format!("{LIST} is not as it should be"))?;
    Ok(list.mutant)
}

impl Mutant {
    fn is_wanted(&self, words: &[String]) -> bool {
        let all = [&self.what, &self.file, &self.test];
        words.is_empty()
            || words
                .iter()
                .any(|word| all.iter().any(|part| part.contains(word)))
    }

    fn program(&self) -> (&str, &str) {
        (&self.package, &self.target)
    }

    /// The text with the break in it.
    fn applied(&self, text: &str) -> Result<String> {
        let found = text.matches(&self.from).count();
        ensure!(
            found == 1,
            "{}: what mutant `{}` breaks stands there {found} times, and not once: mend {LIST}",
            self.file,
            self.what
        );
        Ok(text.replacen(&self.from, &self.to, 1))
    }
}

impl Copy {
    /// What git knows of the tree, as it stands here.
    fn of(checkout: &Path) -> Result<Copy> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
        let copy = Copy {
            root: target.join("mutants/tree"),
            builds: target.join("mutants/target"),
        };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root)?;
        }
        let listed = output(command("git", ["ls-files", "-z"]).current_dir(checkout))?;
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (checkout.join(name), copy.root.join(name));
            // One that is deleted and not yet committed.
            if !from.exists() {
                continue;
            }
            fs::create_dir_all(to.parent().context("a file without a folder")?)?;
            fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
        }
        Ok(copy)
    }

    /// Unbroken, every test of the list is there and passes.
    fn passes(&self, mutants: &[Mutant]) -> Result<()> {
        let mut programs: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for mutant in mutants {
            programs.entry(mutant.program()).or_default().push(&mutant.test);
        }
        for (program, mut tests) in programs {
            tests.sort_unstable();
            tests.dedup();
            let (passed, said) = self.test(program, &tests)?;
            let all = tests
                .iter()
                .all(|test| said.contains(&format!("test {test} ... ok")));
            ensure!(
                passed && all,
                "{}: not all of {tests:?} pass without a mutant:\n{said}",
                program.0
            );
        }
        Ok(())
    }

    /// Whether the mutant's test fails with it. What does not build says nothing of the test.
    fn catches(&self, mutant: &Mutant) -> Result<bool> {
        let path = self.root.join(&mutant.file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", mutant.file))?;
        fs::write(&path, mutant.applied(&text)?)?;
        let tested = self.test(mutant.program(), &[&mutant.test]);
        fs::write(&path, text)?;
        let (passed, said) = tested?;
        let failed = said.contains(&format!("test {} ... FAILED", mutant.test));
        match (passed, failed) {
            (true, _) => Ok(false),
            (false, true) => Ok(true),
            (false, false) => bail!(
                "mutant `{}` does not build, or its test does not run:\n{said}",
                mutant.what
            ),
        }
    }

    /// Whether they passed, and what was said.
    fn test(&self, (package, target): (&str, &str), tests: &[&str]) -> Result<(bool, String)> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["test", "--quiet", "--locked", "--package", package]);
        // `lib` and `bin` are what Cargo itself calls a package's own unit tests.
        match target {
            "lib" => command.arg("--lib"),
            "bin" => command.arg("--bins"),
            target => command.args(["--test", target]),
        };
        command.args(["--", "--exact", "--format", "pretty"]).args(tests);
        let done = command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.builds)
            // A break is a small change: what it leaves as it was is not built again.
            .env("CARGO_INCREMENTAL", "1")
            .stdin(Stdio::null())
            .output()
            .context("cannot run cargo")?;
        let said = [done.stdout, done.stderr].concat();
        Ok((done.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(from: &str) -> Mutant {
        Mutant {
            what: "it adds".into(),
            file: "lib.rs".into(),
            from: from.into(),
            to: "a - b".into(),
            package: "p".into(),
            target: "lib".into(),
            test: "adds".into(),
        }
    }

    #[test]
    fn a_break_is_made_where_it_is_meant_and_nowhere_else() {
        let text = "fn f() { a + b } fn g() { c + d } fn h() { c + d }";
        assert_eq!(
            mutant("a + b").applied(text).unwrap(),
            "fn f() { a - b } fn g() { c + d } fn h() { c + d }"
        );
        for (from, times) in [("c + d", "2 times"), ("e + f", "0 times")] {
            let told = mutant(from).applied(text).unwrap_err().to_string();
            assert!(told.contains(times) && told.contains("lib.rs"), "{told}");
        }
    }

    /// Also found here, not only in the hours of a long run: a list that the code has left behind.
    #[test]
    fn every_break_of_the_list_can_be_made() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mutants = read(&checkout).unwrap();
        assert!(mutants.len() >= 12, "{}", mutants.len());
        for mutant in mutants {
            let text = fs::read_to_string(checkout.join(&mutant.file)).unwrap();
            assert_ne!(mutant.applied(&text).unwrap(), text);
        }
    }

    #[test]
    fn some_are_chosen_by_a_word() {
        let one = mutant("x");
        assert!(one.is_wanted(&[]) && one.is_wanted(&["y".into(), "lib".into()]));
        assert!(!one.is_wanted(&["subtract".into()]));
    }
}
