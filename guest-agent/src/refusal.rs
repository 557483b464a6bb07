//! Why a request was not done, on its way to the host.

use godwit_api::agent::v1::{Pair, RefusalReason, Refused};

use crate::kernel::KernelError;

/// The contract's bound on `Refused.detail`, in bytes.
const DETAIL: usize = 512;

/// A reason, one sentence, and the pair as it is now where there is one.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: RefusalReason,
    pub(crate) detail: String,
    pair: Option<Box<Pair>>,
}

impl Refusal {
    pub(crate) fn new(reason: RefusalReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            pair: None,
        }
    }

    pub(crate) fn with(mut self, pair: Option<Pair>) -> Self {
        self.pair = pair.map(Box::new);
        self
    }
}

impl From<KernelError> for Refusal {
    fn from(error: KernelError) -> Self {
        Self::new(RefusalReason::Kernel, error.to_string())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let mut detail = refusal.detail;
        while detail.len() > DETAIL {
            detail.pop();
        }
        Self {
            reason: refusal.reason.into(),
            detail,
            pair: refusal.pair.map(|pair| *pair),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_cut_between_characters() {
        let refused = Refused::from(Refusal::new(RefusalReason::Kernel, "ü".repeat(300) + "x"));
        assert_eq!(refused.detail, "ü".repeat(256));
        let refused = Refused::from(Refusal::new(RefusalReason::Kernel, "x".repeat(600)));
        assert_eq!(refused.detail.len(), 512);
    }
}
