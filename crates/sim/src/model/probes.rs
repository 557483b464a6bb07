//! What a guest's agent would count: the guest asks its gateway so many times a second, and is answered while the packet
//! model shows a path. Worked out from the time that passes between deeds, not sent one by one.

use std::time::Duration;

use godwit_migration::{Brief, Measured, PairMeasured, Phase, PhaseMeasured, ProbeKind};
use tokio::time::Instant;

use super::{GuestId, Model};

/// The pretend gateway.
const GATEWAY: &str = "10.77.0.1";

/// The record of one guest; it goes where the guest goes.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    record: String,
    per_second: u32,
    running: bool,
    /// Up to here the time has been counted.
    since: Instant,
    /// How long there has been no path, and in how many parts.
    silence: (Duration, usize),
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    phase: Phase,
    /// While the guest ran, with a path and without.
    with_path: Duration,
    without: Duration,
    longest: Duration,
}

impl Model {
    /// As the agent, told that a phase begins.
    pub(crate) fn probe_from(&mut self, guest: GuestId, brief: &Brief, phase: Phase) {
        self.pass_time(guest);
        let new = || Probing {
            record: brief.id.clone(),
            per_second: brief.probes.max(1),
            running: true,
            since: Instant::now(),
            silence: (Duration::ZERO, 1),
            parts: Vec::new(),
        };
        let probing = self.probing.entry(guest).or_insert_with(new);
        if probing.record != brief.id {
            *probing = new();
        }
        (probing.running, probing.since) = (true, Instant::now());
        if probing.parts.last().is_none_or(|last| last.phase != phase) {
            probing.silence.1 += 1;
            probing.parts.push(Part {
                phase,
                with_path: Duration::ZERO,
                without: Duration::ZERO,
                longest: Duration::ZERO,
            });
        }
    }

    /// As the agent, told to end.
    pub(crate) fn probe_until(&mut self, guest: GuestId) {
        self.pass_time(guest);
        if let Some(probing) = self.probing.get_mut(&guest) {
            (probing.running, probing.silence) = (false, (Duration::ZERO, 1));
        }
    }

    /// Before anything changes: what was until now counts as it was. A guest that is paused sends nothing, and its clock
    /// stands still.
    pub(crate) fn pass_time(&mut self, guest: GuestId) {
        let now = Instant::now();
        let way = match self.running_on(guest)[..] {
            [at] => Some(self.path(guest, at).is_ok()),
            _ => None,
        };
        let Some(probing) = self.probing.get_mut(&guest) else {
            return;
        };
        let passed = now.saturating_duration_since(std::mem::replace(&mut probing.since, now));
        let (Some(way), true) = (way, probing.running) else {
            return;
        };
        let Some(last) = probing.parts.last_mut() else {
            return;
        };
        if way {
            last.with_path += passed;
            probing.silence = (Duration::ZERO, 1);
        } else {
            last.without += passed;
            probing.silence.0 += passed;
            for part in probing.parts.iter_mut().rev().take(probing.silence.1) {
                part.longest = part.longest.max(probing.silence.0);
            }
        }
    }

    /// All that was counted for the migration.
    pub(crate) fn probed(&self, guest: GuestId, brief: &Brief) -> Option<Measured> {
        let probing = self
            .probing
            .get(&guest)
            .filter(|probing| probing.record == brief.id)?;
        let pairs = brief.pairs.iter().map(|pair| {
            let mut measured = PairMeasured {
                mac: pair.mac,
                target: GATEWAY.into(),
                kind: ProbeKind::Arp,
                per_second: probing.per_second,
                phases: Vec::new(),
            };
            probing
                .parts
                .iter()
                .for_each(|part| measured.add(probing.counted(part)));
            measured
        });
        Some(Measured {
            pairs: pairs.collect(),
            not_measured: None,
        })
    }
}

impl Probing {
    fn counted(&self, part: &Part) -> PhaseMeasured {
        let probes = |time: Duration| {
            u64::try_from(time.as_millis() * u128::from(self.per_second) / 1000).unwrap_or(u64::MAX)
        };
        let (answered, lost) = (probes(part.with_path), probes(part.without));
        // Also with a path nobody answers between two probes.
        let between = Duration::from_secs(1) / self.per_second;
        let gap = match answered + lost {
            0 => Duration::ZERO,
            _ => part.longest + between,
        };
        PhaseMeasured {
            phase: part.phase,
            sent: answered + lost,
            answered,
            lost,
            duplicated: 0,
            longest_gap_ms: gap.as_millis().try_into().unwrap_or(u32::MAX),
            ways: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use godwit_migration::{Pair, Policy, Role};

    use super::*;
    use crate::{
        layout::Layout,
        model::{Domain, Port},
    };

    fn brief(model: &Model) -> Brief {
        let guest = model.guests[0].id.clone();
        let pair = Pair {
            mac: model.guests[0].pairs[0].mac,
            primary_mac: model.guests[0].pairs[0].mac,
            standby: String::new(),
            primary: String::new(),
            pool: String::new(),
            source_vf: None,
            destination_vf: None,
            profile: None,
        };
        Brief {
            id: "m".into(),
            role: Role::Source,
            guest,
            source: "alpha".into(),
            destination: "beta".into(),
            pairs: vec![pair],
            policy: Policy::Require,
            sticky: false,
            teamed: false,
            nodes: Vec::new(),
            probes: 100,
            keep: Default::default(),
            options: Default::default(),
        }
    }

    fn counted(model: &Model, brief: &Brief) -> Vec<(Phase, u64, u64, u32)> {
        let measured = model.probed(0, brief).unwrap();
        let phases = measured.pairs[0].phases.iter();
        phases
            .map(|part| (part.phase, part.sent, part.lost, part.longest_gap_ms))
            .collect()
    }

    /// A guest whose bond goes to a port that carries nothing loses what it sends, and the pause counts for nothing.
    #[tokio::test(start_paused = true)]
    async fn what_the_packet_model_loses_is_lost() {
        let pass = async |model: &mut Model, ms| {
            tokio::time::advance(Duration::from_millis(ms)).await;
            model.pass_time(0);
        };
        let mut model = Layout::new(2, 1).build();
        let brief = brief(&model);
        let at = model.running_on(0)[0];
        model.probe_from(0, &brief, Phase::FailOver);
        pass(&mut model, 2000).await;
        assert_eq!(counted(&model, &brief), [(Phase::FailOver, 200, 0, 10)]);
        // Sends by the standby while the switch still gives its frames to the VF.
        model.ports_mut(0, at).unwrap()[0].active = Port::Standby;
        pass(&mut model, 400).await;
        model.probe_from(0, &brief, Phase::Unplug);
        pass(&mut model, 600).await;
        let expected = [(Phase::FailOver, 240, 40, 1010), (Phase::Unplug, 60, 60, 1010)];
        assert_eq!(counted(&model, &brief), expected);
        model.ports_mut(0, at).unwrap()[0].active = Port::Vf;
        pass(&mut model, 100).await;
        model.guests[0].at.get_mut(&at).unwrap().domain = Domain::Paused;
        pass(&mut model, 5000).await;
        model.guests[0].at.get_mut(&at).unwrap().domain = Domain::Running;
        pass(&mut model, 100).await;
        model.probe_until(0);
        pass(&mut model, 9000).await;
        assert_eq!(counted(&model, &brief)[1], (Phase::Unplug, 80, 60, 1010));
    }
}
