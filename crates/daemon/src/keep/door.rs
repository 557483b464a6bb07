//! The destination's part: frames that a source kept for a guest that it sends here are put in the guest's way.
//!
//! They go into the queue of the guest's tap, in which they wait until the guest runs. Nobody else can get them: no bridge and
//! no switch is in between. They wait in the kernel, so they do not need this daemon any more.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use godwit_api::peer::v1::{KeepRequest, KeepResponse, KeptFrame, keep_service_server::KeepService};
use godwit_coordinator::{Awaited, Caller, Coordinator, Refused, World};
use godwit_keep::Rate;
use godwit_migration::MacAddress;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::{
    frame::{self, Frame},
    source::Settings,
    ways::Ways,
};

/// A stream says at once whose it is.
const HELLO: Duration = Duration::from_secs(10);

/// How often it is looked whether the guest takes what waits for it, and what became of its migration.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_FAR: Duration = Duration::from_millis(250);

/// So long after this host's record has the guest nothing more is taken for it.
const AFTER: Duration = Duration::from_secs(5);

/// When the caller has no more: what waits has found its way by then, or does not count.
const LAST: Duration = Duration::from_millis(2500);

/// More migrations are not remembered.
const MOST: usize = 1024;

/// [`KeepService`] of a host.
pub(crate) struct KeepDesk<W> {
    coordinator: Coordinator<W>,
    settings: Settings,
    /// By migration: who is at it. Whoever comes later takes the place.
    takers: Mutex<HashMap<String, Arc<Taker>>>,
}

/// Of one migration, over all its streams.
#[derive(Debug)]
struct Taker {
    rate: Mutex<Rate>,
    replaced: Notify,
}

type Answers = Pin<Box<dyn Stream<Item = Result<KeepResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<W: World> KeepService for KeepDesk<W> {
    type KeepStream = Answers;

    async fn keep(&self, request: Request<Streaming<KeepRequest>>) -> Result<Response<Answers>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let Caller(caller) = caller.ok_or_else(|| {
            Refused::NotAllowed("the caller's host name is not known: it showed no certificate".into())
        })?;
        if !self.settings.takes {
            let host = self.coordinator.host();
            return Err(Refused::Invalid(format!("{host} takes no frames ([keep] mode)")).into());
        }
        let mut requests = request.into_inner();
        let first = timeout(HELLO, requests.message()).await;
        let first =
            first.unwrap_or_else(|_| Err(Status::deadline_exceeded("no migration was named in time")));
        let first = first?.unwrap_or_default();
        let id = first.migration_id.clone();
        let awaited = self.coordinator.on_its_way(&id, &caller).await?;
        if !awaited.waits {
            return Err(Refused::Invalid(format!("no guest of migration {id} is on its way here")).into());
        }
        let mut taking = Taking {
            coordinator: self.coordinator.clone(),
            caller,
            taker: self.take_place(&id),
            id,
            ways: Ways::of(self.settings.root.clone(), awaited.brief),
            came: None,
            answer: KeepResponse::default(),
        };
        taking.take(first).await;
        let answer = async move { Ok(taking.attend(requests).await) };
        Ok(Response::new(Box::pin(stream::once(answer))))
    }
}

impl<W: World> KeepDesk<W> {
    pub(crate) fn new(coordinator: Coordinator<W>, settings: Settings) -> KeepDesk<W> {
        KeepDesk {
            coordinator,
            settings,
            takers: Mutex::default(),
        }
    }

    /// Whoever was at this migration before is sent away: its connection broke, as far as its caller knows.
    fn take_place(&self, id: &str) -> Arc<Taker> {
        let mut takers = self.takers.lock().unwrap_or_else(PoisonError::into_inner);
        if takers.len() >= MOST {
            takers.retain(|_, taker| Arc::strong_count(taker) > 1);
        }
        let taker = takers.entry(id.to_owned()).or_insert_with(|| {
            Arc::new(Taker {
                rate: Mutex::new(Rate::new(self.settings.room, Instant::now())),
                replaced: Notify::new(),
            })
        });
        taker.replaced.notify_waiters();
        Arc::clone(taker)
    }
}

/// One stream.
struct Taking<W> {
    coordinator: Coordinator<W>,
    id: String,
    caller: String,
    taker: Arc<Taker>,
    ways: Ways,
    /// Since when the guest is awaited no more.
    came: Option<Instant>,
    answer: KeepResponse,
}

impl<W: World> Taking<W> {
    async fn attend(mut self, mut requests: Streaming<KeepRequest>) -> KeepResponse {
        let taker = Arc::clone(&self.taker);
        let replaced = taker.replaced.notified();
        tokio::pin!(replaced);
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.take(request).await,
                    // The caller has no more, or cannot be heard any more.
                    Ok(None) | Err(_) => break,
                },
                () = &mut replaced => break,
                () = sleep(LOOK) => {}
            }
            self.ways.feed();
            if looked.elapsed() >= LOOK_FAR {
                looked = Instant::now();
                self.ways.open_pairs();
                if self.is_over().await {
                    break;
                }
            }
        }
        let end = Instant::now() + LAST;
        while self.ways.feed() && Instant::now() < end {
            sleep(LOOK).await;
        }
        self.answer()
    }

    fn answer(mut self) -> KeepResponse {
        let told = self.ways.told();
        self.answer.delivered = told.delivered;
        self.answer.late = told.late;
        self.answer.brought = told.brought;
        self.answer.no_room += told.no_room;
        self.answer.longest_ms = told.longest_ms;
        if self.answer.delivered > 0 {
            info!(migration = self.id, answer = ?self.answer, "frames of the pause are delivered");
        }
        self.answer
    }

    /// The guest will not come, or came a while ago: by the record, which no caller can hold back.
    async fn is_over(&mut self) -> bool {
        match self.coordinator.on_its_way(&self.id, &self.caller).await {
            Ok(Awaited { closed: true, .. }) | Err(_) => true,
            Ok(Awaited { waits: true, .. }) => false,
            Ok(_) => self.came.get_or_insert_with(Instant::now).elapsed() >= AFTER,
        }
    }

    async fn take(&mut self, request: KeepRequest) {
        for frames in request.frames {
            let mac = frames.mac.parse().ok();
            if let Some(mac) = mac {
                self.ways.admit(mac).await;
            }
            if let Some(way) = mac.and_then(|mac| self.ways.to(mac)) {
                way.look();
            }
            if let Some(mac) =
                mac.filter(|_| frames.frames.iter().any(|told| frame::tag(&told.data).is_some()))
            {
                self.ways.find_tags(mac).await;
            }
            for told in frames.frames {
                self.take_one(mac, told);
            }
        }
        self.ways.feed();
    }

    fn take_one(&mut self, mac: Option<MacAddress>, told: KeptFrame) {
        let (held, bytes) = (Duration::from_micros(told.held_us), told.data.len());
        let waiting = self.ways.bytes();
        let way = mac.and_then(|mac| self.ways.to(mac));
        let (Some(way), Ok(frame)) = (way, Frame::heard(told)) else {
            self.answer.refused += 1;
            return;
        };
        if !way.is_for_it(&frame) {
            self.answer.refused += 1;
            return;
        }
        let now = Instant::now();
        let seen = now.checked_sub(held).unwrap_or(now);
        if way.was_brought(&frame, seen) {
            return;
        }
        let mut rate = self.taker.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if !rate.admits(bytes, waiting, now) {
            self.answer.no_room += 1;
            return;
        }
        way.add(frame, seen);
    }
}
