//! Changes of an input. Some know how texts are made, some how protobuf's messages are, and some nothing at all.

use crate::{Chance, Target};

/// Numbers at which readers err.
const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    8,
    31,
    32,
    127,
    128,
    255,
    4096,
    65_535,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Texts at which readers err, whatever they read.
const NASTY: [&str; 18] = [
    "\0",
    "\n",
    "\r\n",
    "\t",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{feff}",
    "\u{fffe}",
    "鳥",
    "'\"<>&;",
    "&#0;",
    "]]>",
    "../../etc/passwd",
    "$(reboot)`;|",
    "%s%n{}",
];

/// One of the pool, changed in one to eight places.
pub(crate) fn mutated(pool: &[Vec<u8>], target: &Target<'_>, chance: &mut Chance) -> Vec<u8> {
    let mut input = chance.one(pool).clone();
    for _ in 0..=chance.below(8) {
        change(&mut input, pool, target, chance);
    }
    input.truncate(target.most);
    input
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], target: &Target<'_>, chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    let part = chance.part(input.len());
    match chance.below(11) {
        0 => drop(input.drain(part)),
        1 => {
            let twice = input[part].to_vec();
            drop(input.splice(at..at, twice));
        }
        2 => {
            let other = chance.one(pool);
            let of_other = other[chance.part(other.len())].to_vec();
            drop(input.splice(part, of_other));
        }
        3 => input.truncate(at),
        4 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        5 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = chance.number() as u8;
            }
        }
        6 => {
            let word = chance.one(&NASTY).as_bytes();
            drop(input.splice(at..at, word.iter().copied()));
        }
        7 if !target.words.is_empty() => {
            let word = chance.one(target.words).as_bytes();
            drop(input.splice(at..at, word.iter().copied()));
        }
        8 if !target.words.is_empty() => word_for_word(input, target, chance),
        9 => digits(input, at, chance),
        _ => field(input, at, chance),
    }
}

/// Another word where one that the reader knows stands.
fn word_for_word(input: &mut Vec<u8>, target: &Target<'_>, chance: &mut Chance) {
    let word = chance.one(target.words).as_bytes();
    let places = input.windows(word.len().max(1)).enumerate();
    let places: Vec<usize> = places
        .filter(|(_, found)| *found == word)
        .map(|(at, _)| at)
        .collect();
    if places.is_empty() {
        return;
    }
    let at = *chance.one(&places);
    let other = match chance.below(3) {
        0 => chance.one(&NASTY).as_bytes(),
        _ => chance.one(target.words).as_bytes(),
    };
    drop(input.splice(at..at + word.len(), other.iter().copied()));
}

/// Another number where the next one stands as text.
fn digits(input: &mut Vec<u8>, from: usize, chance: &mut Chance) {
    let Some(start) = input[from..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = from + start;
    let end = input[start..].iter().position(|byte| !byte.is_ascii_digit());
    let end = end.map_or(input.len(), |length| start + length);
    let number = chance.one(&NUMBERS).to_string();
    drop(input.splice(start..end, number.into_bytes()));
}

/// A field of a protobuf message, wherever that falls: tag, then a number or a length with as many bytes.
fn field(input: &mut Vec<u8>, at: usize, chance: &mut Chance) {
    let mut made = Vec::new();
    let number = 1 + chance.below(20) as u64;
    match chance.below(3) {
        0 => {
            varint(number << 3, &mut made);
            varint(*chance.one(&NUMBERS), &mut made);
        }
        1 => {
            let text = chance.one(&NASTY).as_bytes();
            varint(number << 3 | 2, &mut made);
            varint(text.len() as u64, &mut made);
            made.extend_from_slice(text);
        }
        // All that follows, in one of its fields.
        _ => {
            let rest = input.split_off(at);
            varint(number << 3 | 2, &mut made);
            varint(rest.len() as u64, &mut made);
            made.extend(rest);
        }
    }
    drop(input.splice(at..at, made));
}

fn varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}
