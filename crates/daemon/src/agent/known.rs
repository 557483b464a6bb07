//! Whom a guest knows on the networks of its pairs, as its agent tells it. It may lie: it is bounded here, and only ever asked for.

use std::{path::Path, time::Duration};

use godwit_api::agent::v1::{self as api, Inspect, guest_frame, host_frame};
use godwit_migration::{
    MacAddress,
    plan::{Neighbour, VlanTag},
};

use super::{AgentError, Agents};

/// Of each pair, by the permanent MAC of its standby.
pub(crate) type Known = Vec<(MacAddress, Vec<Neighbour>)>;

impl Agents {
    /// Whom the guest knows; none: its agent is older than the question.
    pub(crate) async fn known(&self, path: &Path, within: Duration) -> Result<Option<Known>, AgentError> {
        let body = host_frame::Body::Inspect(Inspect {
            neighbours: true,
            target: self.target(),
        });
        match self.ask(path, body, within).await? {
            guest_frame::Body::Inspected(told) => Ok(told.has_neighbours.then(|| known(&told.pairs))),
            _ => Err(AgentError::Odd { verb: "Inspect" }),
        }
    }
}

/// What is not readable, or can be nobody, is left out.
pub(super) fn known(pairs: &[api::Pair]) -> Known {
    pairs.iter().take(64).filter_map(of_pair).collect()
}

fn of_pair(pair: &api::Pair) -> Option<(MacAddress, Vec<Neighbour>)> {
    let mut ports = pair.ports.iter();
    let standby = ports.find(|port| port.role() == api::PortRole::Standby)?;
    let known = pair.neighbours.iter().take(Neighbour::MOST).filter_map(neighbour);
    Some((standby.permanent_mac.parse().ok()?, known.collect()))
}

fn neighbour(told: &api::Neighbour) -> Option<Neighbour> {
    let tags = told.tags.iter().take(VlanTag::MOST + 1);
    let tags: Option<Vec<VlanTag>> = tags.map(|tag| VlanTag::new(tag.protocol, tag.id)).collect();
    Neighbour::new(&told.ip, &told.mac, tags?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> api::Pair {
        api::Pair {
            ports: vec![api::Port {
                role: api::PortRole::Standby.into(),
                permanent_mac: "52:54:00:aa:00:10".into(),
                ..api::Port::default()
            }],
            neighbours: vec![api::Neighbour {
                ip: "10.77.0.1".into(),
                mac: "52:54:00:77:00:01".into(),
                tags: vec![api::Tag {
                    protocol: 0x8100,
                    id: 100,
                }],
            }],
            ..api::Pair::default()
        }
    }

    #[test]
    fn a_guest_tells_whom_it_knows_by_the_mac_of_its_standby() {
        let tag = VlanTag::new(0x8100, 100).unwrap();
        let gateway = Neighbour::new("10.77.0.1", "52:54:00:77:00:01", vec![tag]).unwrap();
        let mac = "52:54:00:aa:00:10".parse().unwrap();
        assert_eq!(known(&[told()]), [(mac, vec![gateway])]);
    }

    #[test]
    fn what_a_hostile_guest_tells_is_bounded_and_asks_no_group() {
        let mut hostile = told();
        let one = hostile.neighbours[0].clone();
        hostile.neighbours = vec![one.clone(); 10_000];
        let all = known(&vec![hostile.clone(); 1000]);
        assert_eq!((all.len(), all[0].1.len()), (64, Neighbour::MOST));
        let none = |change: fn(&mut api::Neighbour)| {
            let mut pair = told();
            change(&mut pair.neighbours[0]);
            assert!(known(&[pair])[0].1.is_empty());
        };
        none(|told| told.ip = "0.0.0.0".into());
        none(|told| told.ip = "255.255.255.255".into());
        none(|told| told.ip = "239.1.1.1".into());
        none(|told| told.ip = "ff02::1".into());
        none(|told| told.ip = "\u{1b}[2J".into());
        none(|told| told.mac = "ff:ff:ff:ff:ff:ff".into());
        none(|told| told.tags = vec![told.tags[0]; 5]);
        none(|told| told.tags[0].id = 0);
        none(|told| told.tags[0].protocol = 0x0800);
    }
}
