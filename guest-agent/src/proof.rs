//! The proof of a port before the traffic moves to it: who answers through the port that carries the traffic now has to
//! answer through this one too.
//!
//! Asked is without a sender's address (RFC 5227, 2.1.1; RFC 4862, 5.4.2), so that nobody's cache changes. The frame itself
//! still tells every switch on its way that this guest's MAC is behind that port, which is why both ports accept by then. In
//! the same way an answer may come in on either port: a NIC's own switch goes on giving the guest's frames to the VF. What
//! an answer shows is that the question got out, and that somebody there hears the guest.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use godwit_api::agent::v1::RefusalReason;
use godwit_wire::Mac;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::frames;
use crate::guest::{Guest, gave_up};
use crate::neighbourhood::{Near, Outgoing};
use crate::packet::{Arrived, Listener, Sender};
use crate::pair::{Link, Pair};
use crate::patience::{Over, Patience};
use crate::refusal::Refusal;

/// How often everybody is asked.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// So often they are asked alone, where their addresses are known: a question to everybody comes back to the host by the standby's
/// network, and the standby's bridge would learn from it that the guest is behind that way out. It then drops what comes in by there
/// for the guest, until the guest has sent through its standby again.
const ALONE: usize = 2;

/// How long an answer may take; a quarter of the time that is left if that is less.
const WITHIN: Duration = Duration::from_secs(3);

/// Answers to the small questions have ceased when none has come for so long: four times as long as the first one took, within these.
const QUIET: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What is known of a port before the traffic moves to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The traffic is there already.
    NotAsked,
    /// Somebody answers through it; the first answer took so long.
    Proved(Duration),
    /// Nobody is known.
    Nobody,
    /// None of these answers, through whichever port: it may be as good as the other.
    Silence(Vec<IpAddr>),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::NotAsked => Ok(()),
            Proof::Proved(took) => write!(f, ", proved in {} ms before", took.as_millis()),
            Proof::Nobody => write!(f, ", not proved before: nobody is known who could be asked"),
            Proof::Silence(asked) => {
                let names: Vec<String> = asked.iter().map(IpAddr::to_string).collect();
                let names = names.join(", ");
                write!(
                    f,
                    ", not proved before: of {names} nobody answers through either port"
                )
            }
        }
    }
}

/// Proves the port, if that can be done: somebody is known, and answers. Then the same with frames as long as the bond's may be, if
/// those are answered at all.
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
) -> Result<Proof, Refusal> {
    if asked.is_empty() {
        return Ok(Proof::Nobody);
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
        if let Some(answer) = answer.map_err(over)? {
            if proved.is_none() {
                // What else answers the small ones would be taken for answers to the others.
                settled(&answer, asked, &listeners, patience)
                    .await
                    .map_err(over)?;
            }
            proved = Some(proved.unwrap_or(answer.took));
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
    let silence = || Proof::Silence(asked.iter().map(|near| near.ip).collect());
    Ok(proved.map_or_else(silence, Proof::Proved))
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
    /// To everybody, and the same to each alone.
    questions: Vec<Outgoing>,
    alone: Vec<Outgoing>,
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

/// The first answer.
#[derive(Debug)]
struct Answer {
    /// How long it took.
    took: Duration,
    /// The port that it came in on, of those that were listened on.
    port: usize,
    /// How many questions had been asked by then, each of one neighbour.
    questions: usize,
}

/// Whether and how soon somebody answered what was asked.
async fn answered(
    ask: &Ask<'_>,
    sender: &Sender,
    listeners: &[Listener],
    patience: &mut Patience,
) -> Result<Option<Answer>, Over> {
    listeners.iter().for_each(Listener::drain);
    let start = Instant::now();
    let within = ask
        .within
        .min(patience.deadline.saturating_duration_since(start) / 4);
    let mut again = interval(ASK_EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut questions, mut times) = (0, 0);
    loop {
        tokio::select! {
            _ = again.tick() => {
                let now = ask.now(times);
                sender.send(now);
                times += 1;
                questions += now.len();
            }
            () = sleep_until(start + within) => return Ok(None),
            over = patience.over() => return Err(over),
            arrived = next(listeners) => match arrived {
                None => return Ok(None),
                Some((port, arrived)) if is_answer(arrived, ask.asked) => {
                    return Ok(Some(Answer { took: start.elapsed(), port, questions }));
                }
                Some(_) => {}
            }
        }
    }
}

/// Until every question has its answer, or the answers have ceased: a busy guest asks again before the first answer comes, and not
/// everybody answers.
async fn settled(
    first: &Answer,
    asked: &[Near],
    listeners: &[Listener],
    patience: &mut Patience,
) -> Result<(), Over> {
    let mut tally = Tally::of(first, listeners.len());
    let quiet = (4 * first.took).clamp(QUIET.0, QUIET.1);
    let end = Instant::now() + 2 * QUIET.1;
    let mut last = Instant::now();
    while !tally.is_full() {
        tokio::select! {
            () = sleep_until((last + quiet).min(end)) => return Ok(()),
            over = patience.over() => return Err(over),
            arrived = next(listeners) => match arrived {
                None => return Ok(()),
                Some((port, arrived)) if is_answer(arrived, asked) => {
                    tally.count(port);
                    last = Instant::now();
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Answers by the port that they came in on: one to everybody comes in on each, so the ports are not added up.
struct Tally {
    questions: usize,
    answers: Vec<usize>,
}

impl Tally {
    fn of(first: &Answer, ports: usize) -> Tally {
        let mut tally = Tally {
            questions: first.questions,
            answers: vec![0; ports],
        };
        tally.count(first.port);
        tally
    }

    fn count(&mut self, port: usize) {
        self.answers[port] += 1;
    }

    fn is_full(&self) -> bool {
        self.answers.iter().any(|answers| *answers >= self.questions)
    }
}

/// The next frame, and on which of the ports; none when one cannot be listened on any more.
async fn next(listeners: &[Listener]) -> Option<(usize, Arrived)> {
    let each = listeners.iter().map(|listener| Box::pin(listener.next()));
    let (arrived, port, _) = futures_util::future::select_all(each).await;
    Some((port, arrived.ok()?))
}

impl Ask<'_> {
    /// What is asked when it was asked so many times before.
    fn now(&self, times: usize) -> &[Outgoing] {
        if times < ALONE {
            &self.alone
        } else {
            &self.questions
        }
    }

    /// Nothing is asked through a port without an address.
    fn through<'a>(port: &Link, asked: &'a [Near], size: Size) -> Ask<'a> {
        let question = |mac: Mac, near: &Near| {
            let frame = frames::probe(mac, near.ip, &near.tags);
            match size {
                Size::Small => frame,
                Size::Full(mtu) => frames::full_size(frame, near.tags.len(), mtu),
            }
        };
        let interface = port.index;
        let (mut questions, mut alone) = (Vec::new(), Vec::new());
        for (mac, near) in asked.iter().filter_map(|near| Some((port.mac?, near))) {
            let frame = question(mac, near);
            alone.push(Outgoing {
                interface,
                frame: match near.mac {
                    Some(whom) => frames::to_alone(frame.clone(), whom),
                    None => frame.clone(),
                },
            });
            questions.push(Outgoing { interface, frame });
        }
        Ask {
            asked,
            questions,
            alone,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::tests::{OTHER, nic};

    #[test]
    fn a_port_that_nobody_proves_is_told_with_whom_was_asked() {
        let asked = ["10.77.0.1", "fe80::1"].map(|ip| ip.parse().unwrap());
        assert_eq!(
            Proof::Silence(asked.to_vec()).to_string(),
            ", not proved before: of 10.77.0.1, fe80::1 nobody answers through either port"
        );
        assert_eq!(
            Proof::Nobody.to_string(),
            ", not proved before: nobody is known who could be asked"
        );
        assert_eq!(Proof::NotAsked.to_string(), "");
    }

    #[test]
    fn who_is_known_is_asked_alone_first() {
        let near = |ip: &str, mac| Near {
            ip: ip.parse().unwrap(),
            tags: vec![],
            mac,
        };
        let asked = [
            near("10.77.0.1", Some(OTHER)),
            near("fd77::1", Some(OTHER)),
            near("10.77.0.9", None),
        ];
        for size in [Size::Small, Size::Full(1500)] {
            let port = nic(3, "eth1", "igbvf", Some(4));
            let ask = Ask::through(&port, &asked, size);
            let whom = |all: &[Outgoing]| all.iter().map(|one| one.frame[..6].to_vec()).collect::<Vec<_>>();
            let group = [0x33, 0x33, 0xff, 0, 0, 1].to_vec();
            let all = vec![0xff; 6];
            assert_eq!(whom(&ask.questions), [all.clone(), group, all.clone()]);
            let other = OTHER.0.to_vec();
            assert_eq!(whom(&ask.alone), [other.clone(), other, all]);
            let rest = |all: &[Outgoing]| all.iter().map(|one| one.frame[6..].to_vec()).collect::<Vec<_>>();
            assert_eq!(rest(&ask.alone), rest(&ask.questions));
            let to_everybody = [0, 1, 2, 3].map(|times| ask.now(times) == ask.questions);
            assert_eq!(to_everybody, [false, false, true, true]);
        }
    }

    #[test]
    fn every_question_has_its_answer_when_one_port_has_as_many() {
        let first = |questions| Answer {
            took: Duration::from_millis(4),
            port: 1,
            questions,
        };
        assert!(
            Tally::of(&first(1), 2).is_full(),
            "one asked, one answered: nothing is waited for"
        );
        let mut tally = Tally::of(&first(2), 2);
        assert!(!tally.is_full());
        // The same answer, which was to everybody.
        tally.count(0);
        assert!(!tally.is_full(), "another may still come");
        tally.count(1);
        assert!(tally.is_full());
    }
}
