//! What the agent asks a reflector, and what that answers: datagrams of UDP, [`LENGTH`] bytes, numbers big-endian.
//!
//! | bytes | in a question | in an answer |
//! |---|---|---|
//! | 0 to 3 | `GWRF` | `GWRF` |
//! | 4 | the version, 1 | 1 |
//! | 5 | 1 | 2 |
//! | 6, 7 | 0 | 0 |
//! | 8 to 15 | the session, chosen by chance | the question's |
//! | 16 to 23 | the question's number in its session | the question's |
//! | 24 to 31 | 0 | the first number that the reflector can tell of |
//! | 32 to 159 | 0 | which numbers it has received: bit `n % 8` of byte `32 + n / 8` is the question's number less `n` |
//!
//! A question may be longer, and never is shorter: an answer has no more bytes than what it answers, so nobody gains by questions in
//! another's name. An answer is no question: two reflectors have nothing to say to each other.
//!
//! Of a question without an answer, the answer to a later one tells which way it was lost: one that the reflector has received was lost on
//! its way back, one that it has not, on its way there. A reflector that was started again, or has forgotten the session, begins with the
//! number that it is asked then, and tells of none before that.

mod reflector;

pub use reflector::Reflector;

/// Bytes of an answer, and of the shortest question.
pub const LENGTH: usize = 160;

/// An answer tells of so many numbers, its own and those before it.
pub const REACH: u64 = 1024;

const MAGIC: [u8; 4] = *b"GWRF";
const VERSION: u8 = 1;
const QUESTION: u8 = 1;
const ANSWER: u8 = 2;

/// Bytes of the bits, and words.
const BITS: usize = LENGTH - 32;
const WORDS: usize = BITS / 8;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Which of all who ask.
    pub session: u64,
    /// Each of a session's has the next.
    pub number: u64,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The question's.
    pub session: u64,
    /// The question's.
    pub number: u64,
    /// Of the numbers before this one nothing is told.
    pub first: u64,
    /// Which have been received.
    pub received: Received,
}

/// For a number and the 1,023 before it, whether each has been received.
#[derive(Clone, PartialEq, Eq)]
pub struct Received([u64; WORDS]);

impl Question {
    /// As it is sent.
    #[must_use]
    pub fn encode(self) -> [u8; LENGTH] {
        datagram(QUESTION, [self.session, self.number, 0], &[0; BITS])
    }

    /// None: it is no question of this version, or too short for its answer.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let ([session, number, _], _) = parts(QUESTION, datagram.get(..LENGTH)?)?;
        Some(Self { session, number })
    }
}

impl Answer {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        datagram(
            ANSWER,
            [self.session, self.number, self.first],
            &self.received.bytes(),
        )
    }

    /// None: it is no answer of this version.
    #[must_use]
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        let ([session, number, first], bits) = parts(ANSWER, datagram)?;
        Some(Self {
            session,
            number,
            first,
            received: Received::from_bytes(bits),
        })
    }

    /// Whether a question had been received when this was answered; none: this does not tell.
    #[must_use]
    pub fn tells(&self, number: u64) -> Option<bool> {
        let back = self.number.checked_sub(number)?;
        (number >= self.first && back < REACH).then(|| self.received.has(back))
    }
}

impl Received {
    /// None of them.
    pub(crate) const NONE: Self = Self([0; WORDS]);

    /// That one, so many before the newest.
    fn has(&self, back: u64) -> bool {
        (self.word(Some(back / 64)) >> (back % 64)) & 1 == 1
    }

    fn set(&mut self, back: u64) {
        let word = usize::try_from(back / 64)
            .ok()
            .and_then(|word| self.0.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (back % 64);
        }
    }

    /// As it is told at a number so many before the newest: without those that are newer.
    fn before(&self, back: u64) -> Self {
        let (words, bits) = (back / 64, back % 64);
        Self::of(|at| {
            let first = at.checked_add(words);
            let next = first.and_then(|first| first.checked_add(1));
            (self.word(first) >> bits) | self.word(next).checked_shl(rest(bits)).unwrap_or(0)
        })
    }

    /// The newest is so many further on.
    fn advance(&mut self, by: u64) {
        let (words, bits) = (by / 64, by % 64);
        *self = Self::of(|at| {
            let last = at.checked_sub(words);
            let before = last.and_then(|last| last.checked_sub(1));
            (self.word(last) << bits) | self.word(before).checked_shr(rest(bits)).unwrap_or(0)
        });
    }

    fn of(word: impl Fn(u64) -> u64) -> Self {
        let mut all = [0; WORDS];
        (0..).zip(&mut all).for_each(|(at, place)| *place = word(at));
        Self(all)
    }

    /// Out of reach none is set.
    fn word(&self, at: Option<u64>) -> u64 {
        let word = at.and_then(|at| self.0.get(usize::try_from(at).ok()?));
        word.copied().unwrap_or(0)
    }

    fn bytes(&self) -> [u8; BITS] {
        let mut all = [0; BITS];
        let bytes = self.0.iter().flat_map(|word| word.to_le_bytes());
        all.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        all
    }

    fn from_bytes(bytes: &[u8; BITS]) -> Self {
        let mut all = Self::NONE;
        for (place, bytes) in all.0.iter_mut().zip(bytes.as_chunks().0) {
            *place = u64::from_le_bytes(*bytes);
        }
        all
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        write!(f, "{count} received")
    }
}

/// What of a word a shift by so many bits leaves to its neighbour.
fn rest(bits: u64) -> u32 {
    64 - u32::try_from(bits % 64).unwrap_or_default()
}

fn datagram(kind: u8, numbers: [u64; 3], bits: &[u8; BITS]) -> [u8; LENGTH] {
    let mut all = [0; LENGTH];
    let numbers = numbers.into_iter().flat_map(u64::to_be_bytes);
    let bytes = MAGIC.into_iter().chain([VERSION, kind, 0, 0]).chain(numbers);
    for (place, byte) in all.iter_mut().zip(bytes.chain(*bits)) {
        *place = byte;
    }
    all
}

fn parts(kind: u8, datagram: &[u8]) -> Option<([u64; 3], &[u8; BITS])> {
    let (magic, rest) = datagram.split_first_chunk::<4>()?;
    let ([version, what, ..], rest) = rest.split_first_chunk::<4>()?;
    let (session, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (first, bits) = rest.split_first_chunk()?;
    let ours = (*magic, *version, *what) == (MAGIC, VERSION, kind);
    let numbers = [*session, *number, *first].map(u64::from_be_bytes);
    Some((numbers, bits.try_into().ok().filter(|_| ours)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Question = Question {
        session: 0x0102_0304_0506_0708,
        number: 0x1112,
    };

    fn answer(first: u64, received: &[u64]) -> Answer {
        let mut bits = Received::NONE;
        received.iter().for_each(|back| bits.set(*back));
        Answer {
            session: ASKED.session,
            number: ASKED.number,
            first,
            received: bits,
        }
    }

    #[test]
    fn every_byte_is_in_its_place() {
        let asked = ASKED.encode();
        assert_eq!(asked[..16], *b"GWRF\x01\x01\0\0\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(asked[16..32], *b"\0\0\0\0\0\0\x11\x12\0\0\0\0\0\0\0\0");
        assert_eq!(asked[32..], [0; 128]);
        let told = answer(0x0a, &[0, 9, 1023]).encode();
        assert_eq!(told[..8], *b"GWRF\x01\x02\0\0");
        assert_eq!(told[24..34], *b"\0\0\0\0\0\0\0\x0a\x01\x02");
        assert_eq!((told[34..159].iter().max(), told[159]), (Some(&0), 0x80));
    }

    #[test]
    fn each_is_read_back_and_is_not_the_other() {
        let told = answer(7, &[0, 3, 500]);
        assert_eq!(Question::decode(&ASKED.encode()), Some(ASKED));
        assert_eq!(Answer::decode(&told.encode()), Some(told.clone()));
        assert_eq!(Question::decode(&told.encode()), None);
        assert_eq!(Answer::decode(&ASKED.encode()), None);
    }

    #[test]
    fn what_is_shorter_or_of_another_version_is_neither() {
        let (asked, told) = (ASKED.encode(), answer(0, &[0]).encode());
        for length in 0..LENGTH {
            assert_eq!(Question::decode(&asked[..length]), None, "{length}");
            assert_eq!(Answer::decode(&told[..length]), None, "{length}");
        }
        for at in 0..6 {
            let other = |mut bytes: [u8; LENGTH]| {
                bytes[at] ^= 4;
                bytes
            };
            assert_eq!(Question::decode(&other(asked)), None, "{at}");
            assert_eq!(Answer::decode(&other(told)), None, "{at}");
        }
        // A longer question is one; a longer answer is not.
        assert_eq!(Question::decode(&[&asked[..], &[9; 40]].concat()), Some(ASKED));
        assert_eq!(Answer::decode(&[&told[..], &[0]].concat()), None);
    }

    #[test]
    fn an_answer_tells_of_what_it_reaches() {
        let told = answer(ASKED.number - 1000, &[0, 2, 1000, 1001]);
        let tells = |back: u64| told.tells(ASKED.number - back);
        assert_eq!(
            [tells(0), tells(1), tells(2)],
            [Some(true), Some(false), Some(true)]
        );
        assert_eq!([tells(1000), tells(1001)], [Some(true), None]);
        assert_eq!(told.tells(ASKED.number + 1), None);
        let told = answer(0, &[1023]);
        assert_eq!(told.tells(ASKED.number - 1023), Some(true));
        assert_eq!(told.tells(ASKED.number - 1024), None);
    }

    #[test]
    fn bits_go_where_the_numbers_are() {
        let bits = |set: &[u64]| answer(0, set).received;
        let some = [0, 1, 62, 63, 64, 65, 127, 500, 959, 960, 1022, 1023];
        for by in [0, 1, 2, 63, 64, 65, 128, 500, 1022, 1023, 1024, 2000, u64::MAX] {
            let mut further = bits(&some);
            further.advance(by);
            let expected = some.map(|back| back.checked_add(by).filter(|back| *back < REACH));
            assert_eq!(
                further,
                bits(&expected.into_iter().flatten().collect::<Vec<_>>()),
                "{by}"
            );
            let expected = some.map(|back| back.checked_sub(by));
            let expected: Vec<u64> = expected.into_iter().flatten().collect();
            assert_eq!(bits(&some).before(by), bits(&expected), "{by}");
        }
    }
}
