//! A guest's word that its traffic has moved, held against what its host counts. Pure: decides, counts nothing.
//!
//! The guest is not trusted, and an unplug cannot be withdrawn. A guest that is silent proves nothing, but an agent announces
//! its guest through the new port in the moment of the switch, and several times in the two seconds after it: some frame must
//! come by that way.

/// Frames of one pair of a guest as its host counts them, since whenever each counter began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// That came from the guest by its standby; none: that cannot be read.
    pub by_standby: Option<u64>,
    /// That the guest sent by its VF; none: its PF's driver does not tell, or not at once.
    pub by_vf: Option<u64>,
}

/// What the counters say to the guest's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The same.
    Borne,
    /// Nothing yet.
    Silent,
    /// Another thing: so many frames went the other way after the guest's answer.
    Denied(u64),
    /// No counter could tell.
    Unseen,
}

/// Where the traffic is, by the guest's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// On its standby.
    Standby,
    /// On its VF.
    Vf,
}

impl Port {
    /// What the counters say. Counted were `asked` before the guest was asked, `answered` when it had answered, and `now`.
    pub fn word(self, asked: Counted, answered: Counted, now: Counted) -> Word {
        match self {
            Port::Standby => on_standby(asked, answered, now),
            Port::Vf => on_vf(asked, answered, now),
        }
    }

    /// Whether what goes the other way is counted.
    pub fn is_watched(self, counted: Counted) -> bool {
        match self {
            Port::Standby => counted.by_vf.is_some(),
            Port::Vf => counted.by_standby.is_some(),
        }
    }
}

/// A port that carries no traffic may send a few frames of its own: discovery of neighbours (LLDP), negotiation.
const OWN: u64 = 10;

/// The word that the traffic is on the standby.
fn on_standby(asked: Counted, answered: Counted, now: Counted) -> Word {
    let Some(came) = since(asked.by_standby, now.by_standby) else {
        return Word::Unseen;
    };
    let other_way = since(answered.by_vf, now.by_vf).unwrap_or(0);
    let this_way = since(answered.by_standby, now.by_standby).unwrap_or(0);
    match came {
        _ if other_way > OWN && other_way > this_way => Word::Denied(other_way),
        0 => Word::Silent,
        _ => Word::Borne,
    }
}

/// The word that the traffic is on the VF. Where the VF's frames are not counted, those that go on coming by the standby can
/// only deny it.
fn on_vf(asked: Counted, answered: Counted, now: Counted) -> Word {
    let other_way = since(answered.by_standby, now.by_standby).unwrap_or(0);
    match since(asked.by_vf, now.by_vf) {
        sent if other_way > OWN && sent.is_none_or(|sent| other_way > sent) => Word::Denied(other_way),
        Some(0) => Word::Silent,
        Some(_) => Word::Borne,
        None => Word::Unseen,
    }
}

/// A counter that began anew counts for nothing.
fn since(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(by_standby: Option<u64>, by_vf: Option<u64>) -> Counted {
        Counted { by_standby, by_vf }
    }

    #[test]
    fn a_frame_by_the_standby_bears_out_the_word_and_none_does_not() {
        let asked = counted(Some(7), None);
        assert_eq!(on_standby(asked, asked, asked), Word::Silent);
        assert_eq!(on_standby(asked, asked, counted(Some(8), None)), Word::Borne);
        // It came before the guest had answered.
        let answered = counted(Some(9), None);
        assert_eq!(on_standby(asked, answered, answered), Word::Borne);
    }

    #[test]
    fn who_goes_on_sending_by_the_vf_has_not_moved() {
        let asked = counted(Some(0), Some(1000));
        let answered = counted(Some(3), Some(5000));
        let now = |by_standby, by_vf| on_standby(asked, answered, counted(Some(by_standby), Some(by_vf)));
        assert_eq!(now(4, 5000), Word::Borne);
        assert_eq!(now(4, 5010), Word::Borne, "its own frames");
        assert_eq!(now(4, 5011), Word::Denied(11));
        // What was on its way in the VF's queues is less than what has come by the standby since.
        assert_eq!(now(60, 5050), Word::Borne);
        assert_eq!(now(3, 9000), Word::Denied(4000));
    }

    #[test]
    fn what_cannot_be_counted_denies_nothing() {
        let none = counted(None, None);
        assert_eq!(on_standby(none, none, none), Word::Unseen);
        // Another tap than before, or one that began anew.
        let (before, after) = (counted(Some(9), Some(9)), counted(Some(2), Some(2)));
        assert_eq!(on_standby(before, before, after), Word::Unseen);
        assert_eq!(on_vf(before, before, after), Word::Unseen);
        assert_eq!(on_vf(none, none, none), Word::Unseen);
    }

    #[test]
    fn a_vf_that_sends_bears_out_the_word_where_it_is_counted() {
        let asked = counted(Some(50), Some(0));
        let now = |by_standby, by_vf| on_vf(asked, asked, counted(Some(by_standby), Some(by_vf)));
        assert_eq!(now(50, 0), Word::Silent);
        assert_eq!(now(50, 1), Word::Borne);
        assert_eq!(now(55, 1), Word::Borne);
        assert_eq!(now(90, 1), Word::Denied(40));
        let blind = |by_standby| {
            let asked = counted(Some(50), None);
            on_vf(asked, asked, counted(Some(by_standby), None))
        };
        assert_eq!(blind(60), Word::Unseen);
        assert_eq!(blind(61), Word::Denied(11));
    }
}
