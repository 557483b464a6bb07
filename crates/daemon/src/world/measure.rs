//! How the guest's outage is measured: its agent sends probes, and is told when a phase begins.
//!
//! The agent keeps the counts, by its own clock. Whichever host asks is told all of them, so the destination goes on with what
//! the source began, and a question that is lost makes no more of a difference than that its phase counts with the one before.
//! All of it is the guest's word: bounded here, and shown as that. Nothing waits for it longer than [`PATIENCE`], and nothing
//! fails for it.

use std::{net::IpAddr, path::Path, time::Duration};

use godwit_api::agent::v1 as api;
use godwit_coordinator::Job;
use godwit_migration::{
    Brief, Event, MacAddress, Measured, PairMeasured, Phase, PhaseMeasured, ProbeKind, Ways, measured,
};
use tracing::debug;

use super::{RealWorld, Work, channel_in, open_channel_of, teamed::teamed_with};
use crate::agent::{self, AgentError, Agents, Question};

/// How long the agents of one guest may take for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// More pairs are not measured, and more parts of a record do not count.
const MOST_PAIRS: usize = 8;
const MOST_PARTS: usize = 32;

/// A record ends by itself after half an hour; no agent can have sent more.
const MOST_SECONDS: u64 = 1860;

impl RealWorld {
    /// Tells the agent that the phase begins, if that is of interest; what was counted before.
    pub(super) async fn measure_from(&self, job: &Job, phase: Phase) -> Option<Measured> {
        // A transfer that an earlier process began may be in its switch-over: libvirt is asked nothing that could wait.
        let quiet = job.taken_up && phase == Phase::Transfer;
        match job.brief.probes > 0 && measured::is_counted(job.state) && !quiet {
            true => self.ask_all(job, phase, false).await,
            false => None,
        }
    }

    /// Lets the agent end, if nothing more is to be counted for now; all that was counted.
    pub(super) async fn measure_until(&self, job: &Job, phase: Phase, event: &Event) -> Option<Measured> {
        let done = matches!(event, Event::Done(_));
        match job.brief.probes > 0 && measured::is_over(&job.brief, job.state, done) {
            true => self.ask_all(job, phase, true).await,
            false => None,
        }
    }

    async fn ask_all(&self, job: &Job, phase: Phase, end: bool) -> Option<Measured> {
        let asked = async {
            let devices = self.devices(&job.brief).await?;
            // Of a guest that needs no agent it is no news that it has none.
            let teamed = |pair| teamed_with(&devices, pair).is_some();
            if open_channel_of(&devices).is_none() && job.brief.pairs.iter().all(teamed) {
                return Work::Ok(Measured::not(format!("no agent has {} open", agent::CHANNEL)));
            }
            let path = channel_in(&devices, &job.brief)?;
            Work::Ok(self.ask_pairs(&path, &job.brief, phase, end).await)
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(measured)) => Some(measured),
            // That the guest has left, or has no channel, the phase itself tells.
            Ok(Err(_)) => None,
            Err(_) => Some(Measured::not(format!(
                "the agent did not answer within {} s at {phase}",
                PATIENCE.as_secs()
            ))),
        }
    }

    async fn ask_pairs(&self, path: &Path, brief: &Brief, phase: Phase, end: bool) -> Measured {
        let mut all = Measured::default();
        for pair in brief.pairs.iter().take(MOST_PAIRS) {
            let question = Question {
                pair: pair.mac,
                record: &brief.id,
                part: phase.name(),
                per_second: brief.probes,
                end,
            };
            match ask(&self.agents, path, question).await {
                Ok(counted) => all.pairs.extend(counted),
                Err(why) => {
                    debug!(migration = %brief.id, pair = %pair.mac, "not measured: {why}");
                    all.not_measured = Some(why);
                }
            }
        }
        all
    }
}

async fn ask(agents: &Agents, path: &Path, question: Question<'_>) -> Result<Option<PairMeasured>, String> {
    let pair = question.pair;
    match agents.measure(path, question, PATIENCE).await {
        Ok(told) if !told.known => Ok(None),
        Ok(told) => counted(pair, &told)
            .map(Some)
            .ok_or("the agent's counts cannot be".into()),
        Err(error) if error.is_unsupported() => {
            Err("the agent is older than this, and measures nothing".into())
        }
        Err(AgentError::Refused { detail, .. }) => Err(format!("the agent measures nothing: {detail}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What an agent counted; none if no agent that counts can have said so. Parts of other names are left out.
pub(crate) fn counted(mac: MacAddress, told: &api::Measured) -> Option<PairMeasured> {
    let mut pair = PairMeasured {
        mac,
        target: told.target.parse::<IpAddr>().ok()?.to_string(),
        kind: match told.kind() {
            api::ProbeKind::Arp => ProbeKind::Arp,
            api::ProbeKind::Nd => ProbeKind::Nd,
            api::ProbeKind::Echo => ProbeKind::Echo,
            api::ProbeKind::Reflector => ProbeKind::Reflector,
            api::ProbeKind::Unspecified => return None,
        },
        per_second: told.per_second,
        phases: Vec::new(),
    };
    if told.parts.len() > MOST_PARTS || told.per_second > Brief::MOST_PROBES {
        return None;
    }
    let most = u64::from(told.per_second) * MOST_SECONDS;
    for part in &told.parts {
        let fits = |count| count <= most;
        let settled = part.answered.checked_add(part.lost)?;
        if !fits(part.sent) || settled > part.sent || !fits(part.duplicated) {
            return None;
        }
        let ways = Ways::of(part.lost, part.lost_there, part.lost_back)?;
        let phase = Phase::ALL.into_iter().find(|phase| phase.name() == part.name);
        if let Some(phase) = phase {
            pair.add(PhaseMeasured {
                phase,
                sent: part.sent,
                answered: part.answered,
                lost: part.lost,
                duplicated: part.duplicated,
                longest_gap_ms: part.longest_gap_ms,
                ways: Some(ways).filter(|_| pair.kind == ProbeKind::Reflector),
            });
        }
    }
    Some(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac() -> MacAddress {
        "52:54:00:aa:00:10".parse().unwrap()
    }

    fn told() -> api::Measured {
        let part = |name: &str, sent, answered, lost| api::MeasuredPart {
            name: name.into(),
            sent,
            answered,
            lost,
            duplicated: 1,
            longest_gap_ms: 40,
            lost_there: lost,
            lost_back: 0,
        };
        api::Measured {
            known: true,
            target: "10.77.0.1".into(),
            kind: api::ProbeKind::Arp.into(),
            per_second: 100,
            running: true,
            parts: vec![
                part("unplug", 50, 48, 1),
                part("lunch", 5, 5, 0),
                part("plug", 10, 10, 0),
                part("unplug", 5, 5, 0),
            ],
        }
    }

    #[test]
    fn the_guests_counts_are_taken_by_phase() {
        let pair = counted(mac(), &told()).unwrap();
        let phases: Vec<_> = pair
            .phases
            .iter()
            .map(|phase| (phase.phase, phase.sent, phase.lost))
            .collect();
        assert_eq!(phases, [(Phase::Unplug, 55, 1), (Phase::Plug, 10, 0)]);
        assert_eq!((pair.kind, pair.per_second), (ProbeKind::Arp, 100));
        assert!(pair.phases.iter().all(|phase| phase.ways.is_none()));
    }

    #[test]
    fn which_way_is_taken_of_a_reflector_alone() {
        let mut told = told();
        told.kind = api::ProbeKind::Reflector.into();
        let pair = counted(mac(), &told).unwrap();
        let ways: Vec<_> = pair.phases.iter().map(|phase| phase.ways).collect();
        assert_eq!(ways, [Ways::of(1, 1, 0), Ways::of(0, 0, 0)]);
        assert_eq!(pair.kind, ProbeKind::Reflector);
    }

    #[test]
    fn counts_that_cannot_be_are_not_taken() {
        let wrong = |change: &dyn Fn(&mut api::Measured)| {
            let mut told = told();
            change(&mut told);
            assert_eq!(counted(mac(), &told), None, "{told:?}");
        };
        wrong(&|told| told.target = "\x1b[2J".into());
        wrong(&|told| told.kind = 9);
        wrong(&|told| told.per_second = 1001);
        wrong(&|told| told.parts[0].lost = 3);
        wrong(&|told| told.parts[0].answered = u64::MAX);
        wrong(&|told| told.parts[0].lost_back = 1);
        wrong(&|told| told.parts[0].lost_there = u64::MAX);
        wrong(&|told| told.parts[0].sent = 186_001);
        wrong(&|told| told.parts[0].duplicated = u64::MAX);
        wrong(&|told| told.parts = vec![api::MeasuredPart::default(); 33]);
    }
}
