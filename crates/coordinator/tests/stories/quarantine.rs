//! VFs that are kept from everybody, by a person or because they did not work, and given out again.

use godwit_api::v1::{self as api, host_service_server::HostService};
use godwit_coordinator::HostDesk;
use godwit_migration::{Phase, Sighting, VfUse};
use tonic::Request;

use crate::{
    facts,
    host::{Desk, Host, No, no},
    world::cause,
};

impl Desk {
    /// The VF's use afterwards, in words.
    pub async fn quarantine(&self, vf: &str, because: &str) -> Result<String, No> {
        let desk = HostDesk(self.coordinator.clone());
        let asked = api::QuarantineVfRequest {
            vf: vf.into(),
            because: because.into(),
        };
        let answer = desk.quarantine_vf(Request::new(asked)).await.map_err(no)?;
        Ok(usage(answer.into_inner().vf.unwrap()))
    }

    /// The VF's use afterwards, in words.
    pub async fn release_vf(&self, vf: &str) -> Result<String, No> {
        let desk = HostDesk(self.coordinator.clone());
        let asked = api::ReleaseVfRequest { vf: vf.into() };
        let answer = desk.release_vf(Request::new(asked)).await.map_err(no)?;
        Ok(usage(answer.into_inner().vf.unwrap()))
    }
}

fn usage(vf: api::Vf) -> String {
    match vf.usage() {
        api::VfUsage::Guest => format!("guest `{}` has it", vf.by),
        api::VfUsage::Free => "free".into(),
        api::VfUsage::Quarantined => format!("quarantined: {}", vf.by),
        _ => vf.by,
    }
}

const VF: &str = "0000:01:10.4";

#[test]
fn nobody_gets_it_until_it_is_released_and_clean() {
    let host = Host::destination();
    host.live(async |beta| {
        let usage = beta.quarantine(VF, "its port\u{7} is broken").await.unwrap();
        assert_eq!(usage, "quarantined: its port is broken");
    });
    // A daemon that starts anew knows it still.
    host.live(async |beta| {
        let got = beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        assert_eq!(got, ["0000:01:10.5"], "the other one");
        beta.world.set(|knobs| knobs.dirty = Some(cause("VF_NOT_CLEAN")));
        let no = beta.release_vf(VF).await.unwrap_err();
        assert_eq!(no.failure.reason, "VF_NOT_CLEAN");
        assert!(
            beta.reserve("alpha", facts::reserve(2, 2)).await.is_err(),
            "still kept"
        );

        beta.world.set(|knobs| knobs.dirty = None);
        assert_eq!(beta.release_vf(VF).await.unwrap(), "free");
        assert_eq!(beta.world.knobs().cleaned, [facts::address(4), facts::address(4)]);
        let got = beta.reserve("alpha", facts::reserve(2, 2)).await.unwrap();
        assert_eq!(got, [VF]);
    });
}

#[test]
fn who_has_it_keeps_it() {
    let host = Host::source();
    host.live(async |alpha| {
        let vf = "0000:01:10.1";
        assert_eq!(alpha.quarantine(vf, "").await.unwrap(), "guest `web-1` has it");
        alpha
            .world
            .set(|knobs| knobs.vfs = vec![facts::vf(1, VfUse::Free)]);
        let no = alpha.release_vf("0000:01:10.7").await.unwrap_err();
        assert_eq!(no.failure.reason, "VF_UNKNOWN");
        let words = alpha.quarantine("pf0", "").await.unwrap_err().failure.message;
        assert_eq!(words, "no VF of alpha's pools has the address pf0");
        assert_eq!(alpha.quarantine(vf, "").await.unwrap(), "quarantined: by hand");
        // Released while a guest has it, it is that guest's matter.
        alpha
            .world
            .set(|knobs| knobs.vfs = vec![facts::vf(1, VfUse::Guest("web-1".into()))]);
        assert_eq!(alpha.release_vf(vf).await.unwrap(), "guest `web-1` has it");
        assert!(alpha.world.knobs().cleaned.is_empty());
    });
}

#[test]
fn what_is_not_in_quarantine_is_not_touched() {
    let host = Host::destination();
    host.world.set(|knobs| {
        knobs.vfs = vec![
            facts::vf(4, VfUse::Free),
            facts::vf(5, VfUse::Other("its driver is igbvf".into())),
        ];
    });
    host.live(async |beta| {
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        for (vf, why) in [(VF, "migration"), ("0000:01:10.5", "its driver is igbvf")] {
            let no = beta.release_vf(vf).await.unwrap_err();
            assert_eq!(no.failure.reason, "VF_NOT_QUARANTINED");
            assert!(no.failure.message.contains(why), "{}", no.failure.message);
        }
        assert!(beta.world.knobs().cleaned.is_empty());
        assert_eq!(beta.peek().holds(), [VF], "the hold stands");
    });
}

/// Kept by a person, and then taken by the host itself: it is not Godwit's to reset.
#[test]
fn what_the_host_uses_is_not_touched_though_it_is_kept() {
    let host = Host::destination();
    host.live(async |beta| {
        beta.quarantine(VF, "a bad port").await.unwrap();
        let used = VfUse::Other("the host has it as ens1f0v2, which is up".into());
        beta.world.set(|knobs| knobs.vfs[0] = facts::vf(4, used));
        let no = beta.release_vf(VF).await.unwrap_err();
        assert!(no.failure.message.contains("ens1f0v2"), "{}", no.failure.message);
        assert!(beta.world.knobs().cleaned.is_empty());
        // As soon as the host lets it go it is in quarantine again.
        beta.world.set(|knobs| knobs.vfs[0] = facts::vf(4, VfUse::Free));
        assert_eq!(beta.release_vf(VF).await.unwrap(), "free");
    });
}

#[test]
fn one_that_did_not_plug_is_released_too() {
    let host = Host::destination();
    host.live(async |beta| {
        let mut bad = cause("PLUG");
        bad.vf = Some(facts::address(4));
        beta.world.once(Phase::Plug, godwit_migration::Event::Failed(bad));
        beta.reserve("alpha", facts::reserve(1, 1)).await.unwrap();
        beta.world.sees(facts::WEB, Sighting::Running);
        assert!(beta.ended(&facts::migration(1)).await.ended);
        assert_eq!(beta.release_vf(VF).await.unwrap(), "free");
    });
}
