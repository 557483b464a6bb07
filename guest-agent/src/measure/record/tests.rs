//! Runs of probes, and what they come to.

use std::net::IpAddr;

use godwit_wire::reflect::{Question, Reflector};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a run of 100 probes a second comes to: those of `lost` get no answer, all others one after `round_trip`.
fn run(numbered: bool, count: u64, round_trip: u64, lost: impl Fn(u64) -> bool) -> Record {
    let mut record = Record::default();
    record.mark("fail-over");
    record.begin(ms(0));
    let mut answers: VecDeque<(u64, u64)> = VecDeque::new();
    let hear = |record: &mut Record, until: u64, answers: &mut VecDeque<(u64, u64)>| {
        while answers.front().is_some_and(|(at, _)| *at <= until) {
            let (at, number) = answers.pop_front().unwrap();
            let which = match numbered {
                true => Which::Number(low(number)),
                false => Which::Unnumbered,
            };
            record.answer(ms(at), &which);
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
        record.answer(ms(1), &Which::Number(low(number)));
    }
    // Nobody's.
    record.answer(ms(1), &Which::Number(77));
    record.end(ms(5));
    assert_eq!(told(record), (1, 1, 0, 2, 4));
    let mut record = Record::default();
    record.begin(ms(0));
    record.answer(ms(0), &Which::Unnumbered);
    record.send(ms(0), false).unwrap();
    for _ in 0..2 {
        record.answer(ms(1), &Which::Unnumbered);
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
    record.answer(ms(300), &Which::Number(low(first)));
    let second = record.send(ms(300), true).unwrap();
    record.mark("plug");
    record.answer(ms(400), &Which::Number(low(second)));
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
    record.answer(ms(1), &Which::Number(low(number)));
    record.end(ms(10));
    record.begin(ms(60_000));
    let number = record.send(ms(60_000), true).unwrap();
    record.answer(ms(60_002), &Which::Number(low(number)));
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

/// A record, and the reflector that it asks.
struct Reflected {
    record: Record,
    reflector: Reflector,
    at: u64,
}

impl Reflected {
    fn new() -> Self {
        let mut record = Record::default();
        record.mark("transfer");
        record.begin(ms(0));
        Self {
            record,
            reflector: Reflector::default(),
            at: 0,
        }
    }

    /// Ten milliseconds later: the next number.
    fn send(&mut self) -> u64 {
        self.at += 10;
        self.record.send(ms(self.at), true).unwrap()
    }

    /// What comes of a question that arrives.
    fn reflect(&mut self, number: u64) -> Answer {
        let question = Question { session: 1, number }.encode();
        let from = IpAddr::from([10, 77, 0, 100]);
        let answer = self.reflector.answer(ms(self.at), from, &question).unwrap();
        Answer::decode(&answer).unwrap()
    }

    fn run(&mut self, count: u64, reaches: impl Fn(u64) -> bool, comes_back: impl Fn(u64) -> bool) {
        for at in 0..count {
            let number = self.send();
            if !reaches(at) {
                continue;
            }
            let answer = self.reflect(number);
            if comes_back(at) {
                self.hear(&answer);
            }
        }
    }

    fn hear(&mut self, answer: &Answer) {
        self.record
            .answer(ms(self.at + 1), &Which::Reflected(answer.clone()));
    }

    /// Of all parts: sent, lost, there, back, twice.
    fn told(&mut self) -> Vec<(u64, u64, u64, u64, u64)> {
        self.at += 2000;
        let parts = self.record.parts(ms(self.at));
        assert!(
            parts
                .iter()
                .all(|part| part.lost_there + part.lost_back <= part.lost),
            "{parts:?}"
        );
        let told = parts.iter().map(|part| {
            (
                part.sent,
                part.lost,
                part.lost_there,
                part.lost_back,
                part.duplicated,
            )
        });
        told.collect()
    }
}

#[test]
fn which_way_each_was_lost_is_known_by_what_is_answered_later() {
    let mut it = Reflected::new();
    it.run(
        300,
        |number| number % 10 != 3,
        |number| number % 10 != 5 && number % 10 != 6,
    );
    assert_eq!(it.told(), [(300, 90, 30, 60, 0)]);
}

/// An outage that is longer than the time after which a probe is lost: nobody answers meanwhile.
#[test]
fn what_was_lost_in_a_long_outage_is_told_by_the_first_answer_after_it() {
    for (there, lost_there, lost_back) in [(true, 250, 0), (false, 0, 250)] {
        let mut it = Reflected::new();
        let down = |number: u64| (20..270).contains(&number);
        it.run(270, |number| !(there && down(number)), |number| !down(number));
        assert_eq!(
            it.record.parts(ms(it.at))[0].lost_there,
            0,
            "nothing has told yet"
        );
        it.record.mark("plug");
        it.run(10, |_| true, |_| true);
        assert_eq!(
            it.told(),
            [(270, 250, lost_there, lost_back, 0), (10, 0, 0, 0, 0)]
        );
    }
}

#[test]
fn of_what_no_answer_reaches_it_is_not_known() {
    let mut it = Reflected::new();
    it.run(1500, |_| false, |_| false);
    // The session begins here: nothing before is told of.
    it.run(10, |_| true, |_| true);
    assert_eq!(it.told(), [(1510, 1500, 0, 0, 0)]);
    let mut it = Reflected::new();
    it.run(10, |_| true, |_| true);
    it.run(1500, |_| false, |_| false);
    it.run(1, |_| true, |_| true);
    assert_eq!(it.told(), [(1511, 1500, 1023, 0, 0)]);
    // The last of all: nothing comes later.
    let mut it = Reflected::new();
    it.run(10, |_| true, |number| number < 9);
    assert_eq!(it.told(), [(10, 1, 0, 0, 0)]);
}

#[test]
fn questions_and_answers_that_overtake_each_other_are_not_lost_twice() {
    let mut it = Reflected::new();
    it.run(5, |_| true, |_| true);
    // The question before arrives after the next, and its answer is lost: the third tells of it.
    let (late, next) = (it.send(), it.send());
    let next = it.reflect(next);
    assert_eq!(next.tells(late), Some(false));
    it.hear(&next);
    it.reflect(late);
    let third = it.send();
    let third = it.reflect(third);
    it.hear(&third);
    // And an older answer that comes last, twice, takes nothing back.
    it.hear(&next);
    it.hear(&next);
    assert_eq!(it.told(), [(8, 1, 0, 1, 2)]);
}

/// It was not here within the second: the reflector had it.
#[test]
fn an_answer_that_comes_late_is_lost_on_its_way_back() {
    let mut it = Reflected::new();
    let late = it.send();
    let late = it.reflect(late);
    it.at += 1500;
    it.hear(&late);
    it.hear(&late);
    it.run(5, |_| true, |_| true);
    assert_eq!(it.told(), [(6, 1, 0, 1, 0)]);
}

#[test]
fn whatever_a_reflector_says_no_more_is_lost_than_was() {
    let mut chance = godwit_fuzz::Chance::new(1);
    for _ in 0..200 {
        let mut it = Reflected::new();
        for _ in 0..150 {
            if chance.below(20) == 0 {
                it.at += 400;
            }
            let number = it.send();
            let mut bytes = it.reflect(number).encode();
            bytes[32..]
                .iter_mut()
                .for_each(|byte| *byte = chance.below(256) as u8);
            let mut lie = Answer::decode(&bytes).unwrap();
            let (back, on) = (chance.below(300) as u64, chance.below(3) as u64);
            (lie.number, lie.first) = ((number + on).saturating_sub(back), chance.below(200) as u64);
            if chance.below(3) > 0 {
                it.hear(&lie);
            }
            let part = &it.record.parts(ms(it.at))[0];
            assert!(part.lost_there + part.lost_back <= part.lost, "{part:?}");
            assert!(part.answered + part.lost <= part.sent, "{part:?}");
        }
        it.told();
    }
}

/// An answer to what was not asked yet would tell of those that were, and is a lie.
#[test]
fn of_what_was_never_asked_nothing_is_learnt() {
    let mut it = Reflected::new();
    it.run(5, |_| true, |_| true);
    let lost = it.send();
    it.at += 1500;
    let before = it.record.parts(ms(it.at));
    assert_eq!((before[0].lost, before[0].lost_there), (1, 0));
    for further in [1, 5] {
        let lie = it.reflect(lost + further);
        assert_eq!(lie.tells(lost), Some(false));
        it.hear(&lie);
        assert_eq!(it.record.parts(ms(it.at)), before);
    }
    // As soon as it was asked it is none.
    let next = it.send();
    let answer = it.reflect(next);
    it.hear(&answer);
    assert_eq!(it.told(), [(7, 1, 1, 0, 0)]);
}
