//! The guests, VFs and requests of the stories.

use godwit_api::peer::v1 as peer;
use godwit_migration::{
    Brief, Event, Guest, MacAddress, PciAddress, Policy, Verdict, Vf, VfUse,
    choice::Site,
    preflight::{GuestFacts, PairFacts, PairSeen, Stray},
};

pub const WEB: &str = "6f0e6a5e-0000-4000-8000-000000000001";

pub fn mac(n: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0xaa, 0, n]).unwrap()
}

pub fn uuid(n: u8) -> String {
    format!("6f0e6a5e-0000-4000-8000-{n:012}")
}

pub fn migration(n: u32) -> String {
    format!("01890000-0000-7000-8000-{n:012}")
}

pub fn address(function: u8) -> PciAddress {
    format!("0000:01:10.{function}").parse().unwrap()
}

/// What a destination holds that no story plays.
pub fn there() -> PciAddress {
    "0000:02:10.0".parse().unwrap()
}

pub fn vf(function: u8, usage: VfUse) -> Vf {
    Vf {
        address: address(function),
        pool: "fabric".into(),
        pf: "pf0".into(),
        usage,
        profile: None,
        site: Site::default(),
        mac: None,
    }
}

/// A VF that only an emulator has.
pub fn stray() -> Stray {
    Stray {
        vf: address(2),
        pid: 77,
        alias: "ua-vf0".into(),
    }
}

/// A guest that may move, on VF `n`: `web-1`, `web-2` ...
pub fn guest(n: u8) -> GuestFacts {
    let pair = PairFacts {
        mac: Some(mac(n)),
        primary_mac: Some(mac(n)),
        standby: Some("net0".into()),
        primary: Some("ua-vf0".into()),
        vf: Some(address(n)),
        pool: Some("fabric".into()),
        profile: None,
        recorded: None,
        teamed: false,
    };
    let seen = PairSeen {
        mac: mac(n),
        on_primary: true,
        has_primary: true,
        failover: false,
        problem: None,
        unmonitored: false,
        vlans: Vec::new(),
    };
    GuestFacts {
        guest: Guest {
            name: format!("web-{n}"),
            uuid: uuid(n),
        },
        state: "running".into(),
        running: true,
        managed: true,
        policy: Policy::Require,
        pairs: vec![pair],
        agent: Ok(vec![seen]),
        agent_version: None,
        strays: Vec::new(),
        nodes: Vec::new(),
    }
}

/// What a move is like of which nothing was said, but for its transfer.
pub fn unasked(transfer: godwit_migration::Options) -> godwit_coordinator::Unasked {
    godwit_coordinator::Unasked {
        transfer,
        ..Default::default()
    }
}

pub fn located(verdict: Verdict) -> Event {
    Event::Located {
        verdict,
        detail: format!("the evidence says {verdict:?}"),
    }
}

pub fn look(brief: &Brief, close: bool) -> peer::LookRequest {
    peer::LookRequest {
        migration_id: brief.id.clone(),
        guest_uuid: brief.guest.uuid.clone(),
        close,
    }
}

/// A Reserve of migration `m` for guest `n`, one pair.
pub fn reserve(m: u32, n: u8) -> peer::ReserveRequest {
    peer::ReserveRequest {
        migration_id: migration(m),
        guest: format!("web-{n}"),
        guest_uuid: uuid(n),
        pairs: vec![peer::WantedPair {
            mac: mac(n).to_string(),
            pool: "fabric".into(),
            alias: "ua-vf0".into(),
            primary_mac: mac(n).to_string(),
            profile: None,
        }],
        policy: 0,
        memory_nodes: Vec::new(),
        probes_per_second: 0,
        needs_version: 0,
    }
}

pub fn close(m: u32, n: u8) -> peer::LookRequest {
    peer::LookRequest {
        migration_id: migration(m),
        guest_uuid: uuid(n),
        close: true,
    }
}

pub fn unreserve(m: u32, n: u8) -> peer::UnreserveRequest {
    peer::UnreserveRequest {
        migration_id: migration(m),
        guest_uuid: uuid(n),
    }
}
