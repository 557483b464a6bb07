//! Any bytes at all on a virtio-serial port, as a hostile guest or a broken host writes them, and to the ports of a reflector and of who
//! asks it.

// Helper functions outside #[test] are not covered by clippy.toml.
#![allow(clippy::unwrap_used)]
use std::net::IpAddr;
use std::time::Duration;

use godwit_fuzz::Target;
use godwit_wire::reflect::{Answer, LENGTH, Question, Reflector};
use godwit_wire::{Decoder, MAX_FRAME, encode};

/// Feeds the stream in pieces of `size`; how many messages came out, and the errors' kinds.
fn read(decoder: &mut Decoder, stream: &[u8], size: usize) -> (usize, Vec<String>) {
    let (mut messages, mut errors) = (0, Vec::new());
    let before = decoder.dropped().frames;
    for mut piece in stream.chunks(size.max(1)) {
        while let Some(result) = decoder.take_message::<Vec<u8>>(&mut piece) {
            match result {
                Ok(message) => {
                    assert!(message.len() <= MAX_FRAME);
                    messages += 1;
                }
                // Without its numbers.
                Err(error) => errors.push(error.to_string().replace(|c: char| c.is_ascii_digit(), "")),
            }
        }
        assert!(piece.is_empty(), "bytes are left over");
    }
    assert_eq!(decoder.dropped().frames - before, errors.len() as u64);
    (messages, errors)
}

#[test]
fn fuzz_frames() {
    let target = Target {
        name: "frames",
        words: &["\0", "\0\0", "\x01", "\u{7f}"],
        most: 4096,
    };
    let frame = |bytes: &[u8]| encode(&bytes.to_owned()).unwrap();
    let seeds = [
        frame(b""),
        frame(b"a message"),
        [frame(&[0; 300]), frame(&[7; 300])].concat(),
    ];
    target.run(seeds, |input| {
        let whole = read(&mut Decoder::new(), input, input.len());
        let mut decoder = Decoder::new();
        let pieces = read(&mut decoder, input, 1 + input.len() % 7);
        assert_eq!(whole, pieces, "it depends on how the stream is cut");
        // Whatever it was, the next frame is heard.
        let (messages, _) = read(&mut decoder, &frame(b"next"), 64);
        // What came before may have been a frame, but for the zero that begins this one.
        assert!((1..=2).contains(&messages), "{messages}");
        whole.1.last().cloned().unwrap_or_default() + &whole.0.min(3).to_string()
    });
}

/// Whatever comes to a reflector's port, and to a guest's.
#[test]
fn fuzz_reflected() {
    let target = Target {
        name: "reflected",
        words: &["GWRF\x01\x01", "GWRF\x01\x02", "\0\0\0\0\0\0\0\x01"],
        most: 640,
    };
    let question = |number| Question { session: 7, number }.encode();
    let from = IpAddr::from([10, 77, 0, 1]);
    let answer = Reflector::default()
        .answer(Duration::ZERO, from, &question(9))
        .unwrap();
    let seeds = [
        question(0).to_vec(),
        [question(2), question(1), question(1500)].concat(),
        answer.to_vec(),
    ];
    target.run(seeds, |input| {
        let mut reflector = Reflector::default();
        let (mut answered, mut read) = (0, 0);
        for (at, datagram) in input.chunks(LENGTH).enumerate() {
            let at = Duration::from_millis(at as u64);
            if let Some(answer) = Answer::decode(datagram) {
                assert_eq!(Answer::decode(&answer.encode()).as_ref(), Some(&answer));
                assert!(Question::decode(datagram).is_none(), "it is both");
                read += 1;
            }
            let Some(told) = reflector.answer(at, from, datagram) else {
                continue;
            };
            let (told, asked) = (
                Answer::decode(&told).unwrap(),
                Question::decode(datagram).unwrap(),
            );
            assert!(datagram.len() >= LENGTH, "more is answered than was asked");
            assert_eq!((told.session, told.number), (asked.session, asked.number));
            assert_eq!(told.tells(told.number), Some(true));
            answered += 1;
        }
        (answered, read)
    });
}
