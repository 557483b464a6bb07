//! VFs that are not as they should be: found, told, and cleaned on request, or because a managed guest was seen to leave them.

use godwit_api::{
    peer::v1 as peer,
    v1::{self as api, host_service_server::HostService},
};
use godwit_coordinator::{Had, HostDesk};
use godwit_migration::{Phase, Profile, Sighting, Vf, VfUse};
use tonic::Request;

use crate::{
    facts,
    host::{Desk, Host, No, no},
    world::{Call, cause},
};

const VF: &str = "0000:01:10.4";

impl Desk {
    /// What is wrong with the VF afterwards.
    async fn clean(&self, vf: &str) -> Result<Vec<String>, No> {
        let desk = HostDesk(self.coordinator.clone());
        let answer = desk.clean_vf(Request::new(api::CleanVfRequest { vf: vf.into() }));
        Ok(answer.await.map_err(no)?.into_inner().check.unwrap().wrong)
    }

    /// Address and what is wrong, of the VFs of which something is.
    async fn wrong(&self, vf: &str) -> Result<Vec<String>, No> {
        let desk = HostDesk(self.coordinator.clone());
        let answer = desk.check_vfs(Request::new(api::CheckVfsRequest { vf: vf.into() }));
        let checks = answer.await.map_err(no)?.into_inner().checks;
        let wrong = checks.into_iter().filter(|check| !check.wrong.is_empty());
        let told = wrong.map(|check| format!("{}: {}", check.vf.unwrap().address, check.wrong.join(", ")));
        Ok(told.collect())
    }

    /// The reasons that the doctor has, and the checks that it could not make.
    async fn found(&self, guest: &str) -> (Vec<String>, Vec<String>) {
        let desk = HostDesk(self.coordinator.clone());
        let answer = desk.doctor(Request::new(api::DoctorRequest { guest: guest.into() }));
        let answer = answer.await.unwrap().into_inner();
        let ours = [
            "MAC_DUPLICATE",
            "VF_LEFTOVER",
            "VF_HELD_AND_USED",
            "GUEST_DIFFERS",
        ];
        let reasons = answer.findings.into_iter().map(|found| found.reason);
        let skipped = answer.not_checked.into_iter().map(|skipped| skipped.check);
        (
            reasons.filter(|reason| ours.contains(&reason.as_str())).collect(),
            skipped
                .filter(|check| check.contains("MAC") || check.contains("metadata"))
                .collect(),
        )
    }
}

/// As its PF reads it: neutral, with that guest's MAC on it or with none.
fn read(function: u8, usage: VfUse, of: Option<u8>) -> Vf {
    Vf {
        profile: Some(Profile::default()),
        mac: of.map(facts::mac),
        ..facts::vf(function, usage)
    }
}

/// `beta`: the first of its free VFs still carries the MAC of `web-1`.
fn untidy() -> Host {
    let host = Host::destination();
    host.world.set(|knobs| {
        knobs.vfs = vec![read(4, VfUse::Free, Some(1)), read(5, VfUse::Free, None)];
        knobs.macs = Some(peer::ListMacsResponse::default());
    });
    host
}

/// `alpha`: `web-1` on a VF with its MAC.
fn tidy() -> Host {
    let host = Host::source();
    host.world.set(|knobs| {
        knobs.vfs = vec![read(1, VfUse::Guest("web-1".into()), Some(1))];
        knobs.macs = Some(peer::ListMacsResponse::default());
    });
    host
}

#[test]
fn a_leftover_is_told_and_cleaned_on_request_alone() {
    let host = untidy();
    host.live(async |beta| {
        let left = format!("{VF}: MAC {}", facts::mac(1));
        for vf in ["", VF] {
            assert_eq!(beta.wrong(vf).await.unwrap(), std::slice::from_ref(&left));
        }
        assert_eq!(beta.wrong("0000:01:10.5").await.unwrap(), [""; 0]);
        assert_eq!(beta.found("").await.0, ["VF_LEFTOVER"]);
        assert!(beta.world.knobs().cleaned.is_empty(), "nobody asked for that");

        beta.world.set(|knobs| knobs.scrubs = true);
        assert_eq!(beta.clean(VF).await.unwrap(), [""; 0]);
        assert_eq!(beta.world.knobs().cleaned, [facts::address(4)]);
        assert_eq!(beta.found("").await.0, [""; 0]);
        // A clean one is left alone.
        assert_eq!(beta.clean(VF).await.unwrap(), [""; 0]);
        assert_eq!(beta.world.knobs().cleaned.len(), 1);
    });
}

/// `web-1` was seen with it, and has it no more: destroyed, or moved away by another tool.
#[test]
fn what_a_managed_guest_left_behind_is_cleaned_by_its_host() {
    let host = untidy();
    let has = |usage: VfUse| vec![read(4, usage, Some(1)), read(3, VfUse::Free, Some(9))];
    host.world.set(|knobs| {
        knobs.scrubs = true;
        knobs.guests = vec![facts::guest(1)];
        knobs.guests[0].pairs[0].vf = None;
        knobs.vfs = has(VfUse::Guest("web-1".into()));
    });
    host.live(async |beta| {
        let mut had = Had::default();
        let look = async |had: &mut Had| {
            beta.coordinator.clean_left(had).await;
            beta.world.knobs().cleaned.clone()
        };
        assert!(look(&mut had).await.is_empty(), "it has it");
        // Its emulator is on its way out.
        let open = VfUse::Other("process 77 (qemu) has it open".into());
        beta.world.set(|knobs| knobs.vfs = has(open.clone()));
        assert!(look(&mut had).await.is_empty(), "somebody has it");
        beta.world.set(|knobs| knobs.vfs = has(VfUse::Free));
        // The other one was nobody's: it is told, and cleaned on request alone.
        assert_eq!(look(&mut had).await, [facts::address(4)]);
        beta.world.set(|knobs| knobs.vfs = has(VfUse::Free));
        assert_eq!(look(&mut had).await.len(), 1, "once is enough");
        assert_eq!(had, Had::default());
    });
}

/// One that Godwit does not manage may have been set up by hand, for its next start; and so may one that is stored with it.
#[test]
fn what_another_guest_left_behind_is_left() {
    let has = |usage: VfUse| vec![read(4, usage, Some(1))];
    for managed in [false, true] {
        let host = untidy();
        host.world.set(|knobs| {
            knobs.guests = vec![facts::guest(1)];
            knobs.guests[0].managed = managed;
            knobs.guests[0].pairs[0].vf = Some(facts::address(4));
        });
        host.live(async |beta| {
            let mut had = Had::default();
            for usage in [VfUse::Guest("web-1".into()), VfUse::Free] {
                beta.world.set(|knobs| knobs.vfs = has(usage));
                beta.coordinator.clean_left(&mut had).await;
            }
            assert!(beta.world.knobs().cleaned.is_empty());
        });
    }
}

#[test]
fn what_anybody_has_is_not_cleaned() {
    let host = untidy();
    host.world.set(|knobs| {
        knobs.vfs = vec![
            read(1, VfUse::Guest("db-1".into()), Some(7)),
            read(2, VfUse::Other("process 77 (dpdk) has it open".into()), Some(8)),
            read(3, VfUse::Free, Some(9)),
            read(4, VfUse::Free, Some(1)),
        ];
    });
    host.live(async |beta| {
        beta.quarantine("0000:01:10.3", "a bad port").await.unwrap();
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        for (vf, why) in [
            ("0000:01:10.1", "guest `db-1` has it"),
            ("0000:01:10.2", "process 77 (dpdk) has it open"),
            ("0000:01:10.3", "quarantined: a bad port"),
            (VF, &*format!("migration {} holds it", facts::migration(1))),
        ] {
            let no = beta.clean(vf).await.unwrap_err();
            assert_eq!(no.failure.reason, "VF_NOT_FREE");
            assert!(no.failure.message.ends_with(why), "{}", no.failure.message);
        }
        assert_eq!(beta.clean("pf0").await.unwrap_err().failure.reason, "VF_UNKNOWN");
        assert_eq!(beta.wrong("pf0").await.unwrap_err().failure.reason, "VF_UNKNOWN");
        assert!(beta.world.knobs().cleaned.is_empty());
    });
}

#[test]
fn one_that_cannot_be_cleaned_is_kept_from_everybody() {
    let host = untidy();
    host.live(async |beta| {
        beta.world.set(|knobs| knobs.dirty = Some(cause("VF_NOT_CLEAN")));
        assert_eq!(beta.clean(VF).await.unwrap_err().failure.reason, "VF_NOT_CLEAN");
    });
    host.live(async |beta| {
        let got = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        assert_eq!(got, ["0000:01:10.5"], "also after a restart");
        let no = beta.clean(VF).await.unwrap_err();
        assert!(
            no.failure
                .message
                .ends_with("quarantined: vf_not_clean went wrong")
        );
        beta.world.set(|knobs| (knobs.dirty, knobs.scrubs) = (None, true));
        assert_eq!(beta.release_vf(VF).await.unwrap(), "free");
    });
}

#[test]
fn nobody_is_given_it_while_it_is_cleaned() {
    let host = untidy();
    host.world.set(|knobs| knobs.scrubs = true);
    host.live(async |beta| {
        beta.world.hold_call(Call::Clean);
        let cleaning = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.clean(VF).await })
        };
        beta.world.until(|world| !world.knobs().cleaned.is_empty()).await;
        let coming = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.reserve("alpha", facts::reserve(1, 1)).await })
        };
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(beta.peek().holds(), [""; 0], "it is being cleaned");
        beta.world.free_call(Call::Clean);
        assert_eq!(cleaning.await.unwrap().unwrap(), [""; 0]);
        assert_eq!(coming.await.unwrap().unwrap(), [VF]);
    });
}

#[test]
fn one_that_was_just_chosen_is_not_cleaned() {
    let host = untidy();
    host.live(async |beta| {
        beta.world.hold_call(Call::Vfs);
        let coming = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.reserve("alpha", facts::reserve(1, 1)).await })
        };
        beta.world.until(|world| world.knobs().asked_vfs == 1).await;
        let cleaning = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.clean(VF).await })
        };
        tokio::task::yield_now().await;
        beta.world.free_call(Call::Vfs);
        assert_eq!(coming.await.unwrap().unwrap(), [VF]);
        assert_eq!(cleaning.await.unwrap().unwrap_err().failure.reason, "VF_NOT_FREE");
        assert!(beta.world.knobs().cleaned.is_empty());
    });
}

fn told(vf: &str, guest: Option<u8>, moving: bool) -> peer::ListMacsResponse {
    let seen = peer::MacSeen {
        mac: facts::mac(1).to_string(),
        vf: vf.into(),
        guest: guest.map(|n| format!("web-{n}")).unwrap_or_default(),
        guest_uuid: guest.map(facts::uuid).unwrap_or_default(),
        moving,
    };
    peer::ListMacsResponse {
        macs: vec![seen],
        more: false,
    }
}

#[test]
fn a_mac_that_a_peer_has_too() {
    let host = tidy();
    host.live(async |alpha| {
        assert_eq!(alpha.found("").await, (vec![], vec![]));
        // A free VF there; another guest there; the same guest there, that nobody moves.
        for there in [
            told(VF, None, false),
            told("", Some(2), true),
            told("", Some(1), false),
        ] {
            alpha.world.set(|knobs| knobs.macs = Some(there));
            assert_eq!(alpha.found("").await.0, ["MAC_DUPLICATE"]);
        }
        alpha
            .world
            .set(|knobs| knobs.macs = Some(told(VF, Some(1), true)));
        assert_eq!(alpha.found("").await.0, [""; 0], "it is on its way");
        alpha.world.set(|knobs| knobs.macs = None);
        let (found, skipped) = alpha.found("").await;
        assert_eq!(found, [""; 0]);
        assert_eq!(skipped, ["MACs of beta", "MACs of gamma"]);
    });
}

#[test]
fn while_a_guest_is_moved_from_here_its_mac_may_be_on_both_hosts() {
    let host = tidy();
    host.live(async |alpha| {
        alpha
            .world
            .set(|knobs| knobs.macs = Some(told(VF, Some(1), false)));
        assert_eq!(alpha.found("").await.0, ["MAC_DUPLICATE"]);
        alpha.world.hold(Phase::FailOver);
        alpha.reach(Phase::FailOver).await;
        assert_eq!(alpha.found("").await.0, [""; 0]);
        // The guest has let go and the VF is held for it: it is still its own.
        alpha
            .world
            .set(|knobs| knobs.vfs = vec![read(1, VfUse::Free, Some(1))]);
        assert_eq!(alpha.found("").await.0, [""; 0]);
    });
}

/// What is read while something changes is read again before anybody is told.
#[test]
fn what_is_so_only_once_is_not_told() {
    let host = untidy();
    host.live(async |beta| {
        beta.world.hold_call(Call::Vfs);
        let looking = {
            let beta = beta.clone();
            tokio::spawn(async move { beta.found("").await.0 })
        };
        beta.world.until(|world| world.knobs().asked_vfs == 1).await;
        beta.world.set(|knobs| knobs.vfs[0] = read(4, VfUse::Free, None));
        beta.world.free_call(Call::Vfs);
        assert_eq!(looking.await.unwrap(), [""; 0]);
    });
}

#[test]
fn a_host_tells_its_peers_which_macs_it_has() {
    use godwit_api::peer::v1::peer_service_server::PeerService;
    let host = tidy();
    host.live(async |alpha| {
        let ask = |caller: Option<&str>| {
            let mut request = Request::new(peer::ListMacsRequest {});
            if let Some(caller) = caller {
                request
                    .extensions_mut()
                    .insert(godwit_coordinator::Caller(caller.into()));
            }
            let desk = alpha.peer_desk();
            async move { desk.list_macs(request).await.map(tonic::Response::into_inner) }
        };
        assert!(ask(None).await.is_err(), "nobody's business");
        let told = ask(Some("beta")).await.unwrap();
        let seen =
            |seen: &peer::MacSeen| (seen.mac.clone(), seen.vf.clone(), seen.guest.clone(), seen.moving);
        let (mac, web) = (facts::mac(1).to_string(), "web-1".to_owned());
        assert_eq!(
            told.macs.iter().map(seen).collect::<Vec<_>>(),
            [
                (mac.clone(), "0000:01:10.1".into(), web.clone(), false),
                (mac, String::new(), web, false)
            ]
        );
    });
}

#[test]
fn a_held_vf_in_other_hands() {
    let host = untidy();
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        assert_eq!(beta.found("").await.0, [""; 0]);
        beta.world
            .set(|knobs| knobs.vfs[0] = read(4, VfUse::Guest("db-1".into()), None));
        assert_eq!(beta.found("").await.0, ["VF_HELD_AND_USED"]);
        beta.world.set(|knobs| knobs.vfs.clear());
        assert_eq!(beta.found("").await.0, ["VF_HELD_AND_USED"]);
    });
}

#[test]
fn a_guest_that_differs_from_its_metadata() {
    let host = tidy();
    host.world.sees(facts::WEB, Sighting::Running);
    host.live(async |alpha| {
        assert_eq!(alpha.found("web-1").await, (vec![], vec![]));
        alpha
            .world
            .set(|knobs| knobs.vfs = vec![read(1, VfUse::Guest("web-1".into()), Some(9))]);
        assert_eq!(alpha.found("web-1").await.0, ["GUEST_DIFFERS"]);
        let wrong = format!("0000:01:10.1: MAC {} instead of {}", facts::mac(9), facts::mac(1));
        assert_eq!(alpha.wrong("").await.unwrap(), [wrong]);
        // While it is moved its VF is no evidence of anything.
        alpha.world.hold(Phase::FailOver);
        alpha.reach(Phase::FailOver).await;
        let (found, skipped) = alpha.found("web-1").await;
        assert_eq!(found, [""; 0]);
        assert_eq!(skipped, ["metadata and VFs of `web-1`"]);
        assert_eq!(alpha.wrong("").await.unwrap(), [""; 0]);
    });
}
