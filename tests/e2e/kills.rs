//! Stories of daemons that die in the middle of a move and are started again: one for each phase, and each moment in it.

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults, Moment};
use godwit_rig::godwit::{self, Migration};
use godwit_rig::guest::WEB_1;
use godwit_rig::supervisor::Supervisor;
use godwit_rig::{Host, clock, ready, timeline};

use crate::stage::{PATIENCE, Stage};

/// Whose phase, and how many milliseconds after its work began it is under way and not over.
const PHASES: [(Host, &str, u32); 11] = [
    (Host::Alpha, "reserve", 5),
    (Host::Alpha, "queue", 0),
    (Host::Alpha, "fail-over", 20),
    (Host::Alpha, "unplug", 200),
    (Host::Alpha, "transfer", 2_000),
    (Host::Alpha, "locate", 0),
    (Host::Alpha, "release", 0),
    (Host::Alpha, "follow", 100),
    (Host::Beta, "await", 2_000),
    (Host::Beta, "plug", 200),
    (Host::Beta, "fail-back", 20),
];

/// A death.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    host: Host,
    phase: &'static str,
    moment: Moment,
}

impl Kill {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Kill> {
        PHASES.into_iter().flat_map(|(host, phase, after)| {
            [Moment::Before, Moment::During(after), Moment::After].map(|moment| Kill { host, phase, moment })
        })
    }

    /// Of its story.
    pub(crate) fn name(self) -> String {
        let (host, moment) = (self.host, self.moment.name());
        format!("killed_{host}_{moment}_{}", self.phase.replace('-', "_"))
    }

    /// The daemon dies once and is started again. Whichever way the move then goes, both hosts end it, and the guest
    /// is on a VF where they say that it is.
    pub(crate) fn tell(self, stage: &Stage) -> Result<()> {
        let place = &stage.place;
        let known: Vec<String> = godwit::migrations(place, Host::Alpha)?
            .into_iter()
            .map(|migration| migration.id)
            .collect();
        let _faults = Faults::order(place, self.host, &[Fault::Die(self.moment, self.phase)])?;
        let supervisor = Supervisor::watch(place, self.host)?;
        // Its answer may die with the daemon.
        godwit::run(place, Host::Alpha, &format!("migrate {WEB_1} beta"))?;
        let died = supervisor.died(PATIENCE)?;
        let id = wait_for("the migration, by alpha", PATIENCE, || {
            let all = godwit::migrations(place, Host::Alpha)?;
            let new = |migration: &Migration| !known.contains(&migration.id) && migration.guest == WEB_1.name;
            Ok(all.into_iter().find(new).map(|migration| migration.id))
        })?;
        let ended = stage.migration(Host::Alpha, &id, |migration| migration.ended)?;
        wait_for("the end of every migration", PATIENCE, || {
            Ok(ready::nothing_is_open(place)?.then_some(()))
        })?;
        ensure!(!ended.needs_person, "{ended:?}");
        let host: Host = ended
            .final_host()
            .with_context(|| format!("where is the guest? {ended:?}"))?
            .parse()
            .map_err(anyhow::Error::msg)?;
        stage.guest_is_accelerated_on(host)?;
        self.figure(stage, (host, &id), died)
    }

    /// Prints how long after the death the guest was on its VF, by the clock of its host.
    fn figure(self, stage: &Stage, (host, id): (Host, &str), died: f64) -> Result<()> {
        let migration = godwit::status(&stage.place, host, id)?;
        let ahead = clock::offset(&stage.place, host)?;
        let spans = timeline::spans(&migration, |_| ahead)?;
        let back = spans
            .iter()
            .rev()
            .find(|span| span.name == "fail-back" && span.host == host.name());
        let name = self.name();
        match back {
            Some(back) if back.to < died => println!("figure {name}: on its VF on {host} already"),
            Some(back) => println!(
                "figure {name}: on its VF on {host} {:.1} s after the death",
                back.to - died
            ),
            None => println!("figure {name}: never off its VF on {host}"),
        }
        Ok(())
    }
}
