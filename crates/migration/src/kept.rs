//! What became of the frames that arrived for a guest while it was paused between its hosts.

use serde::{Deserialize, Serialize};

/// Counted by the source, and by the destination for what it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// So many frames could not reach the guest at the source any more.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of them: put in the guest's way at the destination.
    pub delivered: u64,
    /// There was no room for them, at the source or at the destination.
    pub no_room: u64,
    /// The destination refused them, or did not say what became of them.
    pub lost: u64,
    /// Of those that were delivered: after the guest ran there, and so perhaps after newer ones.
    pub late: u64,
    /// The longest time that one was kept, milliseconds.
    pub longest_ms: u32,
    /// Why none, or not all, were kept, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

impl Kept {
    /// None were, for that reason.
    pub fn not(why: impl Into<String>) -> Kept {
        Kept {
            not_kept: Some(why.into()),
            ..Kept::default()
        }
    }

    /// With those of another interface of the guest.
    pub fn and(mut self, other: Kept) -> Kept {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.delivered += other.delivered;
        self.no_room += other.no_room;
        self.lost += other.lost;
        self.late += other.late;
        self.longest_ms = self.longest_ms.max(other.longest_ms);
        self.not_kept = self.not_kept.or(other.not_kept);
        self
    }
}

impl std::fmt::Display for Kept {
    /// For the phase's sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.not_kept, self.frames) {
            (Some(why), 0) => return write!(f, "frames of the pause were not kept: {why}"),
            (_, 0) => return f.write_str("no frame came in the pause"),
            (_, frames) => write!(
                f,
                "{} of {frames} frames of the pause were delivered after it",
                self.delivered
            )?,
        }
        match &self.not_kept {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_tells_what_was_kept_and_what_was_not() {
        let told = |kept: Kept| kept.to_string();
        assert_eq!(told(Kept::default()), "no frame came in the pause");
        assert_eq!(
            told(Kept::not("its standby is a macvtap")),
            "frames of the pause were not kept: its standby is a macvtap"
        );
        let some = Kept {
            frames: 31,
            delivered: 30,
            no_room: 1,
            longest_ms: 400,
            ..Kept::default()
        };
        assert_eq!(
            told(some.clone()),
            "30 of 31 frames of the pause were delivered after it"
        );
        let both = some.and(Kept {
            longest_ms: 20,
            frames: 1,
            lost: 1,
            ..Kept::not("beta was away")
        });
        assert_eq!(
            told(both.clone()),
            "30 of 32 frames of the pause were delivered after it (beta was away)"
        );
        assert_eq!((both.longest_ms, both.lost, both.no_room), (400, 1, 1));
    }
}
