//! One question and one answer, each a frame: four bytes that say what it is, its length, and its parts.
//!
//! ```text
//!   "GWQ1" or "GWA1"   u32 length of what follows   parts, each: u32 length, bytes
//! ```
//!
//! Numbers are big-endian. The last of the four bytes is the version: hook and daemon are installed apart, so an older one
//! may meet a newer. Whoever does not know a version closes.

use std::io::{self, Read, Write};

use crate::call::Call;

/// More than any guest's XML has, bytes.
pub const MOST_XML: usize = 8 * 1024 * 1024;

/// What a frame may have beside the XML, bytes.
const MOST_ELSE: usize = 64 * 1024;

const QUESTION: [u8; 4] = *b"GWQ1";
const ANSWER: [u8; 4] = *b"GWA1";

/// What the hook asks, or tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What libvirt called it with.
    pub call: Call,
    /// An answer is waited for; else it is only told.
    pub waits: bool,
    /// The guest's XML.
    pub xml: Vec<u8>,
}

/// What the daemon says of a guest that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may come as it is.
    Untouched,
    /// It may come as this XML says.
    Rewritten(Vec<u8>),
    /// It must not come: one sentence, for whoever moves it.
    Refused(String),
    /// The daemon cannot say, one sentence: the policy decides.
    Undecided(String),
}

impl Question {
    /// Writes it as one frame.
    ///
    /// # Errors
    /// The other end does not take it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let Call {
            guest,
            operation,
            point,
            more,
        } = &self.call;
        let waits: &[u8] = if self.waits { b"1" } else { b"0" };
        let parts = [
            guest.as_bytes(),
            operation.as_bytes(),
            point.as_bytes(),
            more.as_bytes(),
            waits,
            &self.xml,
        ];
        write(to, QUESTION, &parts)
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// It ends early, is longer than any can be, or is not a question.
    pub fn read(from: &mut impl Read) -> io::Result<Question> {
        Question::of(&read(from, QUESTION)?)
    }

    /// The question of a frame's body, for readers of another kind.
    ///
    /// # Errors
    /// It is not one.
    pub fn of(body: &[u8]) -> io::Result<Question> {
        let [guest, operation, point, more, waits, xml] = parts(body)?;
        let call = Call {
            guest: text(guest)?,
            operation: text(operation)?,
            point: text(point)?,
            more: text(more)?,
        };
        let waits = match waits {
            b"0" => false,
            b"1" => true,
            _ => return Err(odd("neither asks nor tells")),
        };
        let xml = xml.to_vec();
        Ok(Question { call, waits, xml })
    }

    /// The length of the body of a question whose first eight bytes these are.
    ///
    /// # Errors
    /// It is not a question, or a longer one than any can be.
    pub fn length(head: [u8; 8]) -> io::Result<usize> {
        length(head, QUESTION)
    }
}

impl Answer {
    /// Writes it as one frame.
    ///
    /// # Errors
    /// The other end does not take it, or has gone.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (kind, body): (&[u8], &[u8]) = match self {
            Answer::Untouched => (b"untouched", b""),
            Answer::Rewritten(xml) => (b"rewritten", xml),
            Answer::Refused(why) => (b"refused", why.as_bytes()),
            Answer::Undecided(why) => (b"undecided", why.as_bytes()),
        };
        write(to, ANSWER, &[kind, body])
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// It ends early, is longer than any can be, or is not an answer.
    pub fn read(from: &mut impl Read) -> io::Result<Answer> {
        let body = read(from, ANSWER)?;
        let [kind, body] = parts(&body)?;
        Ok(match kind {
            b"untouched" => Answer::Untouched,
            // libvirt takes no output for an unchanged guest, which is not what this says.
            b"rewritten" if !body.is_empty() => Answer::Rewritten(body.to_vec()),
            b"refused" => Answer::Refused(text(body)?),
            b"undecided" => Answer::Undecided(text(body)?),
            _ => return Err(odd("an answer of no known kind")),
        })
    }
}

fn write(to: &mut impl Write, what: [u8; 4], parts: &[&[u8]]) -> io::Result<()> {
    let mut frame = what.to_vec();
    let length: usize = parts.iter().map(|part| part.len() + 4).sum();
    frame.extend(number(length)?);
    for part in parts {
        frame.extend(number(part.len())?);
        frame.extend_from_slice(part);
    }
    to.write_all(&frame)?;
    to.flush()
}

fn number(length: usize) -> io::Result<[u8; 4]> {
    let number = u32::try_from(length)
        .ok()
        .filter(|_| length <= MOST_XML + MOST_ELSE);
    Ok(number.ok_or_else(|| odd("too long"))?.to_be_bytes())
}

fn read(from: &mut impl Read, what: [u8; 4]) -> io::Result<Vec<u8>> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let length = length(head, what)?;
    // What is announced is not believed before it comes.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

fn length(head: [u8; 8], what: [u8; 4]) -> io::Result<usize> {
    let [a, b, c, d, length @ ..] = head;
    if [a, b, c, d] != what {
        return Err(odd("not a frame of this version"));
    }
    let length = u32::from_be_bytes(length) as usize;
    match length <= MOST_XML + MOST_ELSE {
        true => Ok(length),
        false => Err(odd("too long")),
    }
}

fn parts<const N: usize>(mut body: &[u8]) -> io::Result<[&[u8]; N]> {
    let mut parts = [&[][..]; N];
    for part in &mut parts {
        let (length, rest) = body.split_first_chunk().ok_or_else(|| odd("a part is missing"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (found, rest) = rest
            .split_at_checked(length)
            .ok_or_else(|| odd("a part ends early"))?;
        (*part, body) = (found, rest);
    }
    match body.is_empty() {
        true => Ok(parts),
        false => Err(odd("it goes on behind its parts")),
    }
}

fn text(part: &[u8]) -> io::Result<String> {
    let text = str::from_utf8(part).map_err(|_| odd("not text"))?;
    Ok(text.to_owned())
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question {
            call: Call::of(["web-1", "migrate", "begin", "-"].map(str::to_owned)),
            waits: true,
            xml: b"<domain/>".to_vec(),
        }
    }

    #[test]
    fn there_and_back() {
        let mut frame = Vec::new();
        question().write(&mut frame).unwrap();
        assert_eq!(Question::read(&mut &frame[..]).unwrap(), question());
        for answer in [
            Answer::Untouched,
            Answer::Rewritten(b"<domain/>".to_vec()),
            Answer::Refused("no VF is free".into()),
            Answer::Undecided("not yet".into()),
        ] {
            let mut frame = Vec::new();
            answer.write(&mut frame).unwrap();
            assert_eq!(Answer::read(&mut &frame[..]).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut frame = Vec::new();
        Answer::Untouched.write(&mut frame).unwrap();
        for cut in 0..frame.len() {
            assert!(Answer::read(&mut &frame[..cut]).is_err(), "{cut}");
        }
        assert!(
            Question::read(&mut &frame[..]).is_err(),
            "an answer is no question"
        );
        assert!(
            Answer::read(&mut &b"GWA2\0\0\0\0"[..]).is_err(),
            "a later version"
        );
        assert!(
            Answer::read(&mut &b"GWA1\xff\xff\xff\xff"[..]).is_err(),
            "endless"
        );
        let mut empty = Vec::new();
        Answer::Rewritten(Vec::new()).write(&mut empty).unwrap();
        assert!(Answer::read(&mut &empty[..]).is_err(), "no XML");
        let huge = Question {
            xml: vec![b' '; MOST_XML + MOST_ELSE],
            ..question()
        };
        assert!(huge.write(&mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Question::of(&body);
            let framed = |what: [u8; 4]| [&what[..], &(body.len() as u32).to_be_bytes(), &body].concat();
            let _ = Answer::read(&mut &framed(ANSWER)[..]);
            let _ = Question::read(&mut &framed(QUESTION)[..]);
        }

        #[test]
        fn any_question_comes_back(guest in ".{0,20}", more in ".{0,20}", xml in proptest::collection::vec(any::<u8>(), 0..300), waits: bool) {
            let call = Call::of([guest, "migrate".into(), "begin".into(), more]);
            let question = Question { call, waits, xml };
            let mut frame = Vec::new();
            question.write(&mut frame).unwrap();
            prop_assert_eq!(Question::read(&mut &frame[..]).unwrap(), question);
        }
    }
}
