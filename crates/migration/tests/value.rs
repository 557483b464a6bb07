//! The value under random journals: nothing panics, and what it says of itself fits together.

// A test ends at the first surprise.
#![allow(clippy::unwrap_used)]

use godwit_migration::{
    Acceleration, Brief, Cause, Entry, Event, Figures, Guest, Happening, Migration, Moved, Outcome, Pair,
    Phase, Policy, Report, Role, State, Verdict, table,
};
use proptest::prelude::*;

const VERDICTS: [Verdict; 6] = [
    Verdict::Here,
    Verdict::There,
    Verdict::PausedHere,
    Verdict::OnBoth,
    Verdict::Gone,
    Verdict::Unknown,
];

fn brief(role: Role) -> Brief {
    Brief {
        id: "m-1".into(),
        role,
        guest: Guest {
            name: "web-1".into(),
            uuid: "5f6e".into(),
        },
        source: "alpha".into(),
        destination: "beta".into(),
        pairs: vec![Pair {
            mac: "52:54:00:aa:00:10".parse().unwrap(),
            primary_mac: "52:54:00:aa:00:10".parse().unwrap(),
            standby: "ua-standby0".into(),
            primary: "ua-primary0".into(),
            pool: "fabric".into(),
            source_vf: Some("0000:01:10.0".parse().unwrap()),
            destination_vf: Some("0000:01:10.2".parse().unwrap()),
            profile: None,
        }],
        policy: Policy::Require,
        sticky: false,
        teamed: false,
        nodes: Vec::new(),
        probes: 0,
        keep: Default::default(),
        options: Default::default(),
    }
}

fn cause() -> impl Strategy<Value = Cause> {
    ("[A-Z_]{1,8}", ".{0,12}").prop_map(|(reason, message)| Cause {
        reason,
        message,
        ..Cause::default()
    })
}

fn report() -> impl Strategy<Value = Report> {
    let acceleration = prop_oneof![
        Just(Acceleration::Accelerated),
        any::<i64>().prop_map(|since_ms| Acceleration::Standby {
            since_ms,
            because: "the VF does not come up".into(),
        }),
    ];
    let figures = any::<u64>().prop_map(|memory_total| Figures {
        memory_total,
        ..Figures::default()
    });
    (
        prop::option::of(acceleration),
        prop::option::of(figures),
        ".{0,12}",
    )
        .prop_map(|(acceleration, figures, detail)| Report {
            detail,
            figures,
            acceleration,
            ..Report::default()
        })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => report().prop_map(Event::Done),
        2 => cause().prop_map(Event::Failed),
        1 => cause().prop_map(Event::Silent),
        4 => (prop::sample::select(&VERDICTS[..]), ".{0,12}")
            .prop_map(|(verdict, detail)| Event::Located { verdict, detail }),
        1 => Just(Event::CancelAsked),
        1 => Just(Event::Closed),
        1 => cause().prop_map(Event::Left),
        1 => any::<bool>().prop_map(|sticky| Event::StandbyAsked { sticky }),
        1 => Just(Event::Unwanted),
        1 => Just(Event::Swapped { held: vec![("52:54:00:aa:00:10".parse().unwrap(), "0000:02:10.0".parse().unwrap())], because: "another".into() }),
    ]
}

/// Anything in any order; the clock goes on by 0 to 99 ms each.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0..100_i64, event()), 0..60).prop_map(|events| {
        let mut at_ms = 1000;
        let stamped = events.into_iter().map(|(later, event)| {
            at_ms += later;
            Entry { at_ms, event }
        });
        stamped.collect()
    })
}

fn role() -> impl Strategy<Value = Role> {
    let stays = prop_oneof![Just(Role::Accelerate), Just(Role::Decelerate)];
    prop_oneof![2 => Just(Role::Source), 2 => Just(Role::Destination), 2 => stays]
}

/// What the value says of itself fits together.
fn consistent(migration: &Migration) {
    let state = migration.state();
    assert!(!migration.ended() || migration.settled());
    assert_eq!(migration.settled(), !matches!(state, State::Work(..)));
    assert!(!migration.needs_person() || migration.settled());
    if matches!(migration.moved(), Moved::Undecided) {
        assert!(!migration.settled(), "{state}");
    }
    if migration.moved() == Moved::Gone {
        let here = matches!(migration.acceleration(), Acceleration::Unknown(_));
        assert!(
            here,
            "{state}: a guest that is not here is neither accelerated nor on standby"
        );
    }
    if state == State::Done(Outcome::Accelerated) {
        let came = migration.brief.role == Role::Destination;
        let moved = if came { Moved::Yes } else { Moved::No };
        let outcome = (migration.moved(), migration.acceleration());
        assert_eq!(outcome, (moved, Acceleration::Accelerated));
    }
    if state == State::Done(Outcome::OnStandby) {
        assert!(matches!(migration.acceleration(), Acceleration::Standby { .. }));
    }
    if migration.cancelled() {
        assert_eq!(migration.brief.role, Role::Source);
    }
    timeline(migration);
}

/// At most one phase is open, it is the one at work, and it is the last; times go forward.
fn timeline(migration: &Migration) {
    let spans = migration.spans();
    let open: Vec<_> = spans.iter().filter(|span| span.ended_ms.is_none()).collect();
    assert_eq!(open.len(), usize::from(!migration.ended()));
    assert_eq!(open.first().map(|span| span.phase), migration.state().phase());
    let mut now = migration.begun_ms;
    for (place, span) in spans.iter().enumerate() {
        assert_eq!(span.started_ms, now, "a phase begins when the last one ended");
        now = span.ended_ms.unwrap_or(now);
        assert!(now >= span.started_ms);
        assert!(span.ended_ms.is_some() || place + 1 == spans.len());
    }
    assert_eq!(spans.last().map(|span| span.phase), Some(migration.phase()));
}

proptest! {
    /// What cannot happen changes nothing; what can is what the table says, and the journal replays to it.
    #[test]
    fn any_happenings_in_any_order(role in role(), entries in entries()) {
        let mut migration = Migration::begin(brief(role), 1000);
        for entry in entries {
            let before = migration.clone();
            let next = table::next(before.state(), entry.event.happening());
            let cancel = entry.event == Event::CancelAsked;
            prop_assert!(!cancel || next.is_ok() == table::can_cancel(before.state()));
            match migration.apply(entry) {
                Ok(()) => prop_assert_eq!(Ok(migration.state()), next),
                Err(illegal) => {
                    prop_assert_eq!(Err(illegal), next);
                    prop_assert_eq!(&migration, &before);
                }
            }
            consistent(&migration);
        }
        let entries = migration.entries().to_vec();
        let replayed = Migration::replay(brief(role), 1000, entries).unwrap();
        prop_assert_eq!(replayed, migration);
    }

    /// What the journal keeps comes back as it was.
    #[test]
    fn entries_survive_the_journal(entries in entries()) {
        let text = serde_json::to_string(&entries).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).unwrap(), entries);
    }

    /// The clock of a host may be set back in the middle; nothing panics.
    #[test]
    fn a_clock_that_jumps_is_no_harm(role in role(), times in prop::collection::vec(any::<i64>(), 1..20)) {
        let mut migration = Migration::begin(brief(role), i64::MAX);
        for at_ms in times {
            let event = Event::Done(Report::default());
            let _ = migration.apply(Entry { at_ms, event });
            let _ = (migration.spans(), migration.acceleration(), migration.phase());
        }
    }
}

/// From the moment that evidence says so, and never back.
#[test]
fn moved_is_not_taken_back() {
    let entry = |happening| Entry {
        at_ms: 1000,
        event: match happening {
            Happening::Located(verdict) => Event::Located {
                verdict,
                detail: String::new(),
            },
            _ => Event::Done(Report::default()),
        },
    };
    let mut migration = Migration::begin(brief(Role::Source), 1000);
    let mut told = Vec::new();
    let there = Happening::Located(Verdict::There);
    let done = Happening::Done;
    for happening in [done, done, done, done, done, there, done, done] {
        migration.apply(entry(happening)).unwrap();
        told.push(migration.moved());
    }
    use Moved::{Undecided, Yes};
    assert_eq!(told[..5], [Undecided; 5]);
    assert_eq!(told[5..], [Yes, Yes, Yes]);
    assert_eq!(migration.phase(), Phase::Follow);
}
