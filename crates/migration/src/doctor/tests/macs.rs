//! MACs that several have, and those that several may have.

use super::{super::*, told};
use crate::MacAddress;

fn mac(last: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn owner(n: u8, moving: bool) -> Option<Owner> {
    Some(Owner {
        name: format!("web-{n}"),
        uuid: format!("u-{n}"),
        moving,
    })
}

/// On a VF of a host, whose guest is `guest`.
fn on_vf(host: &str, function: u8, guest: Option<Owner>) -> Carrier {
    Carrier {
        mac: mac(1),
        host: host.into(),
        vf: Some(format!("0000:01:10.{function}").parse().unwrap()),
        guest,
    }
}

/// On a pair of a guest that runs.
fn on_pair(host: &str, guest: Option<Owner>) -> Carrier {
    Carrier {
        vf: None,
        ..on_vf(host, 0, guest)
    }
}

fn found(carriers: &[Carrier]) -> Vec<String> {
    told(&duplicates("alpha", carriers))
}

#[test]
fn the_sides_of_a_pair_share_one() {
    let web = || owner(1, false);
    assert!(found(&[on_vf("alpha", 0, web()), on_pair("alpha", web())]).is_empty());
    // Neighbours have others.
    let other = Carrier {
        mac: mac(2),
        ..on_vf("alpha", 2, owner(2, false))
    };
    assert!(found(&[on_vf("alpha", 0, web()), other]).is_empty());
}

#[test]
fn two_vfs_of_a_host() {
    let [one, other] = [on_vf("alpha", 0, owner(1, false)), on_vf("alpha", 2, None)];
    assert_eq!(
        found(&[one.clone(), on_pair("alpha", owner(1, false)), other.clone()]),
        [
            "Error MAC_DUPLICATE [52:54:00:00:00:01] MAC 52:54:00:00:00:01 is in more than one place: VF 0000:01:10.0 \
             of alpha (guest `web-1`), guest `web-1` on alpha, VF 0000:01:10.2 of alpha (nobody's) | `godwit vfs check \
             0000:01:10.2`"
        ]
    );
    let strangers = found(&[one.clone(), on_vf("alpha", 2, owner(2, true))]);
    assert!(
        strangers[0].ends_with("| virsh edit web-1: give it, or the other, another MAC"),
        "{strangers:?}"
    );
    let own = found(&[one, on_vf("alpha", 2, owner(1, false))]);
    assert!(
        own[0].ends_with("| godwit standby web-1 --wait; godwit accelerate web-1 --wait"),
        "{own:?}"
    );
    assert_eq!(found(&[other.clone(), on_vf("alpha", 4, None)]).len(), 1);
}

#[test]
fn a_vf_here_and_one_of_a_peer() {
    let here = on_vf("alpha", 0, owner(1, false));
    let there = found(&[here.clone(), on_vf("beta", 4, None)]);
    assert!(
        there[0].ends_with("| on beta: `godwit vfs check 0000:01:10.4`"),
        "{there:?}"
    );
    assert_eq!(found(&[here.clone(), on_pair("beta", owner(2, false))]).len(), 1);
    let twice = found(&[here.clone(), on_pair("beta", owner(1, false))]);
    assert!(twice[0].contains("virsh domstate web-1 --reason"), "{twice:?}");
}

/// Each host may say so; the other may not have heard of it yet, or not any more.
#[test]
fn while_a_guest_is_moved_two_hosts_may_have_it() {
    for (here, there) in [(true, true), (true, false), (false, true)] {
        let carriers = [
            on_vf("alpha", 0, owner(1, here)),
            on_pair("alpha", owner(1, here)),
            on_vf("beta", 4, owner(1, there)),
            on_pair("beta", owner(1, there)),
        ];
        assert!(found(&carriers).is_empty());
        // A VF that is nobody's has no part in it.
        let left = [&carriers[..], &[on_vf("beta", 6, None)]].concat();
        assert!(found(&left)[0].contains("VF 0000:01:10.0 of alpha"));
        assert!(found(&left)[0].contains("1 more |"), "{:?}", found(&left));
    }
}

#[test]
fn many_are_told_in_few_lines() {
    let pairs = (1..=40).flat_map(|n| {
        [0, 2].map(|function| Carrier {
            mac: mac(n),
            ..on_vf("alpha", function, None)
        })
    });
    let told = found(&pairs.collect::<Vec<_>>());
    assert_eq!(told.len(), 17);
    assert!(
        told[16].starts_with("Error MAC_DUPLICATE [] 24 more MACs"),
        "{}",
        told[16]
    );
}
