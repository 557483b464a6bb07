//! The guest's agent, as the host asks it. The guest is not trusted: what comes from it is bounded in size, number and
//! time, and its words are made printable before they go anywhere.

mod channel;
mod known;
mod pairs;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use godwit_api::agent::v1::{
    self as api, AdoptPrimary, FailBack, FailOver, Inspect, Measure, PairRef, ReleasePrimary, guest_frame,
    host_frame,
};
use godwit_coordinator::faults::Faults;
use godwit_migration::{MacAddress, doctor::Version};
use tokio::time::Instant;

use self::channel::Channel;
pub(crate) use self::{
    known::Known,
    pairs::{Tie, idle_primaries, seen, ties},
};

/// Name of the virtio-serial channel.
pub(crate) const CHANNEL: &str = "org.godwit.agent.0";

/// A switch is proved within this time or taken back by the agent: on a path that has carrier and leads nowhere the
/// guest's traffic is lost meanwhile.
const PROOF: Duration = Duration::from_secs(5);

/// How long after the agent should have given up its answer is waited for. A guest that rebooted has forgotten the
/// question, and is to be asked again.
const LATE: Duration = Duration::from_secs(5);

/// The agent did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the channel {CHANNEL} at {path} cannot be opened")]
    Closed { path: PathBuf, source: std::io::Error },
    #[error("no answer within {} ms", within.as_millis())]
    Silent { within: Duration },
    #[error("the guest sends more than any agent does: {what}")]
    Flood { what: &'static str },
    #[error("{verb} was refused by the agent ({reason}): {detail}")]
    Refused {
        verb: &'static str,
        reason: &'static str,
        detail: String,
    },
    #[error(
        "the agent ({agent}) answers in version {version} of its protocol, and this godwitd does not speak it"
    )]
    Version { agent: String, version: u32 },
    #[error("the agent's answer to {verb} is of another kind")]
    Odd { verb: &'static str },
}

impl AgentError {
    /// The same request may be answered a little later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, AgentError::Closed { .. }) || self.is_forgotten()
    }

    /// The agent does not know the verb.
    pub(crate) fn is_unsupported(&self) -> bool {
        let unsupported = api::RefusalReason::Unsupported.as_str_name();
        matches!(self, AgentError::Refused { reason, .. } if *reason == unsupported)
    }

    /// The guest may have rebooted, or its agent been started again: the request is to be made again.
    pub(crate) fn is_forgotten(&self) -> bool {
        match self {
            AgentError::Silent { .. } => true,
            AgentError::Refused { reason, .. } => *reason == api::RefusalReason::StaleSession.as_str_name(),
            _ => false,
        }
    }
}

/// What an agent tells of its guest.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) pairs: Vec<api::Pair>,
    /// Its own; none: what it says is none.
    pub(crate) version: Option<Version>,
}

/// What a switch of a pair's traffic was confirmed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Switched {
    /// Interface in the guest that carries the traffic.
    pub(crate) active: String,
    /// From the kernel's word to the first frame.
    pub(crate) first_frame_ms: u32,
    /// The traffic was there already.
    pub(crate) already: bool,
}

/// What is to be counted, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// Its pair.
    pub(crate) pair: MacAddress,
    /// The migration's id.
    pub(crate) record: &'a str,
    /// What is sent from now on counts for this.
    pub(crate) part: &'a str,
    /// Probes a second.
    pub(crate) per_second: u32,
    /// No more is sent.
    pub(crate) end: bool,
}

/// The agents of this host's guests. One request at a time for each: QEMU serves one client per channel.
#[derive(Clone)]
pub(crate) struct Agents {
    turns: Arc<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>>,
    faults: Arc<Faults>,
    /// Whom a guest asks, to measure its outage and to prove a port; none: its gateway.
    asked: Option<IpAddr>,
    /// Whom it asks to measure, if that answers.
    reflector: Option<SocketAddr>,
}

impl Agents {
    /// Agents that these faults may make silent.
    pub(crate) fn with(faults: Arc<Faults>) -> Agents {
        Agents {
            turns: Arc::default(),
            faults,
            asked: None,
            reflector: None,
        }
    }

    /// With somebody whom every guest asks.
    pub(crate) fn asking(self, asked: Option<IpAddr>) -> Agents {
        Agents { asked, ..self }
    }

    /// With a reflector that every guest asks.
    pub(crate) fn reflected(self, reflector: Option<SocketAddr>) -> Agents {
        Agents { reflector, ..self }
    }

    /// What the agent sees of its pairs.
    pub(crate) async fn inspect(&self, path: &Path, within: Duration) -> Result<Inspection, AgentError> {
        let body = host_frame::Body::Inspect(Inspect::default());
        match self.talk(path, body, within).await? {
            (welcome, guest_frame::Body::Inspected(inspected)) => Ok(Inspection {
                pairs: inspected.pairs.into_iter().take(64).collect(),
                version: printable(&welcome.agent_version, 32).parse().ok(),
            }),
            _ => Err(AgentError::Odd { verb: "Inspect" }),
        }
    }

    /// Moves the pair's traffic to the standby.
    pub(crate) async fn fail_over(
        &self,
        path: &Path,
        mac: MacAddress,
        within: Duration,
    ) -> Result<Switched, AgentError> {
        let body = host_frame::Body::FailOver(FailOver {
            pair: pair(mac),
            target: self.target(),
        });
        switched("FailOver", self.ask(path, body, within).await?)
    }

    /// Moves the pair's traffic to the primary.
    pub(crate) async fn fail_back(
        &self,
        path: &Path,
        mac: MacAddress,
        within: Duration,
    ) -> Result<Switched, AgentError> {
        let body = host_frame::Body::FailBack(FailBack {
            pair: pair(mac),
            target: self.target(),
        });
        switched("FailBack", self.ask(path, body, within).await?)
    }

    /// Lets go of the VF.
    pub(crate) async fn release(
        &self,
        path: &Path,
        mac: MacAddress,
        within: Duration,
    ) -> Result<(), AgentError> {
        let body = host_frame::Body::ReleasePrimary(ReleasePrimary { pair: pair(mac) });
        match self.ask(path, body, within).await? {
            guest_frame::Body::Released(_) => Ok(()),
            _ => Err(AgentError::Odd {
                verb: "ReleasePrimary",
            }),
        }
    }

    /// Takes a VF that was plugged into the pair; its interface in the guest.
    pub(crate) async fn adopt(
        &self,
        path: &Path,
        mac: MacAddress,
        primary_mac: MacAddress,
        within: Duration,
    ) -> Result<String, AgentError> {
        let body = host_frame::Body::AdoptPrimary(AdoptPrimary {
            pair: pair(mac),
            primary_mac: primary_mac.to_string(),
        });
        match self.ask(path, body, within).await? {
            guest_frame::Body::Adopted(adopted) => Ok(printable(&adopted.primary, 15)),
            _ => Err(AgentError::Odd { verb: "AdoptPrimary" }),
        }
    }

    /// Counts what the guest's probes through a pair come to; all of it is told.
    pub(crate) async fn measure(
        &self,
        path: &Path,
        question: Question<'_>,
        within: Duration,
    ) -> Result<api::Measured, AgentError> {
        let body = host_frame::Body::Measure(Measure {
            pair: pair(question.pair),
            record: question.record.to_owned(),
            part: question.part.to_owned(),
            per_second: question.per_second,
            target: self.target(),
            reflector: self.reflector.map(|at| at.to_string()).unwrap_or_default(),
            end: question.end,
        });
        match self.ask(path, body, within).await? {
            guest_frame::Body::Measured(measured) => Ok(measured),
            _ => Err(AgentError::Odd { verb: "Measure" }),
        }
    }

    fn target(&self) -> String {
        self.asked.map(|asked| asked.to_string()).unwrap_or_default()
    }

    async fn ask(
        &self,
        path: &Path,
        body: host_frame::Body,
        within: Duration,
    ) -> Result<guest_frame::Body, AgentError> {
        Ok(self.talk(path, body, within).await?.1)
    }

    /// One question: open, hello, request, answer.
    async fn talk(
        &self,
        path: &Path,
        body: host_frame::Body,
        within: Duration,
    ) -> Result<(api::Welcome, guest_frame::Body), AgentError> {
        let (verb, patience) = match &body {
            host_frame::Body::Hello(_) => ("Hello", within),
            host_frame::Body::Inspect(ask) if ask.neighbours => ("Neighbours", within),
            host_frame::Body::Inspect(_) => ("Inspect", within),
            host_frame::Body::FailOver(_) => ("FailOver", PROOF),
            host_frame::Body::FailBack(_) => ("FailBack", PROOF),
            host_frame::Body::ReleasePrimary(_) => ("ReleasePrimary", within),
            host_frame::Body::AdoptPrimary(_) => ("AdoptPrimary", within),
            host_frame::Body::Measure(_) => ("Measure", within),
        };
        // An agent that is to be silent so many times is so to what matters.
        if !matches!(verb, "Measure" | "Neighbours") && self.faults.no_agent() {
            return Err(AgentError::Silent { within });
        }
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(path.to_owned()).or_default())
        };
        let end = Instant::now() + within;
        let talk = async {
            let _mine = turn.lock().await;
            let mut channel = Channel::open(path).await?;
            let welcome = channel.hello().await?;
            // The agent gives up a little before us, so that its reason is heard.
            let left = end.saturating_duration_since(Instant::now());
            let patience = left.mul_f32(0.9).min(patience);
            let within = patience + LATE;
            let answer = tokio::time::timeout(within, channel.request(body, patience)).await;
            Ok((welcome, answer.map_err(|_| AgentError::Silent { within })??))
        };
        let (welcome, answer) = tokio::time::timeout_at(end, talk)
            .await
            .map_err(|_| AgentError::Silent { within })??;
        match answer {
            guest_frame::Body::Refused(answer) => Err(refused(verb, &answer)),
            body => Ok((welcome, body)),
        }
    }
}

fn pair(mac: MacAddress) -> Option<PairRef> {
    Some(PairRef {
        standby_mac: mac.to_string(),
    })
}

fn refused(verb: &'static str, answer: &api::Refused) -> AgentError {
    AgentError::Refused {
        verb,
        reason: answer.reason().as_str_name(),
        detail: printable(&answer.detail, 512),
    }
}

fn switched(verb: &'static str, body: guest_frame::Body) -> Result<Switched, AgentError> {
    match body {
        // Confirmed means that a frame was received after the switch, so none is no confirmation.
        guest_frame::Body::Switched(switched) if switched.frames_received > 0 => Ok(Switched {
            active: printable(&switched.active, 15),
            first_frame_ms: switched.first_frame_ms,
            already: switched.already,
        }),
        _ => Err(AgentError::Odd { verb }),
    }
}

/// Words of the guest, safe for logs, terminals and XML: control characters out, and what ends a line or turns the direction
/// of writing (Unicode 16, 23.2 and UAX 9); length bounded.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars()
        .map(|c| if acts(c) { ' ' } else { c })
        .take(most)
        .collect()
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod tests;
