//! Stories of daemons that die while a guest comes back to its VF, is put on its standby or gets a VF again: what was
//! asked for is done when the daemon has been started again, without a person.

use anyhow::{Context, Result, ensure};
use godwit_rig::command::wait_for;
use godwit_rig::faults::{Fault, Faults, Moment};
use godwit_rig::godwit::{self, Migration};
use godwit_rig::guest::WEB_1;
use godwit_rig::supervisor::Supervisor;
use godwit_rig::{Host, ready};

use crate::kills::{ids, when_on_its_vf, whereabouts};
use crate::stage::{PATIENCE, Stage};
use crate::troubled::Troubled;

/// The phases of each task, and how many milliseconds after its work began one is under way and not over. `hold` is the coordinator's
/// own work, in which nothing can be ordered.
const PHASES: [(Task, &str, u32); 8] = [
    (Task::Back, "plug", 200),
    (Task::Back, "fail-back", 20),
    (Task::Back, "unreserve", 0),
    (Task::Standby, "fail-over", 20),
    (Task::Standby, "unplug", 200),
    (Task::Standby, "release", 0),
    (Task::Accelerate, "plug", 200),
    (Task::Accelerate, "fail-back", 20),
];

/// What the daemon is at when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A move whose transfer has failed: the guest gets its VF back.
    Back,
    Standby,
    Accelerate,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Task::Back => "back",
            Task::Standby => "standby",
            Task::Accelerate => "accelerate",
        }
    }

    fn command(self, host: Host) -> String {
        match self {
            Task::Back => format!("migrate {WEB_1} {}", host.other()),
            Task::Standby => format!("standby {WEB_1}"),
            Task::Accelerate => format!("accelerate {WEB_1}"),
        }
    }

    /// Where the guest's traffic is in the end.
    fn is_done(self, stage: &Stage, host: Host) -> Result<()> {
        match self {
            Task::Standby => stage.guest_is_on_standby_on(host),
            Task::Back | Task::Accelerate => stage.guest_is_accelerated_on(host),
        }
    }
}

/// A death.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    task: Task,
    phase: &'static str,
    moment: Moment,
}

impl Death {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Death> {
        PHASES.into_iter().flat_map(|(task, phase, after)| {
            [Moment::Before, Moment::During(after), Moment::After].map(|moment| Death { task, phase, moment })
        })
    }

    /// Of its story.
    pub(crate) fn name(self) -> String {
        let (task, moment) = (self.task.name(), self.moment.name());
        format!("killed_{moment}_{}_of_{task}", self.phase.replace('-', "_"))
    }

    /// The daemon dies once and is started again.
    pub(crate) fn tell(self, stage: &Stage) -> Result<()> {
        let place = &stage.place;
        let host = whereabouts(stage)?;
        if self.task == Task::Accelerate {
            godwit::run(place, host, &format!("standby {WEB_1} --wait"))?.done()?;
        }
        let known = ids(place, host)?;
        let troubled = Troubled::begin(stage)?;
        let _faults = Faults::order(place, host, &self.faults())?;
        let supervisor = Supervisor::watch(place, host)?;
        // Its answer may die with the daemon.
        godwit::run(place, host, &self.task.command(host))?;
        let died = supervisor.died(PATIENCE)?;
        wait_for("the end of what was begun", PATIENCE, || {
            Ok(ready::nothing_is_open(place)?.then_some(()))
        })?;
        self.task.is_done(stage, host)?;
        let losses = troubled.losses()?;
        let new = |operation: &Migration| !known.contains(&operation.id) && operation.guest == WEB_1.name;
        let mut begun = godwit::migrations(place, host)?;
        begun.retain(new);
        ensure!(begun.iter().all(|operation| !operation.needs_person), "{begun:?}");
        let name = self.name();
        if self.task == Task::Standby {
            println!("figure {name}: on its standby on {host}; {losses}");
            return godwit::run(place, host, &format!("accelerate {WEB_1} --wait"))?.done();
        }
        let last = begun.first().context("nothing is known of what was begun")?;
        ensure!(
            self.task == Task::Accelerate || last.moved == "no",
            "the guest has moved: {last:?}"
        );
        let when = when_on_its_vf(place, host, &last.id, died)?;
        println!("figure {name}: {when}; {losses}");
        Ok(())
    }

    fn faults(self) -> Vec<Fault> {
        let mut faults = vec![Fault::Die(self.moment, self.phase)];
        if self.task == Task::Back {
            faults.push(Fault::Fail("transfer", 1));
        }
        faults
    }
}
