//! A guest, as libvirt and its agent show its pairs.

use super::{Diagnosis, Finding, Severity, Version};
use crate::{
    GuestRefusal, Policy,
    preflight::{self, GuestFacts},
};

/// All that preflight would refuse the guest for, one after the other; and a guest on its standby.
pub fn guest(facts: &GuestFacts) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let name = &facts.guest.name;
    for refusal in preflight::objections(facts) {
        let (severity, why) = matters(&refusal);
        diagnosis.add(Finding::refusal(severity, refusal, name, why));
    }
    if let Err(why) = &facts.agent
        && facts.running
        && !facts.pairs.is_empty()
        && !preflight::needs_agent(facts)
    {
        let refusal = GuestRefusal::NoAgent {
            guest: name.clone(),
            detail: why.clone(),
        };
        let why =
            "its pairs need none; but nobody confirms that its VF is used, or tells the network where it is";
        diagnosis.add(Finding::refusal(Severity::Hint, refusal, name, why));
    }
    let wants = facts.managed && facts.policy != Policy::StandbyOnly;
    let seen = facts.agent.as_deref().unwrap_or_default();
    let lowered = facts.pairs.iter().filter(|pair| {
        let on_primary = seen
            .iter()
            .any(|seen| Some(seen.mac) == pair.mac && seen.on_primary);
        pair.vf.is_none() || (facts.agent.is_ok() && !on_primary)
    });
    let lowered = lowered.count();
    if facts.running && wants && lowered > 0 {
        diagnosis.add(Finding {
            severity: Severity::Warning,
            reason: "GUEST_ON_STANDBY",
            about: name.clone(),
            what: format!(
                "{lowered} of {} pairs of guest `{name}` are on standby",
                facts.pairs.len()
            ),
            why: "its traffic takes the slower way".into(),
            fix: format!("godwit list --guest {name}; or at once: godwit accelerate {name} --wait"),
        });
    }
    diagnosis.findings.extend(bonds(facts));
    if !facts.running {
        diagnosis.skip(
            format!("the agent of `{name}`"),
            format!("the guest is {}", facts.state),
        );
    }
    diagnosis
}

/// Bonds of the guest's that do not do what a pair needs of them, though its traffic can be moved.
pub fn bonds(facts: &GuestFacts) -> Vec<Finding> {
    let name = &facts.guest.name;
    let seen = facts.agent.as_deref().unwrap_or_default();
    let unmonitored = seen.iter().filter(|seen| seen.unmonitored);
    let found = unmonitored.map(|seen| Finding {
        severity: Severity::Warning,
        reason: "BOND_UNMONITORED",
        about: name.clone(),
        what: format!(
            "the bond of the pair {} in guest `{name}` has miimon 0: it does not notice a port that dies",
            seen.mac
        ),
        why: "a VF that dies takes the traffic with it, though the standby is there; but not where the bond asks by ARP (arp_interval)"
            .into(),
        fix: format!(
            "in {name}: echo 100 >/sys/class/net/BOND/bonding/miimon, and the same in its network configuration (docs/guests.md)"
        ),
    });
    found.collect()
}

/// Of a guest with pairs of libvirt's own what its moves lose.
pub fn teamed(facts: &GuestFacts) -> Option<Finding> {
    let name = &facts.guest.name;
    let teamed = facts.pairs.iter().filter(|pair| pair.teamed);
    let macs: Vec<String> = teamed.filter_map(|pair| Some(pair.mac?.to_string())).collect();
    (!macs.is_empty()).then(|| Finding {
        severity: Severity::Hint,
        reason: "TEAMED_PAIR",
        about: name.clone(),
        what: format!(
            "the guest's net_failover ties {} of guest `{name}` (<teaming>): frames are lost when its VF goes and when it comes",
            macs.join(", ")
        ),
        why: "it is on its VF until its driver lets go, and drops what comes to the standby from the plug until the VF has a link".into(),
        fix: format!("in {name}: a bond of both, and no <teaming> in its domain (docs/guests.md), from its next start on"),
    })
}

/// An agent that is older than the daemon, of this version: agents are upgraded long after their hosts. One whose protocol is another one
/// has not answered at all.
pub fn old_agent(facts: &GuestFacts, daemon: &str) -> Option<Finding> {
    let own: Version = daemon.parse().ok()?;
    let agent = facts.agent_version.filter(|agent| *agent < own)?;
    let name = &facts.guest.name;
    Some(Finding {
        severity: Severity::Warning,
        reason: "AGENT_OLDER",
        about: name.clone(),
        what: format!("the agent of guest `{name}` is of version {agent}, and this host's godwitd of {own}"),
        why: "what it does not know is left out: counts, proofs and findings that newer ones give".into(),
        fix: format!("in the guest: install godwit-agent {own}, then systemctl restart godwit-agent"),
    })
}

/// What a move of the guest is refused for, whatever else is found.
pub fn refusals(facts: &GuestFacts) -> Vec<Finding> {
    let objections = preflight::objections(facts).into_iter();
    let told = objections.map(|refusal| {
        let (_, why) = matters(&refusal);
        Finding::refusal(Severity::Error, refusal, &facts.guest.name, why)
    });
    told.collect()
}

fn matters(refusal: &GuestRefusal) -> (Severity, &'static str) {
    match refusal {
        GuestRefusal::NotRunning { .. } => (
            Severity::Warning,
            "only a guest that runs is migrated live; what follows is of its stored definition",
        ),
        GuestRefusal::NotManaged { .. } => (
            Severity::Warning,
            "it is neither migrated nor accelerated again when it loses its VF",
        ),
        GuestRefusal::NoVf { .. } => (Severity::Error, "Godwit has nothing to unplug and plug again"),
        GuestRefusal::NoStandby { .. } => (
            Severity::Error,
            "with its VF unplugged the guest would have no network",
        ),
        GuestRefusal::NoAgent { .. } => (
            Severity::Error,
            "nobody moves its traffic to the standby, and no VF is unplugged that may carry traffic",
        ),
        GuestRefusal::NoPair { .. } => (
            Severity::Error,
            "the pair's traffic cannot be moved to the standby and back",
        ),
        GuestRefusal::StrayVf { .. } => (
            Severity::Error,
            "libvirt can neither migrate the guest nor plug another VF into it",
        ),
        GuestRefusal::Unknown { .. } | GuestRefusal::Busy { .. } => {
            (Severity::Error, "it cannot be migrated now")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_an_older_version_is_told_with_both() {
        let told = |agent: &str, daemon: &str| {
            let mut facts = super::super::tests::guests::web();
            facts.agent_version = agent.parse().ok();
            old_agent(&facts, daemon).map(|found| (found.severity, found.what, found.fix))
        };
        let (severity, what, fix) = told("0.9.12", "0.10.0").unwrap();
        assert_eq!(severity, Severity::Warning);
        assert_eq!(
            what,
            "the agent of guest `web-1` is of version 0.9.12, and this host's godwitd of 0.10.0"
        );
        assert_eq!(
            fix,
            "in the guest: install godwit-agent 0.10.0, then systemctl restart godwit-agent"
        );
        for (agent, daemon) in [
            ("0.10.0", "0.10.0"),
            ("1.0.0", "0.10.0"),
            ("0.10.0-rc.1", "0.10.0"),
            ("", "0.10.0"),
            ("1.2", "9.0.0"),
            ("1.2.x", "9.0.0"),
        ] {
            assert_eq!(told(agent, daemon), None, "{agent}");
        }
    }
}
