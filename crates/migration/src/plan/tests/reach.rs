//! Whether those whom a guest knows answer at its destination.

use super::*;
use crate::doctor::Fact;

const GATEWAY: &str = "52:54:00:77:00:01";

fn other() -> Heard {
    Heard::Other("52:54:00:77:00:99".parse().unwrap())
}

fn same(long: Option<(u32, bool)>) -> Heard {
    Heard::Same { long }
}

/// What is told, and the sentences of what is proved, where these were asked for: address, VLAN (0: none), and what came of it.
fn asked(asked: &[(&str, u32, Fact<Heard>)]) -> (String, Vec<String>) {
    let (mut needs, mut there) = (needs(), there());
    let tags = |vlan| VlanTag::new(0x8100, vlan).into_iter().collect();
    let neighbours = asked
        .iter()
        .map(|(ip, vlan, _)| Neighbour::new(ip, GATEWAY, tags(*vlan)).unwrap());
    needs.nics[0].neighbours = neighbours.collect();
    there.asked = vec![asked.iter().map(|(_, _, heard)| heard.clone()).collect()];
    let told = lines(&arrival(&needs, &there)).join("\n");
    let proved = proved(&needs, &there);
    assert_eq!(proved.len(), 1);
    assert_eq!(proved[0].0, "52:54:00:aa:00:10");
    (told, proved[0].1.clone())
}

#[test]
fn who_answers_as_the_guest_knows_it_proves_the_network() {
    let proof = |long| asked(&[("10.77.0.1", 0, Ok(same(long)))]);
    let words = "10.77.0.1 (52:54:00:77:00:01) answers through bridge `br0` on beta";
    assert_eq!(proof(None), (String::new(), vec![words.into()]));
    assert_eq!(
        proof(Some((1500, true))).1,
        [format!("{words}, to frames of 1500 bytes too")]
    );
    assert_eq!(
        proof(Some((9000, false))).1,
        [format!("{words}, and not to frames of 9000 bytes")]
    );
}

#[test]
fn nobody_and_somebody_else_are_warnings() {
    assert_eq!(
        asked(&[("10.77.0.1", 0, Ok(Heard::Nobody)), ("10.77.0.9", 0, Ok(Heard::Nobody))]),
        (
            "Warning NETWORK_SILENT: nobody answers through bridge `br0` on beta: guest `web-1` knows 10.77.0.1 \
             (52:54:00:77:00:01), 10.77.0.9 (52:54:00:77:00:01) on the network of NIC 52:54:00:aa:00:10"
                .into(),
            vec![]
        )
    );
    assert_eq!(
        asked(&[("10.77.0.1", 0, Ok(Heard::Nobody)), ("10.77.0.9", 0, Ok(other()))]).0,
        "Warning NETWORK_DIFFERS: 52:54:00:77:00:99 answers for 10.77.0.9 through bridge `br0` on beta, and guest `web-1` knows \
         10.77.0.9 (52:54:00:77:00:01) there, on the network of NIC 52:54:00:aa:00:10"
    );
}

#[test]
fn one_who_answers_stands_for_the_others_of_its_network_alone() {
    let (told, proved) = asked(&[
        ("10.77.0.1", 0, Ok(Heard::Nobody)),
        ("10.77.0.8", 0, Ok(other())),
        ("10.77.0.9", 0, Ok(same(None))),
        ("10.100.0.1", 100, Ok(Heard::Nobody)),
    ]);
    assert_eq!(proved.len(), 1);
    assert!(
        told.starts_with(
            "Warning NETWORK_SILENT: nobody answers through bridge `br0` on beta, in VLAN 100: "
        ) && !told.contains('\n'),
        "{told}"
    );
}

#[test]
fn what_cannot_be_asked_is_told_as_that() {
    let why = "the bridge's own port is not in VLAN 100";
    assert_eq!(
        asked(&[
            ("10.100.0.1", 100, Err(why.into())),
            ("10.77.0.1", 0, Ok(same(None)))
        ])
        .0,
        format!("not known: network of bridge `br0` on beta, in VLAN 100: {why}")
    );
    let unknown = Heard::Somebody("52:54:00:77:00:99".parse().unwrap());
    assert_eq!(
        asked(&[("10.77.0.1", 0, Ok(unknown))]),
        (
            "not known: network of bridge `br0` on beta: 52:54:00:77:00:99 answers for 10.77.0.1, and guest `web-1` has not learned \
             whose address that is"
                .into(),
            vec![]
        )
    );
}

#[test]
fn where_nobody_was_asked_nothing_is_told() {
    assert_eq!(asked(&[]), (String::new(), vec![]));
    let mut needs = needs();
    needs.nics[0].neighbours = Vec::from_iter(Neighbour::new("10.77.0.1", GATEWAY, Vec::new()));
    assert!(lines(&arrival(&needs, &there())).is_empty());
}
