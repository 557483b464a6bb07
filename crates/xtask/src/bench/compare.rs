//! `cargo xtask bench compare`: the same guest moved by Godwit and by everything else that an operator could take, in one
//! run, in turns, under the same traffic.

mod plot;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use godwit_rig::rig::Up;
use godwit_rig::rivals::{self, Seen, Way};
use godwit_rig::{Host, Rig, build, logs, say};
use serde_json::{Value, json};

use super::{load, print};

#[derive(Args)]
pub(crate) struct Arguments {
    /// So many moves in each way.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    moves: u32,
    /// Datagrams a second, each way.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=1000))]
    rate: u32,
    /// The ways to compare, by commas [default: all].
    #[arg(long, value_delimiter = ',', value_parser = way)]
    ways: Vec<Way>,
    /// Where table.md, plot.svg and moves.json are written [default: target/compare].
    #[arg(long)]
    out: Option<PathBuf>,
}

fn way(text: &str) -> Result<Way, String> {
    Way::ALL
        .into_iter()
        .find(|way| way.name() == text)
        .ok_or_else(|| {
            format!(
                "{text:?} is no way; they are {}",
                Way::ALL.map(Way::name).join(", ")
            )
        })
}

/// All moves of one way.
pub(crate) struct Moves {
    pub(crate) way: Way,
    pub(crate) seen: Vec<Seen>,
    /// Moves that did not come to their end, in words.
    pub(crate) failed: Vec<String>,
}

/// A figure of a move; of some ways there is none.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Seen) -> Option<f64>,
    /// Digits after the point.
    pub(crate) digits: usize,
    /// In the picture, too.
    pub(crate) plotted: bool,
}

pub(crate) const FIGURES: [Figure; 12] = [
    figure(
        "lost to the guest",
        |seen| Some(seen.lost().to_guest.1 as f64),
        0,
        true,
    ),
    figure(
        "lost to the guest, outside the transfer",
        |seen| Some(seen.lost_elsewhere().to_guest.1 as f64),
        0,
        true,
    ),
    figure(
        "lost from the guest",
        |seen| Some(seen.lost().from_guest.1 as f64),
        0,
        true,
    ),
    figure(
        "lost from the guest, outside the transfer",
        |seen| Some(seen.lost_elsewhere().from_guest.1 as f64),
        0,
        false,
    ),
    figure(
        "longest gap to the guest, ms",
        |seen| Some(seen.gap_to_guest_ms),
        0,
        true,
    ),
    figure(
        "longest gap from the guest, ms",
        |seen| Some(seen.gap_from_guest_ms()),
        0,
        true,
    ),
    figure(
        "seen twice, both ways",
        |seen| Some((seen.duplicates.0 + seen.duplicates.1) as f64),
        0,
        false,
    ),
    figure(
        "longest stall of a TCP connection, ms",
        |seen| Some(seen.stall_ms),
        0,
        true,
    ),
    figure(
        "TCP segments sent again",
        |seen| Some(seen.retransmitted as f64),
        0,
        false,
    ),
    figure(
        "pause by QEMU, ms",
        |seen| seen.pause_ms.map(|ms| ms as f64),
        0,
        false,
    ),
    figure("time off the VF, s", |seen| seen.off_vf_s, 1, true),
    figure("command to its end, s", |seen| Some(seen.total_s), 1, true),
];

const fn figure(name: &'static str, of: fn(&Seen) -> Option<f64>, digits: usize, plotted: bool) -> Figure {
    Figure {
        name,
        of,
        digits,
        plotted,
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let rig = Rig::from_environment()?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| rig.place.checkout.join("target/compare"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let before = load()?;
    let _alone = rig.place.lock_for_stories()?;
    rig.up(Up {
        optimised: true,
        ..Up::default()
    })?;
    let ways = match arguments.ways.is_empty() {
        true => Way::ALL.to_vec(),
        false => arguments.ways.clone(),
    };
    let mut all: Vec<Moves> = ways
        .into_iter()
        .map(|way| Moves {
            way,
            seen: Vec::new(),
            failed: Vec::new(),
        })
        .collect();
    for round in 0..arguments.moves {
        // Each begins as often on one host as on the other, and no way has always the same neighbour.
        let ways = all.len();
        for turn in 0..ways {
            let index = (turn + round as usize) % ways;
            one(&rig, arguments, (round, &mut all[index]))?;
        }
        write(&out, arguments, &all, before)?;
    }
    print(&table::text(&all, arguments.rate));
    say(format!("written into {}", out.display()));
    let done = all.iter().all(|moves| !moves.seen.is_empty());
    ensure!(done, "there is a way in which no move came to its end");
    Ok(ExitCode::SUCCESS)
}

/// One move: one that fails is told and kept, and the next one begins anew. So it does where a guest cannot be put back, whose move counts.
fn one(rig: &Rig, arguments: &Arguments, (round, moves): (u32, &mut Moves)) -> Result<()> {
    let (place, way) = (&rig.place, moves.way);
    rig.keep_on()?;
    let from = if round % 2 == 0 { Host::Alpha } else { Host::Beta };
    say(format!(
        "{}, move {} of {}, from {from}",
        way.name(),
        round + 1,
        arguments.moves
    ));
    let probe = build::build_static(place, "godwit-probe")?;
    let moved = rivals::prepare(place, way, from)
        .context("before the move")
        .and_then(|()| rivals::one_move(place, &probe, (way, from), arguments.rate));
    let put_back = match moved {
        Ok(seen) => {
            say(format!("  {:.1} s, {:?}", seen.total_s, seen.lost()));
            moves.seen.push(seen);
            rivals::put_back(place, way, from.other())
                .context("the move is counted; its guest is not put back")
        }
        Err(error) => {
            moves.failed.push(format!("{error:#}"));
            Err(error)
        }
    };
    let Err(error) = put_back else { return Ok(()) };
    // The next one begins with guests of its own.
    say(format!("  it failed: {error:#}"));
    logs::after_failure(place, "compare");
    for guest in godwit_rig::guest::Guest::ALL {
        guest.stop(place)?;
    }
    rivals::start_daemons(place)
}

fn write(out: &std::path::Path, arguments: &Arguments, all: &[Moves], load_before: f64) -> Result<()> {
    let text = json!({
        "rate": arguments.rate,
        "load_before": load_before,
        "load_after": load()?,
        "ways": all.iter().map(Moves::json).collect::<Vec<_>>(),
    });
    for (name, text) in [
        ("moves.json", text.to_string() + "\n"),
        ("table.md", table::text(all, arguments.rate)),
        ("plot.svg", plot::svg(all)),
    ] {
        let file = out.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

impl Moves {
    /// That figure of every move that has it, in their order.
    pub(crate) fn values(&self, figure: &Figure) -> Vec<f64> {
        self.seen.iter().filter_map(figure.of).collect()
    }

    fn json(&self) -> Value {
        let of = |seen: &Seen| {
            let figures = FIGURES
                .iter()
                .map(|figure| (figure.name.to_owned(), json!((figure.of)(seen))));
            let steps: Vec<Value> = seen
                .spans
                .iter()
                .map(|span| {
                    let lost = seen.losses.get(&span.name).copied().unwrap_or_default();
                    json!({"step": span.name, "ms": span.ms().round(),
                        "gap_from_guest_ms": seen.gaps.get(&span.name).map(|ms| ms.round()),
                        "lost": {"to_guest": lost.to_guest.1, "from_guest": lost.from_guest.1}})
                })
                .collect();
            json!({"stall_began_in": seen.stall_step, "figures": figures.collect::<serde_json::Map<_, _>>(), "steps": steps})
        };
        json!({"way": self.way.name(), "failed": self.failed,
            "moves": self.seen.iter().map(of).collect::<Vec<_>>()})
    }
}
