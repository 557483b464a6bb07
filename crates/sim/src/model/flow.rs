//! What the network sends to a guest while it moves: numbered frames, one each so often, to the tap of the host where the fabric has learned
//! the guest's first address to be. A tap's queue, what it counts and who reads it are as the kernel and QEMU have them. Worked out from the
//! time that passes between deeds, not sent one by one.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use godwit_keep::{Counted, UNTAKEN};
use tokio::time::Instant;

use super::{Domain, GuestId, HostId, Model};

/// A tap's queue has room for so many; a real one for a thousand.
const QUEUE: usize = 32;

/// One frame; all that is in it is its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame([u8; 8]);

/// A guest's tap on one host.
#[derive(Debug)]
pub(crate) struct Tap {
    /// There never is another of that number.
    pub(crate) number: u64,
    pub(crate) counted: Counted,
    queue: VecDeque<Frame>,
    /// An emulator's: read, and not taken by a guest that stands still.
    untaken: Option<Frame>,
    /// By the network on its way to it, for whoever looks on.
    seen: VecDeque<(Frame, Instant)>,
}

/// What is sent in a guest's transfers, and what it got of it.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    taps: BTreeMap<HostId, Tap>,
    /// The last that there was on each host: what was seen of it can still be had.
    gone: BTreeMap<HostId, Tap>,
    /// Up to here it was sent; none: nothing is sent now.
    since: Option<Instant>,
    /// The newest that the guest got.
    newest: u64,
    sent: u64,
    now: Sent,
    before: BTreeMap<String, Sent>,
}

/// Of one transfer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    migration: String,
    /// How often the guest got each, from this number on.
    first: u64,
    got: Vec<u8>,
    /// How many it got again.
    twice: u64,
    /// How many came behind newer ones.
    pub(crate) behind: u64,
    /// How often the source's daemon had died before.
    pub(crate) deaths: u64,
    /// The guest was shut down: nobody misses anything.
    pub(crate) stopped: bool,
    /// No daemon looked on to its end.
    pub(crate) unwatched: bool,
    /// It stood still on both hosts, until somebody ran it again.
    pub(crate) torn: bool,
}

impl Frame {
    pub(crate) fn number(&self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Tap {
    fn new(number: u64) -> Tap {
        Tap {
            number,
            counted: Counted { read: 0, dropped: 0 },
            queue: VecDeque::new(),
            untaken: None,
            seen: VecDeque::new(),
        }
    }

    /// Into its queue, if there is room.
    pub(crate) fn put(&mut self, frame: Frame) {
        match self.queue.len() < QUEUE {
            true => self.queue.push_back(frame),
            false => self.counted.dropped += 1,
        }
    }

    /// What the network brought since this was asked last.
    pub(crate) fn seen(&mut self) -> VecDeque<(Frame, Instant)> {
        std::mem::take(&mut self.seen)
    }

    /// Whoever reads it gets a turn; what the guest then has.
    fn turn(&mut self, runs: bool, emulated: bool) -> Vec<Frame> {
        let mut got = Vec::new();
        if runs {
            got.extend(self.untaken.take());
            self.counted.read += self.queue.len() as u64;
            got.extend(self.queue.drain(..));
        } else if emulated && self.untaken.is_none() {
            self.untaken = self.queue.pop_front();
            self.counted.read += u64::from(self.untaken.is_some());
        }
        got
    }
}

impl Sent {
    /// How many never came to the guest.
    pub(crate) fn lost(&self) -> u64 {
        self.got.iter().filter(|times| **times == 0).count() as u64
    }
}

impl Flow {
    fn get(&mut self, frame: &Frame) {
        let number = frame.number();
        let at = number
            .checked_sub(self.now.first)
            .and_then(|at| usize::try_from(at).ok());
        let Some(times) = at.and_then(|at| self.now.got.get_mut(at)) else {
            return;
        };
        *times = times.saturating_add(1);
        self.now.twice += u64::from(*times > 1);
        self.now.behind += u64::from(*times == 1 && number < self.newest);
        self.newest = self.newest.max(number);
    }

    fn send(&mut self, to: HostId, at: Instant) {
        let frame = Frame(self.sent.to_be_bytes());
        self.sent += 1;
        self.now.got.push(0);
        if let Some(tap) = self.taps.get_mut(&to) {
            tap.seen.push_back((frame.clone(), at));
            tap.put(frame);
        }
    }
}

impl Model {
    /// A transfer begins: until it ends, the network sends to the guest.
    pub(super) fn flow_begins(&mut self, guest: GuestId, from: HostId, migration: &str) {
        if self.guests[guest].pairs.is_empty() {
            return;
        }
        let deaths = self.hosts[from].deaths;
        let flow = self.flows.entry(guest).or_default();
        let new = Sent {
            migration: migration.into(),
            first: flow.sent,
            deaths,
            unwatched: true,
            ..Sent::default()
        };
        let last = std::mem::replace(&mut flow.now, new);
        flow.before.insert(last.migration.clone(), last);
        flow.since = Some(Instant::now());
    }

    /// What came for the guest until now came as it was until now; and what it finds as it is now.
    pub(crate) fn flow(&mut self, guest: GuestId) {
        let Some(mut flow) = self.flows.remove(&guest) else {
            return;
        };
        let now = Instant::now();
        self.follow_taps(guest, &mut flow);
        let to = self.guests[guest].pairs.first().map_or(0, |pair| pair.fabric);
        let period = self.period.max(Duration::from_millis(1));
        while let Some(at) = flow.since.map(|since| since + period).filter(|at| *at <= now) {
            flow.since = Some(at);
            flow.send(to, at);
            self.readers(guest, &mut flow);
        }
        self.readers(guest, &mut flow);
        if !self.guests[guest]
            .transfer
            .as_ref()
            .is_some_and(|job| job.active())
        {
            flow.since = None;
        }
        let twice = flow.now.twice;
        // Those that an emulator had read when the guest stopped, of which nobody can tell.
        if twice > UNTAKEN * u64::from(emulated(guest)) {
            let migration = &flow.now.migration;
            let wrong = format!("{twice} frames came to it twice in the transfer of {migration}");
            self.note(Some(guest), wrong);
        }
        self.flows.insert(guest, flow);
    }

    /// There is a tap where there is an emulator.
    fn follow_taps(&mut self, guest: GuestId, flow: &mut Flow) {
        let at = &self.guests[guest].at;
        let has_one = |host: &HostId| at.get(host).is_some_and(|body| body.domain != Domain::ShutOff);
        let gone: Vec<HostId> = flow.taps.keys().filter(|host| !has_one(host)).copied().collect();
        for host in gone {
            flow.gone.extend(flow.taps.remove_entry(&host));
        }
        for host in at.keys().filter(|host| has_one(host)) {
            let numbers = &mut self.taps;
            flow.taps.entry(*host).or_insert_with(|| {
                *numbers += 1;
                Tap::new(*numbers)
            });
        }
    }

    fn readers(&self, guest: GuestId, flow: &mut Flow) {
        let mut taps = std::mem::take(&mut flow.taps);
        for (host, tap) in &mut taps {
            let got = tap.turn(self.runs(guest, *host), emulated(guest));
            // What a stale copy gets is none of the guest's, and its host cannot tell it from the guest.
            if !self.guests[guest].stale.contains(host) {
                got.iter().for_each(|frame| flow.get(frame));
            }
        }
        flow.taps = taps;
    }

    /// The guest's tap there, when all that came until now has come.
    pub(crate) fn tap(&mut self, guest: GuestId, at: HostId) -> Option<&mut Tap> {
        self.flows.entry(guest).or_default();
        self.flow(guest);
        self.flows.get_mut(&guest)?.taps.get_mut(&at)
    }

    /// What was seen of a tap that has gone, and was not asked for before.
    pub(crate) fn last_seen(
        &mut self,
        guest: GuestId,
        at: HostId,
        tap: Option<u64>,
    ) -> VecDeque<(Frame, Instant)> {
        let flow = self.flows.get_mut(&guest);
        let gone = flow.and_then(|flow| flow.gone.get_mut(&at));
        let gone = gone.filter(|gone| tap == Some(gone.number));
        gone.map(Tap::seen).unwrap_or_default()
    }

    /// Of the guest's transfer now.
    pub(crate) fn sent_now(&mut self, guest: GuestId) -> Option<&mut Sent> {
        Some(&mut self.flows.get_mut(&guest)?.now)
    }

    /// The same, if it is that migration's: one whose job never began has sent nothing.
    pub(crate) fn sent_in(&mut self, guest: GuestId, migration: &str) -> Option<&mut Sent> {
        self.sent_now(guest).filter(|sent| sent.migration == migration)
    }

    /// Of the transfer of that migration, if there was one.
    pub(crate) fn sent_of(&self, guest: GuestId, migration: &str) -> Option<&Sent> {
        let flow = self.flows.get(&guest)?;
        let now = Some(&flow.now).filter(|now| now.migration == migration);
        now.or_else(|| flow.before.get(migration))
    }
}

/// The emulator reads the guest's taps, not the kernel: every second guest's.
pub(crate) fn emulated(guest: GuestId) -> bool {
    guest.is_multiple_of(2)
}

/// A frame comes each so often, of the pretended time.
pub(crate) const PERIOD: Duration = Duration::from_millis(50);
