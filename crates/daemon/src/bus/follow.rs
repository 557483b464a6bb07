//! All operations of the host and their changes, as one row of sights.

use std::collections::{HashMap, VecDeque};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use godwit_api::v1 as api;
use godwit_coordinator::{Coordinator, Running, World};
use tokio::sync::watch;

/// An operation as it is, or was at its end.
pub(super) struct Sight {
    pub(super) migration: api::Migration,
    /// Nothing more comes of it.
    pub(super) last: bool,
}

/// Follows whatever runs. Each operation is seen at once, at changes (the newest counts), and once at its end.
pub(super) struct Follow<W> {
    coordinator: Coordinator<W>,
    turns: watch::Receiver<()>,
    /// By id; whether its end has been seen.
    known: HashMap<String, bool>,
    fresh: VecDeque<Running>,
    changes: FuturesUnordered<BoxFuture<'static, (Running, bool)>>,
}

impl<W: World> Follow<W> {
    /// Sees all that run now first.
    pub(super) fn new(coordinator: Coordinator<W>) -> Follow<W> {
        let mut follow = Follow {
            turns: coordinator.turns(),
            coordinator,
            known: HashMap::new(),
            fresh: VecDeque::new(),
            changes: FuturesUnordered::new(),
        };
        follow.look();
        follow
    }

    /// Takes in what has begun since.
    pub(super) fn look(&mut self) {
        self.turns.mark_unchanged();
        let running = self.coordinator.running();
        let runs = |id: &str| running.iter().any(|running| running.id() == id);
        // One whose end has been seen may be listed for a moment more.
        self.known.retain(|id, ended| !*ended || runs(id));
        for running in running {
            if !self.known.contains_key(running.id()) {
                self.known.insert(running.id().to_owned(), false);
                self.fresh.push_back(running);
            }
        }
    }

    /// What was taken in and not seen yet.
    pub(super) fn fresh(&mut self) -> Option<Sight> {
        let mut running = self.fresh.pop_front()?;
        let migration = running.now();
        self.changes.push(Box::pin(change(running)));
        Some(Sight {
            migration,
            last: false,
        })
    }

    /// The next sight. Nothing is lost when it is not waited for.
    pub(super) async fn next(&mut self) -> Sight {
        loop {
            if let Some(sight) = self.fresh() {
                return sight;
            }
            tokio::select! {
                turned = self.turns.changed() => match turned {
                    Ok(()) => self.look(),
                    // Not while the coordinator is here.
                    Err(_) => std::future::pending().await,
                },
                Some((mut running, lives)) = self.changes.next() => {
                    let migration = running.now();
                    match lives {
                        true => self.changes.push(Box::pin(change(running))),
                        false => drop(self.known.insert(running.id().to_owned(), true)),
                    }
                    return Sight { migration, last: !lives };
                }
            }
        }
    }
}

async fn change(mut running: Running) -> (Running, bool) {
    let lives = running.changed().await;
    (running, lives)
}
