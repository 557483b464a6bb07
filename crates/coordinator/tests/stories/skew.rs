//! Hosts of two versions: what a newer one says beside what is known here is let pass where that does no harm, and refused where it would.

use godwit_api::peer::v1::{PlanRequest, peer_service_server::PeerService};
use godwit_coordinator::words::PEER_VERSION;
use tonic::Code;

use crate::{
    facts,
    host::{Host, from, no},
};

#[test]
fn a_newer_source_is_understood_as_far_as_it_does_no_harm() {
    let host = Host::destination();
    host.live(async |beta| {
        let mut asked = facts::reserve(1, 1);
        // A policy of tomorrow: the strictest of today, which promises a VF or refuses.
        asked.policy = 99;
        asked.needs_version = PEER_VERSION;
        let held = beta.reserve("alpha", asked).await.unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!(
            beta.get(&facts::migration(1)).await.unwrap().policy(),
            godwit_api::v1::Policy::Require
        );
    });
}

#[test]
fn what_a_destination_would_leave_unheeded_it_refuses_and_says_which_host_is_to_be_upgraded() {
    let host = Host::destination();
    host.live(async |beta| {
        let mut asked = facts::reserve(1, 1);
        asked.needs_version = PEER_VERSION + 1;
        let plan = PlanRequest {
            reserve: Some(asked.clone()),
            needs: None,
        };
        let planned = beta.peer_desk().plan(from("alpha", plan)).await;
        let refusals = [
            beta.reserve("alpha", asked).await.unwrap_err(),
            planned.map_err(no).unwrap_err(),
        ];
        for no in refusals {
            assert_eq!(
                (no.code, no.failure.reason.as_str()),
                (Code::FailedPrecondition, "HOST_REFUSED")
            );
            let message = no.failure.message;
            assert!(
                message.contains("needs version 3")
                    && message.contains("speaks version 2: upgrade it on beta first"),
                "{message}"
            );
        }
        assert_eq!(beta.peek().holds(), [""; 0], "nothing is held");
    });
}
