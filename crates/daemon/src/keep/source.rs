//! The source's part: from the beginning of a guest's transfer it watches what goes to the guest, and sends on what the guest did
//! not get.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use godwit_keep::{Change, Stage, answered};
use godwit_migration::{Kept, MacAddress};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::Channel;
use uuid::Uuid;

use super::{link::Link, nic::keep};
use crate::libvirt::{Event, Lifecycle, Resumed, Suspended};

/// The work is over so long after the stragglers in any case.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a host keeps, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Frames for guests that come are taken.
    pub(crate) takes: bool,
    /// Bytes, of each interface.
    pub(crate) room: usize,
    /// So long after a guest has left, frames that still come here are sent after it.
    pub(crate) stragglers: Duration,
    /// Of the file system: `/`, but for tests.
    pub(crate) root: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            takes: true,
            room: 64 * 1024 * 1024,
            stragglers: Duration::from_secs(2),
            root: "/".into(),
        }
    }
}

/// One interface of the guest.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    /// Its own MAC.
    pub(crate) mac: MacAddress,
    /// Those that the guest has on it.
    pub(crate) macs: Vec<MacAddress>,
    /// The emulator reads its tap, not the kernel.
    pub(crate) emulated: bool,
}

/// Keeps the frames of one guest that leaves. When it is dropped, nothing more is kept.
#[derive(Debug)]
pub(crate) struct Keeper {
    stage: Arc<watch::Sender<Stage>>,
    work: JoinHandle<Kept>,
    patience: Duration,
}

impl Keeper {
    /// Begins to watch. `events` are libvirt's, from before the transfer.
    pub(crate) fn begin(
        settings: &Settings,
        (migration, guest): (String, Uuid),
        interfaces: Vec<Interface>,
        events: broadcast::Receiver<Event>,
        channel: Channel,
    ) -> Keeper {
        let stage = Arc::new(watch::Sender::new(Stage::Runs));
        let (told, settings) = (Arc::clone(&stage), settings.clone());
        let patience = settings.stragglers + GOODBYE;
        let work = tokio::spawn(async move {
            let link = Link::open(channel, migration);
            let each = interfaces.iter().map(|interface| {
                let stage = told.subscribe();
                keep(&settings, interface, stage, &link)
            });
            let all = async { join_all(each).await };
            let kept = tokio::select! {
                kept = all => kept,
                () = listen(events, guest, &told) => Vec::new(),
            };
            let kept = kept.into_iter().fold(Kept::default(), Kept::and);
            match kept.frames {
                0 => kept,
                _ => answered(kept, link.end().await),
            }
        });
        Keeper {
            stage,
            work,
            patience,
        }
    }

    /// The transfer is over. What became of the frames of the pause.
    pub(crate) async fn end(mut self, moved: bool) -> Kept {
        self.stage.send_replace(Stage::ended(moved, Instant::now()));
        match timeout(self.patience, &mut self.work).await {
            Ok(Ok(kept)) => kept,
            _ => Kept::not("the work did not end in time"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// What libvirt tells of the guest. Never ends by itself while libvirt can be heard.
async fn listen(mut events: broadcast::Receiver<Event>, guest: Uuid, stage: &watch::Sender<Stage>) {
    loop {
        let change = match events.recv().await {
            Ok(Event::Lifecycle { uuid, change, .. }) if uuid == guest => change,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        };
        let change = match change {
            Lifecycle::Suspended(Suspended::Migrated | Suspended::PostCopy) => Change::Stopped,
            Lifecycle::Resumed(Resumed::Migrated | Resumed::Unpaused) => Change::GoesOn,
            _ => continue,
        };
        stage.send_if_modified(|stage| {
            let new = stage.after(change, Instant::now());
            *stage = new.unwrap_or(*stage);
            new.is_some()
        });
    }
}
