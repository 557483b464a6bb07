//! A guest that sends what it likes: nothing of it ends the daemon, is taken for more than it can be, or carries a character
//! that a log, a terminal or an XML would act on.

use godwit_fuzz::Target;
use godwit_wire::{Decoder, encode};
use prost::Message;

use super::*;
use crate::world::measure::counted;

/// What no text of a guest may still have.
fn acts(character: char) -> bool {
    let bidi = matches!(character, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lines = matches!(
        character,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    );
    character.is_control() || bidi || lines
}

fn clean(text: &str, most: usize) {
    assert!(!text.contains(acts), "{text:?}");
    assert!(
        text.chars().count() <= most,
        "{} characters",
        text.chars().count()
    );
}

/// All that is made of an answer; its kind.
fn told(body: guest_frame::Body) -> &'static str {
    match body {
        guest_frame::Body::Inspected(inspected) => {
            for seen in seen(&inspected.pairs) {
                clean(&seen.problem.unwrap_or_default(), 80);
            }
            for (_, known) in known::known(&inspected.pairs) {
                let few = known.len() <= 8 && known.iter().all(|who| who.tags().len() <= 4);
                assert!(few && known.iter().all(|who| !who.ip().is_multicast()));
            }
            match ties(&inspected.pairs).len() {
                0 => "inspected",
                _ => "inspected, tied",
            }
        }
        guest_frame::Body::Adopted(adopted) => {
            clean(&printable(&adopted.primary, 15), 15);
            "adopted"
        }
        guest_frame::Body::Refused(answer) => {
            let error = refused("FailOver", &answer);
            clean(&error.to_string(), 700);
            match error.is_forgotten() {
                true => "stale",
                false => "refused",
            }
        }
        guest_frame::Body::Measured(measured) => {
            let mac = "52:54:00:aa:00:10".parse().unwrap();
            match counted(mac, &measured) {
                Some(counted) => {
                    clean(&counted.target, 40);
                    // A part of one name may be told of more than once, so the sums have to be bounded as well.
                    let sums = |of: fn(&godwit_migration::PhaseMeasured) -> u64| {
                        counted.phases.iter().map(of).try_fold(0_u64, u64::checked_add)
                    };
                    assert!(sums(|phase| phase.sent).is_some() && sums(|phase| phase.duplicated).is_some());
                    "measured"
                }
                None => "not measured",
            }
        }
        body => match switched("FailOver", body) {
            Ok(switched) => {
                clean(&switched.active, 15);
                "switched"
            }
            Err(error) => {
                clean(&error.to_string(), 100);
                "odd"
            }
        },
    }
}

fn frame(body: guest_frame::Body) -> Vec<u8> {
    let frame = api::GuestFrame {
        request_id: 1,
        session: 7,
        boot_id: "boot".into(),
        body: Some(body),
    };
    frame.encode_to_vec()
}

fn seeds() -> Vec<Vec<u8>> {
    let port = |role: api::PortRole, name: &str, mac: &str| api::Port {
        role: role.into(),
        name: name.into(),
        permanent_mac: mac.into(),
        carrier: true,
        ..Default::default()
    };
    let pair = api::Pair {
        kind: api::PairKind::Bond.into(),
        name: "bond0".into(),
        active: "eth1".into(),
        vlans: vec![100, 4095],
        neighbours: vec![api::Neighbour {
            ip: "10.77.0.1".into(),
            mac: "52:54:00:aa:00:11".into(),
            tags: vec![api::Tag {
                protocol: 0x8100,
                id: 100,
            }],
        }],
        ports: vec![
            port(api::PortRole::Standby, "eth0", "52:54:00:aa:00:10"),
            port(api::PortRole::Primary, "eth1", "52:54:00:aa:00:11"),
        ],
        ..Default::default()
    };
    let part = api::MeasuredPart {
        name: "unplug".into(),
        sent: 50,
        answered: 48,
        lost: 1,
        lost_back: 1,
        ..Default::default()
    };
    vec![
        frame(guest_frame::Body::Inspected(api::Inspected {
            pairs: vec![pair],
            ..api::Inspected::default()
        })),
        frame(guest_frame::Body::Switched(api::Switched {
            active: "eth0".into(),
            frames_received: 3,
            ..Default::default()
        })),
        frame(guest_frame::Body::Adopted(api::Adopted {
            primary: "eth1".into(),
            ..Default::default()
        })),
        frame(guest_frame::Body::Refused(api::Refused {
            reason: api::RefusalReason::StaleSession.into(),
            detail: "say Hello first".into(),
            pair: None,
        })),
        frame(guest_frame::Body::Measured(api::Measured {
            known: true,
            target: "10.77.0.1".into(),
            kind: api::ProbeKind::Arp.into(),
            per_second: 100,
            running: true,
            parts: vec![part.clone(), part],
        })),
    ]
}

#[test]
fn fuzz_what_guests_say() {
    let target = Target {
        name: "guest-answers",
        words: &[
            "eth0",
            "eth1",
            "bond0",
            "52:54:00:aa:00:10",
            "unplug",
            "plug",
            "10.77.0.1",
            "fe80::1",
            "boot",
        ],
        most: 4096,
    };
    target.run(seeds(), |input| {
        // In a frame whose checksum is right, as a guest makes it; and as it is.
        let mut stream = encode(&Raw(input.to_owned())).unwrap_or_default();
        stream.extend_from_slice(input);
        let (mut decoder, mut left, mut kinds) = (Decoder::new(), &stream[..], Vec::new());
        while let Some(frame) = decoder.take_message::<api::GuestFrame>(&mut left) {
            kinds.push(match frame {
                Ok(api::GuestFrame { body: Some(body), .. }) => told(body),
                Ok(_) => "empty",
                Err(_) => "no frame",
            });
        }
        kinds.truncate(2);
        kinds
    });
}

/// Bytes as a message that encodes to them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Raw(Vec<u8>);

impl Message for Raw {
    fn encode_raw(&self, into: &mut impl prost::bytes::BufMut) {
        into.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl prost::bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        unreachable!("it is only written")
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
