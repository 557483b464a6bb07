//! May this guest move, or be managed? Facts in, the pairs or a refusal out.

use crate::{Guest, GuestRefusal, MacAddress, Pair, PciAddress, Policy, Profile, doctor::Version};

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
    /// What the metadata says it should have.
    pub policy: Policy,
    /// Its pairs: those of the metadata, or where there is none those found by MAC, alias or teaming.
    pub pairs: Vec<PairFacts>,
    /// What the agent sees, by the MAC of the standby; or why it does not answer.
    pub agent: Result<Vec<PairSeen>, String>,
    /// The agent's version, by its own word.
    pub agent_version: Option<Version>,
    /// VFs that its emulator has and its domain has not.
    pub strays: Vec<Stray>,
    /// NUMA nodes that its memory is bound to; none where it may be anywhere.
    pub nodes: Vec<u32>,
}

/// A VF in an emulator whose domain does not know it: libvirtd ended inside a plug. libvirt can neither plug another
/// under its alias nor migrate the guest, and only its emulator can take it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Which.
    pub vf: PciAddress,
    /// The emulator's process id.
    pub pid: u32,
    /// What the emulator calls it.
    pub alias: String,
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
    /// libvirt alias that the VF has, or (by the metadata) gets.
    pub primary: Option<String>,
    /// The VF on this host.
    pub vf: Option<PciAddress>,
    /// The pool that this host's configuration puts the VF into, or that the metadata names.
    pub pool: Option<String>,
    /// What its VF is set to; of a pair without a VF, what was written down when it had one.
    pub profile: Option<Profile>,
    /// What the metadata says that its VF is set to; none where it does not say.
    pub recorded: Option<Profile>,
    /// libvirt ties it (`<teaming>`), and the guest's `net_failover` chooses between its ports by itself: nobody has to be
    /// asked to move its traffic, and nobody can be.
    pub teamed: bool,
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
    /// The guest's `net_failover` ties it, and no bond.
    pub failover: bool,
    /// What stands in the way of moving its traffic; none when nothing does.
    pub problem: Option<String>,
    /// It is a bond that does not notice a port that dies: its `miimon` is 0.
    pub unmonitored: bool,
    /// VLANs that the guest tags its frames with above it; none also of an agent that does not tell them.
    pub vlans: Vec<u16>,
}

impl Stray {
    /// Why nothing is done with such a guest.
    pub fn refusal(&self, guest: &str) -> GuestRefusal {
        GuestRefusal::StrayVf {
            guest: guest.into(),
            vf: self.vf.to_string(),
            pid: self.pid,
            alias: self.alias.clone(),
        }
    }
}

/// The pairs of a guest that may be managed: each has its VF.
///
/// # Errors
/// The most basic reason first.
pub fn pairs(facts: &GuestFacts) -> Result<Vec<Pair>, GuestRefusal> {
    check_running(facts)?;
    if facts.pairs.iter().all(|pair| pair.vf.is_none()) {
        let detail = "libvirt shows no PCI network function of a pool in its live XML".into();
        return Err(GuestRefusal::NoVf {
            guest: facts.guest.name.clone(),
            detail,
        });
    }
    if let Some(pair) = facts.pairs.iter().find(|pair| pair.vf.is_none()) {
        return Err(without_vf(facts, pair));
    }
    whole(facts)
}

/// The pairs of a managed guest that may move: none of one that wants no VF and has no standby. A pair may be without its VF: such a
/// guest is on standby.
///
/// # Errors
/// As [`pairs`], and [`GuestRefusal::NotManaged`].
pub fn movable(facts: &GuestFacts) -> Result<Vec<Pair>, GuestRefusal> {
    if facts.managed {
        check_running(facts)?;
        if let Some(stray) = facts.strays.first() {
            return Err(stray.refusal(&facts.guest.name));
        }
        return whole(facts);
    }
    pairs(facts)?;
    Err(GuestRefusal::NotManaged {
        guest: facts.guest.name.clone(),
    })
}

/// The pairs of a managed guest that may be accelerated or decelerated where it is.
///
/// # Errors
/// As [`movable`], and [`GuestRefusal::NoVf`] of one that has none.
pub fn paired(facts: &GuestFacts) -> Result<Vec<Pair>, GuestRefusal> {
    let pairs = movable(facts)?;
    match pairs.is_empty() {
        true => Err(no_vf(facts, "it has no pair".into())),
        false => Ok(pairs),
    }
}

/// A managed guest that runs here and is not on all of its VFs.
pub fn wants_vf(facts: &GuestFacts) -> bool {
    let lacks = facts.pairs.iter().any(|pair| pair.vf.is_none());
    let seen = facts.agent.as_ref();
    let lowered = seen.is_ok_and(|seen| seen.iter().any(|pair| !pair.on_primary));
    facts.managed && facts.running && facts.policy != Policy::StandbyOnly && (lacks || lowered)
}

/// The pairs of a guest that are whole, whatever is wrong with the others, its agent or the guest itself.
pub fn whole_pairs(facts: &GuestFacts) -> Vec<Pair> {
    let pairs = facts.pairs.iter();
    pairs.filter_map(|pair| complete(facts, pair).ok()).collect()
}

/// All that stands in the way of a guest, the most basic first, and not only that. That it is not managed is none where it
/// could not be: then the others say why. None: it may move ([`movable`]).
pub fn objections(facts: &GuestFacts) -> Vec<GuestRefusal> {
    let mut all = Vec::from_iter(check_running(facts).err());
    let strays = facts.strays.iter();
    all.extend(strays.map(|stray| stray.refusal(&facts.guest.name)));
    if facts.pairs.is_empty() && !is_plain(facts) {
        let detail = "libvirt shows no PCI network function of a pool in its XML".into();
        all.push(no_vf(facts, detail));
    }
    let lacks = |pair: &&PairFacts| !facts.managed && pair.vf.is_none();
    let (without, others): (Vec<_>, Vec<_>) = facts.pairs.iter().partition(lacks);
    all.extend(without.into_iter().map(|pair| without_vf(facts, pair)));
    all.extend(others.into_iter().filter_map(|pair| complete(facts, pair).err()));
    match &facts.agent {
        Err(why) if facts.running && needs_agent(facts) => all.push(no_agent(facts, why)),
        Err(_) => {}
        Ok(seen) => {
            let whole = facts.pairs.iter().filter(|pair| complete(facts, pair).is_ok());
            all.extend(whole.filter_map(|pair| unseen(facts, pair, seen).err()));
        }
    }
    if all.is_empty() && !facts.managed {
        all.push(GuestRefusal::NotManaged {
            guest: facts.guest.name.clone(),
        });
    }
    all
}

fn check_running(facts: &GuestFacts) -> Result<(), GuestRefusal> {
    if facts.running {
        return Ok(());
    }
    Err(GuestRefusal::NotRunning {
        guest: facts.guest.name.clone(),
        state: facts.state.clone(),
    })
}

/// The pairs of a guest that may be managed with that policy. Who wants no VF needs none, nor a pair: it is moved as it is.
///
/// # Errors
/// As [`pairs`].
pub fn adoptable(facts: &GuestFacts, policy: Policy) -> Result<Vec<Pair>, GuestRefusal> {
    match facts.pairs.is_empty() && policy == Policy::StandbyOnly {
        true => check_running(facts).map(|()| Vec::new()),
        false => pairs(facts),
    }
}

/// It has no pair, and is to have none.
pub(crate) fn is_plain(facts: &GuestFacts) -> bool {
    facts.managed && facts.pairs.is_empty() && facts.policy == Policy::StandbyOnly
}

/// Each pair whole, as libvirt and the agent show it.
fn whole(facts: &GuestFacts) -> Result<Vec<Pair>, GuestRefusal> {
    if is_plain(facts) {
        return Ok(Vec::new());
    }
    if facts.pairs.is_empty() {
        return Err(no_vf(facts, "it has no pair".into()));
    }
    let pairs = facts
        .pairs
        .iter()
        .map(|pair| complete(facts, pair))
        .collect::<Result<Vec<_>, _>>()?;
    match &facts.agent {
        Err(why) if needs_agent(facts) => return Err(no_agent(facts, why)),
        // Weaker: what its own host sees of its standby is all the evidence.
        Err(_) => {}
        Ok(seen) => facts
            .pairs
            .iter()
            .try_for_each(|pair| unseen(facts, pair, seen))?,
    }
    Ok(pairs)
}

/// The traffic of a bond moves only by an agent.
pub(crate) fn needs_agent(facts: &GuestFacts) -> bool {
    facts.pairs.iter().any(|pair| !pair.teamed)
}

fn no_agent(facts: &GuestFacts, why: &str) -> GuestRefusal {
    GuestRefusal::NoAgent {
        guest: facts.guest.name.clone(),
        detail: why.into(),
    }
}

fn unseen(facts: &GuestFacts, pair: &PairFacts, seen: &[PairSeen]) -> Result<(), GuestRefusal> {
    // One without a standby is told as that.
    let Some(mac) = pair.mac else { return Ok(()) };
    let found = seen.iter().find(|seen| seen.mac == mac);
    check_seen(pair, found).map_err(|detail| GuestRefusal::NoPair {
        guest: facts.guest.name.clone(),
        mac: mac.to_string(),
        detail,
    })
}

fn no_vf(facts: &GuestFacts, detail: String) -> GuestRefusal {
    GuestRefusal::NoVf {
        guest: facts.guest.name.clone(),
        detail,
    }
}

fn without_vf(facts: &GuestFacts, pair: &PairFacts) -> GuestRefusal {
    let mac = pair.mac.map(|mac| mac.to_string()).unwrap_or_default();
    no_vf(facts, format!("the pair {mac} has none now"))
}

fn complete(facts: &GuestFacts, pair: &PairFacts) -> Result<Pair, GuestRefusal> {
    let told = || pair.vf.map_or("one that is missing".into(), |vf| vf.to_string());
    let (Some(mac), Some(standby)) = (pair.mac, pair.standby.clone()) else {
        let detail = format!("no virtio NIC carries the address of VF {}", told());
        return Err(GuestRefusal::NoStandby {
            guest: facts.guest.name.clone(),
            detail,
        });
    };
    let Some(primary) = pair.primary.clone() else {
        return Err(no_vf(facts, format!("VF {} has no alias in libvirt", told())));
    };
    let pool = pair.pool.clone();
    let pool = pool.ok_or_else(|| {
        no_vf(
            facts,
            format!("{} is in no pool of this host's configuration", told()),
        )
    })?;
    Ok(Pair {
        mac,
        primary_mac: pair.primary_mac.unwrap_or(mac),
        standby,
        primary,
        pool,
        source_vf: pair.vf,
        destination_vf: None,
        profile: pair.profile,
    })
}

fn check_seen(pair: &PairFacts, seen: Option<&PairSeen>) -> Result<(), String> {
    let nowhere = match pair.teamed {
        true => "its virtio driver makes no net_failover of that standby",
        false => "no bond has that standby",
    };
    let seen = seen.ok_or(nowhere)?;
    match (pair.teamed, seen.failover) {
        (true, false) => return Err("libvirt ties it (<teaming>), and the guest has it in a bond".into()),
        (false, true) => return Err("it is not a bond in active-backup mode".into()),
        // A VF that net_failover does not use has nothing to lose.
        (true, true) => {}
        (false, false) if pair.vf.is_some() && !seen.has_primary => {
            return Err("the bond has no primary beside its standby".into());
        }
        (false, false) => {}
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
            policy: Policy::Require,
            pairs: vec![PairFacts {
                mac: Some(mac()),
                primary_mac: Some(mac()),
                standby: Some("ua-standby0".into()),
                primary: Some("ua-primary0".into()),
                vf: Some("0000:01:10.0".parse().unwrap()),
                pool: Some("fabric".into()),
                profile: None,
                recorded: None,
                teamed: false,
            }],
            agent: Ok(vec![PairSeen {
                mac: mac(),
                on_primary: true,
                has_primary: true,
                failover: false,
                problem: None,
                unmonitored: false,
                vlans: Vec::new(),
            }]),
            agent_version: None,
            strays: Vec::new(),
            nodes: Vec::new(),
        }
    }

    fn refused(change: impl FnOnce(&mut GuestFacts)) -> String {
        let mut facts = facts();
        change(&mut facts);
        movable(&facts).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_guest_may_move() {
        let mut facts = facts();
        let pairs = movable(&facts).unwrap();
        assert_eq!((pairs[0].pool.as_str(), pairs[0].profile), ("fabric", None));
        // With or without its VF: what it was set to goes along.
        facts.pairs[0].profile = Some(Profile::default());
        assert_eq!(movable(&facts).unwrap()[0].profile, Some(Profile::default()));
        facts.pairs[0].vf = None;
        assert_eq!(movable(&facts).unwrap()[0].profile, Some(Profile::default()));
    }

    #[test]
    fn a_managed_guest_on_its_standby_may_move_and_wants_its_vf() {
        let mut facts = facts();
        assert!(!wants_vf(&facts));
        facts.pairs[0].vf = None;
        facts.agent.as_mut().unwrap()[0].has_primary = false;
        assert_eq!(movable(&facts).unwrap()[0].source_vf, None);
        assert!(pairs(&facts).is_err(), "to be managed it needs its VF");
        assert!(wants_vf(&facts));
        facts.policy = Policy::StandbyOnly;
        assert!(!wants_vf(&facts));
        // With its VF and its traffic on the standby it wants it as well.
        let mut facts = self::facts();
        facts.agent.as_mut().unwrap()[0].on_primary = false;
        assert!(wants_vf(&facts));
        // A bond that lost the VF which libvirt shows is in trouble.
        facts.agent.as_mut().unwrap()[0].has_primary = false;
        assert!(movable(&facts).is_err());
    }

    #[test]
    fn a_pair_of_libvirts_own_moves_with_and_without_an_agent() {
        let mut facts = facts();
        facts.pairs[0].teamed = true;
        facts.agent.as_mut().unwrap()[0].failover = true;
        assert!(movable(&facts).is_ok() && !wants_vf(&facts));
        // Nor is it an obstacle that the guest does not use its VF.
        facts.agent.as_mut().unwrap()[0].has_primary = false;
        assert!(movable(&facts).is_ok());
        facts.agent = Err("its domain has no channel".into());
        assert_eq!(movable(&facts).unwrap().len(), 1);
        assert_eq!(objections(&facts), []);
        facts.managed = false;
        assert!(pairs(&facts).is_ok());
        // Beside a bond there has to be one.
        facts.managed = true;
        let bond = PairFacts {
            teamed: false,
            ..facts.pairs[0].clone()
        };
        facts.pairs.push(bond);
        assert!(movable(&facts).unwrap_err().to_string().contains("no channel"));
    }

    #[test]
    fn a_guest_without_a_pair_moves_if_it_wants_no_vf() {
        let mut facts = facts();
        facts.pairs.clear();
        facts.agent = Err("its domain has no channel".into());
        assert!(movable(&facts).unwrap_err().to_string().contains("has no pair"));
        facts.policy = Policy::StandbyOnly;
        assert_eq!(movable(&facts), Ok(vec![]));
        assert!(paired(&facts).unwrap_err().to_string().contains("has no pair"));
        assert_eq!(objections(&facts), []);
        assert!(!wants_vf(&facts) && !needs_agent(&facts));
        facts.managed = false;
        assert!(movable(&facts).is_err() && !objections(&facts).is_empty());
        assert!(adoptable(&facts, Policy::Require).is_err() && adoptable(&facts, Policy::Prefer).is_err());
        assert_eq!(adoptable(&facts, Policy::StandbyOnly), Ok(vec![]));
        facts.running = false;
        assert!(adoptable(&facts, Policy::StandbyOnly).is_err());
        // Who has one is managed with it.
        let facts = self::facts();
        assert_eq!(adoptable(&facts, Policy::StandbyOnly).unwrap().len(), 1);
    }

    #[test]
    fn what_libvirt_and_the_guest_say_of_a_pair_has_to_agree() {
        let told = |teamed, failover| {
            refused(|f| {
                f.pairs[0].teamed = teamed;
                f.agent.as_mut().unwrap()[0].failover = failover;
            })
        };
        assert!(told(true, false).contains("has it in a bond"));
        assert!(told(false, true).contains("not a bond in active-backup mode"));
        let unseen = refused(|f| (f.pairs[0].teamed, f.agent) = (true, Ok(vec![])));
        assert!(unseen.contains("no net_failover"), "{unseen}");
        let weak = refused(|f| {
            f.pairs[0].teamed = true;
            let seen = &mut f.agent.as_mut().unwrap()[0];
            (seen.failover, seen.problem) = (true, Some("its standby has no carrier".into()));
        });
        assert!(weak.contains("no carrier"), "{weak}");
    }

    #[test]
    fn a_vf_that_only_the_emulator_knows_is_to_be_taken_out_first() {
        let mut facts = facts();
        facts.strays.push(Stray {
            vf: "0000:01:10.2".parse().unwrap(),
            pid: 77,
            alias: "ua-primary0".into(),
        });
        let refusal = movable(&facts).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "VF 0000:01:10.2 is in the emulator of guest `web-1` (process 77) and not in its domain: libvirtd ended \
             in the middle of a plug"
        );
        assert_eq!(
            crate::Refusal::from(refusal.clone()).hint(),
            "virsh qemu-monitor-command web-1 --hmp 'device_del ua-primary0'"
        );
        assert_eq!(objections(&facts), [refusal]);
    }

    /// What is told of a guest before it moves is what a move is refused for, and the first of it is what it is refused with.
    #[test]
    fn all_that_is_told_of_a_guest_begins_with_what_a_move_is_refused_for() {
        type Fault = fn(&mut GuestFacts);
        let faults: [Fault; 9] = [
            |f| (f.running, f.state) = (false, "shut off".into()),
            |f| f.managed = false,
            |f| f.pairs.clear(),
            |f| f.pairs.iter_mut().for_each(|pair| pair.vf = None),
            |f| f.pairs.iter_mut().for_each(|pair| pair.pool = None),
            |f| f.pairs.iter_mut().for_each(|pair| pair.standby = None),
            |f| f.pairs.iter_mut().for_each(|pair| pair.teamed = true),
            |f| f.agent = Err("no answer in 2 s".into()),
            |f| f.policy = Policy::StandbyOnly,
        ];
        let mut several = 0;
        for chosen in 0..1_u32 << faults.len() {
            let mut facts = facts();
            for (index, fault) in faults.iter().enumerate() {
                if chosen & (1 << index) != 0 {
                    fault(&mut facts);
                }
            }
            let told = objections(&facts);
            let reason = |refusal: &GuestRefusal| crate::Refusal::from(refusal.clone()).reason();
            let refused = movable(&facts).err();
            assert_eq!(
                told.first().map(reason),
                refused.as_ref().map(reason),
                "{chosen:b}: {told:?}, {refused:?}"
            );
            several += usize::from(told.len() > 1);
        }
        assert!(several > 100, "{several}");
    }

    #[test]
    fn a_pair_that_is_whole_is_told_beside_one_that_is_not() {
        let mut facts = facts();
        let broken = PairFacts {
            standby: None,
            ..facts.pairs[0].clone()
        };
        facts.pairs.insert(0, broken);
        facts.agent = Err("none".into());
        let reasons = objections(&facts).into_iter().map(crate::Refusal::from);
        let reasons: Vec<_> = reasons.map(|refusal| refusal.reason()).collect();
        assert_eq!(reasons, ["GUEST_WITHOUT_STANDBY", "GUEST_WITHOUT_AGENT"]);
        assert_eq!(whole_pairs(&facts).len(), 1);
    }

    #[test]
    fn every_lack_has_its_sentence_the_most_basic_first() {
        let off = refused(|f| (f.running, f.state) = (false, "shut off".into()));
        assert_eq!(off, "guest `web-1` is shut off, not running");
        let unmanaged = |change: fn(&mut GuestFacts)| {
            refused(|f| {
                f.managed = false;
                change(f);
            })
        };
        assert!(unmanaged(|f| f.pairs.clear()).contains("has no VF"));
        assert!(unmanaged(|f| f.pairs[0].vf = None).contains("has no VF"));
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
