//! The proof of a port before the traffic moves to it: who answers through the port that carries the traffic now has to
//! answer through this one too.
//!
//! Asked is without a sender's address (RFC 5227, 2.1.1; RFC 4862, 5.4.2), so that nobody's cache changes. The frame itself
//! still tells every switch on its way that this guest's MAC is behind that port, which is why both ports accept by then. In
//! the same way an answer may come in on either port: a NIC's own switch goes on giving the guest's frames to the VF. What
//! an answer shows is that the question got out, and that somebody there hears the guest.

use std::time::Duration;

use godwit_api::agent::v1::RefusalReason;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

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

/// How long the answers of others may come after the first one, at least.
const SETTLE: Duration = Duration::from_millis(20);

/// Proves the port, if that can be done: somebody is known, and answers. `Ok(None)` where not. Then the same with frames as long as
/// the bond's may be, if those are answered at all.
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
    let active = pair.active().filter(|active| active.is_usable());
    let mut proved = None;
    for size in [Size::Small, Size::Full(pair.master.mtu)] {
        let answer = answered(&Ask::through(target, asked, size), sender, &listeners, patience).await;
        if let Some(took) = answer.map_err(over)? {
            if proved.is_none() {
                // What else answers the small ones would be taken for answers to the others.
                sleep((2 * took).clamp(SETTLE, 10 * SETTLE)).await;
            }
            proved = Some(proved.unwrap_or(took));
            continue;
        }
        let Some(active) = active else { break };
        let answer = answered(&Ask::through(active, asked, size), sender, &listeners, patience).await;
        if answer.map_err(over)?.is_some() {
            return Err(carries_nothing(target, active, asked, size));
        }
        // Nobody answers such a question at all.
        break;
    }
    Ok(proved)
}

/// How long the frames are that are asked with.
#[derive(Clone, Copy)]
enum Size {
    Small,
    /// As long as the bond's may be, so many bytes behind the header: a path may carry small ones alone.
    Full(u32),
}

/// What is asked through a port, of whom, and how long an answer may take.
struct Ask<'a> {
    asked: &'a [Near],
    questions: Vec<Outgoing>,
    within: Duration,
}

fn carries_nothing(target: &Link, active: &Link, asked: &[Near], size: Size) -> Refusal {
    let names: Vec<String> = asked.iter().map(|near| near.ip.to_string()).collect();
    let what = match size {
        Size::Small => "nothing".to_owned(),
        Size::Full(mtu) => format!("nothing of {mtu} bytes"),
    };
    let detail = format!(
        "{} carries {what}: of {} nobody answers through it, and somebody does through {}, which keeps the traffic",
        target.name,
        names.join(", "),
        active.name
    );
    Refusal::new(RefusalReason::NoAnswer, detail)
}

/// How long it took until somebody answered what was asked.
async fn answered(
    ask: &Ask<'_>,
    sender: &Sender,
    listeners: &[Listener],
    patience: &mut Patience,
) -> Result<Option<Duration>, Over> {
    listeners.iter().for_each(Listener::drain);
    let start = Instant::now();
    let within = ask
        .within
        .min(patience.deadline.saturating_duration_since(start) / 4);
    let mut again = interval(ASK_EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = again.tick() => sender.send(&ask.questions),
            () = sleep_until(start + within) => return Ok(None),
            over = patience.over() => return Err(over),
            arrived = next(listeners) => match arrived {
                None => return Ok(None),
                Some(arrived) if is_answer(arrived, ask.asked) => return Ok(Some(start.elapsed())),
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

impl Ask<'_> {
    /// Nothing is asked through a port without an address.
    fn through<'a>(port: &Link, asked: &'a [Near], size: Size) -> Ask<'a> {
        let question = |mac: Mac, near: &Near| {
            let frame = frames::probe(mac, near.ip, &near.tags);
            Outgoing {
                interface: port.index,
                frame: match size {
                    Size::Small => frame,
                    Size::Full(mtu) => frames::full_size(frame, near.tags.len(), mtu),
                },
            }
        };
        let asking = asked.iter().filter_map(|near| Some(question(port.mac?, near)));
        Ask {
            asked,
            questions: asking.collect(),
            within: match size {
                Size::Small => WITHIN,
                Size::Full(_) => WITHIN / 2,
            },
        }
    }
}

/// The kernel has taken the tags off by then.
fn is_answer(arrived: Arrived, asked: &[Near]) -> bool {
    arrived
        .answers
        .is_some_and(|who| asked.iter().any(|near| near.ip == who))
}
