//! A host with peers that answer, refuse and are silent.

use std::sync::Arc;

use godwit_api::peer::v1::ListMacsResponse;
use godwit_migration::{
    Cause, Event, Guest, Pair, Policy, Sighting,
    choice::Site,
    doctor::{Diagnosis, Finding, Severity},
    preflight::GuestFacts,
    profile::MustMatch,
};

use super::*;
use crate::{Deadlines, History, Job, Journal, Limits, Settings};

struct Pretend;

impl World for Pretend {
    async fn work(&self, _: Job) -> Event {
        std::future::pending().await
    }

    async fn abort(&self, _: &Brief) -> Result<(), Cause> {
        Ok(())
    }

    async fn guests(&self, named: Option<&str>) -> Result<Vec<GuestFacts>, Cause> {
        let plain = GuestFacts {
            guest: Guest {
                name: "batch-1".into(),
                uuid: "22222222-2222-3333-4444-555555555555".into(),
            },
            state: "running".into(),
            running: true,
            managed: false,
            policy: Policy::default(),
            pairs: Vec::new(),
            agent: Ok(Vec::new()),
            agent_version: None,
            strays: Vec::new(),
            nodes: Vec::new(),
        };
        Ok(Vec::from_iter(Some(plain).filter(|_| named == Some("batch-1"))))
    }

    async fn adopt(&self, _: &Guest, _: &[Pair], _: Policy) -> Result<(), Cause> {
        Ok(())
    }

    async fn vfs(&self) -> Result<Vec<Vf>, Cause> {
        Ok(vec![
            seen(0, VfUse::Guest("web-1".into())),
            seen(2, VfUse::Free),
            seen(4, VfUse::Free),
            seen(6, VfUse::Other("its driver is igbvf".into())),
        ])
    }

    async fn clean(&self, _: godwit_migration::PciAddress) -> Result<(), Cause> {
        Ok(())
    }

    async fn sight(&self, _: &str) -> Sighting {
        Sighting::Absent
    }

    async fn plan(&self, _: crate::Planning<'_>) -> Result<crate::Planned, Cause> {
        Ok(crate::Planned::default())
    }

    async fn greet(&self, peer: &str) -> Result<api::Host, Cause> {
        let message = "host delta cannot be reached: connection refused".to_owned();
        match peer {
            "silent" => std::future::pending().await,
            "delta" => Err(Cause {
                message,
                ..Cause::default()
            }),
            // By its own words: its own name, and that it is here.
            _ => Ok(api::Host {
                name: "itself".into(),
                here: true,
                version: "9.9".into(),
                ..api::Host::default()
            }),
        }
    }

    async fn macs(&self, peer: &str) -> Result<ListMacsResponse, Cause> {
        if peer == "silent" {
            std::future::pending::<()>().await;
        }
        let older = Cause {
            reason: "PEER_REFUSED".into(),
            message: format!("{peer} refused: does not know this call"),
            ..Cause::default()
        };
        Err(older)
    }

    async fn record(&self, _: &Brief) -> Result<Option<godwit_api::v1::Migration>, Cause> {
        Ok(None)
    }

    async fn doctor(&self, guest: Option<&GuestFacts>) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        diagnosis.add(Finding {
            severity: Severity::Warning,
            reason: "PF_LINK_DOWN",
            about: guest.map(|facts| facts.guest.name.clone()).unwrap_or_default(),
            what: "pf0 is switched off".into(),
            why: "no frames".into(),
            fix: "ip link set pf0 up".into(),
        });
        diagnosis.skip("/dev/kvm", "permission denied");
        diagnosis
    }
}

fn seen(function: u8, usage: VfUse) -> Vf {
    Vf {
        address: format!("0000:01:10.{function}").parse().unwrap(),
        pool: "blue".into(),
        pf: "pf0".into(),
        usage,
        profile: None,
        site: Site::default(),
        mac: None,
    }
}

const COMING: &str = "01a20918-0000-7000-8000-000000000001";

/// A host that holds 10.2 for a guest to come.
async fn desk(peers: &[&str]) -> HostDesk<Pretend> {
    let settings = Settings {
        host: "alpha".into(),
        peers: peers.iter().map(|peer| (*peer).into()).collect(),
        deadlines: Deadlines::new([]),
        limits: Limits::default(),
        history: History::default(),
        must_match: MustMatch::default(),
        pools: vec!["blue".into()],
        certificate: Default::default(),
        unasked: Default::default(),
    };
    // In memory, so that a clock that stands still does not run on while it is read.
    let journal = Journal::in_memory().unwrap();
    let coordinator = Coordinator::start(settings, Arc::new(Pretend), journal)
        .await
        .unwrap();
    let pair = Pair {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        primary_mac: "52:54:00:00:00:01".parse().unwrap(),
        standby: "net0".into(),
        primary: "ua-godwit-0".into(),
        pool: "blue".into(),
        source_vf: None,
        destination_vf: Some("0000:01:10.2".parse().unwrap()),
        profile: None,
    };
    let brief = Brief {
        id: COMING.into(),
        role: godwit_migration::Role::Destination,
        guest: Guest {
            name: "db-1".into(),
            uuid: "11111111-2222-3333-4444-555555555555".into(),
        },
        source: "beta".into(),
        destination: "alpha".into(),
        policy: Policy::default(),
        sticky: false,
        teamed: false,
        nodes: Vec::new(),
        probes: 0,
        keep: Default::default(),
        options: Default::default(),
        pairs: vec![pair],
    };
    coordinator.begin(brief, None).await.unwrap();
    HostDesk(coordinator)
}

#[tokio::test]
async fn this_host_first_then_every_peer_however_it_fares() {
    let desk = desk(&["delta", "silent", "beta", "mute"]).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let hosts = desk
        .list_hosts(Request::new(api::ListHostsRequest {}))
        .await
        .unwrap()
        .into_inner()
        .hosts;
    assert_eq!(
        begun.elapsed().as_secs(),
        3,
        "the silent one is given up, and all are asked at once"
    );
    let brief = |host: &api::Host| {
        let api::Host {
            name,
            here,
            reachable,
            version,
            problem,
            ..
        } = host;
        format!("{name} here={here} reachable={reachable} {version} {problem}")
            .trim_end()
            .to_owned()
    };
    let told: Vec<String> = hosts.iter().map(brief).collect();
    assert_eq!(
        told,
        [
            concat!("alpha here=true reachable=true ", env!("CARGO_PKG_VERSION")),
            "delta here=false reachable=false  host delta cannot be reached: connection refused",
            "silent here=false reachable=false  silent did not answer within 3 s",
            "beta here=false reachable=true 9.9",
            "mute here=false reachable=true 9.9",
        ]
    );
    assert_eq!((hosts[0].vfs, hosts[0].free_vfs, hosts[0].migrations), (4, 1, 1));
}

#[tokio::test]
async fn vfs_with_those_who_use_them() {
    let desk = desk(&[]).await;
    let vfs = desk
        .list_vfs(Request::new(api::ListVfsRequest {}))
        .await
        .unwrap()
        .into_inner()
        .vfs;
    let told = vfs
        .iter()
        .map(|vf| (vf.address.as_str(), vf.usage(), vf.by.as_str()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("0000:01:10.0", api::VfUsage::Guest, "web-1"),
            ("0000:01:10.2", api::VfUsage::Held, COMING),
            ("0000:01:10.4", api::VfUsage::Free, ""),
            ("0000:01:10.6", api::VfUsage::Other, "its driver is igbvf"),
        ]
    );
    assert_eq!((vfs[0].pool.as_str(), vfs[0].pf.as_str()), ("blue", "pf0"));
}

#[tokio::test]
async fn holds_with_what_their_migrations_are_about() {
    let desk = desk(&[]).await;
    let holds = desk
        .list_holds(Request::new(api::ListHoldsRequest {}))
        .await
        .unwrap()
        .into_inner()
        .holds;
    let [hold] = &holds[..] else { panic!("{holds:?}") };
    let begun = desk.0.get(COMING).await.unwrap().migration.begun_ms;
    let expected = api::Hold {
        vf: "0000:01:10.2".into(),
        migration: COMING.into(),
        guest: "db-1".into(),
        source: "beta".into(),
        quarantined: String::new(),
        since: Some(words::timestamp(begun)),
    };
    assert_eq!(*hold, expected);
}

async fn examined(desk: &HostDesk<Pretend>, guest: &str) -> Result<api::DoctorResponse, Status> {
    let request = Request::new(api::DoctorRequest { guest: guest.into() });
    desk.doctor(request).await.map(tonic::Response::into_inner)
}

fn findings(response: &api::DoctorResponse) -> Vec<String> {
    let told = response.findings.iter();
    let told = told.map(|found| {
        format!(
            "{} {} [{}]",
            found.severity().as_str_name(),
            found.reason,
            found.about
        )
    });
    let skipped = response
        .not_checked
        .iter()
        .map(|skipped| format!("{}: {}", skipped.check, skipped.why));
    told.chain(skipped).collect()
}

#[tokio::test]
async fn the_doctor_tells_of_host_and_peers_the_worst_first() {
    let desk = desk(&["delta", "silent", "beta"]).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let response = examined(&desk, "").await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 10, "all are asked at once");
    assert_eq!((response.host.as_str(), response.guest.as_str()), ("alpha", ""));
    assert_eq!(
        findings(&response),
        [
            "SEVERITY_ERROR HOST_UNREACHABLE [delta]",
            "SEVERITY_ERROR HOST_UNREACHABLE [silent]",
            "SEVERITY_WARNING PF_LINK_DOWN []",
            "SEVERITY_HINT NO_FREE_VF [beta]",
            "SEVERITY_HINT PEER_VERSION [beta]",
            "/dev/kvm: permission denied",
            "pools, clock and certificate of delta: it does not answer",
            "pools, clock and certificate of silent: it does not answer",
            "pools, clock and certificate of beta: its godwitd (9.9) is too old to tell them",
            "MACs of delta: delta refused: does not know this call",
            "MACs of silent: no answer within 10 s",
            "MACs of beta: beta refused: does not know this call",
        ]
    );
}

#[tokio::test]
async fn the_doctor_tells_of_a_guest_and_its_domain() {
    let desk = desk(&[]).await;
    let response = examined(&desk, "batch-1").await.unwrap();
    assert_eq!(
        (response.host.as_str(), response.guest.as_str()),
        ("alpha", "batch-1")
    );
    assert_eq!(
        findings(&response),
        [
            "SEVERITY_ERROR GUEST_WITHOUT_VF [batch-1]",
            "SEVERITY_WARNING PF_LINK_DOWN [batch-1]",
            "/dev/kvm: permission denied",
        ]
    );
    for (guest, code) in [
        ("nobody", tonic::Code::NotFound),
        ("a\nb", tonic::Code::InvalidArgument),
    ] {
        assert_eq!(examined(&desk, guest).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_host_tells_its_pools_and_its_clock() {
    let desk = desk(&[]).await;
    let myself = desk.0.myself().await;
    assert_eq!(myself.pools, ["blue"]);
    let clock = words::milliseconds(myself.clock.as_ref().unwrap());
    assert!((clock - crate::clock::now_ms()).abs() < 60_000);
}
