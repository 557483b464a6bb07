//! What a caller is answered instead of what was asked for.

use godwit_api::status;
use tonic::Status;
use zbus::{
    DBusError,
    message::{Header, Message},
    names::ErrorName,
};

/// In front of a reason.
const PREFIX: &str = "org.godwit.Error";

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BusError {
    /// The caller may not.
    #[error("{0}")]
    Denied(String),
    /// More ask at once than are answered.
    #[error("{0}")]
    Busy(&'static str),
    /// The daemon refused, or failed: `org.godwit.Error.REASON`.
    #[error("{text}")]
    Refused {
        /// Whole.
        name: String,
        /// The sentence, its causes and what to type.
        text: String,
    },
}

impl BusError {
    /// A reason of Godwit's with its sentence, and what to type if anything.
    pub(crate) fn refused(reason: &str, message: &str, causes: &[String], hint: &str) -> BusError {
        let name = format!("{PREFIX}.{reason}");
        // A reason may be a peer's: not every text is a name.
        let name = match ErrorName::try_from(name.as_str()) {
            Ok(_) => name,
            Err(_) => format!("{PREFIX}.INTERNAL"),
        };
        let mut text = message.to_owned();
        causes.iter().for_each(|cause| text += &format!(": {cause}"));
        if !hint.is_empty() {
            text += &format!(" (next: {hint})");
        }
        // What no string of D-Bus can have.
        text.retain(|c| c != '\0');
        BusError::Refused { name, text }
    }

    /// The request itself is wrong.
    pub(crate) fn invalid(message: &str) -> BusError {
        BusError::refused("INVALID", message, &[], "")
    }
}

impl From<Status> for BusError {
    fn from(status: Status) -> BusError {
        match status::failure(&status) {
            Some(failure) if !failure.reason.is_empty() => {
                BusError::refused(&failure.reason, &failure.message, &failure.causes, &failure.hint)
            }
            _ => BusError::refused("INTERNAL", status.message(), &[], ""),
        }
    }
}

impl DBusError for BusError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&self.to_string())
    }

    fn name(&self) -> ErrorName<'_> {
        let name = match self {
            BusError::Denied(_) => "org.freedesktop.DBus.Error.AccessDenied",
            BusError::Busy(_) => "org.freedesktop.DBus.Error.LimitsExceeded",
            BusError::Refused { name, .. } => name,
        };
        ErrorName::from_str_unchecked(name)
    }

    fn description(&self) -> Option<&str> {
        Some(match self {
            BusError::Denied(text) | BusError::Refused { text, .. } => text,
            BusError::Busy(text) => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use godwit_api::v1::Failure;

    use super::*;

    #[test]
    fn a_reason_is_the_name_and_the_sentence_has_causes_and_hint() {
        let failure = Failure {
            reason: "NO_FREE_VF".into(),
            message: "host beta has no free VF".into(),
            causes: vec!["0 of 2 free".into()],
            hint: "on beta: `godwit vfs`".into(),
        };
        let status = status::status(tonic::Code::FailedPrecondition, &failure, Vec::new(), None);
        let error = BusError::from(status);
        assert_eq!(error.name().as_str(), "org.godwit.Error.NO_FREE_VF");
        let text = "host beta has no free VF: 0 of 2 free (next: on beta: `godwit vfs`)";
        assert_eq!(error.description(), Some(text));
    }

    #[test]
    fn what_is_no_name_does_not_become_one() {
        let error = BusError::refused("a b\0", "x\0y", &[], "");
        assert_eq!(error.name().as_str(), "org.godwit.Error.INTERNAL");
        assert_eq!(error.description(), Some("xy"));
        let bare = BusError::from(Status::unavailable("gone"));
        assert_eq!(bare.name().as_str(), "org.godwit.Error.INTERNAL");
    }
}
