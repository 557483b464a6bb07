//! The counts of one record: what was sent in each part, what of it was answered, what was lost, and the longest time
//! without an answer. Pure; times are counted from the record's begin.

use std::collections::VecDeque;
use std::time::Duration;

use godwit_api::agent::v1::MeasuredPart;

/// A probe that has no answer by then is lost.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// Bounds: parts, and probes that are remembered (a second's worth at the highest rate).
const MAX_PARTS: usize = 32;
const MAX_REMEMBERED: usize = 1024;

/// Which probe an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// It carries the probe's number.
    Number(u16),
    /// Its kind carries none (ARP, neighbour discovery): that whose time fits best.
    Unnumbered,
}

/// All that was counted.
#[derive(Debug, Default)]
pub(super) struct Record {
    parts: Vec<Part>,
    /// Of the last second, oldest first.
    remembered: VecDeque<Probe>,
    next_number: u16,
    /// How long an answer takes; none before the first one.
    round_trip: Option<Duration>,
    /// When the last answer came, and in which part; or when sending began.
    silent_since: (Duration, usize),
    sending: bool,
}

#[derive(Debug, Default)]
struct Part {
    name: String,
    sent: u64,
    answered: u64,
    lost: u64,
    duplicated: u64,
    longest_gap: Duration,
}

#[derive(Debug)]
struct Probe {
    number: u16,
    at: Duration,
    part: usize,
    answered: bool,
}

impl Record {
    /// Sending begins, or begins again: the time without was no gap.
    pub(super) fn begin(&mut self, at: Duration) {
        self.sending = true;
        self.silent_since = (at, self.last());
    }

    /// Nothing is sent any more; what is on its way may still be answered.
    pub(super) fn end(&mut self, at: Duration) {
        if std::mem::take(&mut self.sending) {
            self.gap(at);
        }
    }

    /// What is sent from now on counts for the part of that name.
    pub(super) fn mark(&mut self, name: &str) {
        let same = self.parts.last().is_some_and(|last| last.name == name);
        if !name.is_empty() && !same && self.parts.len() < MAX_PARTS {
            self.parts.push(Part {
                name: name.to_owned(),
                ..Part::default()
            });
        }
    }

    /// Counts a probe and gives its number. None: it is not to be sent now, because before the first answer that of one
    /// without a number could not be told from another's.
    pub(super) fn send(&mut self, at: Duration, numbered: bool) -> Option<u16> {
        self.expire(at);
        let unsure = !numbered && self.round_trip.is_none() && self.is_awaited();
        if unsure || self.remembered.len() >= MAX_REMEMBERED {
            return None;
        }
        self.mark_first();
        let (number, part) = (self.next_number, self.last());
        self.next_number = number.wrapping_add(1);
        self.count(part, |part| part.sent += 1);
        self.remembered.push_back(Probe {
            number,
            at,
            part,
            answered: false,
        });
        Some(number)
    }

    /// Takes an answer in. One that comes after its probe was lost is nobody's.
    pub(super) fn answer(&mut self, at: Duration, which: Which) {
        self.expire(at);
        let Some(index) = self.probe_of(at, which) else {
            return;
        };
        let Some(probe) = self.remembered.get_mut(index) else {
            return;
        };
        let (part, again) = (probe.part, std::mem::replace(&mut probe.answered, true));
        let took = at.saturating_sub(probe.at);
        if again {
            self.count(part, |part| part.duplicated += 1);
            return;
        }
        let before = self.round_trip.unwrap_or(took);
        self.round_trip = Some((before * 7 + took) / 8);
        self.count(part, |part| part.answered += 1);
        if self.sending {
            self.gap(at);
        }
        self.silent_since = (at, self.last());
    }

    /// Whether a probe is neither answered nor lost.
    pub(super) fn is_awaited(&self) -> bool {
        self.remembered.iter().any(|probe| !probe.answered)
    }

    /// What is too old to be answered is lost.
    pub(super) fn expire(&mut self, at: Duration) {
        while let Some(probe) = self.remembered.front() {
            if at.saturating_sub(probe.at) < WINDOW {
                return;
            }
            let (part, answered) = (probe.part, probe.answered);
            self.remembered.pop_front();
            if !answered {
                self.count(part, |part| part.lost += 1);
            }
        }
    }

    /// How long nobody has answered.
    pub(super) fn silence(&self, at: Duration) -> Duration {
        at.saturating_sub(self.silent_since.0)
    }

    /// The parts as they are now, a gap that goes on included.
    pub(super) fn parts(&mut self, at: Duration) -> Vec<MeasuredPart> {
        self.expire(at);
        if self.sending {
            self.gap(at);
        }
        let part = |part: &Part| MeasuredPart {
            name: part.name.clone(),
            sent: part.sent,
            answered: part.answered,
            lost: part.lost,
            duplicated: part.duplicated,
            longest_gap_ms: part.longest_gap.as_millis().try_into().unwrap_or(u32::MAX),
        };
        self.parts.iter().map(part).collect()
    }

    /// A silence until then counts for every part that it reaches into.
    fn gap(&mut self, until: Duration) {
        let (since, first) = self.silent_since;
        let gap = until.saturating_sub(since);
        for part in self.parts.iter_mut().skip(first) {
            part.longest_gap = part.longest_gap.max(gap);
        }
    }

    /// The one of that number, answered or not. Without numbers: of those that wait, the one that was sent a round trip
    /// before, and of two as near the older; where none waits the answer is one too many of the newest.
    fn probe_of(&self, at: Duration, which: Which) -> Option<usize> {
        let probes = || self.remembered.iter().enumerate();
        match which {
            Which::Number(number) => probes()
                .find(|(_, probe)| probe.number == number)
                .map(|(index, _)| index),
            Which::Unnumbered => {
                let sent = at.saturating_sub(self.round_trip.unwrap_or_default());
                let waits = probes().filter(|(_, probe)| !probe.answered);
                let nearest = waits.min_by_key(|(_, probe)| probe.at.abs_diff(sent));
                let newest = self.remembered.len().checked_sub(1);
                nearest.map(|(index, _)| index).or(newest)
            }
        }
    }

    fn mark_first(&mut self) {
        if self.parts.is_empty() {
            self.parts.push(Part::default());
        }
    }

    fn last(&self) -> usize {
        self.parts.len().saturating_sub(1)
    }

    fn count(&mut self, part: usize, how: impl FnOnce(&mut Part)) {
        if let Some(part) = self.parts.get_mut(part) {
            how(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What a run of 100 probes a second comes to: those of `lost` get no answer, all others one after `round_trip`.
    fn run(numbered: bool, count: u64, round_trip: u64, lost: impl Fn(u64) -> bool) -> Record {
        let mut record = Record::default();
        record.mark("fail-over");
        record.begin(ms(0));
        let mut answers: VecDeque<(u64, u16)> = VecDeque::new();
        let hear = |record: &mut Record, until: u64, answers: &mut VecDeque<(u64, u16)>| {
            while answers.front().is_some_and(|(at, _)| *at <= until) {
                let (at, number) = answers.pop_front().unwrap();
                let which = match numbered {
                    true => Which::Number(number),
                    false => Which::Unnumbered,
                };
                record.answer(ms(at), which);
            }
        };
        for at in (0..count * 10).step_by(10) {
            hear(&mut record, at, &mut answers);
            if let Some(number) = record.send(ms(at), numbered)
                && !lost(at)
            {
                answers.push_back((at + round_trip, number));
            }
        }
        hear(&mut record, u64::MAX, &mut answers);
        record.end(ms(count * 10));
        record.expire(ms(count * 10 + 2000));
        record
    }

    fn told(mut record: Record) -> (u64, u64, u64, u64, u32) {
        let parts = record.parts(ms(1_000_000));
        let [part] = &parts[..] else { panic!("{parts:?}") };
        (
            part.sent,
            part.answered,
            part.lost,
            part.duplicated,
            part.longest_gap_ms,
        )
    }

    #[test]
    fn all_is_answered_with_numbers_and_without() {
        for (numbered, round_trip) in [(true, 1), (true, 37), (false, 1), (false, 9)] {
            let (sent, answered, lost, duplicated, gap) = told(run(numbered, 500, round_trip, |_| false));
            assert_eq!(
                (sent, answered, lost, duplicated),
                (500, 500, 0, 0),
                "{round_trip}"
            );
            assert_eq!(gap, 10.max(u32::try_from(round_trip).unwrap()));
        }
        // Without numbers nothing more is sent before the first answer.
        let (sent, answered, lost, duplicated, gap) = told(run(false, 500, 37, |_| false));
        assert_eq!((sent, answered, lost, duplicated, gap), (497, 497, 0, 0, 40));
    }

    /// A port that is down for a second, and single losses.
    #[test]
    fn what_is_lost_is_counted_and_the_gap_is_as_long_as_it_was() {
        for (numbered, round_trip) in [(true, 2), (false, 2), (false, 33), (true, 33)] {
            let down = |at: u64| (2000..3000).contains(&at);
            let (sent, answered, lost, duplicated, gap) = told(run(numbered, 500, round_trip, down));
            assert_eq!((sent - answered, lost, duplicated), (100, 100, 0), "{round_trip}");
            assert_eq!(gap, 1010);
            let (sent, answered, lost, duplicated, gap) =
                told(run(numbered, 500, round_trip, |at| at % 1000 == 500));
            assert_eq!((sent - answered, lost, duplicated), (5, 5, 0), "{round_trip}");
            // At 33 ms: the first is waited for.
            assert!((20..=40).contains(&gap), "{gap}");
        }
    }

    /// Also when it was the first: the next is sent when it is lost.
    #[test]
    fn a_target_that_answers_nothing_is_asked_once_a_second_and_all_of_it_is_a_gap() {
        assert_eq!(told(run(false, 500, 1, |_| true)), (5, 0, 5, 0, 5000));
        assert_eq!(told(run(true, 500, 1, |_| true)), (500, 0, 500, 0, 5000));
    }

    #[test]
    fn answers_too_many_are_told() {
        let mut record = Record::default();
        record.begin(ms(0));
        let number = record.send(ms(0), true).unwrap();
        for _ in 0..3 {
            record.answer(ms(1), Which::Number(number));
        }
        // Nobody's.
        record.answer(ms(1), Which::Number(77));
        record.end(ms(5));
        assert_eq!(told(record), (1, 1, 0, 2, 4));
        let mut record = Record::default();
        record.begin(ms(0));
        record.answer(ms(0), Which::Unnumbered);
        record.send(ms(0), false).unwrap();
        for _ in 0..2 {
            record.answer(ms(1), Which::Unnumbered);
        }
        record.end(ms(1));
        assert_eq!(told(record), (1, 1, 0, 1, 1));
    }

    /// The probe counts where it was sent; a silence counts in every part that it reaches into.
    #[test]
    fn parts_have_their_own() {
        let mut record = Record::default();
        record.mark("unplug");
        record.begin(ms(0));
        let first = record.send(ms(0), true).unwrap();
        record.mark("transfer");
        record.mark("transfer");
        record.mark("");
        record.answer(ms(300), Which::Number(first));
        let second = record.send(ms(300), true).unwrap();
        record.mark("plug");
        record.answer(ms(400), Which::Number(second));
        let told: Vec<_> = record.parts(ms(450)).into_iter().collect();
        let told: Vec<_> = told
            .iter()
            .map(|part| (part.name.as_str(), part.sent, part.answered, part.longest_gap_ms))
            .collect();
        let expected = [
            ("unplug", 1, 1, 300),
            ("transfer", 1, 1, 300),
            ("plug", 0, 0, 100),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_pause_of_the_record_is_no_gap() {
        let mut record = Record::default();
        record.begin(ms(0));
        let number = record.send(ms(0), true).unwrap();
        record.answer(ms(1), Which::Number(number));
        record.end(ms(10));
        record.begin(ms(60_000));
        let number = record.send(ms(60_000), true).unwrap();
        record.answer(ms(60_002), Which::Number(number));
        record.end(ms(60_003));
        assert_eq!(told(record), (2, 2, 0, 0, 9));
    }

    #[test]
    fn everything_has_a_bound() {
        let mut record = Record::default();
        for part in 0..100 {
            record.mark(&part.to_string());
        }
        record.begin(ms(0));
        let sent = (0..5000).filter(|_| record.send(ms(1), true).is_some()).count();
        assert_eq!(sent, MAX_REMEMBERED);
        assert_eq!(record.parts(ms(2)).len(), MAX_PARTS);
        assert_eq!(record.parts(ms(2)).last().unwrap().name, "31");
    }
}
