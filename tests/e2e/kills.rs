//! Stories of daemons that die in the middle of a move and are started again: one for each phase, and each moment in it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults, Moment};
use godwit_rig::godwit::{self, Migration};
use godwit_rig::guest::WEB_1;
use godwit_rig::supervisor::Supervisor;
use godwit_rig::{Host, Place, clock, ready, timeline};

use crate::stage::{PATIENCE, Stage};
use crate::troubled::Troubled;

/// Whose phase, and how many milliseconds after its work began it is under way and not over.
const PHASES: [(Side, &str, u32); 11] = [
    (Side::Source, "reserve", 5),
    (Side::Source, "queue", 0),
    (Side::Source, "fail-over", 20),
    (Side::Source, "unplug", 200),
    (Side::Source, "transfer", 2_000),
    (Side::Source, "locate", 0),
    (Side::Source, "release", 0),
    (Side::Source, "follow", 100),
    (Side::Destination, "await", 2_000),
    (Side::Destination, "plug", 200),
    (Side::Destination, "fail-back", 20),
];

#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Destination,
}

/// A death.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    side: Side,
    phase: &'static str,
    moment: Moment,
}

/// Deaths at instants that no phase chooses: in each round the guest sets out, and some time later one of the two
/// daemons is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtRandom(u32);

/// From the command to well after an undisturbed move's end.
const ROUND_MS: u64 = 30_000;
const ROUNDS: u32 = 2;

impl AtRandom {
    /// Twenty deaths.
    pub(crate) fn all() -> impl Iterator<Item = AtRandom> {
        (1..=10).map(AtRandom)
    }

    /// Of its story.
    pub(crate) fn name(self) -> String {
        format!("killed_at_random_{}", self.0)
    }

    /// The guest goes there and back, if it is let; whichever way it goes, it ends on a VF.
    pub(crate) fn tell(self, stage: &Stage) -> Result<()> {
        let mut from = whereabouts(stage)?;
        for _ in 0..ROUNDS {
            // Random enough, and printed, so that an instant that did harm is known.
            let now = (clock::now() * 1e6) as u64;
            let victim = Host::ALL[(now / 7 % 2) as usize];
            let after = Duration::from_millis(now / 13 % ROUND_MS);
            from = self.round(stage, from, victim, after)?;
        }
        Ok(())
    }

    fn round(self, stage: &Stage, from: Host, victim: Host, after: Duration) -> Result<Host> {
        let place = &stage.place;
        let to = from.other();
        let known: Vec<String> = ids(place, from)?;
        let supervisor = Supervisor::watch(place, victim)?;
        let asked = godwit::run(place, from, &format!("migrate {WEB_1} {to}"))?;
        sleep(after);
        stage.daemon(victim, "kill")?;
        let died = supervisor.died(PATIENCE)?;
        asked.done()?;
        wait_for("the end of every migration", PATIENCE, || {
            Ok(ready::nothing_is_open(place)?.then_some(()))
        })?;
        let all = godwit::migrations(place, from)?;
        let new = |migration: &Migration| !known.contains(&migration.id) && migration.guest == WEB_1.name;
        let ended = all
            .into_iter()
            .find(new)
            .context("nothing is known of the move")?;
        let host = settled_on(&ended)?;
        stage.is_accelerated_on(WEB_1, host)?;
        let ahead = clock::offset(place, from)?;
        let spans = timeline::spans(&ended, |_| ahead)?;
        let phase = timeline::phase_at(&spans, died);
        println!(
            "figure {}: {victim} killed {:.1} s after the command, in {phase}: the guest is on its VF on {host}",
            self.name(),
            after.as_secs_f64()
        );
        Ok(host)
    }
}

/// The host that the guest is on.
pub(crate) fn whereabouts(stage: &Stage) -> Result<Host> {
    WEB_1.locate(&stage.place)?.context("the guest runs nowhere")
}

/// Of all that a host knows.
pub(crate) fn ids(place: &Place, host: Host) -> Result<Vec<String>> {
    let all = godwit::migrations(place, host)?;
    Ok(all.into_iter().map(|migration| migration.id).collect())
}

/// Where it says that the guest is.
fn settled_on(ended: &Migration) -> Result<Host> {
    ensure!(!ended.needs_person, "{ended:?}");
    let host = ended.final_host();
    let host = host.with_context(|| format!("where is the guest? {ended:?}"))?;
    host.parse().map_err(anyhow::Error::msg)
}

impl Kill {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Kill> {
        PHASES.into_iter().flat_map(|(side, phase, after)| {
            [Moment::Before, Moment::During(after), Moment::After].map(|moment| Kill { side, phase, moment })
        })
    }

    /// Of its story.
    pub(crate) fn name(self) -> String {
        let side = match self.side {
            Side::Source => "source",
            Side::Destination => "destination",
        };
        let moment = self.moment.name();
        format!("{side}_killed_{moment}_{}", self.phase.replace('-', "_"))
    }

    /// The daemon dies once and is started again. The move goes on (after a death in the transfer it may go either way), both
    /// hosts end it, and the guest is on a VF where they say that it is.
    pub(crate) fn tell(self, stage: &Stage) -> Result<()> {
        let place = &stage.place;
        let from = whereabouts(stage)?;
        let victim = match self.side {
            Side::Source => from,
            Side::Destination => from.other(),
        };
        let known = ids(place, from)?;
        let troubled = Troubled::begin(stage)?;
        let _faults = Faults::order(place, victim, &[Fault::Die(self.moment, self.phase)])?;
        let supervisor = Supervisor::watch(place, victim)?;
        // Its answer may die with the daemon.
        godwit::run(place, from, &format!("migrate {WEB_1} {}", from.other()))?;
        let died = supervisor.died(PATIENCE)?;
        let id = wait_for("the migration, by its source", PATIENCE, || {
            let all = godwit::migrations(place, from)?;
            let new = |migration: &Migration| !known.contains(&migration.id) && migration.guest == WEB_1.name;
            Ok(all.into_iter().find(new).map(|migration| migration.id))
        })?;
        let ended = stage.migration(from, &id, |migration| migration.ended)?;
        wait_for("the end of every migration", PATIENCE, || {
            Ok(ready::nothing_is_open(place)?.then_some(()))
        })?;
        let host = settled_on(&ended)?;
        // What had begun goes on. A transfer may end with its daemon's connection.
        ensure!(
            host == from.other() || self.phase == "transfer",
            "the move was undone: {ended:?}"
        );
        stage.guest_is_accelerated_on(host)?;
        let losses = troubled.losses()?;
        let when = when_on_its_vf(place, host, &id, died)?;
        println!("figure {}: {when}; {losses}", self.name());
        Ok(())
    }
}

/// How long after a death the guest was on its VF, by the clock of its host, in words.
pub(crate) fn when_on_its_vf(place: &Place, host: Host, id: &str, died: f64) -> Result<String> {
    let migration = godwit::status(place, host, id)?;
    let ahead = clock::offset(place, host)?;
    let spans = timeline::spans(&migration, |_| ahead)?;
    let back = spans
        .iter()
        .rev()
        .find(|span| span.name == "fail-back" && span.host == host.name());
    Ok(match back {
        Some(back) if back.to < died => format!("on its VF on {host} already"),
        Some(back) => format!("on its VF on {host} {:.1} s after the death", back.to - died),
        None => format!("never off its VF on {host}"),
    })
}
