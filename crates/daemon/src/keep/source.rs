//! The source's part: from the beginning of a guest's transfer it watches what goes to the guest, and sends on what the guest did
//! not get.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use godwit_api::peer::v1::{KeepRequest, KeepResponse, KeptFrames};
use godwit_migration::{Kept, MacAddress};
use tokio::{
    sync::{broadcast, mpsc::error::TrySendError, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::transport::Channel;
use tracing::warn;
use uuid::Uuid;

use super::{
    frame,
    link::Link,
    socket::{Next, Watcher},
    tap::Tap,
    window::Window,
};
use crate::libvirt::{Event, Lifecycle, Resumed, Suspended};

/// How often a tap is looked at while its guest runs, and when it has stopped.
const RUNS: Duration = Duration::from_millis(10);
const STANDS: Duration = Duration::from_millis(2);

/// Of one request: frames, and bytes beyond which none is added.
const MOST_FRAMES: usize = 64;
const MOST_BYTES: usize = 128 * 1024;

/// The work is over so long after the stragglers in any case.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a host keeps, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Frames of guests that leave are kept.
    pub(crate) enabled: bool,
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
            enabled: true,
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

/// How it stands with the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Runs,
    /// It stands still, to go on at the destination; since when this is known.
    Stopped(Instant),
    /// It runs at the destination.
    Left(Instant),
    /// It goes on here.
    Stays,
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
        let stage = match moved {
            true => Stage::Left(Instant::now()),
            false => Stage::Stays,
        };
        self.stage.send_replace(stage);
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

/// What the destination says of what was sent to it.
fn answered(mut kept: Kept, answer: Result<KeepResponse, String>) -> Kept {
    match answer {
        Ok(answer) => {
            kept.delivered = answer.delivered.min(kept.frames);
            kept.no_room += answer.no_room;
            kept.late = answer.late.min(kept.delivered);
            kept.longest_ms = answer.longest_ms;
        }
        Err(why) => {
            let why = format!("the destination did not say what became of them: {why}");
            kept.not_kept.get_or_insert(why);
        }
    }
    kept.lost = kept.frames.saturating_sub(kept.delivered + kept.no_room);
    kept
}

/// What libvirt tells of the guest. Never ends by itself while libvirt can be heard.
async fn listen(mut events: broadcast::Receiver<Event>, guest: Uuid, stage: &watch::Sender<Stage>) {
    loop {
        let change = match events.recv().await {
            Ok(Event::Lifecycle { uuid, change, .. }) if uuid == guest => change,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        };
        stage.send_if_modified(|stage| {
            let new = match (change, *stage) {
                (Lifecycle::Suspended(Suspended::Migrated | Suspended::PostCopy), Stage::Runs) => {
                    Stage::Stopped(Instant::now())
                }
                // The migration was cancelled in the pause: the tap's own queue has what came meanwhile.
                (Lifecycle::Resumed(Resumed::Migrated | Resumed::Unpaused), Stage::Stopped(_)) => Stage::Runs,
                _ => return false,
            };
            *stage = new;
            true
        });
    }
}

/// Of one interface: until its guest has left and nothing more comes for it.
async fn keep(
    settings: &Settings,
    interface: &Interface,
    stage: watch::Receiver<Stage>,
    link: &Link,
) -> Kept {
    let opened = Tap::of(&settings.root, interface.mac).and_then(|tap| {
        let watcher = Watcher::open(&tap.name)?;
        Ok((tap, watcher))
    });
    let (tap, watcher) = match opened {
        Ok(opened) => opened,
        Err(error) => return Kept::not(format!("{}: {error}", interface.mac)),
    };
    let untaken = match interface.emulated {
        true => tap.queues() as u64,
        false => 0,
    };
    let mut one = One {
        interface,
        window: Window::new(untaken, settings.room),
        tap,
        watcher,
        link,
        pending: None,
        gone: false,
        kept: Kept::default(),
    };
    one.attend(stage, settings.stragglers).await;
    one.ended()
}

struct One<'a> {
    interface: &'a Interface,
    window: Window,
    tap: Tap,
    watcher: Watcher,
    link: &'a Link,
    /// Filled, and not taken yet.
    pending: Option<KeepRequest>,
    /// Nothing more is seen: the tap has gone, or cannot be watched.
    gone: bool,
    kept: Kept,
}

impl One<'_> {
    async fn attend(&mut self, mut stage: watch::Receiver<Stage>, stragglers: Duration) {
        loop {
            let now = *stage.borrow_and_update();
            self.look();
            match now {
                // It may have stopped and gone on: what it did not get it gets from the tap.
                Stage::Runs => self.window.goes_on(),
                Stage::Stays => return,
                Stage::Stopped(at) | Stage::Left(at) => {
                    if self.window.stopped(at) {
                        // What was missed before the guest had stopped is none of the pause.
                        let _ = self.watcher.lost();
                    }
                }
            }
            let gone = self.gone;
            let over = matches!(now, Stage::Left(at) if gone || at.elapsed() >= stragglers);
            if gone || over {
                self.window.close();
            }
            self.forward();
            if over {
                return self.last_words().await;
            }
            let stands = matches!(now, Stage::Stopped(_) | Stage::Left(_));
            let look = sleep(if stands { STANDS } else { RUNS });
            tokio::select! {
                () = look => {}
                _ = stage.changed() => {}
                _ = self.watcher.ready(), if stands && !gone => {}
            }
        }
    }

    /// What waits goes, if it can.
    async fn last_words(&mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        while self.pending.is_some() && Instant::now() < end {
            sleep(STANDS).await;
            self.forward();
        }
    }

    /// Takes in what the tap has counted, and what was seen.
    fn look(&mut self) {
        if self.gone {
            return;
        }
        // Counted first: what was seen is then never less than what was read.
        let counted = self.tap.counted();
        loop {
            match self.watcher.next() {
                Ok(Next::Frame(frame)) => {
                    let ours = frame::is_for(frame.destination(), &self.interface.macs);
                    self.window.seen(ours.then_some(frame), Instant::now());
                }
                Ok(Next::Nothing) => break,
                // What was seen before that is still to be had: the socket says it once.
                Ok(Next::Gone) if !self.gone => self.gone = true,
                Ok(Next::Gone) => break,
                Err(error) => {
                    warn!(tap = self.tap.name, "frames are not seen any more: {error}");
                    self.gone = true;
                    break;
                }
            }
        }
        match counted {
            Ok(counted) => self.window.counted(counted, Instant::now()),
            Err(_) => self.gone = true,
        }
    }

    /// Sends what is due, as far as there is a way.
    fn forward(&mut self) {
        loop {
            if self.pending.is_none() {
                self.pending = self.fill();
            }
            let Some(request) = self.pending.take() else {
                return;
            };
            let refused = match self.link.sender() {
                None => Some(request),
                Some(sender) => match sender.try_send(request) {
                    Ok(()) => None,
                    Err(TrySendError::Full(request) | TrySendError::Closed(request)) => Some(request),
                },
            };
            if refused.is_some() {
                self.pending = refused;
                return;
            }
        }
    }

    fn fill(&mut self) -> Option<KeepRequest> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while frames.len() < MOST_FRAMES && bytes < MOST_BYTES {
            let Some((frame, at)) = self.window.next() else {
                break;
            };
            bytes += frame.data.len();
            let held = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            frames.push(frame.told(held));
        }
        self.kept.frames += frames.len() as u64;
        self.kept.bytes += bytes as u64;
        let mac = self.interface.mac.to_string();
        (!frames.is_empty()).then(|| KeepRequest {
            migration_id: String::new(),
            frames: vec![KeptFrames { mac, frames }],
        })
    }

    fn ended(mut self) -> Kept {
        // For what is left there was no way.
        while self.fill().is_some() {}
        // What nobody read from the socket in time was not even seen; some of it may have been for others.
        let unkept = self.window.no_room() + u64::from(self.watcher.lost());
        let mut kept = self.kept;
        kept.frames += unkept;
        kept.no_room += unkept;
        kept
    }
}
