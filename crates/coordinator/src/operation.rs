//! The loop: does the work of the phase, makes the outcome durable, repeats.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use godwit_migration::{Cause, Course, Entry, Event, Happening, Migration, Phase, State, table};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    Coordinator, World,
    clock::now_ms,
    holds::{self, HoldChange, Unclean},
    retry::{Pauses, Policy},
    slots::Slot,
    world::Job,
};

mod own;
mod view;

use self::own::patience;
pub(crate) use self::view::View;

/// What the loop gives a phase beyond its deadline before it stops waiting for the work's own answer.
const GRACE: Duration = Duration::from_secs(15);

/// Asks of a running operation. The answer tells whether it was taken.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something happened; the table says whether it can.
    Tell {
        event: Event,
        taken: oneshot::Sender<bool>,
    },
    /// What rests is tried now.
    Retry { taken: oneshot::Sender<bool> },
    /// Why it waits for somebody who may not come; none: there is no doubt any more.
    Doubt {
        doubt: Option<Cause>,
        taken: oneshot::Sender<bool>,
    },
}

/// The one owner of a migration's value.
pub(crate) struct Operation<W> {
    coordinator: Coordinator<W>,
    migration: Migration,
    /// The phase at hand was begun by an earlier process.
    taken_up: bool,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<View>,
    /// Room for its transfer.
    slot: Option<Slot>,
    /// As the view has it; it is not worth a line in the journal.
    failed: Option<Cause>,
    /// PFs and VFs, as they were when the last attempt began.
    hardware: watch::Receiver<()>,
}

/// What an attempt ended with.
enum Step {
    /// The work's outcome.
    Came(Event),
    /// Something asked for that ends the attempt.
    Told(Event, oneshot::Sender<bool>),
    /// All that had to be written is written.
    Written,
}

impl<W: World> Operation<W> {
    /// One that begins, or (taken up) goes on after a restart.
    pub(crate) fn new(
        coordinator: Coordinator<W>,
        migration: Migration,
        taken_up: bool,
        (commands, view): (mpsc::Receiver<Command>, watch::Sender<View>),
    ) -> Operation<W> {
        // One that stood in the line stands there again; its place was nobody's while this host was away.
        let lined_up = migration.state().phase() == Some(Phase::Queue);
        let inside = taken_up && !lined_up && needs_room(migration.state());
        let slot = inside.then(|| coordinator.outgoing().take(&migration.brief.id));
        Operation {
            hardware: coordinator.hardware(),
            coordinator,
            migration,
            taken_up,
            commands,
            view,
            slot,
            failed: None,
        }
    }

    /// Runs to the end.
    pub(crate) async fn run(mut self) {
        // One row of pauses for each state, kept to the end: what goes from rest to rest in a circle is tried
        // ever more rarely too.
        let mut pauses = BTreeMap::new();
        let mut odd = false;
        while let Some(phase) = self.migration.state().phase() {
            let state = self.migration.state();
            let waits = odd || matches!(state, State::Rest(..));
            let pauses = pauses.entry(state).or_insert_with(|| patience(state).pauses());
            let step = match self.pause(phase, waits.then_some(pauses)).await {
                None => self.attempt(phase).await,
                Some(step) => step,
            };
            // Cancel may have turned the course while the work went on.
            let state = self.migration.state();
            let recorded = match step {
                Step::Came(event) if changes_nothing(state, &event) => {
                    if let Event::Failed(cause) = event {
                        self.failed_again(cause);
                    }
                    true
                }
                Step::Came(event @ Event::Located { .. }) if phase == Phase::Unreserve => {
                    self.contradicted(event).await
                }
                Step::Came(event) => self.record(legal(state, event)).await,
                Step::Told(event, taken) => {
                    let unclean = match event {
                        Event::Closed => self.give_back().await,
                        _ => Vec::new(),
                    };
                    let recorded = self.record_but(event, unclean).await;
                    let _ = taken.send(recorded);
                    recorded
                }
                Step::Written => true,
            };
            odd = !recorded;
        }
        // Who waited for what it had looks again.
        self.coordinator.vf_was_freed();
        info!(migration = %self.migration.brief.id, outcome = %self.migration.state(), "ended");
    }

    /// One attempt at the phase; commands are heard all the while.
    async fn attempt(&mut self, phase: Phase) -> Step {
        match phase {
            Phase::Hold => return self.hold().await,
            Phase::Queue => {
                if let Some(step) = self.stand_in_line().await {
                    return step;
                }
            }
            Phase::Plug => {
                if let Some(step) = self.swap().await {
                    return step;
                }
            }
            _ => {}
        }
        self.hardware.mark_unchanged();
        let (progress, mut figures) = watch::channel(None);
        let (place, mut places) = watch::channel(0);
        let job = Job {
            brief: self.migration.brief.clone(),
            state: self.migration.state(),
            taken_up: std::mem::take(&mut self.taken_up),
            deadline: self.coordinator.deadline(phase),
            progress,
            place,
        };
        let world = Arc::clone(self.coordinator.world());
        let work = bounded(&*world, job, phase);
        tokio::pin!(work);
        loop {
            tokio::select! {
                // What has come is true before what is asked for; and a run of a simulator can be had again.
                biased;
                event = &mut work => return Step::Came(event),
                Ok(()) = figures.changed() => {
                    let now = *figures.borrow_and_update();
                    self.view.send_modify(|view| view.progress = now);
                }
                Ok(()) = places.changed() => {
                    let now = *places.borrow_and_update();
                    self.view.send_modify(|view| view.place = now);
                }
                Some(command) = self.commands.recv() => {
                    if let Some(step) = self.obey(command).await {
                        return step;
                    }
                }
            }
        }
    }

    /// Nothing for a while, where there is a reason to wait; what ended the pause, if that asks for more than an attempt.
    async fn pause(&mut self, phase: Phase, pauses: Option<&mut Pauses>) -> Option<Step> {
        let pauses = pauses?;
        let coordinator = self.coordinator.clone();
        let over = tokio::time::sleep(pauses.next());
        let mut hardware = self.hardware.clone();
        // A VF that becomes free is what a rest at Hold waits for, and for one at Plug a PF that is up again may be it.
        let freed = async {
            match phase {
                Phase::Hold => coordinator.vf_freed().await,
                Phase::Plug if hardware.changed().await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(over, freed);
        loop {
            let rested = matches!(self.migration.state(), State::Rest(..));
            tokio::select! {
                biased;
                () = &mut over => return None,
                () = &mut freed => return None,
                Some(command) = self.commands.recv() => {
                    if let Command::Retry { taken } = command {
                        let _ = taken.send(true);
                        *pauses = patience(self.migration.state()).pauses();
                        return None;
                    }
                    if let Some(step) = self.obey(command).await {
                        return Some(step);
                    }
                    // What was asked for has work to do.
                    if rested && !matches!(self.migration.state(), State::Rest(..)) {
                        return Some(Step::Written);
                    }
                }
            }
        }
    }

    /// Takes cancel without ending the work; hands back what ends it.
    async fn obey(&mut self, command: Command) -> Option<Step> {
        let state = self.migration.state();
        let (event, taken) = match command {
            Command::Tell { event, taken } => (event, taken),
            // What is tried at this moment need not be tried again.
            Command::Retry { taken } => {
                let _ = taken.send(matches!(state, State::Rest(..)));
                return None;
            }
            Command::Doubt { doubt, taken } => {
                self.doubts(doubt);
                let _ = taken.send(true);
                return None;
            }
        };
        if table::next(state, event.happening()).is_err() {
            let _ = taken.send(false);
            return None;
        }
        let beside = matches!(event, Event::CancelAsked | Event::StandbyAsked { .. });
        if !beside {
            return Some(Step::Told(event, taken));
        }
        let cancels = event == Event::CancelAsked;
        self.record(event).await;
        let _ = taken.send(true);
        match state.phase() {
            Some(Phase::Transfer) if cancels => self.abort(),
            // Nothing is at work there that would have to end first.
            Some(Phase::Queue) => return Some(Step::Came(Event::Failed(cancelled()))),
            _ => {}
        }
        None
    }

    /// Beside the work, not instead of it: the abort may wait for what the work does.
    fn abort(&self) {
        let (world, brief) = (Arc::clone(self.coordinator.world()), self.migration.brief.clone());
        tokio::spawn(async move {
            if let Err(cause) = world.abort(&brief).await {
                warn!(migration = %brief.id, "abort: {}", cause.message);
            }
        });
    }

    /// Makes the event durable, then the state follows. A journal that does not write stops the workflow
    /// where it is (the guest has its path there) until it writes again. False when the table knows no such
    /// event here.
    async fn record(&mut self, event: Event) -> bool {
        self.record_but(event, Vec::new()).await
    }

    /// The same; if VFs become free with it, not these.
    async fn record_but(&mut self, event: Event, unclean: Vec<Unclean>) -> bool {
        let before = self.migration.state();
        let mut next = self.migration.clone();
        if let Err(illegal) = next.apply(Entry {
            at_ms: now_ms(),
            event,
        }) {
            error!(migration = %next.brief.id, "{illegal}: not recorded");
            return false;
        }
        let change = holds::change(&next, &self.migration).but(unclean);
        let mut pauses = Policy::NEAR.pauses();
        while let Err(error) = self.coordinator.journal().append(&next, change.clone()).await {
            error!(migration = %next.brief.id, "{error}");
            pauses.wait().await;
        }
        if matches!(change, HoldChange::Free | HoldChange::FreeBut(_)) {
            self.coordinator.vf_was_freed();
        }
        if !needs_room(next.state()) {
            self.slot = None;
        }
        self.tell(&next, before);
        self.migration = next;
        self.view.send_replace(View::of(self.migration.clone()));
        true
    }
}

async fn bounded<W: World>(world: &W, job: Job, phase: Phase) -> Event {
    let deadline = job.deadline;
    let perhaps_asked = phase == Phase::Unplug && job.taken_up;
    // A hold never expires by itself, nor does a place in a queue; and what a transfer did is known to libvirt, not to
    // a clock.
    if matches!(phase, Phase::Await | Phase::Queue | Phase::Transfer) {
        return world.work(job).await;
    }
    match tokio::time::timeout(deadline + GRACE, world.work(job)).await {
        // The process that died may have asked the guest, and that cannot be withdrawn: on the way back the traffic would
        // be put on a VF that then leaves.
        Ok(Event::Failed(cause)) if perhaps_asked => Event::Silent(cause),
        Ok(event) => event,
        Err(_) => {
            let cause = late(phase, deadline);
            // The guest may have been asked, and that cannot be withdrawn.
            if phase == Phase::Unplug {
                Event::Silent(cause)
            } else {
                Event::Failed(cause)
            }
        }
    }
}

fn late(phase: Phase, deadline: Duration) -> Cause {
    Cause {
        reason: "DEADLINE".into(),
        message: format!("{phase} did not end within {} s", deadline.as_secs()),
        ..Cause::default()
    }
}

fn cancelled() -> Cause {
    Cause {
        reason: "CANCELLED".into(),
        message: "cancelled while it waited for other transfers".into(),
        ..Cause::default()
    }
}

/// Its transfer runs, or may begin: it has a place among the transfers from this host.
fn needs_room(state: State) -> bool {
    let course = matches!(state, State::Work(Course::Leave | Course::Turn, _));
    let phase = matches!(
        state.phase(),
        Some(Phase::Queue | Phase::FailOver | Phase::Unplug | Phase::Transfer)
    );
    course && phase
}

/// In a rest, an attempt that fails again or learns nothing new is not worth a line in the journal.
fn changes_nothing(state: State, event: &Event) -> bool {
    let failed = matches!(event, Event::Failed(_) | Event::Silent(_));
    let next = table::next(state, event.happening());
    matches!(state, State::Rest(..)) && (next == Ok(state) || (failed && next.is_err()))
}

/// An outcome that the table does not know in this state (a guest that left during a transfer) counts as a
/// failure of the phase: the next phase looks for itself.
fn legal(state: State, event: Event) -> Event {
    if table::next(state, event.happening()).is_ok() {
        return event;
    }
    match event {
        Event::Left(cause) | Event::Silent(cause) if table::next(state, Happening::Failed).is_ok() => {
            Event::Failed(cause)
        }
        other => other,
    }
}
