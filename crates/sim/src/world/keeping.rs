//! The source's part in frames of the pause: it looks on at the guest's tap, and sends after the guest what that did not get. What that is,
//! and what is written down of it, `godwit_keep` says, as it does for real hosts.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use godwit_keep::{Change, Leaving, Stage, Told, answered};
use godwit_migration::{Brief, Event, Kept, Phase, Report};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{PretendWorld, Seat, Shared, Work, taking::Taking};
use crate::{
    ills::Ill,
    model::{Domain, Frame, GuestId, HostId, emulated},
};

/// So many bytes are kept on each host: forty frames.
pub(super) const ROOM: usize = 40 * 8;
/// How often the tap is looked at, milliseconds.
const LOOK: u64 = 20;
/// So many frames go in one request.
const MOST_FRAMES: usize = 16;
/// The destination is to say by then what became of all, and all of the work is to be over.
const ANSWER: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);

/// The word of a transfer that libvirt ended with an error.
pub(super) const ENDED: &str = "TRANSFER";
/// Of a transfer that an earlier life began.
pub(super) const BEGUN_LATER: &str =
    "the daemon was started during the transfer, and knows nothing of what came before";

/// Keeps the frames of one guest that leaves. When it is dropped, nothing more is kept.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    guest: GuestId,
    migration: String,
    stage: Arc<watch::Sender<Stage>>,
    work: JoinHandle<Kept>,
}

impl Keeper {
    /// Before the transfer begins.
    pub(super) fn begin(shared: &Arc<Shared>, guest: GuestId, brief: &Brief) -> Option<Keeper> {
        let name = |host: &crate::model::Host| host.name.clone();
        let names: Vec<String> = shared.model().hosts.iter().map(name).collect();
        let host = |named: &str| names.iter().position(|name| name == named);
        let (from, to) = (host(&brief.source)?, host(&brief.destination)?);
        let stage = Arc::new(watch::Sender::new(Stage::Runs));
        let source = Source {
            shared: Arc::clone(shared),
            guest,
            from,
            leaving: Leaving::new(u64::from(emulated(guest)), ROOM),
            tap: None,
            stage: Arc::clone(&stage),
            link: Link {
                shared: Arc::clone(shared),
                brief: brief.clone(),
                from,
                to,
                stream: None,
                refused: None,
            },
        };
        Some(Keeper {
            shared: Arc::clone(shared),
            guest,
            migration: brief.id.clone(),
            stage,
            work: tokio::spawn(source.keep()),
        })
    }

    /// The transfer is over. What became of the frames of the pause.
    pub(super) async fn end(mut self, well: bool) -> Kept {
        self.stage.send_replace(Stage::ended(well, now()));
        let patience = self.shared.pace.exactly(PATIENCE);
        match timeout(patience, &mut self.work).await {
            Ok(Ok(kept)) => {
                if let Some(sent) = self.shared.model().sent_in(self.guest, &self.migration) {
                    sent.unwatched = false;
                }
                kept
            }
            _ => Kept::not("the work did not end in time"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// By the clock of this world.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl PretendWorld {
    /// Where a transfer's end is not told with what was kept, nobody can say that.
    pub(super) fn note_unkept(
        &self,
        (guest, migration): (GuestId, &str),
        phase: Phase,
        worked: &Work<Report>,
    ) {
        let told = match worked {
            Ok(report) => report.kept.is_some(),
            Err(Event::Failed(cause)) => cause.reason == ENDED,
            Err(_) => false,
        };
        if let Some(sent) = self
            .model()
            .sent_in(guest, migration)
            .filter(|_| phase == Phase::Transfer && !told)
        {
            sent.unwatched = true;
        }
    }
}

struct Source {
    shared: Arc<Shared>,
    guest: GuestId,
    from: HostId,
    leaving: Leaving<Frame>,
    /// The number of the one that is looked on at.
    tap: Option<u64>,
    stage: Arc<watch::Sender<Stage>>,
    link: Link,
}

impl Source {
    async fn keep(mut self) -> Kept {
        loop {
            self.look();
            let stage = *self.stage.borrow();
            self.leaving.attend(stage);
            let over = match stage {
                Stage::Runs | Stage::Stopped(_) => false,
                Stage::Left(_) => self.leaving.is_gone(),
                Stage::Stays => true,
            };
            if over || self.leaving.is_gone() {
                self.leaving.close();
            }
            self.forward().await;
            if over {
                break;
            }
            tokio::time::sleep(self.shared.pace.of(LOOK)).await;
        }
        let kept = self.leaving.ended(0);
        match kept.frames {
            0 => kept,
            _ => answered(kept, self.link.end().await),
        }
    }

    /// What the tap has counted, what was seen on its way there, and what libvirt tells of the guest.
    fn look(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut model = shared.model();
        let domain = model.body(self.guest, self.from).map(|body| body.domain);
        let change = match domain {
            Some(Domain::Paused) => Some(Change::Stopped),
            Some(Domain::Running) => Some(Change::GoesOn),
            _ => None,
        };
        let told = change.and_then(|change| self.stage.borrow().after(change, now()));
        if let Some(stage) = told {
            self.stage.send_replace(stage);
        }
        let tap = model.tap(self.guest, self.from);
        let ours = tap.filter(|tap| self.tap.is_none_or(|number| number == tap.number));
        match ours {
            Some(tap) if !self.leaving.is_gone() => {
                let (counted, first) = (tap.counted, self.tap.is_none());
                self.tap = Some(tap.number);
                // What came before it looked on was not seen.
                for (frame, at) in tap.seen().into_iter().filter(|_| !first) {
                    self.leaving.seen(Some(frame), at.into_std());
                }
                self.leaving.counted(counted, now());
            }
            Some(_) => {}
            None => {
                for (frame, at) in model.last_seen(self.guest, self.from, self.tap) {
                    self.leaving.seen(Some(frame), at.into_std());
                }
                self.leaving.tap_has_gone();
            }
        }
    }

    /// What is due, as far as there is a way.
    async fn forward(&mut self) {
        while self.link.is_open().await {
            let due = std::iter::from_fn(|| self.leaving.next(|| None));
            let frames: Vec<_> = due.take(MOST_FRAMES).collect();
            if frames.is_empty() {
                return;
            }
            self.link.send(frames).await;
        }
    }
}

/// The way to the destination's daemon: one stream, opened again when it breaks.
struct Link {
    shared: Arc<Shared>,
    brief: Brief,
    from: HostId,
    to: HostId,
    /// Its number there.
    stream: Option<u64>,
    /// Why there will be none.
    refused: Option<String>,
}

impl Link {
    async fn is_open(&mut self) -> bool {
        if self.stream.is_none() && self.refused.is_none() {
            match self.open().await {
                Ok(stream) => self.stream = Some(stream),
                Err(Broken::Passing(_)) => {}
                Err(Broken::Refused(why)) => self.refused = Some(why),
            }
        }
        self.stream.is_some()
    }

    async fn open(&self) -> Result<u64, Broken> {
        let seat = self.reach().await?;
        if self.shared.model().hosts[self.to].ills.contains(&Ill::KeepsNone) {
            let why = format!("{} takes no frames", self.brief.destination);
            return Err(Broken::Refused(why));
        }
        let awaited = seat
            .coordinator
            .on_its_way(&self.brief.id, &self.brief.source)
            .await;
        let awaited = awaited.map_err(|refused| Broken::Refused(refused.to_string()))?;
        if !awaited.waits {
            let why = format!("no guest of migration {} is on its way here", self.brief.id);
            return Err(Broken::Refused(why));
        }
        let guest = self.shared.model().find(&self.brief.guest.uuid);
        let guest = guest.ok_or_else(|| Broken::Refused("no such guest".into()))?;
        Ok(Taking::open(
            &self.shared,
            &seat,
            (guest, self.to),
            &self.brief.id,
        ))
    }

    /// What is on its way when the stream breaks is lost.
    async fn send(&mut self, frames: Vec<(Frame, Instant)>) {
        let held: Vec<_> = frames
            .into_iter()
            .map(|(frame, at)| (frame, now().saturating_duration_since(at)))
            .collect();
        let sent = self.reach().await.and_then(|seat| {
            let mut takings = seat.takings.lock().unwrap_or_else(PoisonError::into_inner);
            let taking = takings
                .get_mut(&self.brief.id)
                .filter(|taking| Some(taking.stream) == self.stream);
            let taking = taking.ok_or_else(|| Broken::Passing("connection reset".into()))?;
            taking.take(&mut self.shared.model(), held);
            Ok(())
        });
        if sent.is_err() {
            self.stream = None;
        }
    }

    /// Nothing more comes. What the destination says.
    async fn end(mut self) -> Result<Told, String> {
        let Some(stream) = self.stream.take() else {
            let refused = self.refused.take();
            return Err(refused.unwrap_or_else(|| "it cannot be reached".into()));
        };
        let ask = async {
            let seat = self.reach().await?;
            let told = Taking::end(&self.shared, &seat, &self.brief.id, stream).await;
            self.reach().await?;
            told.ok_or_else(|| Broken::Passing("connection reset".into()))
        };
        match timeout(self.shared.pace.exactly(ANSWER), ask).await {
            Ok(told) => told.map_err(Broken::why),
            Err(_) => Err("it did not answer in time".into()),
        }
    }

    /// The daemon there, if it lives and hears this one.
    async fn reach(&self) -> Result<Seat, Broken> {
        tokio::time::sleep(self.shared.pace.of(2)).await;
        if !self.shared.model().hears(self.from, self.to) {
            return Err(Broken::Passing("no route to host".into()));
        }
        let seat = self.shared.seat(self.to).clone();
        seat.ok_or_else(|| Broken::Passing("connection refused".into()))
    }
}

/// Its stream ends with it, and what the destination has not put into the tap's queue by then.
impl Drop for Link {
    fn drop(&mut self) {
        let seat = self.shared.seat(self.to).clone();
        if let Some(seat) = seat {
            let mut takings = seat.takings.lock().unwrap_or_else(PoisonError::into_inner);
            takings.remove(&self.brief.id);
        }
    }
}

/// Why there is no stream.
enum Broken {
    /// Another may come.
    Passing(String),
    Refused(String),
}

impl Broken {
    fn why(self) -> String {
        match self {
            Broken::Passing(why) | Broken::Refused(why) => why,
        }
    }
}

#[cfg(test)]
mod tests;
