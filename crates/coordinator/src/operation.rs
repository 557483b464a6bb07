//! The loop: does the work of the phase, makes the outcome durable, repeats.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use godwit_migration::{Cause, Entry, Event, Figures, Happening, Migration, Phase, State, table};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{Deadlines, Journal, World, clock::now_ms, holds, retry::Policy, world::Job};

/// What the loop gives a phase beyond its deadline before it stops waiting for the work's own answer.
const GRACE: Duration = Duration::from_secs(15);

/// A migration as it is now.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) migration: Arc<Migration>,
    /// Of a running transfer.
    pub(crate) progress: Option<Figures>,
}

impl View {
    /// One with no transfer running.
    pub(crate) fn of(migration: Migration) -> View {
        View {
            migration: Arc::new(migration),
            progress: None,
        }
    }
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
        // One row of pauses for each state, kept to the end: what goes from rest to rest in a circle is tried
        // ever more rarely too.
        let mut pauses = BTreeMap::new();
        let mut odd = false;
        while let Some(phase) = self.migration.state().phase() {
            let state = self.migration.state();
            let waits = odd || matches!(state, State::Rest(..));
            let pauses = pauses.entry(state).or_insert_with(|| Policy::FAR.pauses());
            let step = self.attempt(phase, waits.then(|| pauses.next())).await;
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
            odd = !recorded;
        }
        info!(migration = %self.migration.brief.id, outcome = %self.migration.state(), "ended");
    }

    /// One attempt at the phase, after a pause where there is one; commands are heard all the while.
    async fn attempt(&mut self, phase: Phase, pause: Option<Duration>) -> Step {
        if let Some(pause) = pause
            && let Some(step) = self.wait(pause).await
        {
            return step;
        }
        let state = self.migration.state();
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
                Some(command) = self.commands.recv() => {
                    if let Some(step) = self.obey(command).await {
                        return step;
                    }
                }
            }
        }
    }

    /// A pause; what ended it, if it did not end by itself.
    async fn wait(&mut self, pause: Duration) -> Option<Step> {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                () = &mut over => return None,
                Some(command) = self.commands.recv() => {
                    if let Some(step) = self.obey(command).await {
                        return Some(step);
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
        if state.phase() == Some(Phase::Transfer) {
            self.abort();
        }
        None
    }

    /// Beside the work, not instead of it: the abort may wait for what the work does.
    fn abort(&self) {
        let (world, brief) = (Arc::clone(&self.world), self.migration.brief.clone());
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
        self.view.send_replace(View::of(self.migration.clone()));
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
