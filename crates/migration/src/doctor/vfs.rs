//! VFs that are not as they should be: something was left on one that nobody has, a held one is in other hands, or a
//! guest's is not as its metadata says.

use super::{Diagnosis, Finding, Severity};
use crate::{
    PciAddress, Profile, Vf, VfUse,
    preflight::{GuestFacts, PairFacts},
    profile::{Difference, Setting},
};

/// What is known of the guest that has a VF.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The guest.
    pub facts: &'a GuestFacts,
    /// An operation on it is under way: then nothing about its VFs is final.
    pub moving: bool,
}

/// What came of the look at one VF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is not as it should be, a few words each; empty: nothing.
    pub wrong: Vec<String>,
    /// What to type; empty where nothing is wrong.
    pub fix: String,
    /// Why it could not be judged; empty: it was.
    pub not_checked: String,
}

/// A VF that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The VF, as the journal has it.
    pub vf: String,
    /// The migration that holds it.
    pub migration: String,
    /// The guest that it is held for.
    pub guest: String,
    /// Who has it by libvirt and sysfs; none: there is no such VF.
    pub usage: Option<VfUse>,
    /// Its migration plugs or unplugs it, or cleans it, at this moment: its emulator may have it.
    pub in_work: bool,
}

/// A VF of a guest, and in what it is not as the guest's metadata says.
struct Differs {
    vf: PciAddress,
    how: Vec<String>,
    fix: String,
}

/// What is on a VF that nobody has, or should have; on a clean one nothing.
fn left_on(vf: &Vf) -> Vec<String> {
    let mac = vf.mac.map(|mac| format!("MAC {mac}"));
    let neutral = Profile::default();
    let differences = vf
        .profile
        .map(|profile| neutral.differences(&profile, None))
        .unwrap_or_default();
    // With some drivers a fresh VF has its spoof check off: nobody left that.
    let only_spoofchk = differences.iter().all(|found| found.setting == Setting::Spoofchk);
    if mac.is_none() && only_spoofchk {
        return Vec::new();
    }
    let settings = differences.into_iter().map(|Difference { found, .. }| found);
    mac.into_iter().chain(settings).collect()
}

/// The VFs that nobody has and that carry something.
pub fn leftovers(vfs: &[Vf]) -> Diagnosis {
    let leftover = |vf: &Vf| {
        let (left, address) = (left_on(vf), vf.address);
        let found = vf.usage == VfUse::Free && !left.is_empty();
        found.then(|| Finding {
            severity: Severity::Warning,
            reason: "VF_LEFTOVER",
            about: address.to_string(),
            what: format!("VF {address} of {} is free and carries {}", vf.pf, left.join(", ")),
            why: "it was not cleaned after its last user: the NIC's switch may give it frames that are another's"
                .into(),
            fix: clean(address),
        })
    };
    let mut diagnosis = Diagnosis::default();
    diagnosis.add_few(vfs.iter().filter_map(leftover).collect(), |rest, _| {
        format!("{rest} more VFs are free and carry something: `godwit vfs check` names all")
    });
    diagnosis
}

/// The held VFs that cannot be given to the guest that they are held for. A hold without a migration cannot be: one
/// transaction of the journal writes both, and the entry that ends a migration frees its VFs or puts them in quarantine.
pub fn held(holds: &[Held]) -> Diagnosis {
    let used = |held: &Held| {
        let Held { vf, migration, .. } = held;
        let why = match &held.usage {
            None => "no PF of the pools has it".to_owned(),
            Some(VfUse::Guest(other)) if *other != held.guest => format!("guest `{other}` has it"),
            Some(VfUse::Other(why)) if !held.in_work => why.clone(),
            Some(_) => return None,
        };
        Some(Finding {
            severity: Severity::Warning,
            reason: "VF_HELD_AND_USED",
            about: vf.clone(),
            what: format!(
                "VF {vf} is held for guest `{}`, and cannot be given to it: {why}",
                held.guest
            ),
            why: "the guest rests on its standby when its turn comes, or gets another VF".into(),
            fix: format!("free {vf}; then: godwit retry {migration}"),
        })
    };
    let mut diagnosis = Diagnosis::default();
    diagnosis.add_few(holds.iter().filter_map(used).collect(), |rest, _| {
        format!("{rest} more held VFs cannot be given to their guests")
    });
    diagnosis
}

/// In what the VFs of a managed guest that runs are not as its metadata says; of another guest nothing. `vfs` are those of
/// its host.
pub fn differs(facts: &GuestFacts, vfs: &[Vf]) -> Diagnosis {
    let name = &facts.guest.name;
    let finding = |differs: Differs| Finding {
        severity: Severity::Warning,
        reason: "GUEST_DIFFERS",
        about: name.clone(),
        what: format!(
            "VF {} of guest `{name}` is not as its metadata says: {}",
            differs.vf,
            differs.how.join(", ")
        ),
        why:
            "its next VF is chosen and set by what is written down, here or where it arrives by another tool"
                .into(),
        fix: differs.fix,
    };
    let found = differing(facts, vfs).into_iter().map(finding);
    let mut diagnosis = Diagnosis::default();
    diagnosis.add_few(found.collect(), |rest, _| {
        format!("{rest} more VFs of guest `{name}` are not as its metadata says")
    });
    diagnosis
}

/// What is not as it should be with one VF of `vfs`.
pub fn check(vf: &Vf, whose: Option<Whose<'_>>) -> Checked {
    if vf.profile.is_none() && vf.mac.is_none() {
        return Checked {
            not_checked: format!("{} does not tell what it is set to", vf.pf),
            ..Checked::default()
        };
    }
    let carries = |fix: String| match left_on(vf) {
        left if left.is_empty() => Checked::default(),
        left => Checked {
            wrong: left,
            fix,
            ..Checked::default()
        },
    };
    match (&vf.usage, whose) {
        (VfUse::Free, _) => carries(clean(vf.address)),
        (VfUse::Quarantined(_), _) => carries(format!("`godwit vfs release {}`", vf.address)),
        (VfUse::Guest(_), Some(whose)) if whose.moving => Checked {
            not_checked: "an operation on its guest is under way".into(),
            ..Checked::default()
        },
        (VfUse::Guest(_), Some(whose)) => {
            let differs = differing(whose.facts, std::slice::from_ref(vf)).pop();
            differs.map_or_else(Checked::default, |differs| Checked {
                wrong: differs.how,
                fix: differs.fix,
                ..Checked::default()
            })
        }
        (VfUse::Guest(_) | VfUse::Held(_) | VfUse::Other(_), _) => Checked::default(),
    }
}

fn differing(facts: &GuestFacts, vfs: &[Vf]) -> Vec<Differs> {
    let name = &facts.guest.name;
    let has = |vf: &&Vf| matches!(&vf.usage, VfUse::Guest(guest) if guest == name);
    let differs = |vf: &Vf| match facts.pairs.iter().find(|pair| pair.vf == Some(vf.address)) {
        Some(pair) => as_written(name, pair, vf),
        None => Some(Differs {
            vf: vf.address,
            how: vec!["no pair of its metadata has it".into()],
            fix: format!("virsh dumpxml {name} shows it; take it out of the guest"),
        }),
    };
    let judged = vfs.iter().filter(|_| facts.managed && facts.running);
    judged.filter(has).filter_map(differs).collect()
}

/// The live settings win over what was written down, so these alone are no harm: they want to be written down again.
fn as_written(guest: &str, pair: &PairFacts, vf: &Vf) -> Option<Differs> {
    let mut how = Vec::new();
    if let Some(pool) = pair.pool.as_ref().filter(|pool| **pool != vf.pool) {
        how.push(format!("pool {} instead of {pool}", vf.pool));
    }
    // Without settings the PF tells nothing of the MAC either.
    if let Some(wanted) = pair
        .primary_mac
        .filter(|mac| vf.mac != Some(*mac) && vf.profile.is_some())
    {
        let carried = vf.mac.map_or("no MAC".into(), |mac| format!("MAC {mac}"));
        how.push(format!("{carried} instead of {wanted}"));
    }
    let fix = match how.is_empty() {
        true => format!("godwit adopt {guest} writes down what it is set to"),
        false => format!("godwit standby {guest} --wait; godwit accelerate {guest} --wait"),
    };
    if let (Some(recorded), Some(seen)) = (&pair.recorded, &pair.profile) {
        let differences = recorded.differences(seen, None);
        how.extend(differences.iter().map(Difference::to_string));
    }
    (!how.is_empty()).then_some(Differs {
        vf: vf.address,
        how,
        fix,
    })
}

fn clean(vf: PciAddress) -> String {
    format!("`godwit vfs check {vf} --clean`")
}
