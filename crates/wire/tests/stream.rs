//! What the framing promises, tried on streams as virtio-serial and live migration make them.

// Helper functions outside #[test] are not covered by clippy.toml.
#![allow(clippy::unwrap_used)]
use godwit_wire::{Decoder, FrameError, MAX_FRAME, MAX_MESSAGE, encode};
use proptest::collection::vec;
use proptest::prelude::*;

type Bytes = Vec<u8>;

/// Feeds the stream in pieces that end at `cuts`; gives the messages and the errors.
fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Bytes>, Vec<FrameError>) {
    let mut decoder = Decoder::new();
    let (mut messages, mut errors) = (Vec::new(), Vec::new());
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.push(stream.len());
    cuts.sort_unstable();
    let mut start = 0;
    for cut in cuts {
        let mut piece = &stream[start..cut];
        while let Some(result) = decoder.take_message::<Bytes>(&mut piece) {
            match result {
                Ok(message) => messages.push(message),
                Err(error) => errors.push(error),
            }
        }
        assert!(piece.is_empty());
        start = cut;
    }
    assert_eq!(decoder.dropped().frames, errors.len() as u64);
    (messages, errors)
}

fn frames(messages: &[Bytes]) -> Bytes {
    messages
        .iter()
        .flat_map(|message| encode(message).unwrap())
        .collect()
}

/// Payloads with many zeros and long runs without one, which is where COBS has its corners.
fn message() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..64),
        vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..600),
        (0..1100_usize).prop_map(|length| vec![7; length]),
    ]
}

proptest! {
    #[test]
    fn messages_survive_any_split(messages in vec(message(), 0..6), cuts in vec(any::<usize>(), 0..40)) {
        let (got, errors) = read(&frames(&messages), &cuts);
        prop_assert_eq!(got, messages);
        prop_assert!(errors.is_empty());
    }

    #[test]
    fn garbage_between_frames_costs_no_frame(
        messages in vec(message(), 1..5),
        garbage in vec(vec(any::<u8>(), 0..80), 6),
        cuts in vec(any::<usize>(), 0..20),
    ) {
        let mut stream = garbage[0].clone();
        for (message, noise) in messages.iter().zip(&garbage[1..]) {
            stream.extend(encode(message).unwrap());
            stream.extend(noise);
        }
        let (got, _) = read(&stream, &cuts);
        prop_assert_eq!(got, messages);
    }

    #[test]
    fn garbage_written_over_a_stream_costs_only_the_frames_it_touched(
        messages in vec(message(), 1..6),
        at in any::<prop::sample::Index>(),
        garbage in vec(any::<u8>(), 1..200),
    ) {
        let mut stream = frames(&messages);
        let start = at.index(stream.len());
        let end = (start + garbage.len()).min(stream.len());
        stream[start..end].copy_from_slice(&garbage[..end - start]);
        let mut from = 0;
        let untouched: Vec<_> = messages.into_iter().filter(|message| {
            let to = from + encode(message).unwrap().len();
            let touched = start < to && from < end;
            from = to;
            !touched
        }).collect();
        let (got, _) = read(&stream, &[]);
        // A frame that was overwritten with its own bytes, or only at its first zero, may still arrive.
        let mut rest = got.iter();
        prop_assert!(untouched.iter().all(|message| rest.any(|other| other == message)));
    }

    /// Live migration: the old host's writer stops anywhere, the new one's begins.
    #[test]
    fn a_torn_frame_costs_itself_alone(
        before in vec(message(), 0..3),
        torn in message(),
        at in any::<prop::sample::Index>(),
        after in vec(message(), 1..4),
    ) {
        let whole = encode(&torn).unwrap();
        let mut stream = frames(&before);
        stream.extend(&whole[..at.index(whole.len() - 1)]);
        stream.extend(frames(&after));
        let (got, errors) = read(&stream, &[]);
        prop_assert_eq!(got, [before, after].concat());
        prop_assert!(errors.len() <= 1);
    }

    #[test]
    fn anything_at_all_is_survived(stream in vec(any::<u8>(), 0..3000), cuts in vec(any::<usize>(), 0..10)) {
        read(&stream, &cuts);
    }
}

#[test]
fn the_bytes_of_a_frame_are_these() {
    // crc32(08 01) = 0xfe07a861 (Python's zlib.crc32). No zero in it, so COBS adds only its count, 7.
    assert_eq!(
        encode(&1_u64).unwrap(),
        [0, 7, 0x61, 0xa8, 0x07, 0xfe, 0x08, 0x01, 0]
    );
    // The empty message: crc32() = 0, four zeros, each replaced by the distance to the next.
    assert_eq!(encode(&0_u64).unwrap(), [0, 1, 1, 1, 1, 1, 0]);
}

#[test]
fn a_frame_ends_with_one_zero() {
    for length in 0..2000 {
        let frame = encode(&vec![3_u8; length]).unwrap();
        assert_eq!(
            frame.iter().filter(|byte| **byte == 0).count(),
            2,
            "{length} bytes"
        );
        assert_eq!((frame.first(), frame.last()), (Some(&0), Some(&0)));
    }
}

#[test]
fn the_longest_message_passes_and_a_longer_one_is_refused() {
    // Two bytes of tag and three of length stand before the payload.
    let longest = vec![9_u8; MAX_MESSAGE - 4];
    let frame = encode(&longest).unwrap();
    assert_eq!(frame.len(), MAX_FRAME);
    assert_eq!(read(&frame, &[1, 1000, 65_000]), (vec![longest], vec![]));
    assert_eq!(
        encode(&vec![9_u8; MAX_MESSAGE]).unwrap_err().bytes,
        MAX_MESSAGE + 4
    );
}

#[test]
fn an_endless_frame_is_reported_once_and_costs_no_memory() {
    let mut decoder = Decoder::new();
    let mut errors = 0;
    for _ in 0..1000 {
        let mut piece: &[u8] = &[1; 10_000];
        while let Some(result) = decoder.take_frame(&mut piece) {
            assert_eq!(result, Err(FrameError::TooLong));
            errors += 1;
        }
    }
    assert_eq!(errors, 1);
    assert_eq!(
        (decoder.dropped().frames, decoder.dropped().bytes),
        (1, 10_000_000)
    );
    let next = encode(&5_u64).unwrap();
    assert_eq!(decoder.take_message::<u64>(&mut next.as_slice()), Some(Ok(5)));
}

#[test]
fn a_damaged_byte_is_noticed_wherever_it_is() {
    let whole = encode(&b"the agent says what it saw".to_vec()).unwrap();
    for at in 1..whole.len() - 1 {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(read(&damaged, &[]).0, Vec::<Bytes>::new(), "byte {at}, bit {bit}");
        }
    }
}
