//! Stories of agent and bond on the flat arm of the rig. Run them with `cargo xtask test`, or alone:
//! `cargo test -p godwit-rig --test flat [-- PART-OF-A-NAME... | -- --slice COMMIT]`.

mod agent;
mod odd;
mod stories;
mod traffic;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use godwit_rig::flat::Flat;
use godwit_rig::{Rig, setup, told};

use crate::agent::Agent;

type Story = (&'static str, fn(&mut Flat) -> Result<()>);

/// A quick run tells one of each class.
const AGENT: [Story; 4] = [
    ("the_agent_sees_the_pair", stories::sees_the_pair),
    (
        "half_a_frame_does_not_hide_the_whole_one_after_it",
        stories::half_a_frame,
    ),
    (
        "an_agent_that_dies_leaves_the_traffic_on_the_standby",
        stories::agent_dies_on_standby,
    ),
    (
        "an_agent_that_dies_leaves_the_traffic_on_the_primary",
        stories::agent_dies_on_primary,
    ),
];
const SWITCHES: [Story; 9] = [
    ("fail_over_and_back_under_traffic", stories::over_and_back),
    (
        "a_port_that_carries_nothing_is_found_before_the_switch",
        stories::carries_nothing,
    ),
    (
        "a_gateway_that_does_not_answer_keeps_no_traffic",
        odd::silent_gateway,
    ),
    ("a_guest_without_an_address_fails_over", odd::without_an_address),
    ("a_bond_in_another_mode_is_no_pair", odd::another_mode),
    ("switches_that_follow_each_other_closely", stories::closely),
    (
        "the_agent_counts_what_a_cable_that_is_out_for_a_second_loses",
        stories::counts_its_losses,
    ),
    (
        "a_guest_that_was_moved_tells_its_network",
        stories::tells_its_network,
    ),
    (
        "unplugged_on_standby_and_plugged_again",
        stories::unplugged_and_plugged,
    ),
];

fn main() -> ExitCode {
    let of_class = |class, stories: &'static [Story]| stories.iter().map(move |story| (class, story));
    let all: Vec<(&str, &Story)> = of_class("agent", &AGENT)
        .chain(of_class("switches", &SWITCHES))
        .collect();
    let names: Vec<(&str, &str)> = all.iter().map(|(class, (name, _))| (*class, *name)).collect();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let started = Instant::now();
    let begun = told::wanted(&names, &words).and_then(|wanted| Ok((wanted, brought_up()?)));
    let (wanted, mut flat) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            println!("nothing was tested: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("\nrunning {} tests", wanted.len());
    println!("the guest is up after {:.1} s", started.elapsed().as_secs_f64());
    let stories = wanted.iter().map(|index| all[*index].1);
    let failed: Vec<&str> = stories
        .filter(|story| !passes(&mut flat, story))
        .map(|(name, _)| *name)
        .collect();
    let (text, code) = told::conclude(wanted.len(), &failed, all.len(), started.elapsed());
    println!("{text}");
    code
}

fn brought_up() -> Result<Flat> {
    setup::install()?;
    Flat::up(&Rig::from_environment()?.place)
}

fn passes(flat: &mut Flat, (name, story): &Story) -> bool {
    let started = Instant::now();
    let told = begin(flat)
        .context("the story cannot begin")
        .and_then(|()| story(flat));
    let seconds = started.elapsed().as_secs_f64();
    match told {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
        Err(error) => {
            println!("test {name} ... FAILED ({seconds:.1} s)\n  {error:#}");
            let ask = "dmesg | tail -20; cat /proc/net/bonding/*; ip -s link; ps";
            if let Ok(answer) = flat.shell(ask) {
                println!("{}", answer.text);
            }
            return false;
        }
    }
    true
}

/// Every story begins with the primary plugged, the traffic on it, and an agent that answers.
fn begin(flat: &mut Flat) -> Result<()> {
    if !flat.is_plugged()? {
        flat.plug()?;
    }
    flat.prefer_primary()?;
    Agent::open(&flat.channel()).map(drop)
}
