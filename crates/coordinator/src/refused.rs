//! What the services answer instead of what was asked for, and how it travels in a gRPC status.

use std::time::Duration;

use godwit_api::{
    status::{self, About},
    v1::Failure,
};
use godwit_migration::{Cause, Refusal};
use tonic::{Code, Status};

use crate::JournalError;

/// A host that cannot be reached, or a libvirt that does not answer, is worth asking for again after this.
const LATER: Duration = Duration::from_secs(5);

/// A request that was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A rule of the workflow speaks against it.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// It failed outside: libvirt, the agent, a peer.
    #[error("{}", .0.message)]
    Cause(Cause),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no such migration, or it is not where that could be asked of it.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not ask for this.
    #[error("{0}")]
    NotAllowed(String),
    /// The host is about to end, or to sleep.
    #[error("{host} {why}: nothing new is begun there")]
    GoingDown {
        /// This host.
        host: String,
        /// What it does, after its name: "is shutting down".
        why: &'static str,
    },
    /// More than one of these speaks against it.
    #[error("{first}")]
    Several {
        /// It gives the word, and what is to be done.
        first: Box<Refused>,
        /// A sentence for each of the others.
        others: Vec<String>,
    },
}

/// What cannot be asked of a migration that is not there, or where it is.
#[derive(Debug, thiserror::Error)]
pub enum NotNow {
    /// No migration, or more than one, has that id.
    #[error("no migration has the id `{id}`{more}")]
    Unknown {
        /// As it was asked for.
        id: String,
        /// Why not.
        more: &'static str,
    },
    /// Cancel comes too late.
    #[error("migration {id} cannot be cancelled: it is at {phase}")]
    TooLate {
        /// The migration.
        id: String,
        /// Where it is.
        phase: String,
    },
    /// Nothing rests there that could be tried again.
    #[error("migration {id} has nothing that could be tried again: it is at {phase}")]
    NothingRests {
        /// The migration.
        id: String,
        /// Where it is.
        phase: String,
    },
    /// It does not wait for somebody to say where the guest is.
    #[error("migration {id} does not wait to be told where its guest runs: it is at {phase}")]
    NothingToResolve {
        /// The migration.
        id: String,
        /// Where it is.
        phase: String,
    },
    /// What a person says is not what this host sees.
    #[error("migration {id}: its guest cannot be taken to run on {runs_on}: {seen}")]
    AgainstEvidence {
        /// The migration.
        id: String,
        /// As it was said.
        runs_on: String,
        /// As it is seen.
        seen: &'static str,
    },
    /// A guest that is waited for here cannot be given up.
    #[error("migration {id} cannot be cancelled here: guest `{guest}` may still come: {seen}")]
    MayCome {
        /// The migration.
        id: String,
        /// Its guest.
        guest: String,
        /// As it is seen, here or by its source.
        seen: String,
        /// What to type.
        hint: String,
    },
}

impl NotNow {
    fn reason(&self) -> &'static str {
        match self {
            NotNow::Unknown { .. } => "MIGRATION_UNKNOWN",
            NotNow::TooLate { .. } => "TOO_LATE_TO_CANCEL",
            NotNow::NothingRests { .. } => "NOTHING_RESTS",
            NotNow::NothingToResolve { .. } => "NOTHING_TO_RESOLVE",
            NotNow::AgainstEvidence { .. } => "AGAINST_EVIDENCE",
            NotNow::MayCome { .. } => "GUEST_MAY_COME",
        }
    }

    fn id(&self) -> &str {
        match self {
            NotNow::Unknown { id, .. }
            | NotNow::TooLate { id, .. }
            | NotNow::NothingRests { id, .. }
            | NotNow::NothingToResolve { id, .. }
            | NotNow::AgainstEvidence { id, .. }
            | NotNow::MayCome { id, .. } => id,
        }
    }

    fn hint(&self) -> String {
        match self {
            NotNow::Unknown { .. } => "godwit status".into(),
            NotNow::MayCome { hint, .. } => hint.clone(),
            other => format!("godwit show {}", other.id()),
        }
    }
}

impl Refused {
    /// All that speaks against it as one: the first with its word and what is to be done, the others as sentences. None where nothing does.
    pub(crate) fn all(each: Vec<Refused>) -> Option<Refused> {
        let mut each = each.into_iter();
        let first = each.next()?;
        let others = each.map(|other| {
            let failure = other.failure();
            format!("and {} [{}]: {}", failure.message, failure.reason, failure.hint)
        });
        let others: Vec<String> = others.collect();
        Some(match others.is_empty() {
            true => first,
            false => Refused::Several {
                first: Box::new(first),
                others,
            },
        })
    }

    fn code(&self) -> Code {
        match self {
            Refused::Refusal(refusal) => code_of(refusal.reason()),
            Refused::Cause(cause) => code_of(&cause.reason),
            Refused::NotNow(NotNow::Unknown { .. }) => Code::NotFound,
            // A host that goes down is not to be asked again and again.
            Refused::NotNow(_) | Refused::GoingDown { .. } => Code::FailedPrecondition,
            Refused::Journal(JournalError::Held { .. }) => Code::FailedPrecondition,
            Refused::Journal(JournalError::Full { .. }) => Code::ResourceExhausted,
            Refused::Journal(_) => Code::Internal,
            Refused::Invalid(_) => Code::InvalidArgument,
            Refused::NotAllowed(_) => Code::PermissionDenied,
            Refused::Several { first, .. } => first.code(),
        }
    }

    /// Asking again later may help although nobody did anything.
    fn passes(&self) -> bool {
        self.code() == Code::Unavailable
    }

    /// Which guest, host, VF, migration: for programs.
    fn about(&self) -> About {
        let one = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        match self {
            Refused::Refusal(refusal) => words_of(refusal),
            Refused::Cause(cause) => cause
                .vf
                .iter()
                .flat_map(|vf| one("vf", &vf.to_string()))
                .collect(),
            Refused::Journal(JournalError::Held { by, .. }) => one("migration", by),
            Refused::Several { first, .. } => first.about(),
            Refused::NotNow(not_now) => one("migration", not_now.id()),
            Refused::Journal(_)
            | Refused::Invalid(_)
            | Refused::NotAllowed(_)
            | Refused::GoingDown { .. } => About::new(),
        }
    }

    /// As the wire has it.
    pub fn failure(&self) -> Failure {
        let (reason, hint, causes) = match self {
            Refused::Refusal(refusal) => (refusal.reason(), refusal.hint(), Vec::new()),
            Refused::Cause(cause) => (cause.reason.as_str(), cause.hint.clone(), cause.causes.clone()),
            Refused::Several { first, others } => {
                let mut failure = first.failure();
                failure.causes.extend(others.iter().cloned());
                return failure;
            }
            Refused::Journal(JournalError::Held { by, .. }) => {
                ("VF_HELD", format!("godwit status {by}"), Vec::new())
            }
            Refused::Journal(JournalError::Full { path, source }) => {
                let directory = path.parent().unwrap_or(path).display();
                (
                    "JOURNAL_FULL",
                    format!("df -h {directory}"),
                    vec![source.to_string()],
                )
            }
            Refused::Journal(_) => ("JOURNAL", "journalctl -u godwitd".into(), Vec::new()),
            Refused::NotNow(refusal) => (refusal.reason(), refusal.hint(), Vec::new()),
            Refused::Invalid(_) => ("INVALID", "godwit --help".into(), Vec::new()),
            Refused::NotAllowed(_) => (
                "NOT_ALLOWED",
                "check [[peer]] in the configuration".into(),
                Vec::new(),
            ),
            Refused::GoingDown { host, .. } => (
                "HOST_GOING_DOWN",
                format!("on {host}: systemd-inhibit --list"),
                Vec::new(),
            ),
        };
        // Who found it may have had nothing to type for it.
        let hint = match hint.is_empty() {
            true => format!("godwit explain {reason}"),
            false => hint,
        };
        Failure {
            reason: reason.into(),
            message: self.to_string(),
            causes,
            hint,
        }
    }
}

/// The same word is the same code, whoever found it: a rule, a look ahead, or Reserve at the other host.
fn code_of(reason: &str) -> Code {
    match reason {
        "GUEST_UNKNOWN" | "HOST_UNKNOWN" | "PF_UNKNOWN" => Code::NotFound,
        "HOST_UNREACHABLE" | "LIBVIRT" => Code::Unavailable,
        "DEADLINE" => Code::DeadlineExceeded,
        "JOURNAL_FULL" => Code::ResourceExhausted,
        "DEFECT" => Code::Internal,
        _ => Code::FailedPrecondition,
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let retry = refused.passes().then_some(LATER);
        status::status(refused.code(), &refused.failure(), refused.about(), retry)
    }
}

/// The words of the refusal's own sentence: its enum has a variant for what, and fields for which.
fn words_of(refusal: &Refusal) -> About {
    let mut inner = serde_json::to_value(refusal).unwrap_or_default();
    // {"Guest": {"Busy": {"guest": "web-1", "migration": "01a20918-..."}}}
    for _ in 0..2 {
        inner = inner
            .as_object()
            .and_then(|one| one.values().next())
            .cloned()
            .unwrap_or_default();
    }
    let word = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::String(text) => Some((key.clone(), text.clone())),
        serde_json::Value::Number(number) => Some((key.clone(), number.to_string())),
        _ => None,
    };
    let words = inner.as_object().into_iter().flatten();
    words.filter_map(word).collect()
}

#[cfg(test)]
mod tests;
