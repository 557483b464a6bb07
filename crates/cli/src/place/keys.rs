//! The keys of a context, read as the daemons read theirs.

use godwit_api::v1::Failure;
use godwit_server::{Files, Keys, KeysError};

/// Reads and checks them: files in PEM that belong together, and a key that not everybody can read.
///
/// # Errors
/// As a failure, with what to type.
pub(crate) fn read(files: &Files, context: &str) -> Result<Keys, Failure> {
    Keys::read(files.clone()).map_err(|error| failure(&error, context))
}

fn failure(error: &KeysError, context: &str) -> Failure {
    let hint = match error {
        KeysError::Open { path } => format!("chmod 600 {}", path.display()),
        _ => format!(
            "godwit context show {context}; other files: godwit context set {context} --ca ... --certificate ... --key ..."
        ),
    };
    let message = match error {
        KeysError::Open { path } => format!("{} can be read by everybody, and is not used", path.display()),
        _ => error.to_string(),
    };
    let cause = std::error::Error::source(error).map(ToString::to_string);
    // Some say theirs in the sentence already.
    let causes = cause.filter(|cause| !message.contains(cause.as_str()));
    Failure {
        reason: "KEYS".into(),
        message,
        causes: causes.into_iter().collect(),
        hint,
    }
}
