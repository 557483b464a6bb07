//! Errors of this daemon's parts as causes that reach people.

use std::error::Error;

use godwit_migration::{Cause, Refusal};

/// What happened, with the chain of what it came from.
pub(crate) fn cause(reason: &str, message: impl Into<String>) -> Cause {
    Cause {
        reason: reason.into(),
        message: message.into(),
        ..Cause::default()
    }
}

/// Builders on a cause.
pub(crate) trait CauseExt {
    /// Because of this error and all it came from.
    fn because(self, error: &(dyn Error + 'static)) -> Cause;
    /// The next command to type.
    fn hint(self, hint: impl Into<String>) -> Cause;
}

impl CauseExt for Cause {
    fn because(mut self, error: &(dyn Error + 'static)) -> Cause {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Cause {
        self.hint = hint.into();
        self
    }
}

/// A refusal as a cause.
pub(crate) fn refused(refusal: impl Into<Refusal>) -> Cause {
    let refusal = refusal.into();
    cause(refusal.reason(), refusal.to_string()).hint(refusal.hint())
}
