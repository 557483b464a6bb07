//! Errors as words, hints and exit codes: the only place that does so.

mod places;

use std::error::Error as _;
use std::io;
use std::time::Duration;

use godwit_api::v1::Failure;
use tonic::{Code, Status};

use crate::exit;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The daemon cannot be reached: at its socket, or over the network.
    #[error("godwitd cannot be reached at {place}")]
    Away {
        place: String,
        network: bool,
        source: io::Error,
    },
    /// The daemon said no, in its own words.
    #[error("{}", failure.message)]
    Refused { failure: Box<Failure> },
    /// gRPC said no, without words of the daemon's.
    #[error("{}", sentence(*code))]
    Status { code: Code, message: String },
    /// No answer in time.
    #[error("godwitd did not answer within {} s", deadline.as_secs())]
    Silent { deadline: Duration },
    /// An answer or a stream that stopped too early.
    #[error("godwitd's answer ended before {0}")]
    Ended(&'static str),
    /// The daemon went away and did not come back.
    #[error("{lost}; godwitd has not come back for {} s", patience.as_secs())]
    Lost {
        lost: String,
        hint: String,
        patience: Duration,
        source: Box<Error>,
    },
    /// Our own output.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    /// Our own process.
    #[error("godwit cannot start")]
    Start(#[source] io::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Refused {
            failure: Box::new(failure),
        }
    }
}

impl From<Status> for Error {
    /// The details are the daemon's failure; without them only gRPC's code and words are known. What a daemon says of a call that it
    /// does not know was written before there was that call.
    fn from(status: Status) -> Error {
        let code = status.code();
        match godwit_api::status::failure(&status) {
            Some(failure) if code != Code::Unimplemented => Error::Refused {
                failure: Box::new(failure),
            },
            _ => Error::Status {
                code,
                message: words_of(&status),
            },
        }
    }
}

impl Error {
    /// The connection broke or the daemon went away: asking again may be answered. The daemon's own words are never
    /// that, whatever their code (a destination that cannot be reached is `UNAVAILABLE` too).
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Error::Away { .. } | Error::Silent { .. } | Error::Ended(_) => true,
            Error::Status { code, .. } => matches!(
                code,
                Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
            ),
            Error::Refused { .. } | Error::Lost { .. } | Error::Output(_) | Error::Start(_) => false,
        }
    }

    /// What a script sees.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.is_broken_pipe() {
            exit::BROKEN_PIPE
        } else {
            exit::FAILED
        }
    }

    /// Nobody reads us any more: nothing to say, and nobody to say it to.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The error in the form in which the daemon's own failures come.
    pub(crate) fn to_failure(&self) -> Failure {
        if let Error::Refused { failure, .. } = self {
            return Failure::clone(failure);
        }
        Failure {
            reason: self.reason().into(),
            message: self.to_string(),
            causes: self.causes(),
            hint: self.hint(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Error::Away { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "PERMISSION_DENIED"
            }
            Error::Away { .. } => "DAEMON_AWAY",
            Error::Refused { .. } => "REFUSED",
            Error::Status { code, .. } => reason_of(*code),
            Error::Silent { .. } => "DAEMON_SILENT",
            Error::Ended(_) => "ANSWER_INCOMPLETE",
            Error::Lost { .. } => "DAEMON_LOST",
            Error::Output(_) => "OUTPUT",
            Error::Start(_) => "START",
        }
    }

    fn causes(&self) -> Vec<String> {
        if let Error::Status { message, .. } = self {
            return Vec::from_iter((!message.is_empty()).then(|| message.clone()));
        }
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    fn hint(&self) -> String {
        match self {
            Error::Away { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "only users who may write to the socket can talk to godwitd: try it with sudo".into()
            }
            Error::Away { network: true, .. } => {
                "does godwitd run there, and listen there? On that host: godwit doctor. Who is asked: godwit context show".into()
            }
            Error::Away { .. } => {
                "is godwitd running? systemctl status godwitd (without it: godwit list --offline)".into()
            }
            Error::Status {
                code: Code::Unimplemented,
                ..
            } => "upgrade godwitd there; which version each host has: godwit hosts".into(),
            Error::Status { .. } | Error::Silent { .. } | Error::Ended(_) => {
                "what does the daemon say? journalctl --unit godwitd --since -5min".into()
            }
            Error::Lost { hint, .. } => hint.clone(),
            Error::Refused { .. } | Error::Output(_) | Error::Start(_) => String::new(),
        }
    }
}

/// A failure as `Error:` / `Caused by:` / `Hint:` lines.
pub(crate) fn lines(failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!("Error: {}", failure.message)];
    lines.extend(failure.causes.iter().map(|cause| format!("Caused by: {cause}")));
    if !failure.hint.is_empty() {
        lines.push(format!("Hint: {}", failure.hint));
    }
    lines
}

/// gRPC's words, or those of the innermost error where the transport failed ("transport error" says nothing).
fn words_of(status: &Status) -> String {
    let mut innermost = status.message().to_owned();
    let mut next = status.source();
    while let Some(cause) = next {
        innermost = cause.to_string();
        next = cause.source();
    }
    innermost
}

fn sentence(code: Code) -> &'static str {
    match code {
        Code::NotFound => "there is no such thing",
        Code::InvalidArgument | Code::OutOfRange => "godwitd does not understand the request",
        Code::AlreadyExists => "it exists already",
        Code::FailedPrecondition => "this cannot be done now",
        Code::PermissionDenied | Code::Unauthenticated => "this is not allowed",
        Code::ResourceExhausted => "godwitd has too much to do",
        Code::Unimplemented => {
            concat!(
                "godwitd does not know this request: it is older than this godwit, which is ",
                env!("CARGO_PKG_VERSION")
            )
        }
        Code::Unavailable | Code::Cancelled | Code::Aborted => "godwitd broke off",
        Code::DeadlineExceeded => "godwitd did not answer in time",
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Ok => "the connection to godwitd failed",
    }
}

fn reason_of(code: Code) -> &'static str {
    match code {
        Code::NotFound => "NOT_FOUND",
        Code::InvalidArgument | Code::OutOfRange => "INVALID_ARGUMENT",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::PermissionDenied | Code::Unauthenticated => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Unavailable | Code::Cancelled | Code::Aborted => "UNAVAILABLE",
        Code::DeadlineExceeded => "DAEMON_SILENT",
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Ok => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn refusal() -> Failure {
        Failure {
            reason: "NO_FREE_VF".into(),
            message: "beta has no free VF in pool blue".into(),
            causes: vec!["all 7 are held".into()],
            hint: "godwit guests".into(),
        }
    }

    fn shown(error: &Error) -> String {
        lines(&error.to_failure()).join("\n")
    }

    #[test]
    fn a_refusal_speaks_the_daemons_words() {
        let details = refusal().encode_to_vec();
        let status = Status::with_details(Code::ResourceExhausted, "short", details.into());
        let error = Error::from(status);
        insta::assert_snapshot!(shown(&error), @"
        Error: beta has no free VF in pool blue
        Caused by: all 7 are held
        Hint: godwit guests
        ");
        assert_eq!(error.to_failure(), refusal());
        assert_eq!(error.exit_code(), exit::FAILED);
    }

    #[test]
    fn details_that_are_no_failure_are_not_believed() {
        let status = Status::with_details(Code::NotFound, "guest web-9", vec![0xff, 0xff].into());
        insta::assert_snapshot!(shown(&Error::from(status)), @"
        Error: there is no such thing
        Caused by: guest web-9
        Hint: what does the daemon say? journalctl --unit godwitd --since -5min
        ");
    }

    #[test]
    fn a_missing_socket_says_what_to_type() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = Error::Away {
            place: "/run/godwit/godwitd.sock".into(),
            network: false,
            source,
        };
        insta::assert_snapshot!(shown(&error), @"
        Error: godwitd cannot be reached at /run/godwit/godwitd.sock
        Caused by: entity not found
        Hint: is godwitd running? systemctl status godwitd (without it: godwit list --offline)
        ");
        assert!(error.is_lost());
    }

    #[test]
    fn a_loss_names_its_cause() {
        let source = Error::Silent {
            deadline: Duration::from_secs(30),
        };
        let error = Error::Lost {
            lost: "migration 0198 is out of sight".into(),
            hint: "godwit status 0198".into(),
            patience: Duration::from_secs(120),
            source: Box::new(source),
        };
        insta::assert_snapshot!(shown(&error), @"
        Error: migration 0198 is out of sight; godwitd has not come back for 120 s
        Caused by: godwitd did not answer within 30 s
        Hint: godwit status 0198
        ");
    }

    #[test]
    fn the_daemons_own_words_are_final_whatever_their_code() {
        for code in (0..=16).map(Code::from) {
            let status = Status::with_details(code, "", refusal().encode_to_vec().into());
            assert!(!Error::from(status).is_lost(), "{code:?}");
        }
        let bare = |code| Error::from(Status::new(code, ""));
        assert!(bare(Code::Unknown).is_lost());
        assert!(bare(Code::Unavailable).is_lost());
        assert!(!bare(Code::NotFound).is_lost());
        assert!(!bare(Code::PermissionDenied).is_lost());
    }
}
