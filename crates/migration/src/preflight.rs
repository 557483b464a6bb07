//! May this guest move, or be managed? Facts in, the pairs or a refusal out.

use crate::{Guest, GuestRefusal, MacAddress, Pair, PciAddress};

/// What a host knows of one of its guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    /// Who.
    pub guest: Guest,
    /// libvirt's word for its state, "running", "shut off" ...
    pub state: String,
    /// It runs.
    pub running: bool,
    /// Its domain has Godwit's metadata.
    pub managed: bool,
    /// Its pairs: those of the metadata, or where there is none those found by MAC, alias or teaming.
    pub pairs: Vec<PairFacts>,
    /// What the agent sees, by the MAC of the standby; or why it does not answer.
    pub agent: Result<Vec<PairSeen>, String>,
}

/// One pair as libvirt shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFacts {
    /// Permanent MAC of the standby (of the VF where there is no standby); none for a VF whose address is not known.
    pub mac: Option<MacAddress>,
    /// MAC of the primary.
    pub primary_mac: Option<MacAddress>,
    /// libvirt alias of the standby.
    pub standby: Option<String>,
    /// libvirt alias of the VF.
    pub primary: Option<String>,
    /// The VF on this host.
    pub vf: Option<PciAddress>,
    /// The pool that this host's configuration puts the VF into, or that the metadata names.
    pub pool: Option<String>,
}

/// One pair as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSeen {
    /// Permanent MAC of its standby.
    pub mac: MacAddress,
    /// Traffic goes out by the primary.
    pub on_primary: bool,
    /// A primary is in the pair.
    pub has_primary: bool,
    /// What stands in the way of moving its traffic; none when nothing does.
    pub problem: Option<String>,
}

/// The pairs of a guest that may be managed; `policy` so far is `require`: every pair needs its VF.
///
/// # Errors
/// The most basic reason first.
pub fn pairs(facts: &GuestFacts) -> Result<Vec<Pair>, GuestRefusal> {
    let name = || facts.guest.name.clone();
    if !facts.running {
        return Err(GuestRefusal::NotRunning {
            guest: name(),
            state: facts.state.clone(),
        });
    }
    if facts.pairs.iter().all(|pair| pair.vf.is_none()) {
        let detail = "libvirt shows no PCI network function of a pool in its live XML".into();
        return Err(GuestRefusal::NoVf {
            guest: name(),
            detail,
        });
    }
    let pairs = facts
        .pairs
        .iter()
        .map(|pair| complete(facts, pair))
        .collect::<Result<Vec<_>, _>>()?;
    let seen = facts.agent.as_ref();
    let seen = seen.map_err(|why| GuestRefusal::NoAgent {
        guest: name(),
        detail: why.clone(),
    })?;
    for pair in &pairs {
        check_seen(pair, seen).map_err(|detail| GuestRefusal::NoPair {
            guest: name(),
            mac: pair.mac.to_string(),
            detail,
        })?;
    }
    Ok(pairs)
}

/// The pairs of a managed guest that may move.
///
/// # Errors
/// As [`pairs`], and [`GuestRefusal::NotManaged`].
pub fn movable(facts: &GuestFacts) -> Result<Vec<Pair>, GuestRefusal> {
    let pairs = pairs(facts)?;
    if facts.managed {
        Ok(pairs)
    } else {
        Err(GuestRefusal::NotManaged {
            guest: facts.guest.name.clone(),
        })
    }
}

fn complete(facts: &GuestFacts, pair: &PairFacts) -> Result<Pair, GuestRefusal> {
    let guest = || facts.guest.name.clone();
    let no_vf = |detail: String| GuestRefusal::NoVf {
        guest: guest(),
        detail,
    };
    let (Some(vf), Some(primary)) = (pair.vf, pair.primary.clone()) else {
        let mac = pair.mac.map(|mac| mac.to_string()).unwrap_or_default();
        return Err(no_vf(format!("the pair {mac} has none now")));
    };
    let (Some(mac), Some(standby)) = (pair.mac, pair.standby.clone()) else {
        let detail = format!("no virtio NIC carries the address of VF {vf}");
        return Err(GuestRefusal::NoStandby {
            guest: guest(),
            detail,
        });
    };
    let pool = pair.pool.clone();
    let pool = pool.ok_or_else(|| no_vf(format!("{vf} is in no pool of this host's configuration")))?;
    Ok(Pair {
        mac,
        primary_mac: pair.primary_mac.unwrap_or(mac),
        standby,
        primary,
        pool,
        source_vf: Some(vf),
        destination_vf: None,
    })
}

fn check_seen(pair: &Pair, seen: &[PairSeen]) -> Result<(), String> {
    let seen = seen.iter().find(|seen| seen.mac == pair.mac);
    let seen = seen.ok_or("no bond has that standby")?;
    if !seen.has_primary {
        return Err("the bond has no primary beside its standby".into());
    }
    seen.problem.clone().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac() -> MacAddress {
        "52:54:00:aa:00:10".parse().unwrap()
    }

    fn facts() -> GuestFacts {
        GuestFacts {
            guest: Guest {
                name: "web-1".into(),
                uuid: "u".into(),
            },
            state: "running".into(),
            running: true,
            managed: true,
            pairs: vec![PairFacts {
                mac: Some(mac()),
                primary_mac: Some(mac()),
                standby: Some("ua-standby0".into()),
                primary: Some("ua-primary0".into()),
                vf: Some("0000:01:10.0".parse().unwrap()),
                pool: Some("fabric".into()),
            }],
            agent: Ok(vec![PairSeen {
                mac: mac(),
                on_primary: true,
                has_primary: true,
                problem: None,
            }]),
        }
    }

    fn refused(change: impl FnOnce(&mut GuestFacts)) -> String {
        let mut facts = facts();
        change(&mut facts);
        movable(&facts).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_guest_may_move() {
        assert_eq!(movable(&facts()).unwrap()[0].pool, "fabric");
    }

    #[test]
    fn every_lack_has_its_sentence_the_most_basic_first() {
        let off = refused(|f| (f.running, f.state) = (false, "shut off".into()));
        assert_eq!(off, "guest `web-1` is shut off, not running");
        assert!(refused(|f| f.pairs.clear()).contains("has no VF"));
        assert!(refused(|f| f.pairs[0].vf = None).contains("has no VF"));
        assert!(refused(|f| f.pairs[0].pool = None).contains("in no pool"));
        assert!(refused(|f| f.pairs[0].standby = None).contains("no standby for its VF"));
        assert!(refused(|f| f.agent = Err("no answer in 2 s".into())).contains("no answer in 2 s"));
        assert!(refused(|f| f.agent = Ok(vec![])).contains("no bond has that standby"));
        assert!(refused(|f| f.managed = false).contains("not managed"));
        let nothing_at_all = refused(|f| {
            f.pairs.clear();
            f.managed = false;
            f.agent = Err("none".into());
        });
        assert!(nothing_at_all.contains("has no VF"), "{nothing_at_all}");
    }
}
