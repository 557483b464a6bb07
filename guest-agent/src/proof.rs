//! The proof of a port before the traffic moves to it: who answers through the port that carries the traffic now has to
//! answer through this one too.
//!
//! Asked is without a sender's address (RFC 5227, 2.1.1; RFC 4862, 5.4.2), so that nobody's cache changes. The frame itself
//! still tells every switch on its way that this guest's MAC is behind that port, which is why both ports accept by then. In
//! the same way an answer may come in on either port: a NIC's own switch goes on giving the guest's frames to the VF. What
//! an answer shows is that the question got out, and that somebody there hears the guest.

use std::time::Duration;

use godwit_api::agent::v1::RefusalReason;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::frames;
use crate::guest::{Guest, gave_up};
use crate::mac::Mac;
use crate::neighbourhood::{Near, Outgoing};
use crate::packet::{Arrived, Listener, Sender};
use crate::pair::{Link, Pair};
use crate::patience::{Over, Patience};
use crate::refusal::Refusal;

/// How often everybody is asked.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// How long an answer may take; a quarter of the time that is left if that is less.
const WITHIN: Duration = Duration::from_secs(3);

/// Proves the port, if that can be done: somebody is known, and answers. `Ok(None)` where not.
///
/// # Errors
/// [`RefusalReason::NoAnswer`] if they answer through the active port alone, and [`RefusalReason::Deadline`] if the patience
/// is over first. Nothing was moved then.
pub(crate) async fn prove(
    guest: &Guest,
    (pair, target): (&Pair, &Link),
    asked: &[Near],
    sender: &Sender,
    patience: &mut Patience,
) -> Result<Option<Duration>, Refusal> {
    if asked.is_empty() {
        return Ok(None);
    }
    let listeners = pair.ports.iter().map(|port| Listener::open(port.index));
    let listeners: Vec<Listener> = listeners
        .collect::<Result<_, _>>()
        .map_err(|error| guest.broken("listen on the ports", &error))?;
    let over = |over| gave_up(over, "the new port is not proved, and nothing was moved");
    let answer = answered(target, asked, sender, &listeners, patience).await;
    if let Some(took) = answer.map_err(over)? {
        return Ok(Some(took));
    }
    let Some(active) = pair.active().filter(|active| active.is_usable()) else {
        return Ok(None);
    };
    let answer = answered(active, asked, sender, &listeners, patience).await;
    match answer.map_err(over)? {
        None => Ok(None),
        Some(_) => {
            let names: Vec<String> = asked.iter().map(|near| near.ip.to_string()).collect();
            let detail = format!(
                "{} carries nothing: of {} nobody answers through it, and somebody does through {}, which keeps the traffic",
                target.name,
                names.join(", "),
                active.name
            );
            Err(Refusal::new(RefusalReason::NoAnswer, detail))
        }
    }
}

/// How long it took until somebody answered what was asked through that port.
async fn answered(
    port: &Link,
    asked: &[Near],
    sender: &Sender,
    listeners: &[Listener],
    patience: &mut Patience,
) -> Result<Option<Duration>, Over> {
    let Some(mac) = port.mac else {
        return Ok(None);
    };
    let questions = questions(port.index, mac, asked);
    listeners.iter().for_each(Listener::drain);
    let start = Instant::now();
    let within = WITHIN.min(patience.deadline.saturating_duration_since(start) / 4);
    let mut ask = interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ask.tick() => sender.send(&questions),
            () = sleep_until(start + within) => return Ok(None),
            over = patience.over() => return Err(over),
            arrived = next(listeners) => match arrived {
                None => return Ok(None),
                Some(arrived) if is_answer(arrived, asked) => return Ok(Some(start.elapsed())),
                Some(_) => {}
            }
        }
    }
}

/// The next frame on any of the ports; none when one cannot be listened on any more.
async fn next(listeners: &[Listener]) -> Option<Arrived> {
    let each = listeners.iter().map(|listener| Box::pin(listener.next()));
    let (arrived, _, _) = futures_util::future::select_all(each).await;
    arrived.ok()
}

fn questions(port: u32, mac: Mac, asked: &[Near]) -> Vec<Outgoing> {
    let question = |near: &Near| Outgoing {
        interface: port,
        frame: frames::probe(mac, near.ip, &near.tags),
    };
    asked.iter().map(question).collect()
}

/// The kernel has taken the tags off by then.
fn is_answer(arrived: Arrived, asked: &[Near]) -> bool {
    arrived
        .answers
        .is_some_and(|who| asked.iter().any(|near| near.ip == who))
}
