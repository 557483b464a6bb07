use proptest::{collection, prelude::*, sample};

use super::*;
use crate::profile::{LinkState, Rate, Vlan};

fn vf(address: &str, pf: &str, usage: VfUse) -> Vf {
    Vf {
        address: address.parse().unwrap(),
        pool: "fabric".into(),
        pf: pf.into(),
        usage,
        profile: None,
        mac: None,
        site: Site {
            driver: "ice".into(),
            speed: Some(1000),
            link: Some(true),
            ..Site::default()
        },
    }
}

fn free(address: &str, pf: &str) -> Vf {
    vf(address, pf, VfUse::Free)
}

fn with(mut vf: Vf, change: impl FnOnce(&mut Site)) -> Vf {
    change(&mut vf.site);
    vf
}

fn wanted(count: u8) -> Vec<Wanted> {
    let one = |n| Wanted {
        mac: MacAddress::new([2, 0, 0, 0, 0, n]).unwrap(),
        pool: "fabric".into(),
        profile: Profile::default(),
    };
    (1..=count).map(one).collect()
}

/// With a profile for the one pair.
fn wants(change: impl FnOnce(&mut Profile)) -> Vec<Wanted> {
    let mut one = wanted(1);
    change(&mut one[0].profile);
    one
}

fn ranking(pairs: &[Wanted], nodes: &[u32], vfs: &[Vf]) -> Ranking {
    let must_match = MustMatch::default();
    let demand = Demand {
        pairs,
        nodes,
        must_match: &must_match,
    };
    rank(demand, vfs).remove(0)
}

fn told(ranking: &Ranking) -> Vec<String> {
    let each = ranking.candidates.iter();
    let line = |candidate: &Candidate| match &candidate.verdict {
        Verdict::Fits(notes) => format!("{}: {}", candidate.vf, notes.join(", ")),
        Verdict::Refused(why) => format!("{}: not: {why}", candidate.vf),
    };
    each.map(line).collect()
}

fn chosen(count: u8, vfs: &[Vf]) -> Result<Vec<String>, HostRefusal> {
    let (pairs, must_match) = (wanted(count), MustMatch::default());
    let demand = Demand {
        pairs: &pairs,
        nodes: &[],
        must_match: &must_match,
    };
    let chosen = choose("beta", demand, vfs)?;
    Ok(chosen.into_iter().map(|(_, vf)| vf.to_string()).collect())
}

#[test]
fn takes_free_vfs_spread_over_the_pfs() {
    let vfs = [
        vf("0000:01:10.0", "pf0", VfUse::Guest("db-1".into())),
        free("0000:01:10.2", "pf0"),
        free("0000:02:10.0", "pf1"),
        free("0000:02:10.2", "pf1"),
    ];
    assert_eq!(chosen(2, &vfs).unwrap(), ["0000:02:10.0", "0000:01:10.2"]);
}

#[test]
fn refuses_rather_than_take_what_is_not_free() {
    let vfs = [
        vf("0000:01:10.0", "pf0", VfUse::Held("another migration".into())),
        vf("0000:01:10.2", "pf0", VfUse::Other("bound to igbvf".into())),
        free("0000:01:10.4", "pf0"),
    ];
    assert_eq!(
        chosen(2, &vfs).unwrap_err().to_string(),
        "host beta has no free VF in pool `fabric` (of 3, 1 free would not do: 0000:01:10.4: another pair of the guest gets it)"
    );
    assert_eq!(
        chosen(1, &vfs[..2]).unwrap_err().to_string(),
        "host beta has no free VF in pool `fabric` (0 of 2 free)"
    );
    let unfit = |n: u8| {
        with(free(&format!("0000:01:10.{n}"), "pf0"), |site| {
            site.group = Group::Missing
        })
    };
    let many: Vec<Vf> = (0..6).map(unfit).collect();
    let refusal = chosen(1, &many).unwrap_err().to_string();
    assert!(
        refusal.contains("of 6, 6 free would not do")
            && refusal.ends_with("; 3 more; `godwit plan` names all)"),
        "{refusal}"
    );
    let refusal = chosen(1, &[]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "host beta has no VF in a pool named `fabric`"
    );
}

/// The numbers: NUMA, link and rates.
#[test]
fn near_the_memory_with_a_link_and_room_for_the_rate() {
    let vfs = [
        with(free("0000:01:10.0", "pf0"), |site| site.node = Some(0)),
        with(free("0000:02:10.0", "pf1"), |site| site.node = Some(1)),
    ];
    assert_eq!(
        told(&ranking(&wanted(1), &[1], &vfs)),
        [
            "0000:02:10.0: on NUMA node 1, with the guest's memory, 1 of 1 VFs of pf1 are free",
            "0000:01:10.0: on NUMA node 0, away from the guest's memory, 1 of 1 VFs of pf0 are free"
        ]
    );
    // No node is asked for: the first address.
    assert_eq!(
        told(&ranking(&wanted(1), &[], &vfs))[0],
        "0000:01:10.0: 1 of 1 VFs of pf0 are free"
    );
    let down = [
        with(vfs[0].clone(), |site| site.link = Some(false)),
        vfs[1].clone(),
    ];
    assert_eq!(
        told(&ranking(&wanted(1), &[0], &down)),
        [
            "0000:02:10.0: on NUMA node 1, away from the guest's memory, 1 of 1 VFs of pf1 are free",
            "0000:01:10.0: on NUMA node 0, with the guest's memory, pf0 has no link, 1 of 1 VFs of pf0 are free"
        ]
    );
    let mut busy = vf("0000:01:10.2", "pf0", VfUse::Guest("db-1".into()));
    busy.profile = Some(Profile {
        rate: Rate { min: 0, max: 600 },
        ..Profile::default()
    });
    let crowded = [free("0000:01:10.0", "pf0"), busy, free("0000:02:10.0", "pf1")];
    let fast = |max| wants(|profile| profile.rate.max = max);
    assert_eq!(
        told(&ranking(&fast(500), &[], &crowded)),
        [
            "0000:02:10.0: 1 of 1 VFs of pf1 are free",
            "0000:01:10.0: with it the rates on pf0 come to 1100 of 1000 Mbit/s, 1 of 2 VFs of pf0 are free",
            "0000:01:10.2: not: guest `db-1` has it"
        ]
    );
    assert_eq!(
        ranking(&fast(400), &[], &crowded).chosen(),
        Some(crowded[0].address)
    );
}

/// Another model will do, for a guest that wants nothing that it lacks.
#[test]
fn a_driver_that_cannot_do_it_is_ruled_out_or_ranked_behind() {
    let vfs = [
        with(free("0000:01:10.0", "pf0"), |site| site.driver = "igb".into()),
        free("0000:02:10.0", "pf1"),
    ];
    assert_eq!(ranking(&wanted(1), &[], &vfs).chosen(), Some(vfs[0].address));
    let double = wants(|profile| profile.vlan = Vlan::new(100, 0, true).unwrap());
    assert_eq!(
        told(&ranking(&double, &[], &vfs)),
        [
            "0000:02:10.0: 1 of 1 VFs of pf1 are free",
            "0000:01:10.0: not: it would have a tag of 802.1Q instead of a tag of 802.1ad (the driver igb has no such setting)"
        ]
    );
    let up = wants(|profile| profile.link = LinkState::Up);
    let ranked = told(&ranking(&up, &[], &vfs));
    assert!(ranked[0].starts_with("0000:02:10.0: 1 of 1"), "{ranked:?}");
    assert!(
        ranked[1].starts_with("0000:01:10.0: it would have link auto instead of link up"),
        "{ranked:?}"
    );
}

#[test]
fn what_a_vf_shares_its_iommu_group_with() {
    let address = |text: &str| text.parse::<PciAddress>().unwrap();
    let group = |vf: Vf, other: &str| with(vf, |site| site.group = Group::With(vec![address(other)]));
    let shared = [
        group(free("0000:01:10.0", "pf0"), "0000:01:10.2"),
        group(free("0000:01:10.2", "pf0"), "0000:01:10.0"),
        free("0000:01:10.4", "pf0"),
    ];
    assert_eq!(
        told(&ranking(&wanted(1), &[], &shared)),
        [
            "0000:01:10.4: 3 of 3 VFs of pf0 are free",
            "0000:01:10.0: not alone in its IOMMU group, 3 of 3 VFs of pf0 are free",
            "0000:01:10.2: not alone in its IOMMU group, 3 of 3 VFs of pf0 are free"
        ]
    );
    let taken = [
        group(free("0000:01:10.0", "pf0"), "0000:01:10.2"),
        vf("0000:01:10.2", "pf0", VfUse::Guest("db-1".into())),
        with(free("0000:01:10.4", "pf0"), |site| site.group = Group::Missing),
    ];
    assert_eq!(
        told(&ranking(&wanted(1), &[], &taken)),
        [
            "0000:01:10.0: not: it shares its IOMMU group with 0000:01:10.2, and of that one: guest `db-1` has it",
            "0000:01:10.2: not: guest `db-1` has it",
            "0000:01:10.4: not: it is in no IOMMU group"
        ]
    );
}

#[test]
fn a_pool_carries_the_vlans_that_it_carries() {
    let vfs = [with(free("0000:01:10.0", "pf0"), |site| {
        site.vlans = Some((100, 199))
    })];
    let vlan = |id| wants(|profile| profile.vlan = Vlan::new(id, 0, false).unwrap());
    assert!(ranking(&vlan(100), &[], &vfs).chosen().is_some());
    assert_eq!(
        told(&ranking(&vlan(200), &[], &vfs)),
        ["0000:01:10.0: not: its pool carries VLANs 100 to 199, and not 200"]
    );
}

fn some_vf() -> impl Strategy<Value = (u8, Site, VfUse, bool)> {
    let group = prop_oneof![
        4 => Just(Group::Alone),
        1 => Just(Group::Missing),
        2 => (0_u8..8).prop_map(|n| Group::With(vec![address(n)])),
    ];
    let usage = prop_oneof![
        3 => Just(VfUse::Free),
        1 => Just(VfUse::Guest("db-1".into())),
        1 => Just(VfUse::Quarantined("dirty".into())),
    ];
    let driver = sample::select(vec!["igb", "ice", "unheard-of", ""]);
    let site = (
        proptest::option::of(0_u32..3),
        group,
        any::<Option<bool>>(),
        proptest::option::of(0_u32..2000),
        driver,
    );
    let site = site.prop_map(|(node, group, link, speed, driver)| Site {
        node,
        group,
        link,
        speed,
        driver: driver.into(),
        vlans: None,
    });
    (0_u8..3, site, usage, any::<bool>())
}

fn address(n: u8) -> PciAddress {
    format!("0000:01:10.{}", n % 8).parse().unwrap()
}

proptest! {
    /// Whatever a host has: nothing twice, nothing that is not free or not of the pool, and what is chosen does not
    /// hang on the order in which the VFs are told.
    #[test]
    fn any_host_any_guest(
        all in collection::vec(some_vf(), 0..8),
        pairs in 1_u8..4,
        nodes in collection::vec(0_u32..3, 0..3),
        max in 0_u32..2000,
    ) {
        let vfs: Vec<Vf> = all.into_iter().zip(0..).map(|((pf, site, usage, ours), n)| Vf {
            address: address(n),
            pool: if ours { "fabric" } else { "other" }.into(),
            pf: format!("pf{pf}"),
            usage,
            profile: None,
        mac: None,
            site,
        }).collect();
        let mut pairs = wanted(pairs);
        pairs[0].profile.rate.max = max;
        let must_match = MustMatch::default();
        let demand = Demand { pairs: &pairs, nodes: &nodes, must_match: &must_match };
        let ranked = rank(demand, &vfs);
        let got: Vec<PciAddress> = ranked.iter().filter_map(Ranking::chosen).collect();
        let mut once = got.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), got.len());
        for vf in &vfs {
            if got.contains(&vf.address) {
                prop_assert!(vf.usage == VfUse::Free && vf.pool == "fabric" && vf.site.group != Group::Missing);
            }
        }
        for ranking in &ranked {
            let of_pool = vfs.iter().filter(|vf| vf.pool == "fabric").count();
            prop_assert_eq!(ranking.candidates.len(), of_pool, "each has its verdict");
            let fits = |candidate: &&Candidate| matches!(candidate.verdict, Verdict::Fits(_));
            let first = ranking.candidates.iter().take_while(fits).count();
            prop_assert_eq!(first, ranking.candidates.iter().filter(fits).count(), "those that fit come first");
        }
        match choose("beta", demand, &vfs) {
            Ok(all) => prop_assert_eq!(all.len(), pairs.len()),
            Err(_) => prop_assert!(got.len() < pairs.len()),
        }
        let turned: Vec<Vf> = vfs.into_iter().rev().collect();
        prop_assert_eq!(rank(demand, &turned), ranked);
    }
}
