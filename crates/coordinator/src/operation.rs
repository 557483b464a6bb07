//! The loop: does the work of the phase, makes the outcome durable, repeats.

use std::{sync::Arc, time::Duration};

use godwit_migration::{Cause, Entry, Event, Figures, Happening, Migration, Phase, State, table};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    Deadlines, Journal, World,
    clock::now_ms,
    holds,
    retry::{Pauses, Policy},
    world::Job,
};

/// What the loop gives a phase beyond its deadline before it stops waiting for the work's own answer.
const GRACE: Duration = Duration::from_secs(15);

/// A migration as it is now.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) migration: Arc<Migration>,
    /// Of a running transfer.
    pub(crate) progress: Option<Figures>,
}

/// Asks of a running operation. The answer tells whether the table took it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) event: Event,
    pub(crate) taken: oneshot::Sender<bool>,
}

/// The one owner of a migration's value.
pub(crate) struct Operation<W> {
    pub(crate) world: Arc<W>,
    pub(crate) journal: Journal,
    pub(crate) deadlines: Deadlines,
    pub(crate) migration: Migration,
    /// The phase at hand was begun by an earlier process.
    pub(crate) taken_up: bool,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) view: watch::Sender<View>,
}

/// What an attempt ended with.
enum Step {
    /// The work's outcome.
    Came(Event),
    /// Something asked for that ends the attempt.
    Told(Event, oneshot::Sender<bool>),
}

impl<W: World> Operation<W> {
    /// Runs to the end.
    pub(crate) async fn run(mut self) {
        let mut rests = Policy::FAR.pauses();
        while let Some(phase) = self.migration.state().phase() {
            let step = self.attempt(phase, &mut rests).await;
            // Cancel may have turned the course while the work went on.
            let state = self.migration.state();
            let recorded = match step {
                Step::Came(event) if changes_nothing(state, &event) => true,
                Step::Came(event) => self.record(legal(state, event)).await,
                Step::Told(event, taken) => {
                    let recorded = self.record(event).await;
                    let _ = taken.send(recorded);
                    recorded
                }
            };
            if !recorded {
                rests.wait().await;
            } else if !matches!(self.migration.state(), State::Rest(..)) {
                rests = Policy::FAR.pauses();
            }
        }
        info!(migration = %self.migration.brief.id, outcome = %self.migration.state(), "ended");
    }

    /// One attempt at the phase; in a rest after a pause.
    async fn attempt(&mut self, phase: Phase, pauses: &mut Pauses) -> Step {
        let state = self.migration.state();
        let pause = matches!(state, State::Rest(..)).then(|| pauses.next());
        let deadline = self.deadlines.of(phase);
        let (progress, mut figures) = watch::channel(None);
        let taken_up = std::mem::take(&mut self.taken_up);
        let job = Job {
            brief: self.migration.brief.clone(),
            state,
            taken_up,
            deadline,
            progress,
        };
        let world = Arc::clone(&self.world);
        let work = async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            bounded(&*world, job, phase).await
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                event = &mut work => return Step::Came(event),
                Ok(()) = figures.changed() => {
                    let now = *figures.borrow_and_update();
                    self.view.send_modify(|view| view.progress = now);
                }
                Some(command) = self.commands.recv() => {
                    if let Some(step) = self.obey(command).await {
                        return step;
                    }
                }
            }
        }
    }

    /// Takes cancel without ending the work; hands back what ends it.
    async fn obey(&mut self, Command { event, taken }: Command) -> Option<Step> {
        let state = self.migration.state();
        if table::next(state, event.happening()).is_err() {
            let _ = taken.send(false);
            return None;
        }
        if event != Event::CancelAsked {
            return Some(Step::Told(event, taken));
        }
        self.record(Event::CancelAsked).await;
        let _ = taken.send(true);
        if state.phase() == Some(Phase::Transfer)
            && let Err(cause) = self.world.abort(&self.migration.brief).await
        {
            warn!(migration = %self.migration.brief.id, "abort: {}", cause.message);
        }
        None
    }

    /// Makes the event durable, then the state follows. A journal that does not write stops the workflow
    /// where it is (the guest has its path there) until it writes again. False when the table knows no such
    /// event here.
    async fn record(&mut self, event: Event) -> bool {
        let before = self.migration.state();
        let mut next = self.migration.clone();
        if let Err(illegal) = next.apply(Entry {
            at_ms: now_ms(),
            event,
        }) {
            error!(migration = %next.brief.id, "{illegal}: not recorded");
            return false;
        }
        let change = holds::change(&next, before);
        let mut pauses = Policy::NEAR.pauses();
        while let Err(error) = self.journal.append(&next, change.clone()).await {
            error!(migration = %next.brief.id, "{error}");
            pauses.wait().await;
        }
        self.tell(&next, before);
        self.migration = next;
        let migration = Arc::new(self.migration.clone());
        self.view.send_replace(View {
            migration,
            progress: None,
        });
        true
    }

    fn tell(&self, next: &Migration, before: State) {
        let (id, guest) = (&next.brief.id, &next.brief.guest.name);
        let ended = next
            .spans()
            .into_iter()
            .rev()
            .find(|span| span.ended_ms.is_some());
        let took_ms = ended
            .as_ref()
            .and_then(|span| Some(span.ended_ms? - span.started_ms));
        let detail = ended.map(|span| span.detail).unwrap_or_default();
        info!(migration = %id, guest, from = %before, to = %next.state(), took_ms, "{detail}");
    }
}

async fn bounded<W: World>(world: &W, job: Job, phase: Phase) -> Event {
    let deadline = job.deadline;
    // A hold never expires by itself; and what a transfer did is known to libvirt, not to a clock.
    if matches!(phase, Phase::Await | Phase::Transfer) {
        return world.work(job).await;
    }
    match tokio::time::timeout(deadline + GRACE, world.work(job)).await {
        Ok(event) => event,
        Err(_) => {
            let message = format!("{phase} did not end within {} s", deadline.as_secs());
            let cause = Cause {
                reason: "DEADLINE".into(),
                message,
                ..Cause::default()
            };
            // The guest may have been asked, and that cannot be withdrawn.
            if phase == Phase::Unplug {
                Event::Silent(cause)
            } else {
                Event::Failed(cause)
            }
        }
    }
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
