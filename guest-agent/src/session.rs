//! Frames from the host to requests, and back. Pure: no I/O, no clock.
//!
//! One session is open at a time, the one that the last Hello opened. What carries another session's
//! number is refused and nothing is done: its sender is a host that this guest has left, or a daemon
//! that has started again since.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use godwit_api::agent::v1::guest_frame::Body as Answer;
use godwit_api::agent::v1::host_frame::Body;
use godwit_api::agent::v1::{
    GuestFrame, Hello, HostFrame, Measure, PairRef, PortRole, RefusalReason, Welcome,
};
use godwit_wire::Mac;

use crate::measure::Ask;
use crate::refusal::Refusal;

/// The only protocol version so far.
const PROTOCOL: u32 = 1;

/// Bytes of a record's name, and of a part's.
const MOST_RECORD: usize = 64;
const MOST_PART: usize = 32;

const DEADLINE_MS: std::ops::RangeInclusive<u32> = 1..=600_000;

/// What the agent is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    Inspect,
    /// `Inspect` that also asks whom the guest knows: who is wanted, or all.
    Acquaint {
        target: Option<IpAddr>,
    },
    /// `FailOver` and `FailBack`: move the traffic to the port of this role.
    Switch {
        standby: Mac,
        to: PortRole,
        /// Who proves the port, instead of whom the guest knows.
        target: Option<IpAddr>,
    },
    ReleasePrimary {
        standby: Mac,
    },
    AdoptPrimary {
        standby: Mac,
        primary: Mac,
    },
    Measure {
        standby: Mac,
        ask: Ask,
    },
}

/// A request of the open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) session: u64,
    pub(crate) time: Duration,
    pub(crate) verb: Verb,
}

/// What a frame from the host leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    /// A session is open; what the one before wanted is over.
    Opened(GuestFrame),
    /// Answered without any work.
    Answered(GuestFrame),
    /// To be worked on.
    Work(Request),
}

/// The one open session.
pub(crate) struct Session {
    boot_id: String,
    open: Option<u64>,
}

impl Session {
    pub(crate) fn new(boot_id: String) -> Self {
        Self { boot_id, open: None }
    }

    /// Whether a request belongs to the session that is open now.
    pub(crate) fn is_open(&self, session: u64) -> bool {
        self.open == Some(session)
    }

    /// Takes a frame from the host.
    pub(crate) fn receive(&mut self, frame: HostFrame) -> Received {
        let (id, session) = (frame.request_id, frame.session);
        if let Some(Body::Hello(hello)) = &frame.body {
            return self.hello(id, hello);
        }
        let verb = if self.is_open(session) {
            verb(frame.body)
        } else {
            let detail = "this session is not the open one; say Hello first";
            Err(Refusal::new(RefusalReason::StaleSession, detail))
        };
        let milliseconds = frame.deadline_ms.clamp(*DEADLINE_MS.start(), *DEADLINE_MS.end());
        let time = Duration::from_millis(milliseconds.into());
        match verb {
            Ok(verb) => Received::Work(Request {
                id,
                session,
                time,
                verb,
            }),
            Err(refusal) => Received::Answered(self.answer(id, session, refusal)),
        }
    }

    /// The frame that answers a request.
    pub(crate) fn answer(&self, request_id: u64, session: u64, body: impl Into<Reply>) -> GuestFrame {
        GuestFrame {
            request_id,
            session,
            boot_id: self.boot_id.clone(),
            body: Some(body.into().0),
        }
    }

    fn hello(&mut self, id: u64, hello: &Hello) -> Received {
        // Whatever comes of it, another host speaks now.
        self.open = None;
        if hello.nonce == 0 {
            let refusal = Refusal::new(RefusalReason::StaleSession, "a session's nonce is never 0");
            return Received::Answered(self.answer(id, hello.nonce, refusal));
        }
        if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
            let detail = format!(
                "this agent ({}) speaks version {PROTOCOL} only",
                env!("CARGO_PKG_VERSION")
            );
            let refusal = Refusal::new(RefusalReason::NoCommonVersion, detail);
            return Received::Answered(self.answer(id, hello.nonce, refusal));
        }
        self.open = Some(hello.nonce);
        let welcome = Welcome {
            protocol: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Received::Opened(self.answer(id, hello.nonce, Answer::Welcome(welcome)))
    }
}

/// The body of an answer; a refusal is one.
pub(crate) struct Reply(Answer);

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self(answer)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self(Answer::Refused(refusal.into()))
    }
}

fn verb(body: Option<Body>) -> Result<Verb, Refusal> {
    Ok(match body {
        Some(Body::Inspect(ask)) if ask.neighbours => Verb::Acquaint {
            target: target(&ask.target)?,
        },
        Some(Body::Inspect(_)) => Verb::Inspect,
        Some(Body::FailOver(ask)) => Verb::Switch {
            standby: standby(ask.pair)?,
            to: PortRole::Standby,
            target: target(&ask.target)?,
        },
        Some(Body::FailBack(ask)) => Verb::Switch {
            standby: standby(ask.pair)?,
            to: PortRole::Primary,
            target: target(&ask.target)?,
        },
        Some(Body::ReleasePrimary(ask)) => Verb::ReleasePrimary {
            standby: standby(ask.pair)?,
        },
        Some(Body::AdoptPrimary(ask)) => Verb::AdoptPrimary {
            standby: standby(ask.pair)?,
            primary: mac(&ask.primary_mac)?,
        },
        Some(Body::Measure(ask)) => Verb::Measure {
            standby: standby(ask.pair.clone())?,
            ask: measure(ask)?,
        },
        Some(Body::Hello(_)) | None => {
            let detail = format!(
                "this agent ({}) does not know that verb",
                env!("CARGO_PKG_VERSION")
            );
            return Err(Refusal::new(RefusalReason::Unsupported, detail));
        }
    })
}

fn measure(ask: Measure) -> Result<Ask, Refusal> {
    if ask.record.is_empty() || ask.record.len() > MOST_RECORD || ask.part.len() > MOST_PART {
        let detail = "a record's name has 1 to 64 bytes, and a part's 32 at most";
        return Err(Refusal::new(RefusalReason::NobodyKnown, detail));
    }
    Ok(Ask {
        record: ask.record,
        part: ask.part,
        per_second: ask.per_second.min(Ask::MOST),
        target: target(&ask.target)?,
        reflector: reflector(&ask.reflector)?,
        end: ask.end,
    })
}

/// Whom the host wants asked which way a probe was lost, if anybody.
fn reflector(text: &str) -> Result<Option<SocketAddr>, Refusal> {
    match text.parse::<SocketAddr>() {
        Ok(at) if at.port() > 0 => Ok(Some(at)),
        Err(_) if text.is_empty() => Ok(None),
        _ => {
            let detail = "the reflector is no IP address and port";
            Err(Refusal::new(RefusalReason::NobodyKnown, detail))
        }
    }
}

/// Whom the host wants asked, if anybody.
fn target(text: &str) -> Result<Option<IpAddr>, Refusal> {
    match text.parse() {
        Ok(ip) => Ok(Some(ip)),
        Err(_) if text.is_empty() => Ok(None),
        Err(_) => {
            let detail = "who is to be asked is no IP address";
            Err(Refusal::new(RefusalReason::NobodyKnown, detail))
        }
    }
}

fn standby(pair: Option<PairRef>) -> Result<Mac, Refusal> {
    mac(&pair.unwrap_or_default().standby_mac)
}

fn mac(text: &str) -> Result<Mac, Refusal> {
    let shown: String = text.chars().take(40).collect();
    text.parse().map_err(|_| {
        Refusal::new(
            RefusalReason::UnknownPair,
            format!("the request names {shown:?}, which is no MAC address"),
        )
    })
}

#[cfg(test)]
mod tests {
    use godwit_api::agent::v1::{FailBack, FailOver, Inspect, Refused};

    use super::*;

    fn hello(nonce: u64, versions: (u32, u32)) -> HostFrame {
        let hello = Hello {
            nonce,
            protocol_min: versions.0,
            protocol_max: versions.1,
            ..Hello::default()
        };
        HostFrame {
            request_id: 9,
            session: nonce,
            body: Some(Body::Hello(hello)),
            ..HostFrame::default()
        }
    }

    fn frame(session: u64, body: impl Into<Option<Body>>) -> HostFrame {
        HostFrame {
            request_id: 3,
            session,
            deadline_ms: 5000,
            body: body.into(),
        }
    }

    fn open() -> Session {
        let mut session = Session::new("boot".to_owned());
        assert!(matches!(session.receive(hello(7, (1, 1))), Received::Opened(_)));
        session
    }

    fn refused(received: Received) -> Refused {
        match received {
            Received::Answered(GuestFrame {
                body: Some(Answer::Refused(refused)),
                ..
            }) => refused,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn whom_the_guest_knows_is_told_if_that_is_asked() {
        let mut session = open();
        let verb = |session: &mut Session, neighbours, target: &str| {
            let target = target.to_owned();
            match session.receive(frame(7, Body::Inspect(Inspect { neighbours, target }))) {
                Received::Work(request) => Some(request.verb),
                _ => None,
            }
        };
        assert_eq!(verb(&mut session, false, ""), Some(Verb::Inspect));
        assert_eq!(verb(&mut session, false, "x"), Some(Verb::Inspect));
        assert_eq!(
            verb(&mut session, true, ""),
            Some(Verb::Acquaint { target: None })
        );
        let target = "10.77.0.9".parse().ok();
        assert_eq!(
            verb(&mut session, true, "10.77.0.9"),
            Some(Verb::Acquaint { target })
        );
        assert_eq!(verb(&mut session, true, "x"), None);
    }

    #[test]
    fn hello_opens_a_session_and_the_answer_names_boot_and_version() {
        let mut session = Session::new("boot".to_owned());
        let Received::Opened(answer) = session.receive(hello(7, (1, 4))) else {
            panic!("not opened")
        };
        assert_eq!(
            (answer.request_id, answer.session, answer.boot_id.as_str()),
            (9, 7, "boot")
        );
        let Some(Answer::Welcome(welcome)) = answer.body else {
            panic!("no welcome")
        };
        assert_eq!(
            (welcome.protocol, welcome.agent_version.as_str()),
            (1, env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn without_a_common_version_no_session_is_open() {
        let mut session = open();
        let refused = refused(session.receive(hello(8, (2, 3))));
        assert_eq!(refused.reason(), RefusalReason::NoCommonVersion);
        assert!(!session.is_open(8) && !session.is_open(7));
    }

    #[test]
    fn nothing_is_done_for_another_session() {
        let mut session = Session::new(String::new());
        assert_eq!(
            refused(session.receive(frame(0, Body::Inspect(Inspect::default())))).reason(),
            RefusalReason::StaleSession
        );
        let mut session = open();
        assert_eq!(
            refused(session.receive(frame(6, Body::Inspect(Inspect::default())))).reason(),
            RefusalReason::StaleSession
        );
        assert!(matches!(
            session.receive(frame(7, Body::Inspect(Inspect::default()))),
            Received::Work(_)
        ));
        session.receive(hello(8, (1, 1)));
        assert_eq!(
            refused(session.receive(frame(7, Body::Inspect(Inspect::default())))).reason(),
            RefusalReason::StaleSession
        );
    }

    #[test]
    fn a_nonce_of_zero_opens_nothing() {
        let mut session = Session::new(String::new());
        assert_eq!(
            refused(session.receive(hello(0, (1, 1)))).reason(),
            RefusalReason::StaleSession
        );
        assert_eq!(
            refused(session.receive(frame(0, Body::Inspect(Inspect::default())))).reason(),
            RefusalReason::StaleSession
        );
    }

    #[test]
    fn fail_over_goes_to_the_standby_and_fail_back_to_the_primary() {
        let pair = || {
            Some(PairRef {
                standby_mac: "52:54:00:aa:00:10".to_owned(),
            })
        };
        let over = |target: &str| {
            let (pair, target) = (pair(), target.to_owned());
            Body::FailOver(FailOver { pair, target })
        };
        let back = |target: &str| {
            let (pair, target) = (pair(), target.to_owned());
            Body::FailBack(FailBack { pair, target })
        };
        let mut session = open();
        for (body, to, target) in [
            (over(""), PortRole::Standby, None),
            (back(""), PortRole::Primary, None),
            (over("10.77.0.9"), PortRole::Standby, "10.77.0.9".parse().ok()),
            (back("fd00::9"), PortRole::Primary, "fd00::9".parse().ok()),
        ] {
            let Received::Work(request) = session.receive(frame(7, body)) else {
                panic!("no work")
            };
            let standby = Mac([0x52, 0x54, 0, 0xaa, 0, 0x10]);
            assert_eq!(request.verb, Verb::Switch { standby, to, target });
            assert_eq!(
                (request.id, request.session, request.time),
                (3, 7, Duration::from_secs(5))
            );
        }
        for odd in [over("gateway"), back("10.77.0")] {
            let refused = refused(session.receive(frame(7, odd)));
            assert_eq!(refused.reason(), RefusalReason::NobodyKnown);
        }
    }

    #[test]
    fn what_is_measured_has_bounds() {
        let pair = Some(PairRef {
            standby_mac: "52:54:00:aa:00:10".to_owned(),
        });
        let asked = |record: &str, part: &str, target: &str| Measure {
            pair: pair.clone(),
            record: record.to_owned(),
            part: part.to_owned(),
            per_second: u32::MAX,
            target: target.to_owned(),
            reflector: String::new(),
            end: false,
        };
        let mut session = open();
        let mut receive = |asked| session.receive(frame(7, Body::Measure(asked)));
        let Received::Work(request) = receive(asked("m", "unplug", "10.77.0.1")) else {
            panic!("no work")
        };
        let Verb::Measure { ask, .. } = request.verb else {
            panic!("another verb")
        };
        assert_eq!(
            (ask.per_second, ask.target),
            (Ask::MOST, "10.77.0.1".parse().ok())
        );
        let reflected = |reflector: &str| Measure {
            reflector: reflector.to_owned(),
            ..asked("m", "unplug", "")
        };
        for at in ["10.77.0.9:7007", "[fd00::9]:7007"] {
            let Received::Work(request) = receive(reflected(at)) else {
                panic!("no work")
            };
            let Verb::Measure { ask, .. } = request.verb else {
                panic!("another verb")
            };
            assert_eq!(ask.reflector, at.parse().ok());
        }
        let (long, longer) = ("x".repeat(33), "x".repeat(65));
        for wrong in [
            asked("", "", ""),
            asked(&longer, "", ""),
            asked("m", &long, ""),
            asked("m", "", "gateway"),
            reflected("10.77.0.9"),
            reflected("10.77.0.9:0"),
            reflected("reflector:7007"),
        ] {
            assert_eq!(refused(receive(wrong)).reason(), RefusalReason::NobodyKnown);
        }
    }

    #[test]
    fn deadlines_have_bounds() {
        let mut session = open();
        for (asked, given) in [(0, 1), (600_000, 600_000), (u32::MAX, 600_000)] {
            let frame = HostFrame {
                deadline_ms: asked,
                ..frame(7, Body::Inspect(Inspect::default()))
            };
            let Received::Work(request) = session.receive(frame) else {
                panic!("no work")
            };
            assert_eq!(request.time, Duration::from_millis(given));
        }
    }

    #[test]
    fn an_unknown_verb_and_a_wrong_address_are_refused() {
        let mut session = open();
        assert_eq!(
            refused(session.receive(frame(7, None))).reason(),
            RefusalReason::Unsupported
        );
        let nowhere = Body::FailOver(FailOver::default());
        assert_eq!(
            refused(session.receive(frame(7, nowhere))).reason(),
            RefusalReason::UnknownPair
        );
    }

    /// Whatever a host sends: it is answered, and worked on only in the session that is open.
    #[test]
    fn fuzz_what_hosts_say() {
        use prost::Message;
        let target = godwit_fuzz::Target {
            name: "host-frames",
            words: &["52:54:00:aa:00:10", "10.77.0.1", "fe80::1", "unplug", "m"],
            most: 2048,
        };
        let pair = Some(PairRef {
            standby_mac: "52:54:00:aa:00:10".to_owned(),
        });
        let asked = Measure {
            pair: pair.clone(),
            record: "m".to_owned(),
            part: "unplug".to_owned(),
            reflector: "10.77.0.9:7007".to_owned(),
            ..Measure::default()
        };
        let frames = [
            hello(7, (1, 1)),
            frame(
                7,
                Body::FailOver(FailOver {
                    pair,
                    target: "10.77.0.1".to_owned(),
                }),
            ),
            frame(7, Body::Measure(asked)),
            frame(6, Body::Inspect(Inspect::default())),
        ];
        target.run(frames.map(|frame| frame.encode_to_vec()), |input| {
            let Ok(frame) = HostFrame::decode(input) else {
                return "no frame";
            };
            let mut session = open();
            match session.receive(frame.clone()) {
                Received::Opened(answer) => {
                    assert!(session.is_open(answer.session) && answer.session != 0);
                    "opened"
                }
                Received::Answered(answer) => {
                    assert_eq!(answer.request_id, frame.request_id);
                    godwit_wire::encode(&answer).unwrap();
                    "answered"
                }
                Received::Work(request) => {
                    assert_eq!((request.id, request.session), (frame.request_id, 7));
                    assert!((1..=600_000).contains(&request.time.as_millis()));
                    "work"
                }
            }
        });
    }
}
