//! The measuring of the guest's outage: probes through a pair, counted.
//!
//! A host asks for it and may be gone when it has ended, so the record is kept here, and each answer has all of it. Nothing
//! runs while no record does. Every probe is counted by this guest's monotonic clock, which stands still while the guest is
//! paused: how long that was is for its hosts to say.

mod echo;
mod record;
mod voice;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use godwit_api::agent::v1::{Measured, RefusalReason};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use self::record::{Record, WINDOW};
use self::voice::Voice;
use godwit_wire::Mac;

use crate::guest::{Guest, gave_up};
use crate::kernel::LinkEvents;
use crate::log::say;
use crate::neighbourhood::{Surroundings, Target};
use crate::patience::Patience;
use crate::refusal::Refusal;

/// A record ends by itself so long after it began: whoever asked for it may have died.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Records at once, one for each pair.
const MAX_RECORDS: usize = 8;

/// After so long without an answer one question in ten goes to anybody: the target may have another MAC.
const ANYBODY_AFTER: Duration = Duration::from_secs(1);
const ANYBODY_EVERY: u64 = 10;

/// The answer to the last probe is waited for so long before something else is asked.
const LATE: Duration = Duration::from_millis(250);

/// What a host asks of a pair's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) record: String,
    pub(crate) part: String,
    /// At most [`Ask::MOST`]; 0: nothing is begun.
    pub(crate) per_second: u32,
    pub(crate) target: Option<IpAddr>,
    /// Who is asked instead, if it answers.
    pub(crate) reflector: Option<SocketAddr>,
    pub(crate) end: bool,
}

impl Ask {
    /// Probes a second.
    pub(crate) const MOST: u32 = 1000;
}

/// The records that are kept, those that have ended too.
#[derive(Default)]
pub(crate) struct Measurements(Mutex<Vec<Arc<Kept>>>);

/// The record of one pair.
struct Kept {
    name: String,
    standby: Mac,
    target: Target,
    per_second: u32,
    begun: Instant,
    counts: Mutex<Record>,
    /// Turned true when no more is to be sent.
    stop: watch::Sender<bool>,
    /// True while its task runs.
    at_work: watch::Sender<bool>,
    /// Nothing is sent for now.
    hushed: AtomicBool,
}

/// A pair's record sends nothing until this is dropped: an answer to a probe says that a neighbour is reached, whichever port it was
/// reached by, and so would be taken for one to what is asked through another port. That time is no gap of the record's.
#[must_use]
pub(crate) struct Hush(Vec<Arc<Kept>>);

/// Does what is asked of the pair's record, and tells all of it.
///
/// # Errors
/// [`RefusalReason::NobodyKnown`] if a record is to begin and there is nobody to ask; or the pair is unknown, or the kernel
/// gives no socket.
pub(crate) async fn measure(
    guest: &Arc<Guest>,
    standby: Mac,
    ask: &Ask,
    patience: &mut Patience,
) -> Result<Measured, Refusal> {
    let kept = match guest.measurements.find(&ask.record, standby) {
        Some(kept) => kept,
        None if ask.per_second == 0 || ask.end => return Ok(Measured::default()),
        None => begin(guest, standby, ask).await?,
    };
    kept.counts().mark(&ask.part);
    if ask.end {
        kept.stop.send_replace(true);
        let mut at_work = kept.at_work.subscribe();
        tokio::select! {
            _ = at_work.wait_for(|at_work| !at_work) => {}
            over = patience.over() => return Err(gave_up(over, "probes are still on their way")),
        }
    } else if ask.per_second > 0 {
        let broken = |error: io::Error| guest.broken("send probes", &error);
        Kept::go_on(&kept, guest).map_err(broken)?;
    }
    Ok(kept.told())
}

async fn begin(guest: &Arc<Guest>, standby: Mac, ask: &Ask) -> Result<Arc<Kept>, Refusal> {
    let pair = guest.pair(standby).await?;
    let target = chosen(guest, pair.master.index, ask).await?.ok_or_else(|| {
        let whom = ask.target.map_or("no gateway and no neighbour".to_owned(), |ip| {
            format!("no address from which {ip} could be asked")
        });
        let detail = format!("{whom} is known on {}", pair.master.name);
        Refusal::new(RefusalReason::NobodyKnown, detail)
    })?;
    let kept = Kept::new(ask, standby, target);
    guest.measurements.keep(Arc::clone(&kept));
    Ok(kept)
}

/// Who is asked through that bond: the reflector, if one is named and answers now, before anything is moved, or else the target. One
/// record has one kind of probe: what a reflector does not answer later is lost.
async fn chosen(guest: &Guest, bond: u32, ask: &Ask) -> Result<Option<Target>, Refusal> {
    let surroundings = Surroundings::read(guest.kernel, None).await?;
    let links = guest.kernel.links().await?;
    if let Some(named) = ask.reflector {
        let there = surroundings.target(&links, bond, Some(named.ip()));
        let there = there.filter(|target| !target.from.is_unspecified());
        let reflector = there.map(|target| Target {
            reflector: Some(named.port()),
            ..target
        });
        let voice = reflector.clone().and_then(|target| Voice::open(target).ok());
        match voice {
            Some(voice) => match voice.answers().await {
                true => return Ok(reflector),
                false => say!("measuring: the reflector {named} does not answer"),
            },
            None => say!("measuring: there is no way to the reflector {named}"),
        }
    }
    Ok(surroundings.target(&links, bond, ask.target))
}

impl Measurements {
    fn find(&self, name: &str, standby: Mac) -> Option<Arc<Kept>> {
        let found = |kept: &&Arc<Kept>| kept.name == name && kept.standby == standby;
        self.lock().iter().find(found).cloned()
    }

    /// Instead of the pair's former one, and of the oldest if there are too many.
    fn keep(&self, new: Arc<Kept>) {
        let mut all = self.lock();
        let oldest = all.len() >= MAX_RECORDS;
        let mut index = 0;
        all.retain(|kept| {
            let goes = kept.standby == new.standby || (oldest && index == 0);
            index += 1;
            if goes {
                kept.stop.send_replace(true);
            }
            !goes
        });
        all.push(new);
    }

    /// Until no more answers to the pair's probes are to come, as far as that can be waited for.
    pub(crate) async fn hush(&self, standby: Mac) -> Hush {
        let of_pair = |kept: &&Arc<Kept>| kept.standby == standby && *kept.at_work.borrow();
        let hush = Hush(self.lock().iter().filter(of_pair).cloned().collect());
        for kept in &hush.0 {
            kept.hushed.store(true, Relaxed);
            kept.counts().end(kept.begun.elapsed());
        }
        let until = Instant::now() + LATE;
        while hush.0.iter().any(|kept| kept.counts().is_awaited()) && Instant::now() < until {
            sleep(LATE / 50).await;
        }
        hush
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        for kept in &self.0 {
            // One that has ended meanwhile does not begin again.
            if *kept.at_work.borrow() && !*kept.stop.borrow() {
                kept.counts().begin(kept.begun.elapsed());
            }
            kept.hushed.store(false, Relaxed);
        }
    }
}

impl Kept {
    fn new(ask: &Ask, standby: Mac, target: Target) -> Arc<Self> {
        Arc::new(Self {
            name: ask.record.clone(),
            standby,
            target,
            per_second: ask.per_second.clamp(1, Ask::MOST),
            begun: Instant::now(),
            counts: Mutex::default(),
            stop: watch::Sender::new(true),
            at_work: watch::Sender::new(false),
            hushed: AtomicBool::new(false),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Record> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> Measured {
        Measured {
            known: true,
            target: self.target.ip.to_string(),
            kind: voice::kind(&self.target).into(),
            per_second: self.per_second,
            running: *self.at_work.borrow(),
            parts: self.counts().parts(self.begun.elapsed()),
        }
    }

    /// Sends, if it does not and its time is not over.
    fn go_on(kept: &Arc<Kept>, guest: &Arc<Guest>) -> io::Result<()> {
        kept.stop.send_replace(false);
        if *kept.at_work.borrow() || kept.begun.elapsed() >= LIMIT {
            return Ok(());
        }
        let voice = Voice::open(kept.target.clone())?;
        say!("measuring: {voice:?}, {} a second", kept.per_second);
        kept.at_work.send_replace(true);
        let (kept, guest) = (Arc::clone(kept), Arc::clone(guest));
        tokio::spawn(async move {
            if let Err(error) = kept.send(&guest, voice).await {
                say!("measuring: {error}");
            }
            kept.counts().end(kept.begun.elapsed());
            kept.at_work.send_replace(false);
        });
        Ok(())
    }

    /// Until it is told to stop or its time is over, and then until every probe is answered or lost.
    async fn send(&self, guest: &Arc<Guest>, mut voice: Voice) -> io::Result<()> {
        let mut stop = self.stop.subscribe();
        let own = Own::follow(guest, &self.target);
        let mut tick = interval(Duration::from_secs(1) / self.per_second);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.counts().begin(self.begun.elapsed());
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep_until(self.begun + LIMIT) => break,
                _ = tick.tick() => self.ask(&voice, own.mac()),
                heard = voice.hear() => self.counts().answer(self.begun.elapsed(), &heard?),
            }
        }
        self.counts().end(self.begun.elapsed());
        let until = Instant::now() + WINDOW;
        while self.counts().is_awaited() {
            tokio::select! {
                heard = voice.hear() => self.counts().answer(self.begun.elapsed(), &heard?),
                () = sleep_until(until) => break,
            }
        }
        self.counts().expire(self.begun.elapsed() + WINDOW);
        Ok(())
    }

    fn ask(&self, voice: &Voice, own: Mac) {
        if self.hushed.load(Relaxed) {
            return;
        }
        let at = self.begun.elapsed();
        let mut counts = self.counts();
        let silent = counts.silence(at) >= ANYBODY_AFTER;
        if let Some(number) = counts.send(at, voice.is_numbered()) {
            voice.ask(number, own, silent && number % ANYBODY_EVERY == 0);
        }
    }
}

/// The address of the link that is asked through, as it is now: with `fail_over_mac=active` it is that of the bond's
/// active port.
struct Own {
    mac: watch::Receiver<Mac>,
    task: AbortHandle,
}

/// How often at most it is read again.
const READ_AGAIN: Duration = Duration::from_millis(50);

impl Own {
    fn follow(guest: &Arc<Guest>, target: &Target) -> Self {
        let (told, mac) = watch::channel(target.mac);
        let (kernel, link) = (guest.kernel, target.link);
        let task = tokio::spawn(async move {
            let Ok(mut events) = LinkEvents::subscribe() else {
                return;
            };
            loop {
                let links = kernel.links().await.unwrap_or_default();
                let now = links.iter().find(|other| other.index == link);
                if let Some(mac) = now.and_then(|link| link.mac) {
                    told.send_replace(mac);
                }
                events.changed().await;
                sleep(READ_AGAIN).await;
            }
        });
        Self {
            mac,
            task: task.abort_handle(),
        }
    }

    fn mac(&self) -> Mac {
        *self.mac.borrow()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
