//! Peers.

use super::{super::*, told};

fn here() -> Here {
    Here {
        host: "alpha".into(),
        version: "0.1.0".into(),
        pools: vec!["fabric".into()],
    }
}

fn beta() -> PeerSeen {
    PeerSeen {
        version: "0.1.0".into(),
        pools: Some(vec!["fabric".into()]),
        clock_ahead_ms: Some(0),
        certificate_days: Some(100),
        free_vfs: 1,
        problem: String::new(),
    }
}

fn of_peers(seen: &[(&str, Result<PeerSeen, String>)]) -> Vec<String> {
    let facts: Vec<PeerFacts> = seen
        .iter()
        .map(|(name, seen)| PeerFacts {
            name: (*name).into(),
            seen: seen.clone(),
        })
        .collect();
    told(&peers(&here(), &facts))
}

fn of_beta(change: impl FnOnce(&mut PeerSeen)) -> Vec<String> {
    let mut seen = beta();
    change(&mut seen);
    of_peers(&[("beta", Ok(seen))])
}

#[test]
fn a_peer() {
    assert!(of_beta(|_| {}).is_empty());
    let told = of_beta(|seen| seen.problem = "libvirt does not answer".into());
    assert!(told[0].starts_with("Warning PEER_TROUBLE [beta]"), "{told:?}");
    assert!(of_beta(|seen| seen.free_vfs = 0)[0].starts_with("Hint NO_FREE_VF [beta]"));
    assert!(of_beta(|seen| seen.version = "0.2.0".into())[0].starts_with("Hint PEER_VERSION [beta]"));
    let ahead = of_beta(|seen| seen.clock_ahead_ms = Some(2_100));
    assert!(
        ahead[0].contains("clock of beta is 2.1 s ahead of that of alpha"),
        "{ahead:?}"
    );
    assert!(of_beta(|seen| seen.clock_ahead_ms = Some(-90_000))[0].contains("is 90.0 s behind"));
    assert!(of_beta(|seen| seen.clock_ahead_ms = Some(-2_000)).is_empty());
    assert!(of_beta(|seen| seen.certificate_days = Some(-1))[0].starts_with("Error CERTIFICATE [beta]"));
    let older = of_beta(|seen| (seen.pools, seen.clock_ahead_ms, seen.certificate_days) = (None, None, None));
    assert_eq!(
        older,
        ["not checked: pools, clock and certificate of beta: its godwitd (0.1.0) is too old to tell them"]
    );
    let away = of_peers(&[("beta", Err("connection refused".into()))]);
    assert!(
        away[0].starts_with("Error HOST_UNREACHABLE [beta] host beta cannot be reached: connection refused"),
        "{away:?}"
    );
    assert!(
        away[1].starts_with("not checked: pools, clock and certificate of beta"),
        "{away:?}"
    );
}

#[test]
fn pools_are_matched_by_name() {
    let other = of_beta(|seen| seen.pools = Some(vec!["fabrik".into()]));
    assert!(
        other[0].starts_with("Warning POOL_UNMATCHED [fabric] pool fabric is on alpha alone: not on beta"),
        "{other:?}"
    );
    assert!(
        other[1].starts_with("Hint POOL_UNMATCHED [fabrik] pool fabrik is on beta, and not on alpha"),
        "{other:?}"
    );
    let mut storage = beta();
    storage.pools = Some(vec!["storage".into(), "fabric".into()]);
    let two = of_peers(&[
        ("beta", Ok(storage.clone())),
        ("gamma", Ok(storage)),
        ("delta", Ok(beta())),
    ]);
    assert_eq!(two.len(), 1, "{two:?}");
    assert!(
        two[0].contains("pool storage is on beta, gamma, and not on alpha"),
        "{two:?}"
    );
}
