//! The examination: this host and its guests' domains by the world, its peers by their own words. What is judged, and how,
//! is in `godwit_migration::doctor`; here it is asked for, with a deadline for each, and put on the wire.

use std::time::Duration;

use futures_util::future::join_all;
use godwit_api::v1 as api;
use godwit_migration::{
    Cause, HostRefusal,
    doctor::{self, Diagnosis, Finding, Here, PeerFacts, PeerSeen, Severity},
    preflight::GuestFacts,
};
use prost_types::Timestamp;

use crate::{Coordinator, HostDesk, Refused, World, clock::now_ms, host_service::GREETING, words};

/// The world has deadlines of its own for each thing that it looks at; this is for one that does not keep them.
const LOOK: Duration = Duration::from_secs(20);

impl<W: World> HostDesk<W> {
    /// This host and its peers.
    pub(crate) async fn examine_host(&self) -> api::DoctorResponse {
        let names = self.0.peers();
        let peers = join_all(names.iter().map(|name| self.seen(name)));
        let (host, peers, vfs) = tokio::join!(within(self.0.world().doctor(None)), peers, self.examine_vfs());
        let here = Here {
            host: self.0.host().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            pools: self.0.settings().pools.clone(),
        };
        let diagnosis = host.and(doctor::peers(&here, &peers)).and(vfs);
        response(self.0.host(), "", diagnosis)
    }

    /// A guest of this host.
    pub(crate) async fn examine_guest(&self, named: &str) -> Result<api::DoctorResponse, Refused> {
        let facts = tokio::time::timeout(LOOK, self.0.guest(named)).await;
        let facts = facts.map_err(|_| Refused::Cause(late()))??;
        let domain = within(self.0.world().doctor(Some(&facts)));
        let (domain, vfs) = tokio::join!(domain, self.examine_vfs_of(&facts));
        let mut diagnosis = doctor::guest(&facts).and(domain).and(vfs);
        diagnosis.findings.extend(old_agent(&facts));
        Ok(response(self.0.host(), &facts.guest.name, diagnosis))
    }

    async fn seen(&self, name: &str) -> PeerFacts {
        let asked = now_ms();
        let seen = match tokio::time::timeout(GREETING, self.0.greet(name)).await {
            Ok(Ok(host)) => Ok(peer(&host, asked, now_ms())),
            Ok(Err(cause)) => Err(innermost(name, cause)),
            Err(_) => Err(format!("no answer within {} s", GREETING.as_secs())),
        };
        PeerFacts {
            name: name.into(),
            seen,
        }
    }
}

impl<W: World> Coordinator<W> {
    /// Whether the clock of that peer is this host's, as far as it says.
    pub(crate) async fn clock_of(&self, name: &str) -> Diagnosis {
        let asked = now_ms();
        let greeted = tokio::time::timeout(GREETING, self.greet(name)).await;
        let mut diagnosis = Diagnosis::default();
        let check = || format!("the clock of {name}");
        match greeted {
            Ok(Ok(host)) => match peer(&host, asked, now_ms()).clock_ahead_ms {
                Some(ahead) => diagnosis.findings.extend(doctor::clock(self.host(), name, ahead)),
                None => diagnosis.skip(
                    check(),
                    format!("its godwitd ({}) is too old to tell it", host.version),
                ),
            },
            Ok(Err(cause)) => diagnosis.skip(check(), innermost(name, cause)),
            Err(_) => diagnosis.skip(check(), format!("no answer within {} s", GREETING.as_secs())),
        }
        diagnosis
    }
}

/// An agent that is older than this daemon.
pub(crate) fn old_agent(facts: &GuestFacts) -> Option<Finding> {
    doctor::old_agent(facts, env!("CARGO_PKG_VERSION"))
}

/// What the failure comes from says more than that there was one ("transport error").
pub(crate) fn innermost(host: &str, cause: Cause) -> String {
    let refusal = HostRefusal::Unreachable {
        host: host.into(),
        detail: String::new(),
    };
    let bare = cause.message.strip_prefix(&refusal.to_string());
    let bare = bare.unwrap_or(&cause.message).to_owned();
    cause.causes.into_iter().next_back().unwrap_or(bare)
}

/// What a peer said between two looks at this host's clock.
fn peer(host: &api::Host, asked: i64, answered: i64) -> PeerSeen {
    let clock = host.clock.as_ref().map(words::milliseconds);
    let days = |end: &Timestamp| doctor::days_left(words::milliseconds(end), answered);
    PeerSeen {
        version: host.version.clone(),
        pools: clock.map(|_| host.pools.clone()),
        clock_ahead_ms: clock.map(|clock| ahead(clock, asked, answered)),
        certificate_days: host.certificate_ends.as_ref().map(days),
        free_vfs: host.free_vfs,
        problem: host.problem.clone(),
    }
}

/// It was read at some moment between the two: only what lies outside is a difference for certain.
fn ahead(clock: i64, asked: i64, answered: i64) -> i64 {
    clock - clock.clamp(asked, answered.max(asked))
}

/// Without an answer in time that is what there is to tell.
async fn within(look: impl Future<Output = Diagnosis>) -> Diagnosis {
    tokio::time::timeout(LOOK, look).await.unwrap_or_else(|_| {
        let Cause { message, hint, .. } = late();
        let mut diagnosis = Diagnosis::default();
        diagnosis.add(Finding {
            severity: Severity::Error,
            reason: "DEADLINE",
            about: String::new(),
            what: message,
            why: "nothing else could be looked at here".into(),
            fix: hint,
        });
        diagnosis
    })
}

fn late() -> Cause {
    Cause {
        reason: "DEADLINE".into(),
        message: format!("this host could not be looked at within {} s", LOOK.as_secs()),
        hint: "systemctl status libvirtd virtqemud".into(),
        ..Cause::default()
    }
}

fn response(host: &str, guest: &str, diagnosis: Diagnosis) -> api::DoctorResponse {
    let (findings, not_checked) = words::diagnosis(diagnosis);
    api::DoctorResponse {
        host: host.into(),
        guest: guest.into(),
        findings,
        not_checked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_only_outside_of_the_question() {
        assert_eq!(ahead(1_500, 1_000, 2_000), 0);
        assert_eq!(ahead(2_300, 1_000, 2_000), 300);
        assert_eq!(ahead(400, 1_000, 2_000), -600);
        // This host's clock may be set back meanwhile.
        assert_eq!(ahead(1_000, 1_000, 500), 0);
    }

    #[test]
    fn a_peer_is_taken_at_its_words() {
        let host = api::Host {
            version: "0.1.0".into(),
            free_vfs: 3,
            pools: vec!["fabric".into()],
            clock: Some(words::timestamp(60_000)),
            certificate_ends: Some(words::timestamp(61_000 - 86_400_000)),
            ..api::Host::default()
        };
        let seen = peer(&host, 50_000, 51_000);
        assert_eq!(seen.pools, Some(vec!["fabric".to_owned()]));
        assert_eq!(
            (seen.clock_ahead_ms, seen.certificate_days),
            (Some(9_000), Some(-1))
        );
        let older = api::Host {
            clock: None,
            certificate_ends: None,
            ..host
        };
        let seen = peer(&older, 50_000, 51_000);
        assert_eq!(
            (seen.pools, seen.clock_ahead_ms, seen.certificate_days),
            (None, None, None)
        );
    }

    #[test]
    fn a_peer_that_cannot_be_asked_is_told_once_and_with_the_cause() {
        let cause = |message: &str, causes: &[&str]| Cause {
            message: message.into(),
            causes: causes.iter().map(|cause| (*cause).into()).collect(),
            ..Cause::default()
        };
        let bare = cause("host beta cannot be reached: no route", &[]);
        assert_eq!(innermost("beta", bare), "no route");
        let refused = cause("beta refused: not a peer", &[]);
        assert_eq!(innermost("beta", refused), "beta refused: not a peer");
        let wrapped = cause(
            "host beta cannot be reached: transport error",
            &["transport error", "tls: expired"],
        );
        assert_eq!(innermost("beta", wrapped), "tls: expired");
    }

    #[tokio::test(start_paused = true)]
    async fn a_world_that_hangs_is_a_finding() {
        let diagnosis = within(std::future::pending()).await;
        assert_eq!(diagnosis.findings[0].reason, "DEADLINE");
    }
}
