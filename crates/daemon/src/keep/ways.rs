//! The destination's ways to a guest's NICs: the queues of their taps, what waits for room in them, and what the host's own network has brought
//! as well.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use godwit_api::peer::v1::KeepResponse;
use godwit_migration::{Brief, MacAddress};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::debug;

use super::{
    feed::Feed,
    ffi::Only,
    frame::{self, Frame},
    own::Own,
    socket::{Next, Watcher},
    tags::Tags,
    tap::Tap,
};

/// So many frames of the host's own network are taken in one look; a flood waits for the next.
const MOST_AT_ONCE: usize = 4096;

/// A guest has no more NICs that count. Whose a tap is, is to be found out by then.
const MOST_NICS: usize = 64;
const PROC: Duration = Duration::from_secs(2);

/// The ways to the guest's interfaces.
pub(super) struct Ways {
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
pub(super) struct Way {
    tap: Tap,
    /// Sees what the host's own network brings for the guest, and nothing of what is put in by it.
    gate: Watcher,
    own: Own,
    macs: Vec<MacAddress>,
    /// Looked up when the first frame with a tag comes; until then none has come.
    tags: Option<Tags>,
    /// While the guest does not run yet the tap counts no more than so many as read: an emulator reads one from each queue.
    idle: u64,
    feed: Feed,
    tally: Tally,
    /// When the first came, and how long the source had had it.
    first: Option<(Instant, Duration)>,
    /// When it was seen that somebody reads the tap.
    ran: Option<Instant>,
}

impl Ways {
    /// To those of the guest of that record; `root` is this host's file system.
    pub(super) fn of(root: PathBuf, brief: Brief) -> Ways {
        Ways {
            root,
            brief,
            open: HashMap::new(),
        }
    }

    /// The one to that interface, if there is one.
    pub(super) fn to(&mut self, mac: MacAddress) -> Option<&mut Way> {
        self.open.get_mut(&mac)?.as_mut()
    }

    /// Opened when the first frame comes, if not before: the source's guest stands still then, and the tap is there.
    pub(super) async fn admit(&mut self, mac: MacAddress) {
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

    /// What the bridge of that tap lets through.
    pub(super) async fn find_tags(&mut self, mac: MacAddress) {
        let root = self.root.clone();
        if let Some(way) = self.to(mac).filter(|way| way.tags.is_none()) {
            way.tags = Some(Tags::of(&root, &way.tap).await);
        }
    }

    /// As soon as there are the taps: what the host's own network brings is seen from then on.
    pub(super) fn open_pairs(&mut self) {
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
    pub(super) fn feed(&mut self) -> bool {
        self.each().for_each(Way::feed);
        self.each().any(|way| way.feed.waiting() > 0)
    }

    /// Bytes that wait for room.
    pub(super) fn bytes(&mut self) -> usize {
        self.each().map(|way| way.feed.bytes()).sum()
    }

    /// What became of all.
    pub(super) fn tell(&mut self, answer: &mut KeepResponse) {
        for way in self.each() {
            answer.delivered += way.tally.delivered;
            answer.late += way.tally.late;
            answer.no_room += way.feed.waiting();
            answer.brought += way.tally.brought;
        }
        answer.longest_ms = self.longest_ms();
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
    fn open(root: &Path, mac: MacAddress, macs: Vec<MacAddress>) -> std::io::Result<Way> {
        let tap = Tap::of(root, mac)?;
        let gate = Watcher::of(&tap.name, &Only::LeavingTo(&macs))?;
        Ok(Way {
            tags: None,
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

    /// Nobody else's, and not from a network that its bridge keeps from this guest.
    pub(super) fn is_for_it(&self, frame: &Frame) -> bool {
        let admitted = match &self.tags {
            Some(tags) => tags.admit(frame),
            None => frame.tag().is_none(),
        };
        frame::is_for(frame.destination(), &self.macs) && admitted
    }

    /// The host's own network has brought it as well, so it is not needed.
    pub(super) fn was_brought(&mut self, frame: &Frame, seen: Instant) -> bool {
        let brought = self.own.has(frame, seen);
        self.tally.brought += u64::from(brought);
        brought
    }

    /// It waits for room; the source saw it then.
    pub(super) fn add(&mut self, frame: Frame, seen: Instant) {
        let now = Instant::now();
        self.first
            .get_or_insert((now, now.saturating_duration_since(seen)));
        self.feed.add(frame, seen);
    }

    /// The network moves when the emulator here announces its guest, which is before the guest runs: what was on its way between the hosts
    /// then stands behind newer ones.
    fn feed(&mut self) {
        self.look();
        let fed = self.feed.go(&self.tap, |frame| self.gate.send(frame));
        let late = |seen: &&Instant| self.ran.is_some() || self.own.is_ahead_of(**seen);
        self.tally.late += fed.iter().filter(late).count() as u64;
        self.tally.delivered += fed.len() as u64;
    }

    /// Whether somebody reads the tap, and what the host's own network has brought.
    pub(super) fn look(&mut self) {
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
