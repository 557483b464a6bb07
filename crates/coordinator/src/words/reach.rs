//! Whom a guest knows on its networks, and who of them answered at its destination, between two daemons. A peer's word is bounded.

use godwit_api::{peer::v1 as peer, v1 as api};
use godwit_migration::{
    Cause,
    doctor::Fact,
    plan::{NeededNic, Needs, Neighbour, VlanTag},
};

use super::needs::word;

/// More networks of a NIC are not told.
const MOST_PROOFS: usize = Neighbour::MOST;

/// As the wire has it.
pub(super) fn told(neighbour: &Neighbour) -> peer::Neighbour {
    let tag = |tag: &VlanTag| u32::from(tag.kind) << 16 | u32::from(tag.vlan);
    peer::Neighbour {
        ip: neighbour.ip().to_string(),
        mac: neighbour.mac().map(|mac| mac.to_string()).unwrap_or_default(),
        tags: neighbour.tags().iter().map(tag).collect(),
    }
}

/// Those that can be one; of hostile words the first alone count.
pub(super) fn neighbours(told: &[peer::Neighbour]) -> Vec<Neighbour> {
    let tag = |tag: &u32| VlanTag::new(tag >> 16, tag & 0xffff);
    let heard = |told: &peer::Neighbour| {
        // One tag more than there may be is refused below.
        let tags: Option<Vec<VlanTag>> = told.tags.iter().take(VlanTag::MOST + 1).map(tag).collect();
        Neighbour::new(&told.ip, &told.mac, tags?)
    };
    told.iter().take(Neighbour::MOST).filter_map(heard).collect()
}

/// What was proved of each NIC, as a destination answers it.
pub fn proofs(proved: Vec<(String, Vec<String>)>) -> Vec<peer::NicProof> {
    let proof = |(mac, proved)| peer::NicProof { mac, proved };
    proved.into_iter().map(proof).collect()
}

/// Puts what the destination proved beside what else is known of each NIC. What is told is what could not be asked: the guest tells nobody,
/// knows nobody, or the destination is older than the question.
pub fn prove(
    nics: &mut [api::NicPlan],
    (needs, known): (&Needs, Fact<()>),
    answer: &Result<peer::PlanResponse, Cause>,
    destination: &str,
) -> Vec<api::NotChecked> {
    let Ok(answer) = answer else {
        return Vec::new();
    };
    let proof = |mac: &str| answer.proofs.iter().find(|proof| proof.mac == mac);
    for nic in nics {
        let proved = proof(&nic.mac).map_or(&[][..], |proof| &proof.proved);
        nic.proved = proved
            .iter()
            .take(MOST_PROOFS)
            .map(|proved| word(proved))
            .collect();
    }
    let skipped = |what: &str, why: String| api::NotChecked {
        check: format!("{what} on {destination}"),
        why,
    };
    if let Err(why) = known {
        let standbys = needs.nics.iter().any(|nic| nic.standby);
        return Vec::from_iter(standbys.then(|| skipped("networks of the guest's pairs", why)));
    }
    let unknown = |nic: &NeededNic| {
        let why = match proof(&nic.mac) {
            _ if nic.neighbours.is_empty() => {
                "the guest knows nobody there whom its kernel has heard from".into()
            }
            None => format!("the godwitd of {destination} is older than this, and asks nobody"),
            Some(_) => return None,
        };
        Some(skipped(&format!("network of NIC {}", nic.mac), why))
    };
    let pairs = needs.nics.iter().filter(|nic| nic.standby);
    pairs.filter_map(unknown).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two neighbours.
    pub(in crate::words) fn known() -> Vec<Neighbour> {
        let tags = [(0x88a8, 7), (0x8100, 100)].map(|(kind, vlan)| VlanTag::new(kind, vlan).unwrap());
        vec![
            Neighbour::new("10.77.0.1", "52:54:00:77:00:01", tags.to_vec()).unwrap(),
            Neighbour::new("fe80::1", "", Vec::new()).unwrap(),
        ]
    }

    #[test]
    fn neighbours_of_a_peers_word_have_bounds() {
        let all: Vec<peer::Neighbour> = known().iter().map(told).collect();
        assert_eq!(neighbours(&all), known());
        assert_eq!(neighbours(&vec![all[0].clone(); 100_000]).len(), Neighbour::MOST);
        let wrong = |change: fn(&mut peer::Neighbour)| {
            let mut one = all[0].clone();
            change(&mut one);
            assert_eq!(neighbours(&[one]), []);
        };
        wrong(|one| one.ip = "255.255.255.255".into());
        wrong(|one| one.ip = "224.0.0.1".into());
        wrong(|one| one.mac = "ff:ff:ff:ff:ff:ff".into());
        wrong(|one| one.tags = vec![0x8100_0001; 5]);
        wrong(|one| one.tags = vec![0x8100_0001; 1_000_000]);
        wrong(|one| one.tags = vec![100]);
    }

    #[test]
    fn what_a_destination_proved_stands_by_its_nic_and_an_older_one_is_told() {
        let nic = |mac: &str| api::NicPlan {
            mac: mac.into(),
            ..Default::default()
        };
        let (one, two) = ("52:54:00:aa:00:10", "52:54:00:aa:00:11");
        let mut needs = Needs::default();
        for mac in [one, two] {
            needs.nics.push(NeededNic {
                mac: mac.into(),
                kind: "bridge".into(),
                source: "br0".into(),
                mtu: 1500,
                standby: true,
                vlans: Default::default(),
                neighbours: known(),
            });
        }
        let mut answer = peer::PlanResponse {
            proofs: proofs(vec![(one.into(), vec!["it\u{7} answers".into(); 99])]),
            ..Default::default()
        };
        let mut nics = [nic(one), nic(two)];
        let unknown = prove(&mut nics, (&needs, Ok(())), &Ok(answer.clone()), "beta");
        assert_eq!(nics[0].proved, vec!["it answers"; MOST_PROOFS]);
        assert!(nics[1].proved.is_empty());
        assert_eq!(unknown.len(), 1);
        assert_eq!(unknown[0].check, format!("network of NIC {two} on beta"));
        answer.proofs.extend(proofs(vec![(two.into(), Vec::new())]));
        assert_eq!(
            prove(&mut nics, (&needs, Ok(())), &Ok(answer.clone()), "beta"),
            []
        );
        needs.nics[0].neighbours.clear();
        let unknown = prove(&mut nics, (&needs, Ok(())), &Ok(answer.clone()), "beta");
        assert_eq!(unknown.len(), 1);
        assert!(unknown[0].why.contains("knows nobody"), "{unknown:?}");
        let unknown = prove(
            &mut nics,
            (&needs, Err("it is silent".into())),
            &Ok(answer),
            "beta",
        );
        assert_eq!((unknown.len(), unknown[0].why.as_str()), (1, "it is silent"));
        assert_eq!(
            prove(&mut nics, (&needs, Ok(())), &Err(Cause::default()), "beta"),
            []
        );
    }
}
