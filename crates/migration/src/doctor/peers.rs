//! The other hosts, by their own words.

use super::{Diagnosis, Finding, PeerFacts, PeerSeen, Severity, own::certificate};
use crate::HostRefusal;

/// Clocks that differ by more than this are told of, milliseconds: less does not show in a timeline of seconds.
const CLOCKS: u64 = 2_000;

/// What of this host its peers are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its name.
    pub host: String,
    /// Version of its daemon.
    pub version: String,
    /// Its pools.
    pub pools: Vec<String>,
}

/// Examines the peers, and whether their pools are this host's.
pub fn peers(here: &Here, all: &[PeerFacts]) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    for PeerFacts { name, seen } in all {
        match seen {
            Ok(seen) => peer(here, name, seen, &mut diagnosis),
            Err(why) => {
                let refusal = HostRefusal::Unreachable {
                    host: name.clone(),
                    detail: why.clone(),
                };
                let matters = "no guest moves there or comes from there, and what is under way waits";
                diagnosis.add(Finding::refusal(Severity::Error, refusal, name, matters));
                diagnosis.skip(
                    format!("pools, clock and certificate of {name}"),
                    "it does not answer",
                );
            }
        }
    }
    pools(here, all, &mut diagnosis);
    diagnosis
}

fn peer(here: &Here, name: &str, seen: &PeerSeen, diagnosis: &mut Diagnosis) {
    let finding = |severity, reason, what, why: &str, fix| Finding {
        severity,
        reason,
        about: name.into(),
        what,
        why: why.into(),
        fix,
    };
    if !seen.problem.is_empty() {
        let what = format!("{name} says of itself: {}", seen.problem);
        let fix = format!("on {name}: godwit doctor");
        diagnosis.add(finding(
            Severity::Warning,
            "PEER_TROUBLE",
            what,
            "it may refuse guests",
            fix,
        ));
    } else if seen.free_vfs == 0 {
        let what = format!("{name} has no free VF now");
        let why = "guests of the policy `require` are refused there, others arrive on their standby";
        diagnosis.add(finding(
            Severity::Hint,
            "NO_FREE_VF",
            what,
            why,
            format!("on {name}: `godwit vfs`"),
        ));
    }
    if seen.version != here.version {
        let (host, theirs, ours) = (&here.host, &seen.version, &here.version);
        let what = format!("{name} runs godwitd {theirs}, and {host} runs {ours}");
        let why = "both work together, with what the older one knows";
        let fix = "upgrade the older one".to_owned();
        diagnosis.add(finding(Severity::Hint, "PEER_VERSION", what, why, fix));
    }
    let Some(ahead) = seen.clock_ahead_ms else {
        let too_old = format!("its godwitd ({}) is too old to tell them", seen.version);
        diagnosis.skip(format!("pools, clock and certificate of {name}"), too_old);
        return;
    };
    diagnosis.findings.extend(clock(&here.host, name, ahead));
    let whose = format!("the certificate of {name}");
    let fix = format!("on {name}: sign a new one, put it where [tls] has it: it is used without a restart");
    let ends = seen
        .certificate_days
        .and_then(|days| certificate(days, name, &whose, &fix));
    diagnosis.findings.extend(ends);
}

/// The clock of a peer that is so far ahead of this host's, ms; less than 0: behind.
pub fn clock(here: &str, name: &str, ahead_ms: i64) -> Option<Finding> {
    let off = ahead_ms.unsigned_abs();
    if off <= CLOCKS {
        return None;
    }
    let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
    Some(Finding {
        severity: Severity::Warning,
        reason: "PEER_CLOCK",
        about: name.into(),
        what: format!(
            "the clock of {name} is {}.{} s {way} that of {here}",
            off / 1000,
            off % 1000 / 100
        ),
        why: "a migration's timeline is of both hosts' clocks, and certificates are judged by them".into(),
        fix: "on both: chronyc tracking; timedatectl set-ntp true".into(),
    })
}

/// Pools are matched by their names alone.
fn pools(here: &Here, all: &[PeerFacts], diagnosis: &mut Diagnosis) {
    let told = |peer: &PeerFacts| Some((peer.name.clone(), peer.seen.as_ref().ok()?.pools.clone()?));
    let told: Vec<(String, Vec<String>)> = all.iter().filter_map(told).collect();
    if told.is_empty() {
        return;
    }
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    let one_fix = "a pool of one physical network has one name on all its hosts: [[pool]] in godwitd.toml";
    for pool in here
        .pools
        .iter()
        .filter(|pool| !told.iter().any(|(_, pools)| pools.contains(pool)))
    {
        diagnosis.add(Finding {
            severity: Severity::Warning,
            reason: "POOL_UNMATCHED",
            about: pool.clone(),
            what: format!(
                "pool {pool} is on {} alone: not on {}",
                here.host,
                names.join(", ")
            ),
            why: "guests with a VF of it are refused there".into(),
            fix: one_fix.into(),
        });
    }
    let mut foreign: Vec<(&str, &str)> = Vec::new();
    for (name, pools) in &told {
        let new = pools.iter().filter(|pool| !here.pools.contains(pool));
        foreign.extend(new.map(|pool| (pool.as_str(), name.as_str())));
    }
    foreign.sort_unstable();
    for of_one in foreign.chunk_by(|one, other| one.0 == other.0) {
        let (pool, hosts): (&str, Vec<&str>) = (of_one[0].0, of_one.iter().map(|(_, host)| *host).collect());
        diagnosis.add(Finding {
            severity: Severity::Hint,
            reason: "POOL_UNMATCHED",
            about: pool.into(),
            what: format!("pool {pool} is on {}, and not on {}", hosts.join(", "), here.host),
            why: "guests with a VF of it cannot come here".into(),
            fix: one_fix.into(),
        });
    }
}
