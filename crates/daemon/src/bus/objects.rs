//! The objects below the manager are the operations of this host: all that run, and the last few that ended.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
};

use godwit_api::v1 as api;
use godwit_coordinator::{Coordinator, World};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use zbus::{
    Connection, OwnedObjectPath,
    fdo::Properties,
    object_server::{Interface, SignalEmitter},
};

use super::{
    PATH,
    follow::{Follow, Sight},
    manager::ManagerSignals,
    migration::{Migration, outcome},
};

/// So many that have ended are still shown; the others are in the journal.
const ENDED: usize = 16;

/// More that run are not shown.
const MOST: usize = 1024;

/// Shows operations as objects. The only one that adds, changes and removes them.
pub(super) struct Objects<W> {
    follow: Follow<W>,
    connection: Connection,
    /// Who wants all that has begun to be shown before it goes on.
    asked: mpsc::Receiver<oneshot::Sender<()>>,
    live: HashSet<String>,
    ended: VecDeque<String>,
}

/// The object of an operation: what no path may have becomes `_` and two hexadecimal digits.
pub(super) fn path(id: &str) -> OwnedObjectPath {
    let mut path = format!("{PATH}/migration/");
    for byte in id.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => path.push(char::from(byte)),
            false => path += &format!("_{byte:02x}"),
        }
    }
    // Made of letters, digits and `_` alone it is one, but for an empty id.
    OwnedObjectPath::try_from(path).unwrap_or_default()
}

impl<W: World> Objects<W> {
    pub(super) fn new(
        coordinator: Coordinator<W>,
        connection: Connection,
        asked: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Objects<W> {
        Objects {
            follow: Follow::new(coordinator),
            connection,
            asked,
            live: HashSet::new(),
            ended: VecDeque::new(),
        }
    }

    /// Until the bus goes away.
    pub(super) async fn run(mut self) {
        loop {
            let done = tokio::select! {
                biased;
                Some(caller) = self.asked.recv() => self.show_fresh(caller).await,
                sight = self.follow.next() => self.show(sight).await,
            };
            if let Err(error) = done {
                if self.connection.is_closed() {
                    return;
                }
                warn!("D-Bus: an operation is not shown as it is: {error}");
            }
        }
    }

    async fn show_fresh(&mut self, caller: oneshot::Sender<()>) -> zbus::Result<()> {
        self.follow.look();
        while let Some(sight) = self.follow.fresh() {
            self.show(sight).await?;
        }
        let _ = caller.send(());
        Ok(())
    }

    async fn show(&mut self, Sight { migration, last }: Sight) -> zbus::Result<()> {
        let id = migration.id.clone();
        let (path, outcome) = (path(&id), outcome(&migration));
        if !self.live.contains(&id) {
            self.add(migration, &path).await?;
        } else {
            self.change(migration, &path).await?;
        }
        if last && self.live.remove(&id) {
            self.manager()?.migration_ended(&id, &path, &outcome).await?;
            self.ended.push_back(id);
            if self.ended.len() > ENDED
                && let Some(oldest) = self.ended.pop_front()
            {
                self.remove(&oldest).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, migration: api::Migration, path: &OwnedObjectPath) -> zbus::Result<()> {
        if self.live.len() >= MOST {
            return Ok(());
        }
        let id = migration.id.clone();
        self.live.insert(id.clone());
        let server = self.connection.object_server();
        server.at(path.as_ref(), Migration(migration)).await?;
        self.manager()?.migration_added(&id, path).await
    }

    async fn change(&mut self, migration: api::Migration, path: &OwnedObjectPath) -> zbus::Result<()> {
        let server = self.connection.object_server();
        let object = server.interface::<_, Migration>(path.as_ref()).await?;
        let mut shown = object.get_mut().await;
        let before = std::mem::replace(&mut *shown, Migration(migration));
        let changed = shown.changed(&before);
        drop(shown);
        if changed.is_empty() {
            return Ok(());
        }
        let changed: HashMap<_, _> = changed.into_iter().collect();
        let emitter = object.signal_emitter();
        Properties::properties_changed(emitter, Migration::name(), changed, Cow::Borrowed(&[])).await
    }

    async fn remove(&mut self, id: &str) -> zbus::Result<()> {
        let path = path(id);
        let server = self.connection.object_server();
        server.remove::<Migration, _>(path.as_ref()).await?;
        self.manager()?.migration_removed(id, &path).await
    }

    fn manager(&self) -> zbus::Result<SignalEmitter<'static>> {
        SignalEmitter::new(&self.connection, PATH).map(SignalEmitter::into_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_ids_apart_whatever_they_have() {
        assert_eq!(
            path("0192-ab").as_str(),
            "/org/godwit/Daemon1/migration/0192_2dab"
        );
        assert_ne!(path("a_2db"), path("a-b"));
        assert_eq!(path("é/").as_str(), "/org/godwit/Daemon1/migration/_c3_a9_2f");
    }
}
