//! Which VF a pair gets: what rules one out, and what makes one better than another, each with its reason.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{
    HostRefusal, MacAddress, PciAddress, Profile, Vf, VfUse,
    profile::{Driver, MustMatch, told},
};

/// What one pair wants of its VF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The pair.
    pub mac: MacAddress,
    /// Pool: the physical network.
    pub pool: String,
    /// What its last VF was set to.
    pub profile: Profile,
}

/// What a guest wants, and how that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Its pairs. They get VFs in this order.
    pub pairs: &'a [Wanted],
    /// NUMA nodes that its memory is bound to; none where it may be anywhere.
    pub nodes: &'a [u32],
    /// What a VF must be set to as the last one was.
    pub must_match: &'a MustMatch,
}

/// Where a VF sits, as far as it matters for the choice. The default: nothing is known against it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    /// NUMA node; none where the machine does not tell.
    pub node: Option<u32>,
    /// Who else is in its IOMMU group.
    pub group: Group,
    /// Its PF's link is up; none where that cannot be read.
    pub link: Option<bool>,
    /// Speed of its PF's link, Mbit/s.
    pub speed: Option<u32>,
    /// Driver of its PF.
    pub driver: String,
    /// VLANs that its pool carries, from and to; none: all.
    pub vlans: Option<(u16, u16)>,
}

/// An IOMMU group, seen by one of its devices: all of a group are given away together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// Nobody else.
    #[default]
    Alone,
    /// These too.
    With(Vec<PciAddress>),
    /// It has none: no guest can be given it.
    Missing,
}

/// All VFs of a host for one pair: what it gets first, then others that would do, the better ones first, then those that
/// would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// The pair.
    pub mac: MacAddress,
    /// The pool that it wants.
    pub pool: String,
    /// Those of its pool.
    pub candidates: Vec<Candidate>,
}

/// One VF, for one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub vf: PciAddress,
    /// Its PF.
    pub pf: String,
    /// Nobody uses it.
    pub free: bool,
    /// Whether it would do.
    pub verdict: Verdict,
}

/// Whether a VF would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would: what speaks for and against it.
    Fits(Vec<String>),
    /// It would not: why.
    Refused(String),
}

impl Ranking {
    /// The VF that the pair gets.
    pub fn chosen(&self) -> Option<PciAddress> {
        let first = self.candidates.first()?;
        matches!(first.verdict, Verdict::Fits(_)).then_some(first.vf)
    }
}

/// One free VF for each pair.
///
/// # Errors
/// [`HostRefusal::NoPool`] and [`HostRefusal::NoFreeVf`], naming `host`.
pub fn choose(
    host: &str,
    demand: Demand<'_>,
    vfs: &[Vf],
) -> Result<Vec<(MacAddress, PciAddress)>, HostRefusal> {
    rank(demand, vfs)
        .into_iter()
        .map(|ranking| match ranking.chosen() {
            Some(vf) => Ok((ranking.mac, vf)),
            None => Err(none_fits(host, &ranking)),
        })
        .collect()
}

fn none_fits(host: &str, ranking: &Ranking) -> HostRefusal {
    let (host, pool) = (host.to_owned(), ranking.pool.clone());
    if ranking.candidates.is_empty() {
        return HostRefusal::NoPool { host, pool };
    }
    let unfit = ranking.candidates.iter().filter(|candidate| candidate.free);
    let unfit = unfit.filter_map(|candidate| match &candidate.verdict {
        Verdict::Refused(why) => Some(format!("{}: {why}", candidate.vf)),
        Verdict::Fits(_) => None,
    });
    HostRefusal::NoFreeVf {
        host,
        pool,
        total: ranking.candidates.len(),
        unfit: unfit.collect(),
    }
}

/// Every VF of each pair's pool, with its reasons. What one pair gets is not the next one's.
pub fn rank(demand: Demand<'_>, vfs: &[Vf]) -> Vec<Ranking> {
    let mut taken = Vec::new();
    let mut rankings = Vec::with_capacity(demand.pairs.len());
    for wanted in demand.pairs {
        let look = Look {
            demand: &demand,
            wanted,
            taken: &taken,
            vfs,
        };
        let ranking = look.ranking();
        taken.extend(ranking.chosen());
        rankings.push(ranking);
    }
    rankings
}

/// One pair's look at the VFs.
struct Look<'a> {
    demand: &'a Demand<'a>,
    wanted: &'a Wanted,
    /// What the guest's other pairs have got.
    taken: &'a [PciAddress],
    vfs: &'a [Vf],
}

/// What makes a VF better, the weightiest first: less is better.
type Score = (usize, bool, bool, bool, bool, Reverse<usize>, PciAddress);

impl Look<'_> {
    fn ranking(&self) -> Ranking {
        let of_pool = self.vfs.iter().filter(|vf| vf.pool == self.wanted.pool);
        let mut judged: Vec<(Option<Score>, Candidate)> = of_pool.map(|vf| self.judge(vf)).collect();
        judged.sort_by_key(|(score, candidate)| (score.is_none(), *score, candidate.vf));
        Ranking {
            mac: self.wanted.mac,
            pool: self.wanted.pool.clone(),
            candidates: judged.into_iter().map(|(_, candidate)| candidate).collect(),
        }
    }

    fn judge(&self, vf: &Vf) -> (Option<Score>, Candidate) {
        let (score, verdict) = match self.objection(vf) {
            Some(why) => (None, Verdict::Refused(why)),
            None => {
                let (score, notes) = self.merits(vf);
                (Some(score), Verdict::Fits(notes))
            }
        };
        let candidate = Candidate {
            vf: vf.address,
            pf: vf.pf.clone(),
            free: vf.usage == VfUse::Free,
            verdict,
        };
        (score, candidate)
    }

    /// What rules it out.
    fn objection(&self, vf: &Vf) -> Option<String> {
        if self.taken.contains(&vf.address) {
            return Some("another pair of the guest gets it".into());
        }
        if vf.usage != VfUse::Free {
            return Some(vf.usage.to_string());
        }
        match &vf.site.group {
            Group::Missing => return Some("it is in no IOMMU group".into()),
            Group::Alone => {}
            Group::With(others) => {
                let others = self.vfs.iter().filter(|other| others.contains(&other.address));
                let mut taken = others.filter(|other| other.usage != VfUse::Free);
                if let Some(other) = taken.next() {
                    let (address, usage) = (other.address, &other.usage);
                    return Some(format!(
                        "it shares its IOMMU group with {address}, and of that one: {usage}"
                    ));
                }
            }
        }
        let vlan = self.wanted.profile.vlan.id;
        if let Some((from, to)) = vf.site.vlans.filter(|(from, to)| !(*from..=*to).contains(&vlan)) {
            return Some(format!("its pool carries VLANs {from} to {to}, and not {vlan}"));
        }
        let (wrong, _) = self.demand.must_match.divide(self.lacks(vf));
        (!wrong.is_empty()).then(|| format!("it would have {}", told(&wrong)))
    }

    fn lacks(&self, vf: &Vf) -> Vec<crate::profile::Difference> {
        let driver = Driver::named(&vf.site.driver);
        let wanted = &self.wanted.profile;
        wanted.differences(&wanted.on(driver), driver)
    }

    /// How good it is, and in words.
    fn merits(&self, vf: &Vf) -> (Score, Vec<String>) {
        let site = &vf.site;
        let lacks = self.lacks(vf);
        let far = site.node.filter(|node| !self.near(*node));
        let down = site.link == Some(false);
        let crowded = self.exceeds(vf);
        let shared = matches!(site.group, Group::With(_));
        let of_pf = || self.vfs.iter().filter(|other| other.pf == vf.pf);
        let free = of_pf().filter(|other| other.usage == VfUse::Free);
        let free = free.filter(|other| !self.taken.contains(&other.address)).count();
        let mut notes = Vec::new();
        if !lacks.is_empty() {
            notes.push(format!("it would have {}", told(&lacks)));
        }
        match (far, site.node) {
            (Some(node), _) => notes.push(format!("on NUMA node {node}, away from the guest's memory")),
            (None, Some(node)) if !self.demand.nodes.is_empty() => {
                notes.push(format!("on NUMA node {node}, with the guest's memory"));
            }
            _ => {}
        }
        if down {
            notes.push(format!("{} has no link", vf.pf));
        }
        notes.extend(crowded.clone());
        if shared {
            notes.push("not alone in its IOMMU group".into());
        }
        notes.push(format!("{free} of {} VFs of {} are free", of_pf().count(), vf.pf));
        let score = (
            lacks.len(),
            down,
            far.is_some(),
            crowded.is_some(),
            shared,
            Reverse(free),
            vf.address,
        );
        (score, notes)
    }

    fn near(&self, node: u32) -> bool {
        self.demand.nodes.is_empty() || self.demand.nodes.contains(&node)
    }

    /// The rates that VFs of the PF are limited to would come to more than its link has.
    fn exceeds(&self, vf: &Vf) -> Option<String> {
        let (wanted, speed) = (u64::from(self.wanted.profile.rate.max), u64::from(vf.site.speed?));
        let others = self
            .vfs
            .iter()
            .filter(|other| other.pf == vf.pf && other.usage != VfUse::Free);
        let rate = |other: &Vf| other.profile.map_or(0, |profile| u64::from(profile.rate.max));
        let sum = wanted + others.map(rate).sum::<u64>();
        (wanted > 0 && sum > speed)
            .then(|| format!("with it the rates on {} come to {sum} of {speed} Mbit/s", vf.pf))
    }
}

#[cfg(test)]
mod tests;
