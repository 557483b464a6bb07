//! What a program reads in a refusal.

use godwit_migration::{GuestRefusal, HostRefusal};

use super::*;

fn sent(refused: impl Into<Refused>) -> Status {
    refused.into().into()
}

#[test]
fn a_refusal_names_what_it_is_about_in_words_for_programs() {
    let busy = Refusal::Guest(GuestRefusal::Busy {
        guest: "web-1".into(),
        migration: "01a20918".into(),
        phase: "transfer".into(),
    });
    let status = sent(busy);
    let info = status::info(&status).unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("GUEST_BUSY", status::DOMAIN)
    );
    assert_eq!(info.metadata["guest"], "web-1");
    assert_eq!(info.metadata["migration"], "01a20918");
    assert_eq!(
        status::retry_after(&status),
        None,
        "who is busy may be so for an hour"
    );
    let failure = status::failure(&status).unwrap();
    assert_eq!(failure.hint, "godwit status 01a20918");
    assert_eq!(failure.message, status.message());
}

#[test]
fn what_several_things_speak_against_is_about_what_the_first_is_about() {
    let busy = Refusal::Guest(GuestRefusal::Busy {
        guest: "web-1".into(),
        migration: "01a20918".into(),
        phase: "transfer".into(),
    });
    let away = Refusal::Host(HostRefusal::Unreachable {
        host: "beta".into(),
        detail: "connection refused".into(),
    });
    let both = Refused::all(vec![busy.into(), away.into()]).unwrap();
    let status = sent(both);
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status::info(&status).unwrap();
    assert_eq!(
        (info.reason.as_str(), &*info.metadata["guest"]),
        ("GUEST_BUSY", "web-1")
    );
    let failure = status::failure(&status).unwrap();
    assert_eq!(failure.message, status.message());
    assert!(failure.message.contains("web-1") && failure.hint == "godwit status 01a20918");
    let and = "and host beta cannot be reached: connection refused [HOST_UNREACHABLE]: ";
    assert!(
        failure.causes.len() == 1 && failure.causes[0].starts_with(and),
        "{failure:?}"
    );
}

#[test]
fn what_time_may_heal_says_when_to_ask_again() {
    let away = Refusal::Host(HostRefusal::Unreachable {
        host: "beta".into(),
        detail: "connection refused".into(),
    });
    let status = sent(away);
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status::retry_after(&status), Some(LATER));
}

/// As docs/control-planes.md has it.
#[test]
fn what_failed_outside_has_the_code_of_its_word() {
    use Code::{DeadlineExceeded, FailedPrecondition, Internal, NotFound, ResourceExhausted, Unavailable};
    for (reason, code, retry) in [
        ("HOST_UNREACHABLE", Unavailable, Some(LATER)),
        ("LIBVIRT", Unavailable, Some(LATER)),
        ("DEADLINE", DeadlineExceeded, None),
        ("GUEST_UNKNOWN", NotFound, None),
        ("JOURNAL_FULL", ResourceExhausted, None),
        ("DEFECT", Internal, None),
        ("NO_FREE_VF", FailedPrecondition, None),
    ] {
        let status = sent(failed(reason));
        assert_eq!(
            (status.code(), status::retry_after(&status)),
            (code, retry),
            "{reason}"
        );
    }
}

fn failed(reason: &str) -> Refused {
    Refused::Cause(Cause {
        reason: reason.into(),
        ..Cause::default()
    })
}

#[test]
fn every_kind_of_refusal_has_a_reason_of_the_list_and_something_to_type() {
    let all = [
        failed("METADATA"),
        Refused::Several {
            first: Box::new(failed("LIBVIRT")),
            others: vec!["and more".into()],
        },
        Refused::Journal(JournalError::Closed),
        Refused::GoingDown {
            host: "alpha".into(),
            why: "is shutting down",
        },
        Refused::NotNow(NotNow::Unknown {
            id: "01a20918".into(),
            more: "",
        }),
        Refused::NotNow(NotNow::NothingRests {
            id: "01a20918".into(),
            phase: "plug".into(),
        }),
        Refused::Invalid("no".into()),
        Refused::NotAllowed("no".into()),
    ];
    for refused in all {
        let status = sent(refused);
        let reason = status::info(&status).unwrap().reason;
        let fits = |c: char| c.is_ascii_uppercase() || c == '_';
        assert!(reason.len() > 1 && reason.chars().all(fits), "{reason}");
        assert!(!status::failure(&status).unwrap().hint.is_empty(), "{reason}");
    }
}
