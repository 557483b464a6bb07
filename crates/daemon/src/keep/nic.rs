//! One NIC of a guest that leaves: what goes to it is looked on at, and what the guest does not get any more is sent after it.

use std::time::{Duration, Instant};

use godwit_api::peer::v1::{KeepRequest, KeptFrames};
use godwit_keep::{Leaving, Stage};
use godwit_migration::Kept;
use tokio::{
    sync::{mpsc::error::TrySendError, watch},
    time::sleep,
};
use tracing::warn;

use super::{
    frame::{self, Frame},
    link::Link,
    socket::{Next, Watcher},
    source::{Interface, Settings},
    tap::Tap,
    uplinks::Uplinks,
};

/// How often a tap is looked at while its guest runs, and when it has stopped.
const RUNS: Duration = Duration::from_millis(10);
const STANDS: Duration = Duration::from_millis(2);

/// Of one request: frames, and bytes beyond which none is added.
const MOST_FRAMES: usize = 64;
const MOST_BYTES: usize = 128 * 1024;

/// Of one interface: until its guest has left and nothing more comes for it.
pub(super) async fn keep(
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
    let queues = match interface.emulated {
        true => tap.queues() as u64,
        false => 0,
    };
    let uplinks = Uplinks::of(&settings.root, &tap.name, &interface.macs, settings.room);
    let mut one = One {
        interface,
        uplinks,
        leaving: Leaving::new(queues, settings.room),
        tap,
        watcher,
        link,
        pending: None,
    };
    one.attend(stage, settings.stragglers).await;
    one.ended()
}

struct One<'a> {
    interface: &'a Interface,
    leaving: Leaving<Frame>,
    uplinks: Uplinks,
    tap: Tap,
    watcher: Watcher,
    link: &'a Link,
    /// Filled, and not taken yet.
    pending: Option<KeepRequest>,
}

impl One<'_> {
    async fn attend(&mut self, mut stage: watch::Receiver<Stage>, stragglers: Duration) {
        loop {
            let now = *stage.borrow_and_update();
            let stands = now.stands();
            if stands {
                self.uplinks.watch();
            }
            self.look();
            if self.leaving.attend(now) {
                // What was missed before the guest had stopped is none of the pause.
                let _ = self.watcher.lost();
            }
            let (gone, over) = (self.leaving.is_gone(), self.is_over(now, stragglers));
            if gone || over {
                self.leaving.close();
            }
            self.forward();
            if over {
                return self.last_words().await;
            }
            let look = sleep(if stands { STANDS } else { RUNS });
            tokio::select! {
                () = look => {}
                _ = stage.changed() => {}
                _ = self.watcher.ready(), if stands && !gone => {}
            }
        }
    }

    fn is_over(&self, now: Stage, stragglers: Duration) -> bool {
        match now {
            Stage::Runs | Stage::Stopped(_) => false,
            // What still comes for it is seen at the uplinks, if anywhere.
            Stage::Left(at) => {
                let nothing_comes =
                    self.leaving.is_gone() && (self.uplinks.is_blind() || self.uplinks.has_moved());
                nothing_comes || at.elapsed() >= stragglers
            }
            Stage::Stays => true,
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
        // First: what comes to the tap came by an uplink before.
        self.uplinks.look();
        if self.leaving.is_gone() {
            return;
        }
        // Counted first: what was seen is then never less than what was read.
        let counted = self.tap.counted();
        let mut gone = false;
        loop {
            match self.watcher.next() {
                Ok(Next::Frame(frame)) => {
                    let ours = frame::is_for(frame.destination(), &self.interface.macs);
                    if ours {
                        self.uplinks.at_tap(&frame);
                    }
                    self.leaving.seen(ours.then_some(frame), Instant::now());
                }
                Ok(Next::Nothing) => break,
                // What was seen before that is still to be had: the socket says it once.
                Ok(Next::Gone) if !gone => gone = true,
                Ok(Next::Gone) => break,
                Err(error) => {
                    warn!(tap = self.tap.name, "frames are not seen any more: {error}");
                    gone = true;
                    break;
                }
            }
        }
        match counted {
            Ok(counted) => self.leaving.counted(counted, Instant::now()),
            Err(_) => gone = true,
        }
        if gone {
            self.leaving.tap_has_gone();
            self.uplinks.tap_has_gone();
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
            let Some((frame, at)) = self.leaving.next(|| self.uplinks.next()) else {
                break;
            };
            bytes += frame.data.len();
            let held = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            frames.push(frame.told(held));
        }
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
        let unseen = u64::from(self.watcher.lost());
        self.leaving.ended(self.uplinks.no_room() + unseen)
    }
}
