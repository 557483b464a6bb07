//! The agent's word that a pair's traffic has moved, held against what this host counts.
//!
//! Before an unplug, which cannot be withdrawn, it must be borne out: an agent that is wrong, or lies, is found before anything
//! is lost by it. After a plug nothing hangs on it, and what does not fit is told.

use std::time::Duration;

use godwit_coordinator::Job;
use godwit_migration::{
    Cause, Event, Pair, PciAddress,
    counted::{Counted, Port, Word},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{RealWorld, Work, accelerate::plugged};
use crate::{cause::cause, libvirt::xml::DomainDevices};

/// So long after its answer a guest's first frame may come; the agent's announcements last as long.
const FIRST: Duration = Duration::from_secs(2);

/// How long the other port is watched, where it is counted; half as long where nothing hangs on it.
const QUIET: Duration = Duration::from_millis(200);

const LOOK: Duration = Duration::from_millis(50);

/// What of a pair is counted, and what it was before the guest was asked.
pub(super) struct Tally {
    end: Option<String>,
    vf: Option<PciAddress>,
    asked: Counted,
}

impl RealWorld {
    /// Begins to count. Where the domain has no such standby, or its end is none of this kernel's, there is nothing to count.
    pub(super) async fn tally(&self, job: &Job, pair: &Pair, devices: &DomainDevices) -> Tally {
        let standby = devices.nics.iter().find(|nic| nic.mac == pair.mac);
        let end = standby.and_then(|nic| nic.tap.clone());
        let held = job.brief.vf_here(pair);
        let vf = held.map(|held| plugged(devices, pair, held).map_or(held, |has| has.1));
        let asked = self.vfs.counted(end.as_deref(), vf).await;
        Tally { end, vf, asked }
    }

    /// The guest has just said that the pair's traffic is on its standby. Words for the phase's sentence.
    ///
    /// # Errors
    /// Within [`FIRST`] no frame has come by the standby, or the VF went on sending.
    pub(super) async fn sees_on_standby(&self, job: &Job, pair: &Pair, tally: &Tally) -> Work<&'static str> {
        let denied = |why: String| {
            let guest = &job.brief.guest.name;
            let message = format!(
                "guest `{guest}` says that the traffic of pair {} is on its standby, and this host counts otherwise",
                pair.mac
            );
            Err(Event::Failed(Cause {
                causes: vec![why],
                hint: format!("in {guest}: cat /proc/net/bonding/*; ip -s link; restart godwit-agent"),
                ..cause("FAIL_OVER", message)
            }))
        };
        let end = tally.end.as_deref().unwrap_or_default();
        match self.listen(tally, Port::Standby, QUIET).await {
            Word::Borne => Ok(""),
            Word::Unseen => Ok(" (this host cannot count its frames)"),
            Word::Silent => denied(format!(
                "no frame of it has come by {end} in {} s",
                FIRST.as_secs()
            )),
            Word::Denied(frames) => denied(format!("{frames} frames went on leaving by its VF")),
        }
    }

    /// The guest has just said that the pair's traffic is on its VF. Words for the phase's sentence.
    pub(super) async fn sees_on_vf(&self, job: &Job, pair: &Pair, tally: &Tally) -> String {
        let told = match self.listen(tally, Port::Vf, QUIET / 2).await {
            Word::Borne | Word::Unseen => return String::new(),
            Word::Silent => format!("the VF has sent no frame in {} s", FIRST.as_secs()),
            Word::Denied(frames) => format!("{frames} frames more came by the standby"),
        };
        warn!(migration = %job.brief.id, pair = %pair.mac, "the guest says that it is on its VF, and {told}");
        format!(" (by the guest's word: {told})")
    }

    async fn listen(&self, tally: &Tally, port: Port, quiet: Duration) -> Word {
        let count = || self.vfs.counted(tally.end.as_deref(), tally.vf);
        heard(port, quiet, tally.asked, count).await
    }
}

/// What the counters say, as soon as they have said it, or have had their time. What denies the word has to do so twice: the first time
/// it may have been in a queue.
async fn heard<F>(port: Port, quiet: Duration, asked: Counted, count: impl Fn() -> F) -> Word
where
    F: Future<Output = Counted>,
{
    let mut answered = count().await;
    let (begun, mut watched) = (Instant::now(), Instant::now());
    let mut denied = false;
    loop {
        let now = count().await;
        let over = watched.elapsed() >= quiet || !port.is_watched(answered);
        match port.word(asked, answered, now) {
            Word::Silent if begun.elapsed() < FIRST => {}
            _ if !over => {}
            Word::Denied(_) if !denied => (denied, answered, watched) = (true, now, Instant::now()),
            word => return word,
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames by the standby and by the VF as a guest sends them, so many milliseconds after its answer.
    async fn after(by_standby: fn(u128) -> u64, by_vf: Option<fn(u128) -> u64>) -> (Word, u128) {
        let begun = Instant::now();
        let count = || {
            let at = begun.elapsed().as_millis();
            std::future::ready(Counted {
                by_standby: Some(by_standby(at)),
                by_vf: by_vf.map(|sent| sent(at)),
            })
        };
        let asked = Counted {
            by_standby: Some(0),
            by_vf: None,
        };
        let word = heard(Port::Standby, QUIET, asked, count).await;
        (word, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn an_honest_guest_is_not_kept_waiting() {
        assert_eq!(after(|_| 1, None).await, (Word::Borne, 0));
        // Its first announcement is late.
        assert_eq!(after(|at| u64::from(at >= 500), None).await, (Word::Borne, 500));
        // A VF that is counted is watched until its queues are empty.
        let queued = |at: u128| if at < 150 { 300 } else { 400 };
        assert_eq!(after(|_| 1, Some(queued)).await, (Word::Borne, 400));
        assert_eq!(after(|_| 1, Some(|_| 7)).await, (Word::Borne, 200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_has_not_moved_is_found() {
        assert_eq!(after(|_| 0, None).await, (Word::Silent, 2000));
        let goes_on = |at: u128| u64::try_from(at).unwrap();
        assert_eq!(after(|_| 1, Some(goes_on)).await, (Word::Denied(200), 400));
    }
}
