//! Why something failed.

use serde::{Deserialize, Serialize};

use crate::{Kept, PciAddress};

/// Why something failed: for people a sentence, its causes and the next command; for programs a word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Stable word, `UPPER_CASE`.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// From near to far.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The next command to type; empty where there is none.
    #[serde(default)]
    pub hint: String,
    /// The VF that did not work, where another might.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vf: Option<PciAddress>,
    /// Of a transfer: what became of the frames of the pause, if any came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Box<Kept>>,
}

impl Cause {
    /// With its causes, in one line: in a timeline nothing else tells them.
    pub fn sentence(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        std::iter::once(self.message.clone()).chain(causes).collect()
    }
}
