//! What the services answer instead of what was asked for, and how it travels in a gRPC status.

use godwit_api::v1::Failure;
use godwit_migration::{Cause, Refusal};
use prost::Message;
use tonic::{Code, Status};

use crate::JournalError;

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
    /// No migration, or more than one, has that id.
    #[error("no migration has the id `{id}`{more}")]
    UnknownMigration {
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
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not ask for this.
    #[error("{0}")]
    NotAllowed(String),
}

impl Refused {
    fn code(&self) -> Code {
        match self {
            Refused::Refusal(refusal) => match refusal.reason() {
                "GUEST_UNKNOWN" | "HOST_UNKNOWN" => Code::NotFound,
                "HOST_UNREACHABLE" => Code::Unavailable,
                _ => Code::FailedPrecondition,
            },
            Refused::Cause(_) | Refused::TooLate { .. } => Code::FailedPrecondition,
            Refused::Journal(JournalError::Held { .. }) => Code::FailedPrecondition,
            Refused::Journal(_) => Code::Internal,
            Refused::UnknownMigration { .. } => Code::NotFound,
            Refused::Invalid(_) => Code::InvalidArgument,
            Refused::NotAllowed(_) => Code::PermissionDenied,
        }
    }

    /// As the wire has it.
    pub fn failure(&self) -> Failure {
        let (reason, hint, causes) = match self {
            Refused::Refusal(refusal) => (refusal.reason(), refusal.hint(), Vec::new()),
            Refused::Cause(cause) => (cause.reason.as_str(), cause.hint.clone(), cause.causes.clone()),
            Refused::Journal(JournalError::Held { by, .. }) => {
                ("VF_HELD", format!("godwit status {by}"), Vec::new())
            }
            Refused::Journal(_) => ("JOURNAL", "journalctl -u godwitd".into(), Vec::new()),
            Refused::UnknownMigration { .. } => ("MIGRATION_UNKNOWN", "godwit status".into(), Vec::new()),
            Refused::TooLate { id, .. } => ("TOO_LATE_TO_CANCEL", format!("godwit status {id}"), Vec::new()),
            Refused::Invalid(_) => ("INVALID", "godwit --help".into(), Vec::new()),
            Refused::NotAllowed(_) => (
                "NOT_ALLOWED",
                "check [[peer]] in the configuration".into(),
                Vec::new(),
            ),
        };
        Failure {
            reason: reason.into(),
            message: self.to_string(),
            causes,
            hint,
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let failure = refused.failure();
        Status::with_details(
            refused.code(),
            failure.message.clone(),
            failure.encode_to_vec().into(),
        )
    }
}
