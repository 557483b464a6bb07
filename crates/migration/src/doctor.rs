//! Why SR-IOV migration does not, or will not, work here: facts in, findings out. Nothing is looked up here, and nothing
//! here knows how a fact was come by; one that could not be had is told, and hides none of the others.

mod domain;
mod facts;
mod guest;
mod libvirt;
mod machine;
mod macs;
mod own;
mod peers;
mod pf;
#[cfg(test)]
mod tests;
mod uri;
mod vfs;

use crate::Refusal;

pub use self::{
    domain::domain,
    facts::{
        Cpu, DomainFacts, Fact, FirmwareTable, HostFacts, LibvirtFacts, MachineFacts, Memlock, Memory,
        Module, Neighbour, OwnFacts, PeerFacts, PeerSeen, PfDetail, PfFacts, PfState, RouteFacts, Vendor,
        Version, Versions, VfFacts,
    },
    guest::{bonds, guest, old_agent, refusals, teamed},
    libvirt::versions,
    macs::{Carrier, Owner, duplicates},
    own::{days_left, route},
    peers::{Here, clock, peers},
    uri::{Endpoint, endpoint},
    vfs::{Checked, Held, Whose, check, differs, held, leftovers},
};

/// So many findings of one kind are told one by one.
const MOST_ALIKE: usize = 16;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works; it could be better, or may surprise somebody.
    Hint,
    /// It works in part, or will fail one day.
    Warning,
    /// Guests are not migrated, or not accelerated, until it is mended.
    Error,
}

/// Something that stands, or may stand, in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Stable word for programs; a refusal's own word where a migration would be refused for the same reason.
    pub reason: &'static str,
    /// A PF, a pool, a peer, a guest; empty: the host.
    pub about: String,
    /// What was found, one sentence.
    pub what: String,
    /// Why it matters, one sentence.
    pub why: String,
    /// What to type, or to do.
    pub fix: String,
}

/// A check that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotChecked {
    /// What would have been looked at.
    pub check: String,
    /// Why it was not.
    pub why: String,
}

/// All that came of an examination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was found.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub not_checked: Vec<NotChecked>,
}

impl Diagnosis {
    /// One more finding.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// One check that could not be made.
    pub fn skip(&mut self, check: impl Into<String>, why: impl Into<String>) {
        self.not_checked.push(NotChecked {
            check: check.into(),
            why: why.into(),
        });
    }

    /// These, as far as a person reads them; of the rest how many there are, as `more` says it.
    fn add_few(&mut self, mut findings: Vec<Finding>, more: impl FnOnce(usize, &Finding) -> String) {
        let rest = findings.len().saturating_sub(MOST_ALIKE);
        findings.truncate(MOST_ALIKE);
        let last = findings.last().filter(|_| rest > 0).map(|last| Finding {
            about: String::new(),
            what: more(rest, last),
            ..last.clone()
        });
        self.findings.extend(findings);
        self.findings.extend(last);
    }

    /// The fact, or none and a check that was not made.
    pub(crate) fn known<'a, T>(&mut self, check: &str, fact: &'a Fact<T>) -> Option<&'a T> {
        match fact {
            Ok(fact) => Some(fact),
            Err(why) => {
                self.skip(check, why);
                None
            }
        }
    }

    /// Both, the worst first; what is equally bad stays in the order in which it was found.
    pub fn and(mut self, other: Diagnosis) -> Diagnosis {
        self.findings.extend(other.findings);
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.not_checked.extend(other.not_checked);
        self
    }
}

impl Finding {
    /// What would be refused for this reason, with the refusal's own sentence and next command.
    fn refusal(severity: Severity, refusal: impl Into<Refusal>, about: &str, why: &str) -> Finding {
        let refusal = refusal.into();
        Finding {
            severity,
            reason: refusal.reason(),
            about: about.into(),
            what: refusal.to_string(),
            why: why.into(),
            fix: refusal.hint(),
        }
    }
}

/// Examines a host by itself, without its peers.
pub fn host(facts: &HostFacts) -> Diagnosis {
    let parts = [
        machine::machine(&facts.machine),
        pf::pfs(&facts.pfs, machine::has_iommu(&facts.machine)),
        libvirt::libvirt(&facts.libvirt),
        own::own(&facts.own),
    ];
    parts.into_iter().fold(Diagnosis::default(), Diagnosis::and)
}
