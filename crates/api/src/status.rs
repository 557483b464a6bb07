//! How a failure travels in a gRPC status: written by hand once, for all who send one and all who read one.
//!
//! The details are those of `google.rpc.Status`, which clients in every language know: `ErrorInfo` with the stable reason,
//! the domain [`DOMAIN`] and the ids that it is about; `Help` with the next command; `RetryInfo` where time alone may
//! help. `godwit.v1.Failure`, with the causes, is among them.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::v1::Failure;

/// `ErrorInfo.domain` of every failure of Godwit's.
pub const DOMAIN: &str = "godwit";

/// The message in [`Any`] that has hint and causes.
const FAILURE: &str = "godwit.v1.Failure";

/// Longest message, longest cause or hint, and longest id, in bytes. A status travels in HTTP/2 headers, and some clients
/// take no more than 8 KiB of them.
const LONGEST_MESSAGE: usize = 1024;
const LONGEST: usize = 384;
const LONGEST_ID: usize = 96;

/// At most so many causes, and so many ids.
const MOST_CAUSES: usize = 4;
const MOST_IDS: usize = 6;

/// What a failure is about, word by word: `("guest", "web-1")`.
pub type About = Vec<(String, String)>;

/// The failure as a status. `retry`: time alone may help, and asking earlier is of no use.
pub fn status(code: Code, failure: &Failure, about: About, retry: Option<Duration>) -> Status {
    let message = clip(&failure.message, LONGEST_MESSAGE);
    let failure = &clipped(failure);
    let metadata: HashMap<String, String> = about
        .into_iter()
        .take(MOST_IDS)
        .map(|(key, value)| (key, clip(&value, LONGEST_ID)))
        .collect();
    let info = pb::ErrorInfo {
        reason: failure.reason.clone(),
        domain: DOMAIN.into(),
        metadata,
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if !failure.hint.is_empty() {
        let link = pb::help::Link {
            description: failure.hint.clone(),
            url: String::new(),
        };
        details.push(any("google.rpc.Help", &pb::Help { links: vec![link] }));
    }
    if let Some(delay) = retry {
        let retry_delay = prost_types::Duration::try_from(delay).ok();
        details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
    }
    details.push(any(FAILURE, failure));
    let whole = pb::Status {
        code: code.into(),
        message: message.clone(),
        details,
    };
    Status::with_details(code, message, whole.encode_to_vec().into())
}

/// Whether the same question may have an answer soon: nobody answered, or the door alone (the words are those of `godwit_server`, which
/// has `DEADLINE` in common with what is behind it). What the service itself says is an answer, also of what may pass.
pub fn is_passing(status: &Status) -> bool {
    let code = matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled
    );
    let of_its_door = |failure: Failure| matches!(&*failure.reason, "UNAVAILABLE" | "DEADLINE" | "INTERNAL");
    code && failure(status).is_none_or(of_its_door)
}

/// The failure that a status carries, if it is one of Godwit's: also as daemons before this form sent it, bare.
pub fn failure(status: &Status) -> Option<Failure> {
    let bytes = status.details();
    if bytes.is_empty() {
        return None;
    }
    let Ok(whole) = pb::Status::decode(bytes) else {
        return Failure::decode(bytes).ok();
    };
    let failure = detail::<Failure>(&whole, FAILURE)?;
    Some(Failure {
        message: status.message().to_owned(),
        ..failure
    })
}

/// Its `ErrorInfo`, if it has one.
pub fn info(status: &Status) -> Option<pb::ErrorInfo> {
    let whole = pb::Status::decode(status.details()).ok()?;
    detail(&whole, "google.rpc.ErrorInfo")
}

/// When asking again may help.
pub fn retry_after(status: &Status) -> Option<Duration> {
    let whole = pb::Status::decode(status.details()).ok()?;
    let info: pb::RetryInfo = detail(&whole, "google.rpc.RetryInfo")?;
    info.retry_delay?.try_into().ok()
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn detail<M: Message + Default>(whole: &pb::Status, name: &str) -> Option<M> {
    let named = |any: &&Any| any.type_url.rsplit('/').next() == Some(name);
    let any = whole.details.iter().find(named)?;
    M::decode(any.value.as_slice()).ok()
}

/// Without its message, which the status has.
fn clipped(failure: &Failure) -> Failure {
    let causes = failure.causes.iter().take(MOST_CAUSES);
    Failure {
        reason: clip(&failure.reason, LONGEST),
        message: String::new(),
        causes: causes.map(|cause| clip(cause, LONGEST)).collect(),
        hint: clip(&failure.hint, LONGEST),
    }
}

/// As much of it as is allowed, cut between characters.
fn clip(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_free_vf() -> Failure {
        Failure {
            reason: "NO_FREE_VF".into(),
            message: "host beta has no free VF in pool `blue`".into(),
            causes: vec!["all 7 are held".into()],
            hint: "on beta: free a VF".into(),
        }
    }

    #[test]
    fn what_nobody_answered_may_pass_and_what_a_service_said_is_an_answer() {
        let said = |code, reason: &str| {
            let failure = Failure {
                reason: reason.into(),
                ..no_free_vf()
            };
            is_passing(&status(code, &failure, About::new(), None))
        };
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Unknown,
            Code::Cancelled,
        ] {
            assert!(is_passing(&Status::new(code, "connection refused")), "{code:?}");
            assert!(
                !said(code, "HOST_UNREACHABLE") && !said(code, "LIBVIRT"),
                "{code:?}"
            );
        }
        assert!(said(Code::Unavailable, "UNAVAILABLE") && said(Code::DeadlineExceeded, "DEADLINE"));
        assert!(said(Code::Unknown, "INTERNAL"));
        for code in [Code::FailedPrecondition, Code::NotFound, Code::Unimplemented] {
            assert!(!is_passing(&Status::new(code, "no")), "{code:?}");
            assert!(!said(code, "UNAVAILABLE"), "{code:?}");
        }
    }

    #[test]
    fn a_failure_comes_back_whole_and_other_clients_find_theirs() {
        let about = vec![("host".to_owned(), "beta".to_owned())];
        let delay = Duration::from_millis(1500);
        let status = status(Code::FailedPrecondition, &no_free_vf(), about, Some(delay));
        assert_eq!(failure(&status), Some(no_free_vf()));
        assert_eq!(status.message(), no_free_vf().message);
        let info = info(&status).unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("NO_FREE_VF", "godwit")
        );
        assert_eq!(info.metadata["host"], "beta");
        assert_eq!(retry_after(&status), Some(delay));
        // As tonic-types reads it, which nobody here wrote.
        let theirs = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(theirs.error_info().unwrap().reason, "NO_FREE_VF");
        assert_eq!(theirs.help().unwrap().links[0].description, "on beta: free a VF");
        assert_eq!(theirs.retry_info().unwrap().retry_delay, Some(delay));
    }

    #[test]
    fn the_bare_form_of_before_is_read_and_garbage_is_not_believed() {
        let bare = |bytes: Vec<u8>| Status::with_details(Code::NotFound, "guest", bytes.into());
        assert_eq!(failure(&bare(no_free_vf().encode_to_vec())), Some(no_free_vf()));
        assert_eq!(failure(&bare(vec![0xff, 0xff])), None);
        assert_eq!(failure(&bare(Vec::new())), None);
        assert_eq!(info(&bare(no_free_vf().encode_to_vec())), None);
    }

    #[test]
    fn the_longest_status_fits_into_the_headers_that_clients_take() {
        let long = "\u{20ac}".repeat(5000);
        let endless = Failure {
            reason: "LIBVIRT".into(),
            message: long.clone(),
            causes: vec![long.clone(); 50],
            hint: long.clone(),
        };
        let about = (0..50).map(|n| (format!("key{n}"), long.clone())).collect();
        let status = status(Code::Internal, &endless, about, None);
        let (details, message) = (status.details().len(), status.message().len());
        // Base64 of the details, and the message with each byte as `%xx`.
        assert!(
            details * 4 / 3 + message * 3 < 8 * 1024 + 512,
            "{details}, {message}"
        );
    }
}
