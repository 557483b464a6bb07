//! What runs on this host, for whoever shows it or keeps the host awake for it; and the door, which is closed while the host
//! is about to end.

use std::sync::{Mutex, PoisonError};

use godwit_api::v1 as api;
use tokio::sync::watch;

use super::Coordinator;
use crate::{JournalError, Refused, World, operation::View, words};

/// Through it operations come and go.
#[derive(Default)]
pub(super) struct Door {
    turns: watch::Sender<()>,
    /// Why nothing new comes in, in the words of [`Refused::GoingDown`].
    closed: Mutex<Option<&'static str>>,
}

impl Door {
    /// An operation came or went.
    pub(super) fn turned(&self) {
        self.turns.send_replace(());
    }
}

/// An operation that runs here, or ran until a moment ago.
#[derive(Clone, Debug)]
pub struct Running {
    id: String,
    views: watch::Receiver<View>,
}

impl Running {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it is now, or was at its end, as the wire has it.
    pub fn now(&mut self) -> api::Migration {
        words::migration(&self.views.borrow_and_update())
    }

    /// Waits until it is not any more as [`Running::now`] had it. False: it has ended, and changes no more.
    pub async fn changed(&mut self) -> bool {
        self.views.changed().await.is_ok()
    }
}

impl<W: World> Coordinator<W> {
    /// All that run, by age.
    pub fn running(&self) -> Vec<Running> {
        let running = |(id, handle): (&String, &super::Handle)| Running {
            id: id.clone(),
            views: handle.view.clone(),
        };
        let mut all: Vec<Running> = self.operations().iter().map(running).collect();
        // Ids begin with the time.
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// Changes when an operation begins or ends.
    pub fn turns(&self) -> watch::Receiver<()> {
        self.0.door.turns.subscribe()
    }

    /// Whether what begins a migration could be written down now.
    ///
    /// # Errors
    /// Why not: a full disk, for example.
    pub async fn can_be_written(&self) -> Result<(), JournalError> {
        self.0.journal.can_be_written().await
    }

    /// From now on nothing new begins here (`why`, after the host's name: "is shutting down"), or it does again (none). What
    /// has begun goes on.
    pub fn going_down(&self, why: Option<&'static str>) {
        *self.0.door.closed.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// What anything that is new would be refused for here, whoever asks and whatever it is.
    pub(crate) async fn objections(&self) -> Vec<Refused> {
        let closed = self.open().err();
        let unwritten = self.can_be_written().await.err().map(Refused::Journal);
        closed.into_iter().chain(unwritten).collect()
    }

    /// What this host refuses, as a finding for whoever reads it, perhaps on another host.
    pub(crate) fn finding(&self, refused: &Refused) -> api::Finding {
        let mut found = words::refused(self.host(), refused.failure());
        if matches!(refused, Refused::Journal(_)) {
            // Both hosts have one, at the same place.
            found.what = format!("on {}: {}", self.host(), found.what);
            found.fix = format!("on {}: {}", self.host(), found.fix);
        }
        found
    }

    /// Something new may begin.
    pub(super) fn open(&self) -> Result<(), Refused> {
        let closed = *self.0.door.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.map_or(Ok(()), |why| {
            Err(Refused::GoingDown {
                host: self.host().into(),
                why,
            })
        })
    }
}
