//! VFs that nobody has, VFs that are held, and a guest's VFs beside its metadata.

use super::{super::*, guests::web, told};
use crate::{MacAddress, Profile, Vf, VfUse, preflight::GuestFacts, profile::Vlan};

const WEB: &str = "52:54:00:aa:00:10";

fn vf(usage: VfUse, mac: Option<&str>) -> Vf {
    Vf {
        address: "0000:01:10.0".parse().unwrap(),
        pool: "fabric".into(),
        pf: "pf0".into(),
        usage,
        profile: Some(Profile::default()),
        site: Default::default(),
        mac: mac.map(|mac| mac.parse::<MacAddress>().unwrap()),
    }
}

fn set() -> Profile {
    Profile {
        vlan: Vlan::new(100, 3, false).unwrap(),
        trust: true,
        ..Profile::default()
    }
}

fn of_web() -> VfUse {
    VfUse::Guest("web-1".into())
}

#[test]
fn a_vf_that_nobody_has_carries_nothing() {
    let left = |usage: VfUse, change: fn(&mut Vf)| {
        let mut vf = vf(usage, None);
        change(&mut vf);
        told(&leftovers(&[vf]))
    };
    assert!(left(VfUse::Free, |_| {}).is_empty());
    assert!(left(VfUse::Free, |vf| vf.profile = None).is_empty());
    assert_eq!(
        left(VfUse::Free, |vf| vf.mac = Some(WEB.parse().unwrap())),
        [
            "Warning VF_LEFTOVER [0000:01:10.0] VF 0000:01:10.0 of pf0 is free and carries MAC 52:54:00:aa:00:10 | `godwit \
          vfs check 0000:01:10.0 --clean`"
        ]
    );
    // As some drivers make them.
    let unchecked = |vf: &mut Vf| vf.profile.as_mut().unwrap().spoofchk = false;
    assert!(left(VfUse::Free, unchecked).is_empty());
    let settings = left(VfUse::Free, |vf| vf.profile = Some(set()));
    assert!(settings[0].contains("carries VLAN 100 with priority 3, trust on |"));
    for usage in [
        of_web(),
        VfUse::Held("m".into()),
        VfUse::Quarantined("a bad port".into()),
        VfUse::Other("the host has it as ens1f0v2, which is up".into()),
    ] {
        assert!(left(usage, |vf| vf.profile = Some(set())).is_empty());
    }
    let many = vec![vf(VfUse::Free, Some(WEB)); 18];
    let many = told(&leftovers(&many));
    assert_eq!(many.len(), 17);
    assert!(many[16].contains("2 more VFs are free"), "{}", many[16]);
}

#[test]
fn a_held_vf_is_in_no_other_hands() {
    let of = |usage: Option<VfUse>, in_work| {
        told(&held(&[Held {
            vf: "0000:01:10.0".into(),
            migration: "0198c0de".into(),
            guest: "web-1".into(),
            usage,
            in_work,
        }]))
    };
    let process = || Some(VfUse::Other("process 77 (dpdk) has it open".into()));
    assert!(of(Some(VfUse::Free), false).is_empty());
    assert!(of(Some(of_web()), true).is_empty());
    // Its own guest's emulator lets go a little later than libvirt says.
    assert!(of(process(), true).is_empty());
    assert_eq!(
        of(process(), false),
        [
            "Warning VF_HELD_AND_USED [0000:01:10.0] VF 0000:01:10.0 is held for guest `web-1`, and cannot be given to it: \
          process 77 (dpdk) has it open | free 0000:01:10.0; then: godwit retry 0198c0de"
        ]
    );
    for in_work in [true, false] {
        assert!(of(Some(VfUse::Guest("db-1".into())), in_work)[0].contains("guest `db-1` has it"));
        assert!(of(None, in_work)[0].contains("no PF of the pools has it"));
    }
}

fn differing(change: impl FnOnce(&mut GuestFacts, &mut Vf)) -> Vec<String> {
    let (mut facts, mut vf) = (web(), vf(of_web(), Some(WEB)));
    (facts.pairs[0].recorded, facts.pairs[0].profile) = (vf.profile, vf.profile);
    change(&mut facts, &mut vf);
    let told = told(&differs(&facts, std::slice::from_ref(&vf)));
    let whose = Whose {
        facts: &facts,
        moving: false,
    };
    let checked = check(&vf, Some(whose));
    assert_eq!(
        checked.wrong.is_empty(),
        told.is_empty(),
        "both say the same: {checked:?}"
    );
    let moving = Whose {
        moving: true,
        ..whose
    };
    assert!(
        check(&vf, Some(moving)).wrong.is_empty(),
        "nothing about it is final"
    );
    told
}

#[test]
fn a_guest_is_as_its_metadata_says() {
    assert!(differing(|_, _| {}).is_empty());
    assert_eq!(
        differing(|_, vf| vf.mac = Some("52:54:00:aa:00:99".parse().unwrap())),
        [
            "Warning GUEST_DIFFERS [web-1] VF 0000:01:10.0 of guest `web-1` is not as its metadata says: MAC \
          52:54:00:aa:00:99 instead of 52:54:00:aa:00:10 | godwit standby web-1 --wait; godwit accelerate web-1 --wait"
        ]
    );
    assert!(differing(|_, vf| vf.mac = None)[0].contains("says: no MAC instead of 52:54:00:aa:00:10"));
    assert!(differing(|_, vf| vf.pool = "storage".into())[0].contains("pool storage instead of fabric"));
    let profile = differing(|facts, _| facts.pairs[0].recorded = Some(set()));
    assert!(
        profile[0].contains("no VLAN instead of VLAN 100 with priority 3, trust off instead of trust on |"),
        "{profile:?}"
    );
    assert!(profile[0].ends_with("| godwit adopt web-1 writes down what it is set to"));
    assert!(differing(|facts, _| facts.pairs[0].vf = None)[0].contains("no pair of its metadata has it"));
}

#[test]
fn only_what_is_known_is_judged() {
    // Written down by an older Godwit, that is not at all.
    assert!(differing(|facts, _| facts.pairs[0].recorded = None).is_empty());
    // What its driver lacks is taken from what was written down, so it does not differ.
    assert!(
        differing(|facts, _| (facts.pairs[0].recorded, facts.pairs[0].profile) = (Some(set()), Some(set())))
            .is_empty()
    );
    assert!(differing(|_, vf| (vf.profile, vf.mac) = (None, None)).is_empty());
    let other = |vf: &mut Vf| vf.mac = None;
    assert!(differing(|facts, vf| (facts.managed, _) = (false, other(vf))).is_empty());
    assert!(differing(|facts, vf| (facts.running, _) = (false, other(vf))).is_empty());
}

#[test]
fn each_vf_is_told_whose_it_is_and_what_is_wrong() {
    let free = check(&vf(VfUse::Free, Some(WEB)), None);
    assert_eq!(free.wrong, [format!("MAC {WEB}")]);
    assert_eq!(free.fix, "`godwit vfs check 0000:01:10.0 --clean`");
    let kept = check(&vf(VfUse::Quarantined("a bad port".into()), Some(WEB)), None);
    assert_eq!(kept.fix, "`godwit vfs release 0000:01:10.0`");
    for well in [
        vf(VfUse::Free, None),
        vf(VfUse::Held("m".into()), Some(WEB)),
        vf(
            VfUse::Other("the host has it as ens1f0v2, which is up".into()),
            Some(WEB),
        ),
    ] {
        assert_eq!(check(&well, None), Checked::default());
    }
    let mut untold = vf(VfUse::Free, None);
    untold.profile = None;
    assert_eq!(
        check(&untold, None).not_checked,
        "pf0 does not tell what it is set to"
    );
}
