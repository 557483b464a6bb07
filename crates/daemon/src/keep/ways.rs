//! The destination's ways to a guest's NICs: the queues of their taps, what waits for room in them, and what the host's own network has brought
//! as well.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use godwit_keep::{Arriving, Counted, Queue, Told};
use godwit_migration::{Brief, MacAddress};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::debug;

use super::{
    ffi::Only,
    frame::{self, Frame},
    likeness::Likeness,
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

/// The way to one of them.
pub(super) struct Way {
    tap: Tap,
    /// Sees what the host's own network brings for the guest, and nothing of what is put in by it.
    gate: Watcher,
    macs: Vec<MacAddress>,
    /// Looked up when the first frame with a tag comes; until then none has come.
    tags: Option<Tags>,
    arriving: Arriving<Frame>,
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
        self.each().any(|way| way.arriving.waiting() > 0)
    }

    /// Bytes that wait for room.
    pub(super) fn bytes(&mut self) -> usize {
        self.each().map(|way| way.arriving.bytes()).sum()
    }

    /// What became of all.
    pub(super) fn told(&mut self) -> Told {
        let now = Instant::now();
        let each = self.each().map(|way| way.arriving.told(now));
        each.fold(Told::default(), Told::and)
    }
}

impl Way {
    fn open(root: &Path, mac: MacAddress, macs: Vec<MacAddress>) -> std::io::Result<Way> {
        let tap = Tap::of(root, mac)?;
        let gate = Watcher::of(&tap.name, &Only::LeavingTo(&macs))?;
        Ok(Way {
            tags: None,
            arriving: Arriving::new(tap.counted()?.read + tap.queues() as u64),
            tap,
            gate,
            macs,
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
        self.arriving.was_brought(|| Likeness::of(frame).content, seen)
    }

    /// It waits for room; the source saw it then.
    pub(super) fn add(&mut self, frame: Frame, seen: Instant) {
        self.arriving.add(frame, seen, Instant::now());
    }

    fn feed(&mut self) {
        self.look();
        self.arriving.feed(&mut Lane(&self.tap, &self.gate));
    }

    /// Whether somebody reads the tap, and what the host's own network has brought.
    pub(super) fn look(&mut self) {
        if !self.arriving.runs()
            && let Ok(counted) = self.tap.counted()
        {
            self.arriving.read(counted.read, Instant::now());
        }
        for _ in 0..MOST_AT_ONCE {
            let Ok(Next::Frame(frame)) = self.gate.next() else {
                break;
            };
            self.arriving.own(Likeness::of(&frame).content, Instant::now());
        }
    }
}

/// A tap's queue, with the socket by which frames are put into it.
struct Lane<'a>(&'a Tap, &'a Watcher);

impl Queue<Frame> for Lane<'_> {
    fn counted(&mut self) -> Option<Counted> {
        self.0.counted().ok()
    }

    fn put(&mut self, frame: &Frame) -> bool {
        self.1.send(frame).is_ok()
    }
}
