//! End-to-end stories on the rig. Run them with `cargo xtask test`, or alone:
//! `cargo test -p godwit-rig --test e2e [-- PART-OF-A-NAME...]`. With `--slice COMMIT`, the part of them that a quick
//! run tells for that commit.

mod arrivals;
mod buttons;
mod calls;
mod classes;
mod cuts;
mod deaths;
mod doctor;
mod doubts;
mod fabrics;
mod hardware;
mod hooks;
mod kills;
mod measures;
mod modular;
mod moves;
mod networks;
mod obstacles;
mod operators;
mod options;
mod pairs;
mod pauses;
mod policies;
mod refusals;
mod stage;
mod stays;
mod steering;
mod teamed;
mod troubled;
mod troubles;

use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use godwit_rig::boots::Unasked;
use godwit_rig::rig::Up;
use godwit_rig::{Host, Rig, host, invariants, logs, told};

use crate::classes::{CLASSES, Told};
use crate::deaths::Death;
use crate::kills::{AtRandom, Kill};
use crate::stage::Stage;

type Tell = dyn Fn(&Stage) -> Result<()>;

struct Story {
    class: &'static str,
    name: String,
    /// It is all one to it on which host the guest is.
    anywhere: bool,
    tell: Box<Tell>,
}

fn all_stories() -> Vec<Story> {
    let of_class = |(class, stories): (&'static str, &'static [Told])| {
        stories.iter().map(move |(name, tell)| Story {
            class,
            name: (*name).into(),
            anywhere: false,
            tell: Box::new(tell),
        })
    };
    let kill = |kill: Kill| Story {
        class: "kills",
        name: kill.name(),
        anywhere: true,
        tell: Box::new(move |stage| kill.tell(stage)),
    };
    let written = CLASSES.into_iter().flat_map(of_class);
    let at_random = |kill: AtRandom| Story {
        class: "kills",
        name: kill.name(),
        anywhere: true,
        tell: Box::new(move |stage| kill.tell(stage)),
    };
    let death = |death: Death| Story {
        class: "kills",
        name: death.name(),
        anywhere: true,
        tell: Box::new(move |stage| death.tell(stage)),
    };
    written
        .chain(Kill::all().map(kill))
        .chain(Death::all().map(death))
        .chain(AtRandom::all().map(at_random))
        .collect()
}

fn main() -> ExitCode {
    let all = all_stories();
    let names: Vec<(&str, &str)> = all
        .iter()
        .map(|story| (story.class, story.name.as_str()))
        .collect();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let begun = told::wanted(&names, &words).and_then(|wanted| Ok((wanted, brought_up()?)));
    let (wanted, (rig, _alone)) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            println!("nothing was tested: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("\nrunning {} tests", wanted.len());
    let started = Instant::now();
    let stories = wanted.iter().map(|index| &all[*index]);
    let failed: Vec<&str> = stories
        .filter(|story| !passes(&rig, story))
        .map(|story| story.name.as_str())
        .collect();
    let (text, code) = told::conclude(wanted.len(), &failed, all.len(), started.elapsed());
    println!("{text}");
    code
}

/// What hangs from before is switched off and on first.
fn brought_up() -> Result<(Rig, File)> {
    let rig = Rig::from_environment()?;
    let alone = rig.place.lock_for_stories()?;
    if Host::ALL
        .iter()
        .any(|host| host::process(&rig.place, *host).is_some())
    {
        rig.keep_on()?;
    }
    rig.up(Up::default())?;
    Ok((rig, alone))
}

fn passes(rig: &Rig, story: &Story) -> bool {
    let name = &story.name;
    let stage = Stage {
        place: rig.place.clone(),
    };
    let started = Instant::now();
    let tell = || {
        rig.keep_on()
            .and_then(|()| match story.anywhere {
                true => stage.set_anywhere(),
                false => stage.set(),
            })
            .and_then(|()| (story.tell)(&stage))
            .and_then(|()| invariants::hold(&stage.place))
    };
    let boots = Unasked::until_now(&rig.place);
    let mut told = tell();
    // Once: an emulation that fails again in the same story is looked at.
    if let Err(error) = &told
        && let Some(why) = rig.broke(boots)
    {
        println!("test {name} ... is told again, for {why}\n  {error:#}");
        told = tell();
    }
    let seconds = started.elapsed().as_secs_f64();
    match told {
        Ok(()) => {
            println!("test {name} ... ok ({seconds:.1} s)");
            true
        }
        Err(error) => {
            println!("test {name} ... FAILED ({seconds:.1} s)\n  {error:#}");
            logs::after_failure(&rig.place, name);
            stage.sweep();
            false
        }
    }
}
