//! Whether frames that arrive for a guest in its pause will be kept, and what speaks against it.

use super::finding;
use crate::{
    Keep,
    doctor::{Diagnosis, Fact, Finding, Severity},
};

/// What was looked up of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepFacts {
    /// Where the guest is, and where it is to go.
    pub hosts: (String, String),
    /// What is wanted.
    pub keep: Keep,
    /// The guest's virtual NICs, where it is.
    pub nics: Fact<Vec<NicSeen>>,
    /// What the destination says.
    pub offer: Fact<Offer>,
    /// How long the guest may stand still, ms: at least, and at most.
    pub pause_ms: (u64, u64),
}

/// A virtual NIC, where the guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicSeen {
    /// Its MAC, as libvirt writes it.
    pub mac: String,
    /// A pair's standby.
    pub standby: bool,
    /// Why its host cannot look on at what goes to it; none: it can.
    pub unseen: Option<Unseen>,
    /// Bytes that arrive for it each second, by its VF or by itself.
    pub rate: Fact<u64>,
}

/// Why a host does not see what goes to a guest's NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// It is a macvtap.
    Macvtap,
    /// It has no tap.
    NoTap,
    /// The daemon may not look on, in the kernel's words.
    NotAllowed(String),
}

/// What a destination does with such frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It takes them.
    Taken,
    /// It takes none, for that reason.
    Refused(String),
    /// It is older than the question.
    Older,
}

/// Of one of the guest's NICs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicKept {
    /// Its MAC.
    pub mac: String,
    /// A pair's standby.
    pub standby: bool,
    /// Why what arrives for it in the pause will not be kept, one sentence; none: it will.
    pub not_kept: Option<String>,
    /// What may be lost in the pause.
    pub loss: Fact<Loss>,
}

/// What may be lost in a pause, if as much arrives in it as now; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// At least.
    pub least: u64,
    /// At most.
    pub most: u64,
    /// Of this much each second.
    pub rate: u64,
}

impl Unseen {
    fn why(&self) -> String {
        match self {
            Unseen::Macvtap => {
                "it is a macvtap, and what is sent to it while its guest stands still is not seen".into()
            }
            Unseen::NoTap => "it has no tap".into(),
            Unseen::NotAllowed(words) => format!("godwitd may not look on at its tap: {words}"),
        }
    }

    fn fix(&self, here: &str) -> String {
        match self {
            Unseen::Macvtap | Unseen::NoTap => "connect it to a bridge or to Open vSwitch".into(),
            Unseen::NotAllowed(_) => {
                format!("on {here}: give godwitd CAP_NET_RAW (systemctl cat godwitd shows what it has)")
            }
        }
    }
}

/// Whether what arrives for each NIC of the guest of that name will be kept.
pub fn keeping(guest: &str, facts: &KeepFacts) -> (Vec<NicKept>, Diagnosis) {
    let mut diagnosis = Diagnosis::default();
    let severity = match facts.keep {
        Keep::Off => {
            let off = || Some("it is not to be kept (--keep off, or mode in [keep])".to_owned());
            let nics = facts.nics.iter().flatten();
            return (
                nics.map(|nic| of_nic(nic, off(), facts.pause_ms)).collect(),
                diagnosis,
            );
        }
        Keep::Auto => Severity::Warning,
        Keep::On => Severity::Error,
    };
    let nics = match &facts.nics {
        Ok(nics) => nics.as_slice(),
        // What has to be so, and is not known to be, is not.
        Err(why) if facts.keep == Keep::On => {
            let words = (format!("NICs of guest `{guest}`"), why.clone(), "again".into());
            diagnosis.add(unkept(severity, guest, words));
            &[]
        }
        Err(why) => {
            diagnosis.skip(format!("frames in the pause of `{guest}`"), why);
            &[]
        }
    };
    let refused = refusal(&facts.offer, &facts.hosts.1);
    if let (Err(why), Keep::Auto) = (&facts.offer, facts.keep) {
        diagnosis.skip(format!("whether {} takes frames", facts.hosts.1), why);
    } else if let Some((why, fix)) = &refused {
        let words = (
            format!("what arrives for guest `{guest}`"),
            why.clone(),
            fix.clone(),
        );
        diagnosis.add(unkept(severity, &facts.hosts.1, words));
    }
    // Beside a pair, what is none is nobody's business but of whom it is asked for.
    let paired = nics.iter().any(|nic| nic.standby);
    for nic in nics {
        let told = facts.keep == Keep::On || nic.standby || !paired;
        if let Some(unseen) = nic.unseen.as_ref().filter(|_| told) {
            let what = format!("what arrives for NIC {} of guest `{guest}`", nic.mac);
            let words = (what, unseen.why(), unseen.fix(&facts.hosts.0));
            diagnosis.add(unkept(severity, guest, words));
        }
    }
    let each = nics.iter().map(|nic| {
        let unseen = nic.unseen.as_ref().map(Unseen::why);
        let not_kept = unseen.or(refused.clone().map(|(why, _)| why));
        of_nic(nic, not_kept, facts.pause_ms)
    });
    (each.collect(), diagnosis)
}

fn of_nic(nic: &NicSeen, not_kept: Option<String>, (least_ms, most_ms): (u64, u64)) -> NicKept {
    let within = |rate: u64, ms: u64| rate.saturating_mul(ms) / 1000;
    let lost = |rate: u64| Loss {
        least: within(rate, least_ms),
        most: within(rate, most_ms),
        rate,
    };
    NicKept {
        mac: nic.mac.clone(),
        standby: nic.standby,
        loss: match &not_kept {
            None => Ok(Loss::default()),
            Some(_) => nic.rate.clone().map(lost),
        },
        not_kept,
    }
}

fn refusal(offer: &Fact<Offer>, there: &str) -> Option<(String, String)> {
    match offer {
        Ok(Offer::Taken) => None,
        Err(why) => Some((
            format!("it is not known whether {there} takes frames: {why}"),
            format!("on {there}: systemctl status godwitd"),
        )),
        Ok(Offer::Refused(why)) => Some((
            format!("{there} takes no frames: {why}"),
            format!("on {there}: [keep] in godwitd.toml, and CAP_NET_RAW for godwitd"),
        )),
        Ok(Offer::Older) => Some((
            format!("{there} does not say that it takes frames: its godwitd is older than this"),
            format!("upgrade godwitd on {there}"),
        )),
    }
}

fn unkept(severity: Severity, about: &str, (what, why, fix): (String, String, String)) -> Finding {
    let consequence = match severity {
        Severity::Error => "with --keep on the guest moves only where nothing is lost in its pause",
        Severity::Warning | Severity::Hint => {
            "what arrives in the pause is lost, as with any other live migration"
        }
    };
    let words = [
        format!("{what} in its pause is not kept: {why}"),
        consequence.into(),
        format!("{fix}; or go on without: --keep off"),
    ];
    finding(severity, "FRAMES_NOT_KEPT", about, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(last: u8, standby: bool, unseen: Option<Unseen>) -> NicSeen {
        NicSeen {
            mac: format!("52:54:00:aa:00:{last:02}"),
            standby,
            unseen,
            rate: Ok(8 << 20),
        }
    }

    fn facts(keep: Keep, nics: Vec<NicSeen>) -> KeepFacts {
        KeepFacts {
            hosts: ("alpha".into(), "beta".into()),
            keep,
            nics: Ok(nics),
            offer: Ok(Offer::Taken),
            pause_ms: (50, 1100),
        }
    }

    /// Of each NIC why what arrives for it is not kept, and what is found.
    fn told(facts: &KeepFacts) -> (Vec<Option<String>>, Vec<String>) {
        let (nics, found) = keeping("web-1", facts);
        let line = |found: &Finding| format!("{:?} [{}]: {}", found.severity, found.about, found.what);
        let skipped = found.not_checked.iter().map(|skipped| skipped.why.clone());
        let lines = found.findings.iter().map(line).chain(skipped);
        (
            nics.into_iter().map(|nic| nic.not_kept).collect(),
            lines.collect(),
        )
    }

    #[test]
    fn where_nothing_lacks_all_is_kept_and_where_none_are_wanted_nothing_is_said() {
        let well = vec![nic(10, true, None), nic(11, false, None)];
        for keep in [Keep::Auto, Keep::On] {
            let kept = told(&facts(keep, well.clone()));
            assert_eq!(kept, (vec![None, None], vec![]));
        }
        let sick = vec![nic(10, true, Some(Unseen::Macvtap))];
        let off = "it is not to be kept (--keep off, or mode in [keep])";
        assert_eq!(
            told(&facts(Keep::Off, sick)),
            (vec![Some(off.to_owned())], vec![])
        );
    }

    #[test]
    fn what_is_not_kept_is_lost_by_what_arrives_and_by_how_long_the_guest_stands_still() {
        let loss = |facts: &KeepFacts| keeping("web-1", facts).0[0].loss.clone();
        let mut facts = facts(Keep::Auto, vec![nic(10, true, None)]);
        assert_eq!(loss(&facts), Ok(Loss::default()), "what is kept is not lost");
        facts.keep = Keep::Off;
        let (rate, ms) = (8 << 20, |ms: u64| (8 << 20) * ms / 1000);
        let lost = Loss {
            least: ms(50),
            most: ms(1100),
            rate,
        };
        assert_eq!(loss(&facts), Ok(lost));
        facts.keep = Keep::Auto;
        facts.offer = Ok(Offer::Older);
        assert_eq!(loss(&facts), Ok(lost));
        facts.nics.as_mut().unwrap()[0].rate = Err("nobody counts".into());
        assert_eq!(loss(&facts), Err("nobody counts".into()));
    }

    #[test]
    fn each_lack_is_a_warning_or_stands_in_the_way() {
        let why = "it is a macvtap, and what is sent to it while its guest stands still is not seen";
        let lacks = [
            (Unseen::Macvtap, why),
            (Unseen::NoTap, "it has no tap"),
            (
                Unseen::NotAllowed("EPERM".into()),
                "godwitd may not look on at its tap: EPERM",
            ),
        ];
        for (unseen, why) in lacks {
            for (keep, severity) in [(Keep::Auto, "Warning"), (Keep::On, "Error")] {
                let (kept, found) = told(&facts(keep, vec![nic(10, true, Some(unseen.clone()))]));
                assert_eq!(kept, [Some(why.to_owned())]);
                let what = "what arrives for NIC 52:54:00:aa:00:10 of guest `web-1` in its pause is not kept";
                assert_eq!(found, [format!("{severity} [web-1]: {what}: {why}")]);
            }
        }
    }

    #[test]
    fn a_destination_takes_them_or_says_why_not_or_is_too_old_to_say() {
        let offers = [
            (
                Offer::Refused("so it is configured".into()),
                "beta takes no frames: so it is configured",
            ),
            (
                Offer::Older,
                "beta does not say that it takes frames: its godwitd is older than this",
            ),
        ];
        for (offer, why) in offers {
            let mut facts = facts(Keep::On, vec![nic(10, true, None), nic(11, false, None)]);
            facts.offer = Ok(offer);
            let (kept, found) = told(&facts);
            assert_eq!(kept, vec![Some(why.to_owned()); 2]);
            let what = "what arrives for guest `web-1` in its pause is not kept";
            assert_eq!(found, [format!("Error [beta]: {what}: {why}")]);
        }
    }

    #[test]
    fn what_is_no_standby_is_told_where_that_is_asked_for_or_there_is_no_other() {
        let other = || nic(11, false, Some(Unseen::Macvtap));
        let found = |keep, nics| told(&facts(keep, nics)).1.len();
        assert_eq!(found(Keep::Auto, vec![nic(10, true, None), other()]), 0);
        assert_eq!(found(Keep::On, vec![nic(10, true, None), other()]), 1);
        assert_eq!(found(Keep::Auto, vec![other()]), 1);
    }

    #[test]
    fn what_is_not_known_keeps_a_move_from_beginning_only_where_it_has_to_be_so() {
        let of = |keep| {
            let mut facts = facts(keep, vec![]);
            facts.nics = Err("libvirt did not answer".into());
            told(&facts).1
        };
        assert_eq!(of(Keep::Auto), ["libvirt did not answer"]);
        assert!(of(Keep::On)[0].starts_with("Error [web-1]: "));
        assert_eq!(of(Keep::Off), [""; 0]);
    }

    #[test]
    fn of_a_destination_that_did_not_answer_nothing_is_claimed() {
        let of = |keep| {
            let mut facts = facts(keep, vec![nic(10, true, None)]);
            facts.offer = Err("no route".into());
            told(&facts)
        };
        let why = "it is not known whether beta takes frames: no route";
        assert_eq!(
            of(Keep::Auto),
            (vec![Some(why.to_owned())], vec!["no route".to_owned()])
        );
        let what = "what arrives for guest `web-1` in its pause is not kept";
        assert_eq!(of(Keep::On).1, [format!("Error [beta]: {what}: {why}")]);
    }
}
