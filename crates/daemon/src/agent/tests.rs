//! The host's end against guests that behave, are silent, or are hostile.

use std::future::Future;

use api::{GuestFrame, HostFrame, RefusalReason, Refused, Welcome};
use godwit_wire::{Decoder, encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::*;

const WITHIN: Duration = Duration::from_millis(1500);

fn agents() -> Agents {
    Agents::with(Arc::new(Faults::none()))
}

/// A guest that answers each frame with what `answer` makes of it, after `first` bytes of its own.
pub(crate) fn guest<F>(first: Vec<u8>, answer: F) -> (tempfile::TempDir, PathBuf)
where
    F: Fn(HostFrame) -> Vec<GuestFrame> + Send + Sync + 'static,
{
    let of = Arc::new((first, answer));
    serve(move |mut stream| {
        let of = Arc::clone(&of);
        async move {
            let (first, answer) = &*of;
            stream.write_all(first).await.ok()?;
            let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
            loop {
                let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
                let mut input = &buffer[..count];
                while let Some(frame) = decoder.take_message::<HostFrame>(&mut input) {
                    for frame in answer(frame.ok()?) {
                        stream.write_all(&encode(&frame).ok()?).await.ok()?;
                    }
                }
            }
        }
    })
}

/// One connection after the other.
fn serve<F, S>(talk: S) -> (tempfile::TempDir, PathBuf)
where
    F: Future<Output = Option<()>> + Send,
    S: Fn(UnixStream) -> F + Send + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            talk(stream).await;
        }
    });
    (directory, path)
}

pub(crate) fn answer(to: &HostFrame, body: guest_frame::Body) -> GuestFrame {
    GuestFrame {
        request_id: to.request_id,
        session: to.session,
        boot_id: "boot".into(),
        body: Some(body),
    }
}

pub(crate) fn welcome(to: &HostFrame) -> Option<GuestFrame> {
    let hello = matches!(to.body, Some(host_frame::Body::Hello(_)));
    hello.then(|| {
        answer(
            to,
            guest_frame::Body::Welcome(Welcome {
                protocol: 1,
                agent_version: "0.0.7".into(),
            }),
        )
    })
}

fn switched(frames_received: u64) -> guest_frame::Body {
    let active = "eth0\x1b[2J".to_owned();
    guest_frame::Body::Switched(api::Switched {
        active,
        frames_received,
        first_frame_ms: 7,
        ..Default::default()
    })
}

fn mac() -> MacAddress {
    "52:54:00:aa:00:10".parse().unwrap()
}

#[tokio::test]
async fn a_confirmed_switch_is_told_in_printable_words() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        vec![welcome(&frame).unwrap_or_else(|| answer(&frame, switched(3)))]
    });
    let told = agents().fail_over(&path, mac(), WITHIN).await.unwrap();
    assert_eq!(
        told,
        Switched {
            active: "eth0 [2J".into(),
            first_frame_ms: 7,
            already: false
        }
    );
}

#[tokio::test]
async fn who_is_to_prove_a_port_is_named() {
    for (asked, named) in [(None, ""), (Some("10.77.0.9"), "10.77.0.9")] {
        let target = |frame: &HostFrame| match &frame.body {
            Some(host_frame::Body::FailOver(over)) => over.target.clone(),
            Some(host_frame::Body::FailBack(back)) => back.target.clone(),
            _ => "nobody's".into(),
        };
        let tells = move |frame: HostFrame| {
            let told = switched(u64::from(target(&frame) == named));
            vec![welcome(&frame).unwrap_or_else(|| answer(&frame, told))]
        };
        let agents = agents().asking(asked.map(|asked| asked.parse().unwrap()));
        let (_over, path) = guest(Vec::new(), tells);
        agents.fail_over(&path, mac(), WITHIN).await.unwrap();
        let (_back, path) = guest(Vec::new(), tells);
        agents.fail_back(&path, mac(), WITHIN).await.unwrap();
    }
}

#[tokio::test]
async fn a_switch_without_a_frame_is_no_confirmation() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        vec![welcome(&frame).unwrap_or_else(|| answer(&frame, switched(0)))]
    });
    let told = agents().fail_over(&path, mac(), WITHIN).await;
    assert!(
        matches!(told, Err(AgentError::Odd { verb: "FailOver" })),
        "{told:?}"
    );
}

#[tokio::test]
async fn garbage_torn_frames_and_other_sessions_are_passed_over() {
    // Half a frame, as after a live migration, then noise.
    let torn = encode(&GuestFrame {
        boot_id: "x".repeat(300),
        ..Default::default()
    })
    .unwrap();
    let first = [&torn[..100], &[7, 0, 9, 9, 0, 255][..]].concat();
    let (_kept, path) = guest(first, |frame| {
        let stale = GuestFrame {
            session: 42,
            ..answer(&frame, switched(1))
        };
        let early = GuestFrame {
            request_id: 999,
            ..answer(&frame, switched(1))
        };
        let right = welcome(&frame).unwrap_or_else(|| answer(&frame, switched(1)));
        vec![stale, early, right]
    });
    agents().fail_over(&path, mac(), WITHIN).await.unwrap();
}

#[tokio::test]
async fn a_refusal_keeps_its_reason_and_loses_its_control_characters() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        let detail = format!("no\ncarrier\x07 {}", "y".repeat(2000));
        let reason = RefusalReason::NoCarrier.into();
        let refused = guest_frame::Body::Refused(Refused {
            reason,
            detail,
            pair: None,
        });
        vec![welcome(&frame).unwrap_or_else(|| answer(&frame, refused))]
    });
    let told = agents().release(&path, mac(), WITHIN).await.unwrap_err();
    let AgentError::Refused { reason, detail, .. } = &told else {
        panic!("{told:?}")
    };
    assert_eq!(*reason, "REFUSAL_REASON_NO_CARRIER");
    assert!(
        detail.starts_with("no carrier  yyy") && detail.len() <= 512,
        "{detail}"
    );
    assert!(!told.is_passing());
}

#[tokio::test(start_paused = true)]
async fn a_silent_guest_costs_the_deadline_and_no_more() {
    let (_kept, path) = guest(Vec::new(), |_| Vec::new());
    let told = agents().inspect(&path, WITHIN).await.unwrap_err();
    assert!(
        matches!(told, AgentError::Silent { .. }) && told.is_passing(),
        "{told:?}"
    );
}

/// It answered the hello and rebooted: the switch is not waited for to the end, or nobody could ask again in time.
#[tokio::test(start_paused = true)]
async fn a_switch_that_is_forgotten_is_given_up_before_the_deadline() {
    let (_kept, path) = guest(Vec::new(), |frame| welcome(&frame).into_iter().collect());
    let started = Instant::now();
    let told = agents()
        .fail_over(&path, mac(), Duration::from_secs(30))
        .await
        .unwrap_err();
    assert!(
        told.is_forgotten() && !AgentError::Odd { verb: "" }.is_forgotten(),
        "{told:?}"
    );
    let took = started.elapsed();
    assert!(
        took >= PROOF && took <= PROOF + LATE + Duration::from_secs(1),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let (_kept, path) = serve(|mut stream| async move {
        loop {
            stream.write_all(&[1; 65536]).await.ok()?;
        }
    });
    let told = agents()
        .inspect(&path, Duration::from_secs(30))
        .await
        .unwrap_err();
    assert!(matches!(told, AgentError::Flood { .. }), "{told:?}");
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_named() {
    let told = agents()
        .inspect(Path::new("/nonexistent/agent"), WITHIN)
        .await
        .unwrap_err();
    assert!(
        told.to_string().contains("/nonexistent/agent") && told.is_passing(),
        "{told}"
    );
}

#[test]
fn only_a_pair_with_a_living_standby_has_no_problem() {
    let port = |role: api::PortRole, carrier| api::Port {
        role: role.into(),
        name: format!("{role:?}"),
        permanent_mac: "52:54:00:aa:00:10".into(),
        carrier,
        ..Default::default()
    };
    let pair = |kind: api::PairKind, carrier| api::Pair {
        kind: kind.into(),
        active: "Primary".into(),
        ports: vec![
            port(api::PortRole::Standby, carrier),
            port(api::PortRole::Primary, true),
        ],
        ..Default::default()
    };
    let problem = |kind, carrier| seen(&[pair(kind, carrier)])[0].problem.clone();
    assert_eq!(problem(api::PairKind::Bond, true), None);
    assert!(
        problem(api::PairKind::Bond, false)
            .unwrap()
            .contains("no carrier")
    );
    assert_eq!(problem(api::PairKind::NetFailover, true), None);
    assert!(problem(api::PairKind::NetFailover, false).is_some());
    assert!(
        problem(api::PairKind::Unspecified, true)
            .unwrap()
            .contains("neither")
    );
    assert!(seen(&[pair(api::PairKind::Bond, true)])[0].on_primary);
    let tagged = api::Pair {
        vlans: [&[200, 100, 100, 0, 4095, 65_636, u32::MAX][..], &[7; 99], &[8]].concat(),
        ..pair(api::PairKind::Bond, true)
    };
    assert_eq!(
        seen(&[tagged])[0].vlans,
        [7, 100, 200],
        "bounded, and only what can be one"
    );
    let unmonitored = |kind, miimon_ms| {
        let pair = api::Pair {
            miimon_ms,
            ..pair(kind, true)
        };
        seen(&[pair])[0].unmonitored
    };
    assert!(unmonitored(api::PairKind::Bond, 0) && !unmonitored(api::PairKind::Bond, 100));
    assert!(
        !unmonitored(api::PairKind::NetFailover, 0),
        "it has no such thing"
    );
    // net_failover names none active, and uses a primary that has a link.
    let uses = |up, carrier| {
        let mut pair = pair(api::PairKind::NetFailover, true);
        pair.active.clear();
        (pair.ports[1].up, pair.ports[1].carrier) = (up, carrier);
        let seen = seen(&[pair]).remove(0);
        assert!(seen.failover && seen.has_primary);
        seen.on_primary
    };
    assert!(uses(true, true) && !uses(true, false) && !uses(false, true));
    let nameless = api::Pair {
        ports: vec![api::Port::default()],
        ..Default::default()
    };
    assert!(seen(&[nameless]).is_empty());
}

#[tokio::test]
async fn a_fault_on_purpose_takes_the_agent_for_so_many_questions() {
    let state = tempfile::tempdir().unwrap();
    let fault = godwit_coordinator::faults::Fault {
        kind: godwit_coordinator::faults::Kind::NoAgent,
        times: 2,
    };
    let agents = Agents::with(Arc::new(Faults::open(state.path(), vec![fault], || {}).unwrap()));
    let nobody = Path::new("/nonexistent/agent");
    for _ in 0..2 {
        let told = agents.fail_over(nobody, mac(), WITHIN).await.unwrap_err();
        assert!(matches!(told, AgentError::Silent { .. }), "{told:?}");
    }
    let told = agents.fail_over(nobody, mac(), WITHIN).await.unwrap_err();
    assert!(
        matches!(told, AgentError::Closed { .. }),
        "the third is put: {told:?}"
    );
}

#[test]
fn ports_of_two_addresses_are_tied_by_those_burnt_in() {
    let port = |role: api::PortRole, permanent: &str| api::Port {
        role: role.into(),
        // The bond has given it another.
        mac: "52:54:00:aa:00:99".into(),
        permanent_mac: permanent.into(),
        ..api::Port::default()
    };
    let pair = |ports| api::Pair {
        ports,
        ..api::Pair::default()
    };
    let standby = || port(api::PortRole::Standby, "52:54:00:aa:00:60");
    let tied = ties(&[
        pair(vec![standby()]),
        pair(vec![standby(), port(api::PortRole::Primary, "\u{1b}[31m")]),
        pair(vec![standby(), port(api::PortRole::Primary, "52:54:00:aa:00:61")]),
    ]);
    let expected = Tie {
        primary: "52:54:00:aa:00:61".parse().unwrap(),
        standby: "52:54:00:aa:00:60".parse().unwrap(),
    };
    assert_eq!(tied, [expected]);
}

fn question() -> Question<'static> {
    Question {
        pair: mac(),
        record: "m",
        part: "unplug",
        per_second: 100,
        end: false,
    }
}

#[tokio::test]
async fn what_is_to_be_measured_is_asked_as_it_is_and_told_as_it_is() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        let asked = match &frame.body {
            Some(host_frame::Body::Measure(asked)) => asked.clone(),
            _ => return welcome(&frame).into_iter().collect(),
        };
        let (record, part, reflector) = (asked.record, asked.part, asked.reflector);
        let name = format!("{record} {part} {} {reflector}", asked.per_second);
        let part = api::MeasuredPart {
            name,
            ..Default::default()
        };
        let body = guest_frame::Body::Measured(api::Measured {
            target: asked.target,
            parts: vec![part],
            ..Default::default()
        });
        vec![answer(&frame, body)]
    });
    let agents = agents().asking("10.77.0.1".parse().ok());
    let told = agents.measure(&path, question(), WITHIN).await.unwrap();
    assert_eq!(
        (told.target.as_str(), told.parts[0].name.as_str()),
        ("10.77.0.1", "m unplug 100 ")
    );
    let agents = agents.reflected("[fd00::9]:7007".parse().ok());
    let told = agents.measure(&path, question(), WITHIN).await.unwrap();
    assert_eq!(told.parts[0].name, "m unplug 100 [fd00::9]:7007");
}

/// As one answers that does not know the verb: it reads a frame without a body.
#[tokio::test]
async fn an_agent_that_is_too_old_is_known_by_its_refusal() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        let refused = guest_frame::Body::Refused(Refused {
            reason: RefusalReason::Unsupported.into(),
            ..Default::default()
        });
        vec![welcome(&frame).unwrap_or_else(|| answer(&frame, refused))]
    });
    let told = agents().measure(&path, question(), WITHIN).await.unwrap_err();
    assert!(told.is_unsupported() && !told.is_passing(), "{told:?}");
}

/// A guest's agent is older than its host for years: what it does not know of is absent. One that is newer says more, and other words.
#[tokio::test]
async fn an_agent_of_another_version_is_understood_as_far_as_both_know() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        let port = |role: i32| api::Port {
            role,
            name: "eth9".into(),
            permanent_mac: "52:54:00:aa:00:10".into(),
            carrier: true,
            ..Default::default()
        };
        let pair = |kind: i32, roles: [i32; 2]| api::Pair {
            kind,
            ports: roles.map(port).into(),
            ..Default::default()
        };
        let (standby, tomorrow) = (api::PortRole::Standby.into(), 9);
        let pairs = vec![
            pair(9, [standby, tomorrow]),
            pair(api::PairKind::Bond.into(), [tomorrow, tomorrow]),
        ];
        let inspected = api::Inspected {
            pairs,
            ..api::Inspected::default()
        };
        vec![welcome(&frame).unwrap_or_else(|| answer(&frame, guest_frame::Body::Inspected(inspected)))]
    });
    let Inspection { pairs, version } = agents().inspect(&path, WITHIN).await.unwrap();
    assert_eq!(version, Some(Version(0, 0, 7)));
    // Of a pair whose kind is not known nothing is promised, and what is no standby is none.
    let seen = seen(&pairs);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].problem.as_ref().unwrap().contains("neither a bond") && !seen[0].has_primary);
    assert_eq!(ties(&pairs), []);

    let (_kept, path) = guest(Vec::new(), |frame| {
        let refused = guest_frame::Body::Refused(Refused {
            reason: 99,
            detail: "for a reason of tomorrow".into(),
            pair: None,
        });
        vec![welcome(&frame).unwrap_or_else(|| answer(&frame, refused))]
    });
    let told = agents().release(&path, mac(), WITHIN).await.unwrap_err();
    assert!(told.to_string().ends_with("for a reason of tomorrow"), "{told}");
    assert!(!told.is_passing() && !told.is_unsupported());
}

#[tokio::test]
async fn without_a_common_version_that_is_what_is_said() {
    let (_kept, path) = guest(Vec::new(), |frame| {
        let refused = Refused {
            reason: RefusalReason::NoCommonVersion.into(),
            detail: "this agent (9.0.0) speaks version 2 only".into(),
            pair: None,
        };
        vec![answer(&frame, guest_frame::Body::Refused(refused))]
    });
    let told = agents().inspect(&path, WITHIN).await.unwrap_err().to_string();
    assert!(
        told.contains("NO_COMMON_VERSION") && told.contains("version 2 only"),
        "{told}"
    );
    let (_kept, path) = guest(Vec::new(), |frame| {
        let welcome = Welcome {
            protocol: 2,
            agent_version: "9.0.0".into(),
        };
        vec![answer(&frame, guest_frame::Body::Welcome(welcome))]
    });
    let told = agents().inspect(&path, WITHIN).await.unwrap_err();
    assert!(matches!(told, AgentError::Version { version: 2, .. }), "{told:?}");
    assert!(told.to_string().contains("9.0.0") && !told.is_passing(), "{told}");
}
