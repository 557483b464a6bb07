//! Frames that arrive for a guest while it is paused between its hosts: whether they are kept, and what became of them.

use serde::{Deserialize, Deserializer, Serialize};

/// Whether they are kept, and delivered where the guest runs next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Where that can be done.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Or the guest does not move.
    On,
}

impl Keep {
    /// It is what nobody has to say.
    pub(crate) fn is_auto(&self) -> bool {
        *self == Keep::Auto
    }

    /// As a record has it; one of an older version says that none are kept, or nothing.
    pub(crate) fn recorded<'de, D: Deserializer<'de>>(record: D) -> Result<Keep, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Recorded {
            Unkept(bool),
            Word(Keep),
        }
        Ok(match Recorded::deserialize(record)? {
            Recorded::Unkept(true) => Keep::Off,
            Recorded::Unkept(false) => Keep::Auto,
            Recorded::Word(keep) => keep,
        })
    }
}

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
    /// The destination refused them, or did not say what became of them, and the source has them no more.
    pub lost: u64,
    /// Of those that were delivered: after the guest ran there, or behind newer ones that its network there had brought.
    pub late: u64,
    /// The destination's own network brought them as well: they were not delivered a second time.
    #[serde(default)]
    pub brought: u64,
    /// Of all: they came to the source when the guest had gone.
    #[serde(default)]
    pub stragglers: u64,
    /// Of all: they are in the guest's own tap's queue at the source as well, which is whole while the guest has not gone. It has them if
    /// it goes on there.
    #[serde(default)]
    pub returned: u64,
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
        self.brought += other.brought;
        self.stragglers += other.stragglers;
        self.returned += other.returned;
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
        if self.brought > 0 {
            write!(f, ", {} came by the network as well", self.brought)?;
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
    use crate::{Brief, Guest};

    #[test]
    fn a_record_says_whether_they_are_kept_and_one_of_an_older_version_is_understood() {
        let guest = Guest {
            name: "web-1".into(),
            uuid: "u".into(),
        };
        let hosts = ("alpha".into(), "beta".into());
        let mut brief = Brief::arrival("m".into(), guest, hosts, Vec::new());
        let plain = serde_json::to_value(&brief).unwrap();
        let read = |field: &str, value: serde_json::Value| {
            let mut record = plain.clone();
            record[field] = value;
            serde_json::from_value::<Brief>(record).map(|brief| brief.keep)
        };
        assert_eq!(
            serde_json::from_value::<Brief>(plain.clone()).unwrap().keep,
            Keep::Auto
        );
        assert_eq!(read("unkept", true.into()).unwrap(), Keep::Off);
        assert_eq!(read("unkept", false.into()).unwrap(), Keep::Auto);
        assert!(read("keep", "perhaps".into()).is_err());
        for keep in [Keep::Auto, Keep::Off, Keep::On] {
            brief.keep = keep;
            let record = serde_json::to_value(&brief).unwrap();
            assert_eq!(serde_json::from_value::<Brief>(record).unwrap(), brief);
        }
    }

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
        let twice = both.and(Kept {
            brought: 2,
            stragglers: 3,
            returned: 4,
            ..Kept::default()
        });
        assert_eq!((twice.brought, twice.stragglers, twice.returned), (2, 3, 4));
        assert!(told(twice).ends_with("after it, 2 came by the network as well (beta was away)"));
    }
}
