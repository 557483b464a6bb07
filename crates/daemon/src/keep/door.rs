//! The destination's part: frames that a source kept for a guest that it sends here are put in the guest's way.
//!
//! They go into the queue of the guest's tap, in which they wait until the guest runs. Nobody else can get them: no bridge and
//! no switch is in between. They wait in the kernel, so they do not need this daemon any more.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use godwit_api::peer::v1::{KeepRequest, KeepResponse, KeptFrame, keep_service_server::KeepService};
use godwit_coordinator::{Awaited, Caller, Coordinator, Refused, World};
use godwit_migration::{Brief, MacAddress};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::{
    feed::Feed,
    ffi::Only,
    frame::{self, Frame},
    own::Own,
    socket::{Next, Watcher},
    source::Settings,
    tap::Tap,
};

/// A stream says at once whose it is.
const HELLO: Duration = Duration::from_secs(10);

/// How often it is looked whether the guest takes what waits for it, and what became of its migration.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_FAR: Duration = Duration::from_millis(250);

/// So long after this host's record has the guest nothing more is taken for it.
const AFTER: Duration = Duration::from_secs(5);

/// So many frames of the host's own network are taken in one look; a flood waits for the next.
const MOST_AT_ONCE: usize = 4096;

/// A guest has no more NICs that count. Whose a tap is, is to be found out by then.
const MOST_NICS: usize = 64;
const PROC: Duration = Duration::from_secs(2);

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

/// What one migration has brought, over all its streams.
#[derive(Debug, Default)]
struct Taker {
    bytes: Mutex<usize>,
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
            room: self.settings.room,
            ways: Ways {
                root: self.settings.root.clone(),
                brief: awaited.brief,
                open: HashMap::new(),
            },
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
        let taker = takers.entry(id.to_owned()).or_default();
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
    room: usize,
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
        for way in self.ways.each() {
            self.answer.delivered += way.tally.delivered;
            self.answer.late += way.tally.late;
            self.answer.no_room += way.feed.waiting();
            self.answer.brought += way.tally.brought;
        }
        self.answer.longest_ms = self.ways.longest_ms();
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
            if let Some(way) = mac.and_then(|mac| self.ways.of(mac)) {
                way.look();
            }
            for told in frames.frames {
                self.take_one(mac, told);
            }
        }
        self.ways.feed();
    }

    fn take_one(&mut self, mac: Option<MacAddress>, told: KeptFrame) {
        let (held, bytes) = (Duration::from_micros(told.held_us), told.data.len());
        let way = mac.and_then(|mac| self.ways.of(mac));
        let (Some(way), Ok(frame)) = (way, Frame::heard(told)) else {
            self.answer.refused += 1;
            return;
        };
        if !way.is_for_it(&frame) {
            self.answer.refused += 1;
            return;
        }
        let seen = Instant::now().checked_sub(held).unwrap_or_else(Instant::now);
        if way.own.has(&frame, seen) {
            way.tally.brought += 1;
            return;
        }
        let mut taken = self.taker.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = *taken + bytes <= self.room;
        if !fits {
            self.answer.no_room += 1;
            return;
        }
        *taken += bytes;
        way.first.get_or_insert((Instant::now(), held));
        way.feed.add(frame);
    }
}

/// The ways to the guest's interfaces.
struct Ways {
    root: PathBuf,
    brief: Brief,
    /// None: there is none.
    open: HashMap<MacAddress, Option<Way>>,
}

/// What became of frames on one way.
#[derive(Debug, Default)]
struct Tally {
    delivered: u64,
    late: u64,
    brought: u64,
}

/// The way to one of them.
struct Way {
    tap: Tap,
    /// Sees what the host's own network brings for the guest, and nothing of what is put in by it.
    gate: Watcher,
    own: Own,
    macs: Vec<MacAddress>,
    /// While the guest does not run yet the tap counts no more than so many as read: an emulator reads one from each queue.
    idle: u64,
    sorted: bool,
    feed: Feed,
    tally: Tally,
    /// When the first came, and how long the source had had it.
    first: Option<(Instant, Duration)>,
    /// When it was seen that somebody reads the tap.
    ran: Option<Instant>,
}

impl Ways {
    fn of(&mut self, mac: MacAddress) -> Option<&mut Way> {
        self.open.get_mut(&mac)?.as_mut()
    }

    /// Opened when the first frame comes, if not before: the source's guest stands still then, and the tap is there.
    async fn admit(&mut self, mac: MacAddress) {
        if self.open.contains_key(&mac) || self.open.len() >= MOST_NICS {
            return;
        }
        let pair = self.brief.pairs.iter().find(|pair| pair.mac == mac);
        let own = match pair {
            Some(pair) => Some(vec![pair.mac, pair.primary_mac]),
            // Of a NIC that is no pair's only the caller says that it is the guest's.
            None => self.is_its_own(mac).await.then(|| vec![mac]),
        };
        let opened = own.map(|macs| Way::open(&self.root, mac, macs));
        let way = opened.and_then(|opened| {
            opened
                .inspect_err(|error| debug!(%mac, "kept frames have no way to the guest: {error}"))
                .ok()
        });
        self.open.insert(mac, way);
    }

    /// The guest's emulator has the tap here.
    async fn is_its_own(&self, mac: MacAddress) -> bool {
        let Ok(guest) = self.brief.guest.uuid.parse() else {
            return false;
        };
        let root = self.root.clone();
        let look = move || Tap::of(&root, mac).is_ok_and(|tap| tap.is_of(&root, guest));
        timeout(PROC, spawn_blocking(look))
            .await
            .is_ok_and(|own| own.unwrap_or(false))
    }

    /// As soon as there are the taps: what the host's own network brings is seen from then on.
    fn open_pairs(&mut self) {
        for pair in &self.brief.pairs {
            let Entry::Vacant(place) = self.open.entry(pair.mac) else {
                continue;
            };
            if let Ok(way) = Way::open(&self.root, pair.mac, vec![pair.mac, pair.primary_mac]) {
                place.insert(Some(way));
            }
        }
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Way> {
        self.open.values_mut().flatten()
    }

    /// What waits goes into the taps' queues, as far as there is room; whether some waits still.
    fn feed(&mut self) -> bool {
        self.each().for_each(Way::feed);
        self.each().any(|way| way.feed.waiting() > 0)
    }

    fn longest_ms(&self) -> u32 {
        let longest = self.open.values().flatten().filter_map(|way| {
            let (first, held) = way.first?;
            let waited = way
                .ran
                .unwrap_or_else(Instant::now)
                .saturating_duration_since(first);
            u32::try_from((waited + held).as_millis()).ok()
        });
        longest.max().unwrap_or_default()
    }
}

impl Way {
    fn open(root: &std::path::Path, mac: MacAddress, macs: Vec<MacAddress>) -> std::io::Result<Way> {
        let tap = Tap::of(root, mac)?;
        let gate = Watcher::of(&tap.name, &Only::LeavingTo(&macs))?;
        Ok(Way {
            sorted: tap.is_sorted_by_vlan(),
            idle: tap.counted()?.read + tap.queues() as u64,
            tap,
            gate,
            own: Own::default(),
            macs,
            feed: Feed::default(),
            tally: Tally::default(),
            first: None,
            ran: None,
        })
    }

    /// Nobody else's, and not from a network that its bridge may keep from this guest.
    fn is_for_it(&self, frame: &Frame) -> bool {
        frame::is_for(frame.destination(), &self.macs) && !(self.sorted && frame.is_tagged())
    }

    fn feed(&mut self) {
        self.look();
        let fed = self.feed.go(&self.tap, |frame| self.gate.send(frame));
        self.tally.delivered += fed;
        self.tally.late += if self.ran.is_some() { fed } else { 0 };
    }

    /// Whether somebody reads the tap, and what the host's own network has brought.
    fn look(&mut self) {
        if self.ran.is_none() && self.tap.counted().is_ok_and(|counted| counted.read > self.idle) {
            self.ran = Some(Instant::now());
        }
        for _ in 0..MOST_AT_ONCE {
            let Ok(Next::Frame(frame)) = self.gate.next() else {
                break;
            };
            self.own.brought(&frame, Instant::now());
        }
    }
}
