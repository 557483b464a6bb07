//! The counts of one record: what was sent in each part, what of it was answered, what was lost and which way, and the longest time
//! without an answer. Pure; times are counted from the record's begin.
//!
//! Which way a probe was lost is the reflector's word: when it answered a later one it had received the lost one, or had not. Its word on
//! a probe that is still waited for counts when that is lost, and its word on a lost one counts once, so no words of its make more of them
//! than were lost. "Received" is never taken back: questions overtake each other, and an answer knows of those alone that came before it.

use std::collections::VecDeque;
use std::time::Duration;

use godwit_api::agent::v1::MeasuredPart;
use godwit_wire::reflect::{self, Answer};

/// A probe that has no answer by then is lost.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// Bounds: parts, probes that are remembered (a second's worth at the highest rate), and lost ones that an answer may still tell of.
const MAX_PARTS: usize = 32;
const MAX_REMEMBERED: usize = 1024;
const MAX_ASTRAY: usize = 1024;
const _: () = assert!(MAX_ASTRAY as u64 == reflect::REACH, "no answer tells of more");

/// Which probe an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// It carries the last 16 bits of the probe's number.
    Number(u16),
    /// Its kind carries none (ARP, neighbour discovery): that whose time fits best.
    Unnumbered,
    /// It carries the whole number, and tells of others.
    Reflected(Answer),
}

/// All that was counted.
#[derive(Debug, Default)]
pub(super) struct Record {
    parts: Vec<Part>,
    /// Of the last second, oldest first.
    remembered: VecDeque<Probe>,
    /// Lost, and which way is not known: the number and the part of each, oldest first.
    astray: VecDeque<(u64, usize)>,
    next_number: u64,
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
    lost_there: u64,
    lost_back: u64,
    duplicated: u64,
    longest_gap: Duration,
}

#[derive(Debug)]
struct Probe {
    number: u64,
    at: Duration,
    part: usize,
    answered: bool,
    /// Whether the reflector has received it; none: no answer tells.
    received: Option<bool>,
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
    pub(super) fn send(&mut self, at: Duration, numbered: bool) -> Option<u64> {
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
            received: None,
        });
        Some(number)
    }

    /// Takes an answer in. One that comes after its probe was lost is nobody's, and tells of the others all the same.
    pub(super) fn answer(&mut self, at: Duration, which: &Which) {
        self.expire(at);
        if let Which::Reflected(answer) = which {
            self.learn(answer);
        }
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
            let (number, part, received) = (probe.number, probe.part, probe.received);
            let answered = probe.answered;
            self.remembered.pop_front();
            if !answered {
                self.lose(number, part, received);
            }
        }
    }

    fn lose(&mut self, number: u64, part: usize, received: Option<bool>) {
        self.count(part, |part| part.lost += 1);
        match received {
            Some(received) => self.astray_no_more(part, received),
            None => self.astray.push_back((number, part)),
        }
        if self.astray.len() > MAX_ASTRAY {
            self.astray.pop_front();
        }
    }

    /// Which way one was lost.
    fn astray_no_more(&mut self, part: usize, received: bool) {
        self.count(part, |part| match received {
            true => part.lost_back += 1,
            false => part.lost_there += 1,
        });
    }

    /// What an answer tells of probes that have none. One to what was never asked is a lie.
    fn learn(&mut self, answer: &Answer) {
        if answer.number >= self.next_number {
            return;
        }
        for probe in self.remembered.iter_mut().filter(|probe| !probe.answered) {
            let before = probe.received.filter(|received| *received);
            probe.received = before.or(answer.tells(probe.number)).or(probe.received);
        }
        for (number, part) in std::mem::take(&mut self.astray) {
            match answer.tells(number) {
                Some(received) => self.astray_no_more(part, received),
                None => self.astray.push_back((number, part)),
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
            lost_there: part.lost_there,
            lost_back: part.lost_back,
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
    fn probe_of(&self, at: Duration, which: &Which) -> Option<usize> {
        let probes = || self.remembered.iter().enumerate();
        match which {
            Which::Number(number) => probes()
                .find(|(_, probe)| low(probe.number) == *number)
                .map(|(index, _)| index),
            Which::Reflected(answer) => probes()
                .find(|(_, probe)| probe.number == answer.number)
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

/// What an echo carries of a number.
pub(super) fn low(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or_default()
}

#[cfg(test)]
mod tests;
