//! What the guest's own probes came to while it was moved, counted by its agent, phase by phase: round trips, and where a reflector was
//! asked which way each was lost.

use serde::{Deserialize, Serialize};

use crate::{Brief, Course, MacAddress, Phase, State};

/// What was measured. All of it is the guest's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// In the order of the brief.
    pub pairs: Vec<PairMeasured>,
    /// Why it, or a part of it, was not measured, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_measured: Option<String>,
}

/// What a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// An ARP request.
    Arp,
    /// A neighbour solicitation.
    Nd,
    /// An ICMP or ICMPv6 echo request.
    Echo,
    /// A question to a reflector, by UDP.
    Reflector,
}

/// The probes of one pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairMeasured {
    /// The pair's name.
    pub mac: MacAddress,
    /// IP address of who was asked.
    pub target: String,
    /// How.
    pub kind: ProbeKind,
    /// Probes a second.
    pub per_second: u32,
    /// In the order in which they were begun; no phase twice.
    pub phases: Vec<PhaseMeasured>,
}

/// The probes that were sent in one phase, over all attempts at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseMeasured {
    /// Which.
    pub phase: Phase,
    /// How many.
    pub sent: u64,
    /// Of them; what is neither answered nor lost was on its way when this was told.
    pub answered: u64,
    /// Not answered within a second.
    pub lost: u64,
    /// Answers too many.
    pub duplicated: u64,
    /// The longest time without an answer, milliseconds by the guest's clock, which stands still in its pause.
    pub longest_gap_ms: u32,
    /// Which way they were lost; none: only round trips were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways: Option<Ways>,
}

/// Of what was lost, by the word of the reflector that was asked. Of the rest it has not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ways {
    /// It has not received them.
    pub there: u64,
    /// It has received them, and its answer was not back within a second.
    pub back: u64,
}

impl Ways {
    /// None: more than were lost.
    pub fn of(lost: u64, there: u64, back: u64) -> Option<Ways> {
        let both = there.checked_add(back)?;
        (both <= lost).then_some(Ways { there, back })
    }

    /// With those of another attempt.
    fn and(self, other: Ways) -> Ways {
        Ways {
            there: self.there + other.there,
            back: self.back + other.back,
        }
    }
}

impl Measured {
    /// Nothing was counted, for that reason.
    pub fn not(why: impl Into<String>) -> Measured {
        Measured {
            pairs: Vec::new(),
            not_measured: Some(why.into()),
        }
    }

    /// With what was told later: that counts, as far as it goes. What is told is cumulative, unless the agent was started
    /// again meanwhile.
    pub fn and(mut self, later: &Measured) -> Measured {
        for new in &later.pairs {
            match self.pairs.iter_mut().find(|pair| pair.mac == new.mac) {
                None => self.pairs.push(new.clone()),
                Some(pair) => {
                    let before = std::mem::replace(pair, new.clone());
                    let again = |old: &PhaseMeasured| new.phases.iter().any(|new| new.phase == old.phase);
                    let mut phases: Vec<_> = before.phases.into_iter().filter(|old| !again(old)).collect();
                    phases.append(&mut pair.phases);
                    pair.phases = phases;
                }
            }
        }
        self.not_measured.clone_from(&later.not_measured);
        self
    }
}

impl PairMeasured {
    /// Takes in one attempt at a phase.
    pub fn add(&mut self, new: PhaseMeasured) {
        match self.phases.iter_mut().find(|old| old.phase == new.phase) {
            None => self.phases.push(new),
            Some(old) => {
                old.sent += new.sent;
                old.answered += new.answered;
                old.lost += new.lost;
                old.duplicated += new.duplicated;
                old.longest_gap_ms = old.longest_gap_ms.max(new.longest_gap_ms);
                old.ways = match (old.ways, new.ways) {
                    (Some(old), Some(new)) => Some(old.and(new)),
                    (one, other) => one.or(other),
                };
            }
        }
    }
}

/// Whether what is sent while this is worked on counts for its phase. What rests was ended when it failed, and what a phase
/// between these sends counts for the one before.
pub fn is_counted(state: State) -> bool {
    let phase = matches!(
        state.phase(),
        Some(Phase::FailOver | Phase::Unplug | Phase::Transfer | Phase::Plug | Phase::FailBack)
    );
    phase && matches!(state, State::Work(..))
}

/// Nothing more happens to the guest's traffic for now, once this was worked on: it is on its VF, or rests, or stays on
/// its standby.
pub fn is_over(brief: &Brief, state: State, done: bool) -> bool {
    let State::Work(course, phase) = state else {
        // All that was counted before it rested.
        return done && state.phase() == Some(Phase::FailBack);
    };
    match phase {
        Phase::FailBack => true,
        Phase::Unplug if matches!(course, Course::Withdraw | Course::Halt) => true,
        Phase::Plug | Phase::Unplug => !done,
        Phase::Await => done && brief.pairs_here().is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guest, Pair, Policy, Role};

    fn phase(phase: Phase, sent: u64, gap: u32) -> PhaseMeasured {
        PhaseMeasured {
            phase,
            sent,
            answered: sent,
            lost: 0,
            duplicated: 0,
            longest_gap_ms: gap,
            ways: None,
        }
    }

    fn pair(phases: &[PhaseMeasured]) -> PairMeasured {
        PairMeasured {
            mac: "52:54:00:aa:00:10".parse().unwrap(),
            target: "10.77.0.1".into(),
            kind: ProbeKind::Arp,
            per_second: 100,
            phases: phases.to_vec(),
        }
    }

    fn of(phases: &[PhaseMeasured]) -> Measured {
        Measured {
            pairs: vec![pair(phases)],
            not_measured: None,
        }
    }

    #[test]
    fn what_is_told_later_counts_and_what_it_lacks_is_kept() {
        let early = of(&[phase(Phase::FailOver, 10, 9), phase(Phase::Unplug, 3, 8)]);
        let later = of(&[phase(Phase::FailOver, 10, 9), phase(Phase::Unplug, 20, 12)]);
        assert_eq!(early.clone().and(&later), later);
        // The agent was started again, and knows nothing of before.
        let anew = of(&[phase(Phase::Plug, 7, 11)]);
        let all = early.clone().and(&anew);
        let phases: Vec<_> = all.pairs[0].phases.iter().map(|phase| phase.phase).collect();
        assert_eq!(phases, [Phase::FailOver, Phase::Unplug, Phase::Plug]);
        let silent = early.clone().and(&Measured::not("silent"));
        assert_eq!(
            (silent.pairs.clone(), silent.not_measured.is_some()),
            (early.pairs.clone(), true)
        );
        assert_eq!(silent.and(&later).not_measured, None);
    }

    #[test]
    fn attempts_at_one_phase_are_one() {
        let mut pair = pair(&[]);
        pair.add(phase(Phase::Plug, 5, 10));
        pair.add(phase(Phase::FailBack, 1, 10));
        pair.add(phase(Phase::Plug, 7, 30));
        assert_eq!(
            pair.phases,
            [phase(Phase::Plug, 12, 30), phase(Phase::FailBack, 1, 10)]
        );
    }

    #[test]
    fn ways_of_attempts_are_added_and_there_are_no_more_than_were_lost() {
        let with = |there, back| PhaseMeasured {
            lost: 9,
            ways: Ways::of(9, there, back),
            ..phase(Phase::Plug, 20, 10)
        };
        let mut pair = pair(&[with(1, 2)]);
        pair.add(with(3, 4));
        assert_eq!(pair.phases[0].ways, Ways::of(18, 4, 6));
        pair.add(phase(Phase::Plug, 1, 10));
        assert_eq!(pair.phases[0].ways, Some(Ways { there: 4, back: 6 }));
        assert_eq!((Ways::of(9, 5, 5), Ways::of(9, u64::MAX, 5)), (None, None));
    }

    /// As it stood there before reflectors were known.
    #[test]
    fn a_journal_of_before_has_round_trips_alone() {
        let old = r#"{"phase":"plug","sent":9,"answered":8,"lost":1,"duplicated":0,"longest_gap_ms":10}"#;
        let read: PhaseMeasured = serde_json::from_str(old).unwrap();
        assert_eq!(read.ways, None);
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
        let ways = PhaseMeasured {
            ways: Ways::of(1, 0, 1),
            ..read
        };
        let written = serde_json::to_string(&ways).unwrap();
        assert_eq!(serde_json::from_str::<PhaseMeasured>(&written).unwrap(), ways);
    }

    fn brief(vf: Option<&str>) -> Brief {
        let mac = "52:54:00:aa:00:10".parse().unwrap();
        Brief {
            id: "m".into(),
            role: Role::Destination,
            guest: Guest {
                name: "web-1".into(),
                uuid: String::new(),
            },
            source: "alpha".into(),
            destination: "beta".into(),
            pairs: vec![Pair {
                mac,
                primary_mac: mac,
                standby: String::new(),
                primary: String::new(),
                pool: String::new(),
                source_vf: None,
                destination_vf: vf.map(|vf| vf.parse().unwrap()),
                profile: None,
            }],
            policy: Policy::Prefer,
            sticky: false,
            teamed: false,
            nodes: Vec::new(),
            probes: 100,
            keep: Default::default(),
            options: crate::Options::default(),
        }
    }

    #[test]
    fn it_ends_with_the_last_phase_that_moves_traffic() {
        let over =
            |course, phase, done| is_over(&brief(Some("0000:01:10.0")), State::Work(course, phase), done);
        assert!(over(Course::Arrive, Phase::FailBack, true) && over(Course::Return, Phase::FailBack, false));
        assert!(over(Course::Withdraw, Phase::Unplug, true));
        assert!(!over(Course::Leave, Phase::Unplug, true) && over(Course::Leave, Phase::Unplug, false));
        assert!(!over(Course::Arrive, Phase::Plug, true) && over(Course::Arrive, Phase::Plug, false));
        assert!(!over(Course::Leave, Phase::FailOver, false) && !over(Course::Leave, Phase::Transfer, true));
        assert!(!over(Course::Arrive, Phase::Await, true));
        assert!(is_over(
            &brief(None),
            State::Work(Course::Arrive, Phase::Await),
            true
        ));
        // What rests was ended when it failed.
        let rests = State::Rest(Course::Arrive, Phase::Plug);
        assert!(!is_over(&brief(None), rests, false) && !is_counted(rests));
        assert!(is_counted(State::Work(Course::Arrive, Phase::Plug)));
        assert!(!is_counted(State::Work(Course::Leave, Phase::Locate)));
    }
}
