//! What a reflector remembers, and what it answers. No more than [`SOURCES`] addresses with [`SESSIONS`] sessions each, whoever asks
//! and how often.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Answer, LENGTH, Question, REACH, Received};

/// Bounds: addresses that are remembered, and sessions of each.
const SOURCES: usize = 1024;
const SESSIONS: usize = 32;

/// Questions a second of one address that are answered, and as many at once: eight records at their highest rate, and some more.
const RATE: u32 = 10_000;

/// What has been silent for so long goes when there is no room for another. Without such a one the other gets no answer: whoever makes
/// up addresses ends nobody's record.
const IDLE: Duration = Duration::from_secs(10);

/// Answers questions. The time is given with each, from any beginning.
#[derive(Debug, Default)]
pub struct Reflector {
    sources: HashMap<IpAddr, Source>,
}

/// One address that asks.
#[derive(Debug)]
struct Source {
    /// Questions that would be answered at `asked`, in millionths.
    allowed: u64,
    asked: Duration,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    name: u64,
    asked: Duration,
    /// The number that it began with.
    first: u64,
    newest: u64,
    received: Received,
}

impl Reflector {
    /// The answer to what came from that address; none: it gets none.
    pub fn answer(&mut self, at: Duration, from: IpAddr, datagram: &[u8]) -> Option<[u8; LENGTH]> {
        let question = Question::decode(datagram)?;
        if !self.sources.contains_key(&from) {
            self.make_room(at)?;
        }
        let source = self.sources.entry(from).or_insert_with(|| Source::new(at));
        source.take(at)?;
        source.session(at, question)?.answer(question)
    }

    fn make_room(&mut self, at: Duration) -> Option<()> {
        if self.sources.len() < SOURCES {
            return Some(());
        }
        let oldest = self.sources.iter().min_by_key(|(_, source)| source.asked);
        let (oldest, _) = oldest.filter(|(_, source)| is_idle(at, source.asked))?;
        let oldest = *oldest;
        self.sources.remove(&oldest).map(drop)
    }
}

impl Source {
    const WHOLE: u64 = 1_000_000;
    const MOST: u64 = RATE as u64 * Self::WHOLE;

    fn new(at: Duration) -> Self {
        Self {
            allowed: Self::MOST,
            asked: at,
            sessions: Vec::new(),
        }
    }

    /// None: too many.
    fn take(&mut self, at: Duration) -> Option<()> {
        let passed = at.saturating_sub(std::mem::replace(&mut self.asked, at));
        let passed = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let more = passed.saturating_mul(RATE.into());
        self.allowed = self.allowed.saturating_add(more).min(Self::MOST);
        self.allowed = self.allowed.checked_sub(Self::WHOLE)?;
        Some(())
    }

    fn session(&mut self, at: Duration, question: Question) -> Option<&mut Session> {
        let name = question.session;
        let known = self.sessions.iter().position(|session| session.name == name);
        let place = match known {
            Some(place) => place,
            None if self.sessions.len() < SESSIONS => {
                self.sessions.push(Session::new(at, question));
                self.sessions.len() - 1
            }
            None => {
                let all = self.sessions.iter().enumerate();
                let (place, oldest) = all.min_by_key(|(_, session)| session.asked)?;
                is_idle(at, oldest.asked).then_some(())?;
                *self.sessions.get_mut(place)? = Session::new(at, question);
                place
            }
        };
        let session = self.sessions.get_mut(place)?;
        session.asked = at;
        Some(session)
    }
}

impl Session {
    fn new(at: Duration, question: Question) -> Self {
        Self {
            name: question.session,
            asked: at,
            first: question.number,
            newest: question.number,
            received: Received::NONE,
        }
    }

    /// None: it is so old that whether it was asked before is not known any more.
    fn answer(&mut self, question: Question) -> Option<[u8; LENGTH]> {
        let number = question.number;
        if let Some(further) = number.checked_sub(self.newest) {
            self.received.advance(further);
            self.newest = number;
        }
        let back = self.newest.checked_sub(number).filter(|back| *back < REACH)?;
        self.received.set(back);
        let oldest = self.newest.saturating_sub(REACH - 1);
        let answer = Answer {
            session: self.name,
            number,
            // One that was overtaken by the first of its session tells of itself alone.
            first: self.first.max(oldest).min(number),
            received: self.received.before(back),
        };
        Some(answer.encode())
    }
}

fn is_idle(at: Duration, asked: Duration) -> bool {
    at.saturating_sub(asked) >= IDLE
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));

    fn ask(
        reflector: &mut Reflector,
        at: Duration,
        from: IpAddr,
        (session, number): (u64, u64),
    ) -> Option<Answer> {
        let question = Question { session, number };
        let answer = reflector.answer(at, from, &question.encode())?;
        Some(Answer::decode(&answer).expect("it is an answer"))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn other(index: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + index).into()
    }

    #[test]
    fn each_answer_tells_which_came_before() {
        let mut reflector = Reflector::default();
        let mut ask = |number| ask(&mut reflector, secs(0), ME, (7, number)).unwrap();
        // 101 and 103 are lost; 102 comes late.
        let first = ask(100);
        assert_eq!((first.session, first.number, first.first), (7, 100, 100));
        ask(104);
        let late = ask(102);
        assert_eq!(
            [100, 101, 102, 103].map(|number| late.tells(number)),
            [Some(true), Some(false), Some(true), None]
        );
        let last = ask(105);
        let told = [99, 100, 101, 102, 103, 104, 105].map(|number| last.tells(number));
        let [yes, no] = [Some(true), Some(false)];
        assert_eq!(told, [None, yes, no, yes, no, yes, yes]);
        // Twice is as once.
        assert_eq!(ask(105), last);
        // One that the first of all has overtaken.
        let before = ask(99);
        assert_eq!(
            [98, 99, 100].map(|number| before.tells(number)),
            [None, yes, None]
        );
    }

    #[test]
    fn what_is_out_of_reach_is_forgotten_and_not_answered() {
        let mut reflector = Reflector::default();
        let mut ask = |number| ask(&mut reflector, secs(0), ME, (7, number));
        ask(0).unwrap();
        let far = ask(1023).unwrap();
        assert_eq!((far.tells(0), far.tells(1)), (Some(true), Some(false)));
        let further = ask(1024).unwrap();
        assert_eq!(
            (further.first, further.tells(0), further.tells(1)),
            (1, None, Some(false))
        );
        assert_eq!(ask(0), None);
        assert_eq!(ask(1).unwrap().tells(0), None);
        assert_eq!(ask(u64::MAX).unwrap().received.before(1), Received::NONE);
        assert_eq!(ask(1025), None);
    }

    #[test]
    fn sessions_do_not_know_of_each_other() {
        let mut reflector = Reflector::default();
        ask(&mut reflector, secs(0), ME, (1, 5)).unwrap();
        let second = ask(&mut reflector, secs(0), ME, (2, 6)).unwrap();
        let elsewhere = ask(&mut reflector, secs(0), other(1), (1, 6)).unwrap();
        assert_eq!((second.tells(5), elsewhere.tells(5)), (None, None));
    }

    #[test]
    fn an_address_has_its_rate_and_takes_nobody_elses() {
        let mut reflector = Reflector::default();
        let mut count = |at, from, session| {
            let answered =
                (0..15_000).filter(|number| ask(&mut reflector, at, from, (session, *number)).is_some());
            answered.count()
        };
        assert_eq!(count(secs(1), ME, 1), 10_000);
        // Another session does not help.
        assert_eq!(count(secs(1), ME, 2), 0);
        assert_eq!(count(secs(1), other(1), 1), 10_000);
        assert_eq!(count(Duration::from_millis(1500), ME, 3), 5_000);
        assert_eq!(count(secs(100), ME, 4), 10_000);
    }

    #[test]
    fn who_makes_up_sessions_and_addresses_fills_nothing_and_ends_nobody() {
        let mut reflector = Reflector::default();
        ask(&mut reflector, secs(0), ME, (0, 0)).unwrap();
        let sessions = (0..100).filter(|session| ask(&mut reflector, secs(1), ME, (*session, 1)).is_some());
        assert_eq!(sessions.count(), SESSIONS);
        let sources = (0..5000).filter(|index| ask(&mut reflector, secs(1), other(*index), (0, 0)).is_some());
        assert_eq!(sources.count(), SOURCES - 1);
        let mine = ask(&mut reflector, secs(9), ME, (0, 2)).unwrap();
        assert_eq!(mine.tells(0), Some(true));
        // What was asked a while ago makes room, and that alone.
        assert!(ask(&mut reflector, secs(12), ME, (1000, 0)).is_some());
        assert!(ask(&mut reflector, secs(12), other(6000), (0, 0)).is_some());
        let mine = ask(&mut reflector, secs(12), ME, (0, 3)).unwrap();
        assert_eq!(mine.tells(0), Some(true));
        assert_eq!(reflector.sources.len(), SOURCES);
        assert!(
            reflector
                .sources
                .values()
                .all(|source| source.sessions.len() <= SESSIONS)
        );
    }
}
