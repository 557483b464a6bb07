//! Finding migrations: those that run among the operations, those that ended in the journal.

use godwit_migration::Migration;
use tokio::sync::watch;

use super::Coordinator;
use crate::{JournalError, NotNow, Refused, Which, World, operation::View, page::Page};

/// A migration that was looked for.
pub(crate) enum Found {
    /// Its changes.
    Running(watch::Receiver<View>),
    /// It has ended.
    Still(View),
}

impl<W: World> Coordinator<W> {
    /// A migration, running or ended, by its id or the beginning of it.
    pub(crate) async fn get(&self, id: &str) -> Result<View, Refused> {
        Ok(match self.find(id).await? {
            Found::Running(watch) => watch.borrow().clone(),
            Found::Still(view) => view,
        })
    }

    /// As [`Coordinator::get`], with the changes to come.
    pub(crate) async fn find(&self, id: &str) -> Result<Found, Refused> {
        if let Some(watch) = self.watch(id) {
            return Ok(Found::Running(watch));
        }
        let mut migration = self.journaled(id).await?;
        // What neither runs nor has ended began, or ended, between the two looks: once more.
        for _ in 0..3 {
            if let Some(watch) = self.watch(&migration.brief.id) {
                return Ok(Found::Running(watch));
            }
            if migration.ended() {
                break;
            }
            migration = self.journaled(&migration.brief.id).await?;
        }
        Ok(Found::Still(View::of(migration)))
    }

    async fn journaled(&self, id: &str) -> Result<Migration, Refused> {
        let unknown = |more| {
            let id = id.chars().filter(|c| !c.is_control()).take(64).collect();
            Refused::from(NotNow::Unknown { id, more })
        };
        if id.len() < 4 {
            return Err(unknown(" (at least 4 characters of it are needed)"));
        }
        let mut found = self.0.journal.by_prefix(id).await?;
        match (found.pop(), found.pop()) {
            (Some(migration), None) => Ok(migration),
            (Some(_), Some(_)) => Err(unknown(" alone: give more of it")),
            _ => Err(unknown("")),
        }
    }

    /// The newest migrations, or of those that come after a page.
    pub(crate) async fn list(
        &self,
        guest: &str,
        which: Which,
        limit: u32,
        after: Option<Page>,
    ) -> Result<Vec<View>, Refused> {
        let listed = self.0.journal.newest(guest, which, limit, after).await?;
        let now = |migration: Migration| match self.watch(&migration.brief.id) {
            Some(watch) => watch.borrow().clone(),
            None => View::of(migration),
        };
        Ok(listed.into_iter().map(now).collect())
    }

    /// Forgets what need not be kept any longer; how many migrations that were.
    pub(crate) async fn forget_as_of(&self, now_ms: i64) -> Result<usize, JournalError> {
        self.0.journal.forget(self.0.settings.history, now_ms).await
    }

    /// The changes of a running migration; none when it does not run.
    pub(super) fn watch(&self, id: &str) -> Option<watch::Receiver<View>> {
        self.operations().get(id).map(|handle| handle.view.clone())
    }
}
